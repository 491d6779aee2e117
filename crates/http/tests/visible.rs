//! Whoever may see a record sees it in every way there is to it, and nobody else in any: random territories, people, grants and records, each
//! person asked about each record, against a model of visibility that knows nothing of the product's.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use anlan_app::access;
use anlan_app::live::LiveMessage;
use anlan_documents::{Cell, SheetLimits, read_sheet};
use anlan_model::Scope;
use common::{ELSEWHERE, HERE, Node, PASSWORD, ask, node, text};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

const CITY: &str = "5304";
const PLACES: [&str; 3] = [HERE, ELSEWHERE, "530424"];
const SECTORS: [&str; 2] = ["hazchem", "mine"];
const ROLES: [&str; 8] = ["administrator", "duty_officer", "supervisor", "inspector", "safety_manager", "worker", "leader", "screen"];
/// Worlds; each takes a second or two of a debug build.
const WORLDS: u32 = 6;
/// Days that pass before people are asked: some records are late by then, some are not.
const DAYS: i64 = 12;
const TODAY: &str = "2026-12-05";

/// A role, bounded or not.
#[derive(Clone, Debug)]
struct GrantOf {
    role: usize,
    region: Option<&'static str>,
    sector: Option<&'static str>,
    /// Which, of those there are.
    enterprise: Option<usize>,
}

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sort {
    Danger,
    RatedDanger,
    AssignedDanger,
    ListedDanger,
    DismissedDanger,
    Equipment,
    Licence,
    Project,
    Patrol,
    Clause,
    DraftClause,
}

#[derive(Clone, Debug)]
struct RecordOf {
    sort: Sort,
    /// Which enterprise or place, of those there are.
    owner: usize,
    /// The person it names, if they may be named there.
    person: usize,
    word: usize,
}

/// Everything that happens before people are asked.
#[derive(Clone, Debug)]
struct World {
    /// Place and sector.
    enterprises: Vec<(usize, usize)>,
    people: Vec<Vec<GrantOf>>,
    records: Vec<RecordOf>,
    /// Which enterprise goes where.
    moves: Vec<(usize, usize, usize)>,
    /// Who gets other grants, in the middle of a session.
    regrants: Vec<(usize, Vec<GrantOf>)>,
}

fn grants() -> impl Strategy<Value = Vec<GrantOf>> {
    // By what a grant is bounded, with how often: the node, the city, a place; a sector; an enterprise.
    let bounds = [
        (1, "node"),
        (1, "city"),
        (4, "place"),
        (2, "sector"),
        (2, "place sector"),
        (1, "city sector"),
        (4, "enterprise"),
        (1, "place enterprise"),
        (1, "sector enterprise"),
    ];
    let bounds: Vec<&str> = bounds.iter().flat_map(|(n, bound)| vec![*bound; *n]).collect();
    let grant = (0..ROLES.len(), prop::sample::select(bounds), 0..PLACES.len(), 0..SECTORS.len(), 0usize..5);
    let grant = grant.prop_map(|(role, bounds, place, sector, enterprise)| GrantOf {
        role,
        region: if bounds.contains("city") { Some(CITY) } else { bounds.contains("place").then_some(PLACES[place]) },
        sector: bounds.contains("sector").then_some(SECTORS[sector]),
        enterprise: bounds.contains("enterprise").then_some(enterprise),
    });
    prop::collection::vec(grant, 1..4)
}

fn worlds() -> impl Strategy<Value = World> {
    use Sort::{
        AssignedDanger, Clause, Danger, DismissedDanger, DraftClause, Equipment, Licence, ListedDanger, Patrol, Project, RatedDanger,
    };
    let sorts =
        vec![Danger, RatedDanger, AssignedDanger, ListedDanger, DismissedDanger, Equipment, Licence, Project, Patrol, Clause, DraftClause];
    let sort = prop::sample::select(sorts);
    let record = (sort, 0usize..5, 0usize..5, 0usize..3).prop_map(|(sort, owner, person, word)| RecordOf { sort, owner, person, word });
    (
        prop::collection::vec((0..PLACES.len(), 0..SECTORS.len()), 3..6),
        prop::collection::vec(grants(), 5),
        prop::collection::vec(record, 8..22),
        prop::collection::vec((0usize..5, 0..PLACES.len(), 0..SECTORS.len()), 0..3),
        prop::collection::vec((0usize..5, grants()), 0..2),
    )
        .prop_map(|(enterprises, people, records, moves, regrants)| World { enterprises, people, records, moves, regrants })
}

