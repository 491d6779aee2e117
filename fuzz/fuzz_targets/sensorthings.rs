//! SensorThings: any text as a path, as each option, and as a filter over entities that have everything or nothing.
#![no_main]

use anlan_protocols::sensorthings::{Entity, Eval, Expr, Link, Part, Path, Query, Refusal, Subject, Value};
use libfuzzer_sys::fuzz_target;

struct One(u8);

impl Subject for One {
    fn property(&self, path: &[Part]) -> Value {
        match (path.len() + usize::from(self.0)) % 6 {
            0 => Value::Null,
            1 => Value::Number(f64::from(self.0)),
            2 => Value::Text("2015-10-14T12:00:00Z".to_owned()),
            3 => Value::Instant(1_444_824_000_000_000),
            4 => Value::Interval(0, 1_444_824_000_000_000),
            _ => Value::Bool(true),
        }
    }
    fn linked(&self, link: &'static Link) -> Result<Vec<Self>, Refusal> {
        Ok((0..if link.many { 3 } else { 1 }).map(|n| Self(self.0.wrapping_add(n))).collect())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let entity = Entity::ALL[usize::from(choice) % 8];
    if let Ok(path) = Path::parse(text) {
        let _ = (path.entity(), path.is_collection());
    }
    for option in ["$filter", "$orderby", "$select", "$expand", "$top", "$skip", "$count", "$skiptoken"] {
        let _ = Query::read(entity, [(option, text)]);
    }
    if let Ok(filter) = Expr::parse(entity, text) {
        let eval = Eval::new(1_444_824_000_000_000, 10_000);
        let _ = eval.fits(&filter, &One(choice));
        let _ = eval.bounds(&filter, &["phenomenonTime", "resultTime"]);
        for part in filter.conjuncts() {
            let _ = entity.links().iter().filter_map(|link| part.through(link)).count();
        }
    }
});
