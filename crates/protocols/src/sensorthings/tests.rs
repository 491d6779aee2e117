//! What paths, options and filters mean, one line a case.

use proptest::prelude::*;

use super::eval::{ordered, sorted};
use super::*;

/// An observation with a datastream that has a name.
#[derive(Clone)]
enum Fixture {
    Observation,
    Datastream(&'static str),
}

const NOON: i64 = 1_444_824_000_000_000; // 2015-10-14T12:00:00Z

impl Subject for Fixture {
    fn property(&self, path: &[Part]) -> Value {
        let Some(Part::Name(name)) = path.first() else { return Value::Null };
        match (self, name.as_str()) {
            (Self::Observation, "result") => Value::Number(3.0),
            (Self::Observation, "phenomenonTime" | "resultTime") => Value::Instant(NOON),
            (Self::Observation, "parameters") => Value::List(vec![Value::Text("late".into())]),
            (Self::Datastream(name), "name") => Value::Text((*name).to_owned()),
            (Self::Datastream(_), "phenomenonTime") => Value::Interval(NOON, NOON + 3_600_000_000),
            (Self::Datastream(_), "observedArea") => Value::Shape(Shape::Point([8.0, 53.0])),
            _ => Value::Null,
        }
    }
    fn linked(&self, link: &'static Link) -> Result<Vec<Self>, Refusal> {
        Ok(match link.to {
            Entity::Datastream => vec![Self::Datastream("a"), Self::Datastream("it's 水位")],
            _ => Vec::new(),
        })
    }
}

fn fits(entity: Entity, filter: &str) -> Result<bool, Refusal> {
    let one = if entity == Entity::Datastream { Fixture::Datastream("Level 1") } else { Fixture::Observation };
    Eval::new(NOON, 1_000).fits(&Expr::parse(entity, filter)?, &one)
}

fn check(entity: Entity, filter: &str, want: bool) {
    assert_eq!(fits(entity, filter), Ok(want), "{filter}");
}

#[test]
fn numbers_and_their_operators() {
    let o = Entity::Observation;
    check(o, "result eq 3", true);
    check(o, "result add 2 mul 3 eq 9", true);
    check(o, "(result add 2) mul 3 eq 15", true);
    check(o, "14 div (result add 1) mod 3 mul 3 eq 1.5", true);
    check(o, "10 sub result sub 3 eq 4", true);
    check(o, "round(result add 0.5) eq 4 and floor(3.9) eq result and ceiling(2.1) eq result", true);
    check(o, "result div 0 eq null", true);
    check(o, "result eq '3'", true);
    check(o, "result gt -1.5e0", true);
    check(o, "not result lt 1 and not result gt 1", false);
    check(o, "result eq 2 and result eq 1 or result eq 3", true);
    check(o, "result eq 2 and (result eq 1 or result eq 3)", false);
    assert!(matches!(fits(o, "result eq 'much'"), Err(Refusal::Type { .. })));
    assert!(matches!(fits(o, "result"), Err(Refusal::Type { .. })));
    assert!(matches!(fits(o, "phenomenonTime gt 3"), Err(Refusal::Type { .. })));
}

#[test]
fn null_is_equal_to_null_alone() {
    let o = Entity::Observation;
    check(o, "validTime eq null", true);
    check(o, "validTime ne null", false);
    check(o, "result ne null", true);
    check(o, "validTime gt 2015-10-14T12:00:00Z", false);
    check(o, "not validTime gt 2015-10-14T12:00:00Z", true);
    check(Entity::Thing, "Locations/id eq null", true);
    check(Entity::Thing, "Locations/id ne null", false);
}

#[test]
fn text_and_its_functions() {
    let d = Entity::Datastream;
    check(d, "startswith(name, 'Lev') and endswith(name, '1') and substringof('vel', name) and contains(name, 'vel')", true);
    check(d, "substringof(name, 'vel')", false);
    check(d, "length(name) eq 7 and indexof(name, '1') eq 6 and indexof(name, 'x') eq -1", true);
    check(d, "substring(name, 6) eq '1' and substring(name, 1, 2) eq 'ev'", true);
    check(d, "tolower(name) eq 'level 1' and toupper(name) eq 'LEVEL 1' and trim(concat(name, ' ')) eq name", true);
    check(d, "name in properties", false);
    check(Entity::Observation, "'late' in parameters", true);
    check(Entity::Observation, "Datastream/name eq 'it''s 水位'", true);
    check(
        Entity::Thing,
        "Datastreams/any(d: d/name eq 'a' and startswith(d/name, 'a')) and Datastreams/any(x:x/name eq 'it''s 水位')",
        true,
    );
    check(Entity::Thing, "Datastreams/any(d:d/name eq 'a' and d/name eq 'b')", false);
    check(Entity::Thing, "Datastreams/any(d:d/Thing/Datastreams/any(e:e/name eq d/name))", false);
}

#[test]
fn times_and_their_functions() {
    let o = Entity::Observation;
    check(o, "phenomenonTime eq 2015-10-14T14:00:00+02:00", true);
    check(o, "phenomenonTime eq 2015-10-14T14:00:00 02:00", true);
    check(o, "phenomenonTime sub 2015-10-14T11:00:00Z eq duration'PT1H'", true);
    check(o, "phenomenonTime gt 2015-10-14T12:30:00Z sub duration'PT1H'", true);
    check(o, "phenomenonTime lt now() add duration'P1M1D' and now() eq 2015-10-14T12:00:00Z", true);
    check(o, "year(resultTime) eq 2015 and month(resultTime) eq 10 and day(resultTime) eq 14 and hour(resultTime) eq 12", true);
    check(o, "minute(resultTime) eq 0 and second(resultTime) eq 0 and fractionalseconds(resultTime) eq 0", true);
    check(o, "date(resultTime) eq 2015-10-14 and time(resultTime) lt 12:00:01 and totaloffsetminutes(resultTime) eq 0", true);
    check(o, "resultTime gt mindatetime() and resultTime lt maxdatetime()", true);
    check(o, "during(resultTime, 2015-10-14T12:00:00Z/PT1S)", true);
    check(o, "during(resultTime, P1D/2015-10-14T12:00:00Z)", false);
    check(o, "before(resultTime, 2015-10-14T12:00:01Z) and after(resultTime, 2015-10-14T11:00:00Z)", true);
    check(o, "overlaps(resultTime, 2015-10-14T01:01:01.000+02:00/P1Y2M3W4DT1H2M3S)", true);
    check(o, "starts(resultTime, 2015-10-14T12:00:00Z/PT1H) and not finishes(resultTime, 2015-10-14T12:00:00Z/PT1H)", true);
    check(o, "meets(resultTime, 2015-10-14T11:00:00Z/2015-10-14T12:00:00Z)", true);
    check(Entity::Datastream, "phenomenonTime gt 2015-10-14T11:59:59Z and phenomenonTime le 2015-10-14T13:00:00Z", true);
    check(Entity::Datastream, "phenomenonTime lt 2015-10-14T12:59:59Z", false);
    assert!(matches!(fits(o, "during(resultTime, 2015-10-14T12:00:00Z)"), Err(Refusal::Type { .. })));
    assert!(matches!(fits(o, "resultTime gt 2015-10-14T12:00:00"), Err(Refusal::Syntax { .. })), "no offset, no instant");
}

#[test]
fn places_are_points() {
    let d = Entity::Datastream;
    let square = "geography'POLYGON((7 52, 7 54, 9 54, 9 52, 7 52))'";
    check(
        d,
        &format!("st_within(observedArea, {square}) and st_contains({square}, observedArea) and geo.intersects(observedArea, {square})"),
        true,
    );
    check(d, &format!("st_within({square}, observedArea) or st_disjoint(observedArea, {square})"), false);
    check(d, "st_within(observedArea, geography'POLYGON((8 52, 8 54, 9 54, 8 52))')", false);
    check(d, "st_intersects(observedArea, geography'LINESTRING(8 51, 8 54)') and st_equals(observedArea, geography'POINT(8 53)')", true);
    check(d, "geo.distance(observedArea, geography'POINT(8 54.5)') eq 1.5 and geo.length(observedArea) eq 0", true);
    assert!(matches!(fits(d, &format!("st_touches({square}, observedArea)")), Err(Refusal::Unsupported { .. })));
    assert!(matches!(fits(d, &format!("st_intersects({square}, {square})")), Err(Refusal::Unsupported { .. })));
}

#[test]
fn a_filter_says_which_times_it_leaves_open() {
    let bounds =
        |filter: &str| Eval::new(NOON, 1_000).bounds(&Expr::parse(Entity::Observation, filter).unwrap(), &["phenomenonTime", "resultTime"]);
    let hour = 3_600_000_000;
    assert_eq!(bounds("result gt 3"), (i64::MIN, i64::MAX));
    assert_eq!(bounds("phenomenonTime ge 2015-10-14T12:00:00Z and result gt 3"), (NOON, i64::MAX));
    assert_eq!(bounds("resultTime lt now() and 2015-10-14T12:00:00Z sub duration'PT1H' lt phenomenonTime"), (NOON - hour, NOON + 1));
    assert_eq!(bounds("phenomenonTime eq 2015-10-14T12:00:00Z"), (NOON, NOON + 1));
    assert_eq!(bounds("during(phenomenonTime, 2015-10-14T12:00:00Z/PT1H)"), (NOON, NOON + hour));
    assert_eq!(bounds("before(phenomenonTime, now()) and after(phenomenonTime, now() sub duration'PT1H')"), (NOON - hour, NOON + 1));
    // Of an alternative, a negation, another entity's time nothing follows.
    assert_eq!(bounds("phenomenonTime ge 2015-10-14T12:00:00Z or result gt 3"), (i64::MIN, i64::MAX));
    assert_eq!(bounds("not phenomenonTime ge 2015-10-14T12:00:00Z"), (i64::MIN, i64::MAX));
    assert_eq!(bounds("Datastream/phenomenonTime ge 2015-10-14T12:00:00Z"), (i64::MIN, i64::MAX));
}

#[test]
fn a_part_about_the_datastream_alone_is_asked_of_it() {
    let filter = Expr::parse(Entity::Observation, "Datastream/name eq 'a' and result gt 1 and Datastream/Thing/id eq 5").unwrap();
    let link = Entity::Observation.link("Datastream").unwrap();
    let through: Vec<_> = filter.conjuncts().into_iter().map(|part| part.through(link)).collect();
    assert_eq!(through[0], Some(Expr::parse(Entity::Datastream, "name eq 'a'").unwrap()));
    assert_eq!(through[1], None);
    assert_eq!(through[2], Some(Expr::parse(Entity::Datastream, "Thing/id eq 5").unwrap()));
    assert!(Expr::parse(Entity::Thing, "Datastreams/Observations/result gt 3").unwrap().goes_to(Entity::Observation));
}

#[test]
fn a_path_says_what_lies_at_its_end() {
    let path = Path::parse("/Things(1)/Datastreams('a/b')/Observations").unwrap();
    assert_eq!((path.entity(), path.is_collection()), (Entity::Observation, true));
    assert_eq!(path.hops[0].key, Some(Id::Text("a/b".into())));
    let path = Path::parse("Observations(11)/Datastream/Thing/").unwrap();
    assert_eq!((path.entity(), path.is_collection()), (Entity::Thing, false));
    let path = Path::parse("/Things(1)/properties/a[2][3]/b/$value").unwrap();
    let part = |name: &str| Part::Name(name.to_owned());
    let want = vec![part("properties"), part("a"), Part::Index(2), Part::Index(3), part("b")];
    assert_eq!(path.tail, Tail::Property { path: want, value: true });
    assert_eq!(Path::parse("/Things(1)/Locations/$ref").unwrap().tail, Tail::Ref);
    for bad in [
        "",
        "/",
        "/Thing",
        "/Rooms",
        "/Things/Datastreams",
        "/Things(1)/Thing",
        "/Things(1)/Datastreams(2)/Thing(3)",
        "/Things(x)",
        "/Things('x)",
        "/Things(1",
        "/Things(1)/name/first",
        "/Things/$count",
        "/Things(1)/name/$value/x",
        "/Things/$ref/x",
        "/Things//name",
        "/Things(1)/nothing",
    ] {
        assert!(Path::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn options_nest_and_keep_to_their_limits() {
    let read = |entity, text: &str| Query::read(entity, text.split('&').filter_map(|pair| pair.split_once('=')));
    let query = read(
        Entity::Thing,
        "$expand=Datastreams($filter=name eq 'a;b,(c';$expand=Observations($top=1;$orderby=phenomenonTime desc);$count=true),Locations&$top=10",
    );
    let query = query.unwrap();
    assert_eq!((query.size(), query.expand.len()), (10, 2));
    let inner = &query.expand[0].query;
    assert!(inner.count && inner.filter.is_some());
    assert_eq!((inner.expand[0].query.size(), inner.expand[0].query.orderby[0].descending), (1, true));
    let query = read(Entity::Datastream, "$expand=Thing/Locations&$select=name,Thing,unitOfMeasurement/symbol, id").unwrap();
    assert_eq!(query.expand[0].query.expand[0].link.to, Entity::Location);
    assert_eq!(query.select.len(), 4);
    assert_eq!(read(Entity::Thing, "$top=5000").unwrap().size(), TOP_MAX);
    assert_eq!(read(Entity::Thing, "$orderby=@iot.id asc,name DESC").unwrap().orderby.len(), 2);
    for bad in [
        "$top=-1",
        "$top=x",
        "$skip=1.5",
        "$count=yes",
        "$top=1&$top=2",
        "$expand=Observations",
        "$expand=Datastreams(",
        "$select=nothing",
        "$select=distinct:name",
        "$resultFormat=dataArray",
        "top=1",
        "$filter=",
        "$filter=name eq",
        "$filter=name eq 'a",
        "$filter=nothing eq 1",
        "$filter=principalName() eq 'a'",
        "$filter=Datastreams eq 1",
        "$filter=Datastreams/all(d:d/id eq 1)",
        "$filter=name/any(d:d/id eq 1)",
        "$filter=substring(name) eq 'a'",
        "$filter=name eq 'a' name",
        "$expand=Datastreams,Datastreams",
        "$filter=properties/building.Thing eq 1 )",
        "$expand=Datastreams($skiptoken=1)",
    ] {
        assert!(read(Entity::Thing, bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_too_much_is_refused() {
    let deep = format!("{}result eq 1{}", "(".repeat(40), ")".repeat(40));
    let wide = format!("result eq 1{}", " or result eq 1".repeat(200));
    let not = format!("{}result eq 1", "not ".repeat(40));
    let long = format!("result eq '{}'", "x".repeat(TEXT_MAX));
    for filter in [deep, wide, not, long] {
        assert!(matches!(Expr::parse(Entity::Observation, &filter), Err(Refusal::TooMuch { .. })));
    }
    let mut expand = "Thing".to_owned();
    for n in 0..41 {
        expand = if n % 2 == 0 { format!("Datastreams($expand={expand})") } else { format!("Thing($expand={expand})") };
    }
    assert!(matches!(Query::read(Entity::Thing, [("$expand", expand.as_str())]), Err(Refusal::TooMuch { .. })));
    let path = format!("/Datastreams(1){}", "/Thing/Datastreams(1)".repeat(20));
    assert!(matches!(Path::parse(&path), Err(Refusal::TooMuch { .. })));
    let filter = Expr::parse(Entity::Thing, "Datastreams/any(d:d/Thing/Datastreams/any(e:e/name eq 'x'))").unwrap();
    assert!(matches!(Eval::new(0, 1).fits(&filter, &Fixture::Observation), Err(Refusal::TooMuch { .. })));
}

#[test]
fn the_limits_are_those_that_the_folder_states() {
    for said in ["8,192 bytes", "16 brackets", "16 levels", "200 of a filter", "16 steps", "32 parts", "1,000 entities", "100 when not"] {
        assert!(DESCRIPTION.contains(said), "{said}");
    }
    assert_eq!((TEXT_MAX, DEPTH_MAX, TERMS_MAX, HOPS_MAX, LIST_MAX, TOP_MAX, TOP_DEFAULT), (8_192, 16, 200, 16, 32, 1_000, 100));
}

/// Texts that look like filters.
fn filters() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "result",
        "phenomenonTime",
        "eq",
        "ne",
        "lt",
        "and",
        "or",
        "not",
        "(",
        ")",
        "'a'",
        "''",
        "3",
        "-1",
        "2015-10-14T12:00:00Z",
        "P1D/2015",
        "duration'P1D'",
        "geography'POINT(1 2)'",
        "add",
        "sub",
        "mod",
        "Datastream/name",
        "Datastreams/any(d:",
        "d/name",
        ",",
        "in",
        "null",
        "true",
        "during(",
        "substring(",
        "now()",
        "year(",
        "/",
        "水",
        "'",
        "st_within(",
        "999999999999999999999",
        "P9999999Y",
        "duration'P9999Y'",
    ]);
    prop::collection::vec(word, 0..24).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_or_the_evaluation_panic(noise in "\\PC{0,80}", filter in filters(), seed in 0usize..8) {
        let entity = Entity::ALL[seed];
        let _ = Path::parse(&noise);
        for text in [&noise, &filter] {
            for option in ["$filter", "$orderby", "$select", "$expand", "$top", "$count"] {
                let _ = Query::read(entity, [(option, text.as_str())]);
            }
            if let Ok(expr) = Expr::parse(entity, text) {
                let eval = Eval::new(NOON, 500);
                let _ = eval.fits(&expr, &Fixture::Observation);
                let (from, to) = eval.bounds(&expr, &["phenomenonTime", "resultTime"]);
                // What the bounds leave out does not fit.
                if entity == Entity::Observation && !(from <= NOON && NOON < to) {
                    prop_assert_ne!(Eval::new(NOON, 500).fits(&expr, &Fixture::Observation), Ok(true), "{}", text);
                }
            }
        }
    }

    #[test]
    fn order_is_the_same_read_backwards(a in -5i64..5, b in -5i64..5) {
        let values = [Value::Null, Value::Number(a as f64), Value::Instant(b), Value::Text(a.to_string()), Value::Bool(a > b), Value::Interval(a.min(b), b.max(a))];
        for x in &values {
            for y in &values {
                prop_assert_eq!(ordered(x, y), ordered(y, x).map(std::cmp::Ordering::reverse));
                prop_assert_eq!(sorted(x, y), sorted(y, x).reverse());
            }
        }
    }
}

/// Each one leads to a hundred.
#[derive(Clone)]
struct Crowd;

impl Subject for Crowd {
    fn property(&self, _: &[Part]) -> Value {
        Value::Null
    }
    fn linked(&self, _: &'static Link) -> Result<Vec<Self>, Refusal> {
        Ok(vec![Self; 100])
    }
}

#[test]
fn what_hops_reach_costs_a_step_each_so_that_a_short_filter_does_not_fill_the_memory() {
    let fits = |filter: &str, steps: u64| Eval::new(NOON, steps).fits(&Expr::parse(Entity::Thing, filter).unwrap(), &Crowd);
    let far = "Datastreams/Thing/Datastreams/Thing/Datastreams/Thing/Datastreams/name eq 'x'";
    assert!(matches!(fits(far, 1_000_000), Err(Refusal::TooMuch { .. })));
    // A hundred names are reached and read; a thousand steps are enough for them, a hundred are not.
    assert!(!fits("Datastreams/name eq 'x'", 1_000).unwrap());
    assert!(matches!(fits("Datastreams/name eq 'x'", 100), Err(Refusal::TooMuch { .. })));
    // Every pair costs.
    assert!(matches!(fits("Datastreams/name ne Datastreams/description", 5_000), Err(Refusal::TooMuch { .. })));
}