/// Whose a record is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    Enterprise(usize),
    Place(&'static str),
    Everyone,
}

/// Somebody with their token and what they hold now.
struct Person {
    id: String,
    token: String,
    grants: Vec<GrantOf>,
}

/// A record that was made.
#[derive(Debug)]
struct Made {
    kind: String,
    id: String,
    owner: Owner,
    word: &'static str,
    /// A picture of it.
    attachment: Option<String>,
}

/// The model: whether a grant holds an owner. Nothing of this is the product's.
struct Model {
    /// Place and sector of each enterprise now.
    enterprises: Vec<(&'static str, &'static str)>,
}

impl Model {
    fn holds(&self, grant: &GrantOf, owner: Owner) -> bool {
        let (place, sector, enterprise) = match owner {
            Owner::Enterprise(i) => (self.enterprises[i].0, Some(self.enterprises[i].1), Some(i)),
            Owner::Place(place) => (place, None, None),
            // Nobody's: of a grant without any bound alone.
            Owner::Everyone => return grant.region.is_none() && grant.sector.is_none() && grant.enterprise.is_none(),
        };
        if let Some(region) = grant.region
            && !place.starts_with(region)
        {
            return false;
        }
        if grant.sector.is_some() && grant.sector != sector {
            return false;
        }
        // Enterprises are counted on from the first: a world may have fewer than grants name.
        grant.enterprise.is_none() || grant.enterprise.map(|e| e % self.enterprises.len()) == enterprise
    }
    fn sees(&self, person: &Person, owner: Owner) -> bool {
        (owner == Owner::Everyone && !person.grants.is_empty()) || person.grants.iter().any(|grant| self.holds(grant, owner))
    }
    fn roles(&self, person: &Person, owner: Owner) -> BTreeSet<&'static str> {
        person.grants.iter().filter(|grant| self.holds(grant, owner)).map(|grant| ROLES[grant.role]).collect()
    }
}

/// The day so many days after another.
fn day_plus(day: &str, days: i32) -> String {
    let day: jiff::civil::Date = day.parse().unwrap();
    day.checked_add(jiff::Span::new().days(days)).unwrap().to_string()
}

/// In titles, and as they stand in an address.
const WORDS: [&str; 3] = ["甲乙", "丙丁戊", "己"];
const TYPED: [&str; 3] = ["%E7%94%B2%E4%B9%99", "%E4%B8%99%E4%B8%81%E6%88%8A", "%E5%B7%B1"];

/// A node with a world in it.
struct Stage<'a> {
    node: &'a Node,
    /// Ids of the enterprises.
    enterprises: Vec<String>,
    people: Vec<Person>,
    model: Model,
    maker: String,
    second: String,
    made: Vec<Made>,
    /// Token of the live stream from before any record.
    start: String,
}

