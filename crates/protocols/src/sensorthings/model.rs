//! The entities, their properties and links. Source: OGC 18-088, clause 8 (figure 1, tables 3 to 23).

/// A kind of entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entity {
    /// What is watched.
    Thing,
    /// Where a thing is.
    Location,
    /// Where a thing was.
    HistoricalLocation,
    /// Observations of one property of a thing by one sensor.
    Datastream,
    /// What observes.
    Sensor,
    /// What is observed.
    ObservedProperty,
    /// One value.
    Observation,
    /// Of what the value holds.
    FeatureOfInterest,
}

/// A way from one kind of entity to another.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// As in paths.
    pub name: &'static str,
    /// Where it leads.
    pub to: Entity,
    /// To a collection.
    pub many: bool,
}

const fn one(name: &'static str, to: Entity) -> Link {
    Link { name, to, many: false }
}
const fn many(to: Entity) -> Link {
    Link { name: to.set(), to, many: true }
}

impl Entity {
    /// All, in the order of the root.
    pub const ALL: [Self; 8] = [
        Self::Thing,
        Self::Location,
        Self::HistoricalLocation,
        Self::Datastream,
        Self::Sensor,
        Self::ObservedProperty,
        Self::Observation,
        Self::FeatureOfInterest,
    ];
    /// Name of one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Thing => "Thing",
            Self::Location => "Location",
            Self::HistoricalLocation => "HistoricalLocation",
            Self::Datastream => "Datastream",
            Self::Sensor => "Sensor",
            Self::ObservedProperty => "ObservedProperty",
            Self::Observation => "Observation",
            Self::FeatureOfInterest => "FeatureOfInterest",
        }
    }
    /// Name of the collection.
    pub const fn set(self) -> &'static str {
        match self {
            Self::Thing => "Things",
            Self::Location => "Locations",
            Self::HistoricalLocation => "HistoricalLocations",
            Self::Datastream => "Datastreams",
            Self::Sensor => "Sensors",
            Self::ObservedProperty => "ObservedProperties",
            Self::Observation => "Observations",
            Self::FeatureOfInterest => "FeaturesOfInterest",
        }
    }
    /// The kind of the collection called `name`.
    pub fn of_set(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.set() == name)
    }
    /// Ways from here.
    pub const fn links(self) -> &'static [Link] {
        use Entity::*;
        match self {
            Thing => const { &[many(Location), many(HistoricalLocation), many(Datastream)] },
            Location => const { &[many(Thing), many(HistoricalLocation)] },
            HistoricalLocation => const { &[one("Thing", Thing), many(Location)] },
            Datastream => {
                const { &[one("Thing", Thing), one("Sensor", Sensor), one("ObservedProperty", ObservedProperty), many(Observation)] }
            }
            Sensor | ObservedProperty => const { &[many(Datastream)] },
            Observation => const { &[one("Datastream", Datastream), one("FeatureOfInterest", FeatureOfInterest)] },
            FeatureOfInterest => const { &[many(Observation)] },
        }
    }
    /// The way called `name`.
    pub fn link(self, name: &str) -> Option<&'static Link> {
        self.links().iter().find(|l| l.name == name)
    }
    /// Properties beside the id.
    pub const fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Thing => &["name", "description", "properties"],
            Self::Location => &["name", "description", "encodingType", "location", "properties"],
            Self::HistoricalLocation => &["time"],
            Self::Datastream => &[
                "name",
                "description",
                "observationType",
                "unitOfMeasurement",
                "observedArea",
                "phenomenonTime",
                "resultTime",
                "properties",
            ],
            Self::Sensor => &["name", "description", "encodingType", "metadata", "properties"],
            Self::ObservedProperty => &["name", "definition", "description", "properties"],
            Self::Observation => &["phenomenonTime", "result", "resultTime", "resultQuality", "validTime", "parameters"],
            Self::FeatureOfInterest => &["name", "description", "encodingType", "feature", "properties"],
        }
    }
    /// Whether a property of that name exists; `id`, `@iot.id` and `selfLink` count.
    pub fn has(self, name: &str) -> bool {
        matches!(name, "id" | "@iot.id" | "selfLink" | "@iot.selfLink") || self.properties().contains(&name)
    }
    /// Whether parts may follow the property: what is JSON inside.
    pub(crate) fn is_open(name: &str) -> bool {
        matches!(
            name,
            "properties"
                | "parameters"
                | "unitOfMeasurement"
                | "location"
                | "feature"
                | "observedArea"
                | "resultQuality"
                | "result"
                | "metadata"
        )
    }
}