impl<'a> Stage<'a> {
    async fn set(world: &World, node: &'a Node) -> Self {
        let mut enterprises = Vec::new();
        for (i, (place, sector)) in world.enterprises.iter().enumerate() {
            let body = json!({"code": format!("E{i}"), "name": format!("企业E{i}"), "region": PLACES[*place], "place": {"lon": 102.5, "lat": 24.3}, "sector": SECTORS[*sector]});
            enterprises.push(text(&node.admin("POST", "/api/v1/enterprises", body).await.ok(201)["id"]));
        }
        let model = Model { enterprises: world.enterprises.iter().map(|(place, sector)| (PLACES[*place], SECTORS[*sector])).collect() };
        let maker = ["supervisor", "safety_manager", "inspector", "leader", "worker"].map(|role| json!({"role": role}));
        let maker = node.person("maker", json!(maker)).await;
        let second = node.person("second", json!([{"role": "supervisor"}])).await;
        let mut stream = node.app.live.subscribe(Scope::node(), &["notifications".to_owned()], None).unwrap();
        let LiveMessage::Notifications { token: start, .. } = stream.next().await.unwrap() else { panic!("what is unread comes first") };
        let mut stage = Self { node, enterprises, people: Vec::new(), model, maker, second, made: Vec::new(), start };
        for (i, grants) in world.people.iter().enumerate() {
            let username = format!("person{i}");
            let body = json!({"username": username, "name": username, "password": PASSWORD, "grants": stage.grants_json(grants)});
            let id = text(&node.admin("POST", "/api/v1/users", body).await.ok(201)["id"]);
            stage.people.push(Person { id, token: node.sign_in(&username).await, grants: grants.clone() });
        }
        for (n, record) in world.records.iter().enumerate() {
            stage.make(n, record).await;
        }
        ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": DAYS * 86_400}))).await.ok(200);
        for (which, place, sector) in &world.moves {
            let which = which % stage.enterprises.len();
            let at = format!("/api/v1/enterprises/{}", stage.enterprises[which]);
            let revision = node.get(&at).await["revision"].clone();
            let body = json!({"revision": revision, "region": PLACES[*place], "sector": SECTORS[*sector]});
            node.admin("PATCH", &at, body).await.ok(200);
            stage.model.enterprises[which] = (PLACES[*place], SECTORS[*sector]);
        }
        for (which, grants) in &world.regrants {
            let at = format!("/api/v1/users/{}", stage.people[*which].id);
            let users = node.get("/api/v1/users").await;
            let user = users["users"].as_array().unwrap().iter().find(|u| u["id"] == stage.people[*which].id).unwrap().clone();
            let body = json!({"revision": user["revision"], "grants": stage.grants_json(grants)});
            node.admin("PATCH", &at, body).await.ok(200);
            stage.people[*which].grants = grants.clone();
        }
        stage
    }

    fn grants_json(&self, grants: &[GrantOf]) -> Value {
        let one = |g: &GrantOf| {
            let enterprise = g.enterprise.map(|e| &self.enterprises[e % self.enterprises.len()]);
            json!({"role": ROLES[g.role], "region": g.region, "sector": g.sector, "enterprise": enterprise})
        };
        grants.iter().map(one).collect()
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> common::Answer {
        ask(&self.node.router, "POST", path, Some(token), Some(body)).await
    }

    async fn take(&self, token: &str, id: &str, transition: &str, revision: i64, fields: Value) -> common::Answer {
        let at = format!("/api/v1/registers/hidden_danger/records/{id}/transitions/{transition}");
        self.post(token, &at, json!({"revision": revision, "fields": fields})).await
    }

    async fn make(&mut self, n: usize, record: &RecordOf) {
        let (word, person) = (WORDS[record.word], &self.people[record.person]);
        let title = format!("{word}共同{n}");
        let due_on = ["2026-12-01", "2026-12-04", TODAY, "2026-12-20"][n % 4];
        let owner = match record.sort {
            Sort::Patrol => Owner::Place(PLACES[record.owner % PLACES.len()]),
            Sort::Clause | Sort::DraftClause => Owner::Everyone,
            _ => Owner::Enterprise(record.owner % self.enterprises.len()),
        };
        let may_be_named = self.model.sees(person, owner);
        let (kind, transition, mut fields) = match record.sort {
            Sort::Equipment => (
                "special_equipment",
                "register",
                json!({"equipment": title, "registration_code": format!("梯{n}"), "category": "lift", "place": "x",
                    "last_inspection_on": "2026-01-05", "next_on": due_on}),
            ),
            Sort::Licence => {
                ("licence", "apply", json!({"subject": title, "licence": "other", "application": "first", "scope": "x", "materials": "x"}))
            }
            Sort::Project => (
                "three_simultaneity",
                "register",
                json!({"project": title, "category": "mine", "nature": "new", "found_by": "self", "place": "x"}),
            ),
            Sort::Clause | Sort::DraftClause => {
                let transition = if record.sort == Sort::Clause { "adopt" } else { "enter" };
                let text = json!({"document": title, "level": "law", "clause": "第一条", "text": "x", "valid_from": "2020-01-01", "ends_on": due_on,
                    "source": "x", "confidence": "unverified"});
                ("clause", transition, text)
            }
            Sort::Patrol => ("township_patrol", "plan", json!({"subject": title, "place": "x", "planned_on": "2026-12-01"})),
            _ => ("hidden_danger", "report", json!({"description": title, "place": "x", "found_on": "2026-11-23", "source": "condition"})),
        };
        let mut attachment = None;
        if kind == "hidden_danger" {
            let picture = self.node.upload(&self.maker, "x.png", &common::png(2, 2)).await.ok(201);
            attachment = Some(text(&picture["id"]));
            fields["photos"] = json!([attachment]);
        }
        let named = match record.sort {
            Sort::Equipment => Some("responsible"),
            Sort::Patrol => Some("patroller"),
            _ => None,
        };
        let at = format!("/api/v1/registers/{kind}/records");
        let body = |fields: &Value| match owner {
            Owner::Enterprise(i) => json!({"enterprise": self.enterprises[i], "transition": transition, "fields": fields}),
            Owner::Place(region) => json!({"region": region, "transition": transition, "fields": fields}),
            Owner::Everyone => json!({"transition": transition, "fields": fields}),
        };
        if let Some(field) = named {
            fields[field] = json!(person.id);
            if !may_be_named {
                let refused = self.post(&self.maker, &at, body(&fields)).await.refused(400);
                assert_eq!(refused, [("register.field_range".to_owned(), format!("fields.{field}"))], "nobody who is not there is named");
                fields.as_object_mut().unwrap().remove(field);
                if record.sort == Sort::Patrol {
                    return;
                }
            }
        }
        let id = text(&self.post(&self.maker, &at, body(&fields)).await.ok(201)["id"]);
        let mut made = vec![Made { kind: kind.to_owned(), id: id.clone(), owner, word, attachment }];
        match record.sort {
            Sort::DismissedDanger => drop(self.take(&self.second, &id, "dismiss", 1, json!({"opinion": "x"})).await.ok(200)),
            Sort::RatedDanger => drop(self.take(&self.maker, &id, "rate", 1, json!({"level": "general"})).await.ok(200)),
            Sort::AssignedDanger | Sort::ListedDanger => {
                self.take(&self.maker, &id, "rate", 1, json!({"level": "major"})).await.ok(200);
                let plan = json!({"responsible": person.id, "due_on": due_on, "measures": "x", "goal": "x", "funds_yuan": 1, "interim_measures": "x"});
                let assigned = self.take(&self.maker, &id, "assign", 2, plan).await;
                if !may_be_named {
                    let refused = assigned.refused(400);
                    assert_eq!(refused, [("register.field_range".to_owned(), "fields.responsible".to_owned())]);
                } else {
                    assigned.ok(200);
                    if record.sort == Sort::ListedDanger {
                        self.take(&self.maker, &id, "list", 3, json!({"listing_reason": "x"})).await.ok(200);
                        let child = self.node.get(&format!("{at}/{id}")).await["children"][0].clone();
                        made.push(Made { kind: text(&child["kind"]), id: text(&child["id"]), owner, word, attachment: None });
                    }
                }
            }
            _ => {}
        }
        self.made.extend(made);
    }

    async fn get(&self, person: &Person, path: &str) -> Value {
        ask(&self.node.router, "GET", path, Some(&person.token), None).await.ok(200)
    }

    /// Ids in the list `name` at `path`, page by page, each once.
    async fn ids(&self, person: &Person, path: &str, name: &str, id: impl Fn(&Value) -> String) -> BTreeSet<String> {
        let (mut ids, mut cursor) = (BTreeSet::new(), String::new());
        loop {
            let and = if path.contains('?') { '&' } else { '?' };
            let page = self.get(person, &format!("{path}{and}limit=4{cursor}")).await;
            for item in page[name].as_array().unwrap() {
                assert!(ids.insert(id(item)), "twice in {path}: {item}");
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={}", next.replace(' ', "%20")),
                None => return ids,
            }
        }
    }

    async fn list(&self, person: &Person, kind: &str, query: &str) -> BTreeSet<String> {
        self.ids(person, &format!("/api/v1/registers/{kind}/records?{query}"), "records", |r| text(&r["id"])).await
    }

    /// Every way to a set of records of a kind; each must show exactly what may be seen.
    ///
    /// NEW WAYS are one line each here.
    async fn ways(&self, person: &Person, kind: &str) -> Vec<(&'static str, BTreeSet<String>)> {
        let filter = match kind {
            "hidden_danger" => "f.source=condition",
            "special_equipment" => "f.next_on.from=2026-01-01",
            "licence" => "f.licence=other",
            "three_simultaneity" => "f.category=mine",
            "township_patrol" => "f.planned_on.to=2026-12-01",
            "clause" => "f.level=law",
            _ => "f.due_on.from=2026-11-01",
        };
        let mut ways = vec![
            ("list", self.list(person, kind, "").await),
            ("search", self.list(person, kind, "q=%E5%85%B1%E5%90%8C").await),
            ("field", self.list(person, kind, filter).await),
        ];
        let mut parts = BTreeSet::new();
        for query in ["open=true", "open=false"] {
            parts.append(&mut self.list(person, kind, query).await);
        }
        ways.push(("open or not", std::mem::take(&mut parts)));
        let region = self.list(person, kind, "region=5304").await;
        for place in PLACES {
            parts.append(&mut self.list(person, kind, &format!("region={place}")).await);
        }
        if kind == "clause" {
            assert!(region.is_empty() && parts.is_empty(), "what is everybody's is in no division");
        } else {
            ways.extend([("region", region), ("place by place", std::mem::take(&mut parts))]);
        }
        for word in TYPED {
            parts.append(&mut self.list(person, kind, &format!("q={word}")).await);
        }
        ways.push(("word by word", parts));
        ways.push(("live", self.heard(person, kind).await));
        ways.push(("export", self.exported(person, kind).await));
        ways.push(("result of a job", self.made_into_files(person, kind).await));
        // A division's own record may have no place; every enterprise here has a gate.
        if !["township_patrol", "clause"].contains(&kind) {
            let path = format!("/api/v1/registers/{kind}/map");
            ways.push(("map", self.ids(person, &path, "features", |f| text(&f["properties"]["id"])).await));
        }
        ways
    }

    /// Ids of the records that the person hears of, in a stream resumed from before there were any.
    async fn heard(&self, person: &Person, kind: &str) -> BTreeSet<String> {
        let scope = access::session(&self.node.app, &person.token).await.unwrap().scope();
        let topics = ["records".to_owned(), "notifications".to_owned()];
        let mut stream = self.node.app.live.subscribe(scope, &topics, Some(&self.start)).unwrap();
        let mut heard = BTreeSet::new();
        loop {
            match stream.next().await.unwrap() {
                LiveMessage::Records { records, .. } => {
                    heard.extend(records.into_iter().filter(|row| row.kind == kind).map(|row| row.id.to_string()));
                }
                LiveMessage::Notifications { unread, .. } => {
                    assert_eq!(self.get(person, "/api/v1/notifications").await["unread"], unread);
                    return heard;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Ids of the records in the sheet that the person gets at once.
    async fn exported(&self, person: &Person, kind: &str) -> BTreeSet<String> {
        let bytes = self.node.bytes(&person.token, &format!("/api/v1/registers/{kind}/export")).await;
        self.in_sheets(kind, &[bytes]).await
    }

    /// Ids of the records in the small files that a job of the person makes.
    async fn made_into_files(&self, person: &Person, kind: &str) -> BTreeSet<String> {
        let files = common::export(self.node, &person.token, &format!("{kind}/exports?rows_per_file=3")).await;
        self.in_sheets(kind, &files).await
    }

    async fn in_sheets(&self, kind: &str, files: &[Vec<u8>]) -> BTreeSet<String> {
        let all = self.node.get(&format!("/api/v1/registers/{kind}/records?limit=1000")).await;
        let shown = |record: &Value| {
            let (id, number) = (text(&record["id"]), text(&record["number"]));
            (if number.is_empty() { id.clone() } else { number }, id)
        };
        let ids: BTreeMap<String, String> = all["records"].as_array().unwrap().iter().map(shown).collect();
        let id = |row: &anlan_documents::Row| match row.cell(0) {
            Cell::Text(number) => ids[number].clone(),
            other => panic!("{other:?}"),
        };
        let sheets = files.iter().map(|bytes| read_sheet(bytes, &SheetLimits::default()).unwrap());
        sheets.flat_map(|sheet| sheet.rows.iter().map(id).collect::<Vec<_>>()).collect()
    }

    /// Every way to one record: whether it opens.
    ///
    /// NEW WAYS (a print) are one line each here.
    async fn doors(&self, person: &Person, made: &Made) -> Vec<(&'static str, u16)> {
        let at = format!("/api/v1/registers/{}/records/{}", made.kind, made.id);
        let mut doors = Vec::new();
        let files = made
            .attachment
            .iter()
            .flat_map(|id| ["content", "thumbnail", "view"].map(|door| (door, format!("/api/v1/attachments/{id}/{door}"))));
        for (name, path) in [("record", at.clone()), ("history", format!("{at}/history"))].into_iter().chain(files) {
            doors.push((name, ask(&self.node.router, "GET", &path, Some(&person.token), None).await.status.as_u16()));
        }
        doors
    }

    /// Asks everybody about everything; how many notifications and tasks were seen.
    async fn check(&self) -> (usize, usize) {
        let registers = self.node.app.registers.load();
        // What the records say, as the administrator of the node reads it: what is there is known from making it.
        let mut facts: BTreeMap<&str, Value> = BTreeMap::new();
        for made in &self.made {
            facts.insert(&made.id, self.node.get(&format!("/api/v1/registers/{}/records/{}", made.kind, made.id)).await);
        }
        let is_open = |made: &Made| {
            let state = facts[made.id.as_str()]["state"].as_str().unwrap();
            !registers.kinds[&made.kind].0.state(state).unwrap().is_end
        };
        let due_on = |made: &Made| facts[made.id.as_str()]["due_on"].as_str();
        let (mut n_told, mut n_tasks) = (0, 0);
        for person in &self.people {
            let visible: Vec<&Made> = self.made.iter().filter(|made| self.model.sees(person, made.owner)).collect();
            let set = |test: &dyn Fn(&Made) -> bool| -> BTreeSet<String> {
                visible.iter().filter(|made| test(made)).map(|made| made.id.clone()).collect()
            };
            let counts = self.get(person, "/api/v1/registers").await;
            for (kind, (register, _)) in &registers.kinds {
                let want = set(&|made| made.kind == *kind);
                let shown = counts["registers"].as_array().unwrap().iter().find(|r| r["kind"] == *kind).unwrap().clone();
                let open = set(&|made| made.kind == *kind && is_open(made));
                let late = set(&|made| made.kind == *kind && is_open(made) && due_on(made).is_some_and(|day| day < TODAY));
                assert_eq!((shown["open"].clone(), shown["overdue"].clone()), (json!(open.len()), json!(late.len())), "{kind}");
                if !self.made.iter().any(|made| made.kind == *kind) {
                    assert_eq!(self.list(person, kind, "").await, want);
                    continue;
                }
                for (way, got) in self.ways(person, kind).await {
                    assert_eq!(got, want, "{way} of {kind}");
                }
                assert_eq!(self.list(person, kind, "open=true").await, open);
                assert_eq!(self.list(person, kind, "overdue=true").await, late);
                for (i, enterprise) in self.enterprises.iter().enumerate() {
                    let want = set(&|made| made.kind == *kind && made.owner == Owner::Enterprise(i));
                    assert_eq!(self.list(person, kind, &format!("enterprise={enterprise}")).await, want);
                    assert_eq!(self.list(person, kind, &format!("q=E{i}")).await, want);
                }
                for state in &register.states {
                    let want = set(&|made| made.kind == *kind && facts[made.id.as_str()]["state"] == state.id.as_str());
                    assert_eq!(self.list(person, kind, &format!("state={}", state.id)).await, want);
                }
                for (i, word) in WORDS.iter().enumerate() {
                    let want = set(&|made| made.kind == *kind && made.word == *word);
                    assert_eq!(self.list(person, kind, &format!("q={}", TYPED[i])).await, want);
                }
            }

            for made in &self.made {
                let want = if self.model.sees(person, made.owner) { 200 } else { 404 };
                for (door, status) in self.doors(person, made).await {
                    assert_eq!(status, want, "{door} of {made:?}");
                }
            }
            // Whatever stands around a visible record is visible itself.
            let seen = set(&|_| true);
            for made in visible.iter().filter(|made| made.kind == "hidden_danger") {
                let detail = self.get(person, &format!("/api/v1/registers/{}/records/{}", made.kind, made.id)).await;
                let around = detail["children"].as_array().unwrap().iter().map(|r| text(&r["id"]));
                assert!(around.chain(detail["parent"]["id"].as_str().map(str::to_owned)).all(|id| seen.contains(&id)), "{detail}");
            }
            // What is out of sight cannot be acted on either, and looks like what is not there.
            if let Some(hidden) = self.made.iter().find(|made| !seen.contains(&made.id)) {
                let at = format!("/api/v1/registers/{}/records/{}/transitions/rate", hidden.kind, hidden.id);
                assert_eq!(self.post(&person.token, &at, json!({"revision": 1, "fields": {}})).await.status, 404);
                let below = self.list(person, "listed_supervision", &format!("parent={}", hidden.id)).await;
                assert!(below.is_empty(), "{below:?}");
            }
            for (i, enterprise) in self.enterprises.iter().enumerate() {
                let people =
                    ask(&self.node.router, "GET", &format!("/api/v1/people?enterprise={enterprise}"), Some(&person.token), None).await;
                if self.model.sees(person, Owner::Enterprise(i)) {
                    let people = people.ok(200);
                    let there = |p: &&Person| self.model.sees(p, Owner::Enterprise(i));
                    let want: BTreeSet<&str> = self.people.iter().filter(there).map(|p| p.id.as_str()).collect();
                    let got: BTreeSet<&str> = people["people"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap()).collect();
                    assert!(want.is_subset(&got), "{want:?} {got:?}");
                    assert!(self.people.iter().filter(|p| !there(p)).all(|p| !got.contains(p.id.as_str())), "{got:?}");
                } else {
                    assert_eq!(people.code(400), "reference.unknown");
                }
            }

            // Tasks are what the model says, by the roles that hold the owner or the one person who is named; never more than is seen.
            let is_mine = |made: &Made| {
                let (fact, register) = (&facts[made.id.as_str()], &registers.kinds[&made.kind].0);
                let state = register.state(fact["state"].as_str().unwrap()).unwrap();
                let from = state.task_from.zip(due_on(made)).map(|(days, due_on)| day_plus(due_on, days));
                if state.is_end || from.is_some_and(|from| from.as_str() > TODAY) {
                    return false;
                }
                // Whoever was named and is not there any more holds up nobody.
                let is_there = |one: &&str| self.people.iter().any(|p| p.id == *one && self.model.sees(p, made.owner));
                match state.task_person.as_ref().and_then(|field| fact["fields"][field].as_str()).filter(is_there) {
                    Some(one) => one == person.id,
                    None => self.model.roles(person, made.owner).iter().any(|role| state.task.iter().any(|task| task == role)),
                }
            };
            let want = set(&is_mine);
            let tasks = self.ids(person, "/api/v1/tasks", "tasks", |t| text(&t["record"]["id"])).await;
            assert_eq!(tasks, want, "tasks");
            let counts = self.get(person, "/api/v1/tasks").await;
            let late = set(&|made| is_mine(made) && due_on(made).is_some_and(|day| day < TODAY));
            assert_eq!((counts["open"].clone(), counts["overdue"].clone()), (json!(want.len()), json!(late.len())));
            let mut mine = BTreeSet::new();
            for kind in registers.kinds.keys() {
                mine.append(&mut self.list(person, kind, "mine=true").await);
            }
            assert_eq!(mine, tasks);
            n_tasks += tasks.len();

            // Told of what is seen, and of nothing else.
            let mut about = BTreeSet::new();
            let all = self.get(person, "/api/v1/notifications?limit=1000").await;
            for told in all["notifications"].as_array().unwrap() {
                about.insert(text(&told["record"]["id"]));
            }
            assert!(about.is_subset(&seen), "{about:?} {seen:?}");
            assert_eq!(all["unread"], all["notifications"].as_array().unwrap().len(), "none was read");
            n_told += about.len();
        }
        (n_told, n_tasks)
    }
}

#[test]
fn what_one_way_shows_every_way_shows_and_no_way_shows_more() {
    // The same seed, the same worlds: `ANLAN_SEED=… cargo test -p anlan-http --test visible`.
    let seed = std::env::var("ANLAN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
    println!("ANLAN_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    // A world is slow to build, so a failure is made smaller for a minute at most.
    let config = Config { cases: WORLDS, max_shrink_time: 60_000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (told, tasks) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let outcome = runner.run(&worlds(), |world| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = node().await;
            let (n_told, n_tasks) = Stage::set(&world, &node).await.check().await;
            told.set(told.get() + n_told);
            tasks.set(tasks.get() + n_tasks);
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("ANLAN_SEED={seed}: {failure}");
    }
    println!("{WORLDS} worlds: {} tasks, {} records that people were told of", tasks.get(), told.get());
    assert!(told.get() > 0 && tasks.get() > 0, "worlds in which nobody has anything to do prove nothing");
}
