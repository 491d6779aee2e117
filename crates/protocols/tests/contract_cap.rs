//! The contract of CAP 1.2: what is written is read as the same, what the standard refuses is refused at its place, and nothing panics.

use anlan_protocols::cap::national::Colour;
use anlan_protocols::cap::{
    Alert, Area, BYTES_MAX, Category, Certainty, Circle, Info, MsgType, Named, Reference, Resource, ResponseType, Scope, Severity, Status,
    Time, Urgency,
};
use jiff::civil::date;
use proptest::prelude::*;

const GOOD: &str = include_str!("../../../fuzz/seeds/cap/warning.cap");

fn codes(text: &str) -> Vec<String> {
    Alert::read_text(text).expect_err(text).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(from: &str, to: &str, told: &str) {
    assert!(GOOD.contains(from), "{from}");
    assert_eq!(codes(&GOOD.replacen(from, to, 1)), [told], "{from} → {to}");
}

#[test]
fn the_example_says_what_it_says() {
    let alert = Alert::read(GOOD.as_bytes()).unwrap();
    assert_eq!((alert.status, alert.msg_type, alert.scope), (Status::Actual, MsgType::Update, Scope::Public));
    assert_eq!(alert.sent, Time::beijing(date(2026, 3, 1).at(9, 5, 0, 0)));
    let info = &alert.infos[0];
    assert_eq!((info.severity, &info.parameters[0]), (Colour::Orange.severity(), &Colour::Orange.parameter()));
    assert_eq!(info.areas[0].area_desc, "演示街道 & 演示园区");
    assert_eq!(info.areas[0].circles, [Circle { center: (24.1, 102.1), radius_km: 0.5 }]);
    assert_eq!(Alert::read_text(&alert.write().unwrap()), Ok(alert));
}

#[test]
fn what_the_standard_does_not_allow_is_told_at_its_place() {
    check("+08:00</sent>", "Z</sent>", "alert/sent: time");
    check("05:00+08:00</sent>", "05:00.5+08:00</sent>", "alert/sent: time");
    check("2026-03-01T09:05:00+08:00</sent>", "2026-02-30T09:05:00+08:00</sent>", "alert/sent: time");
    check("T09:05:00+08:00</sent>", " 09:05:00+08:00</sent>", "alert/sent: time");
    check("<sender>anlan", "<sender>an lan", "alert/sender: identity");
    check("<sender>anlan", "<sender>an,lan", "alert/sender: identity");
    check("<identifier>", "<identifier>a&amp;", "alert/identifier: identity");
    check("Actual", "Real", "alert/status: word");
    check("<scope>Public", "<scope>Private", "alert/addresses: missing");
    check("<scope>Public", "<scope>Restricted", "alert/restriction: missing");
    check("anlan,53040212500000_20260301080500_0,2026-03-01T08:05:00+08:00", "", "alert/references: missing");
    check("_0,2026-03-01T08:05:00+08:00", "_0", "alert/references: reference");
    check("<category>Safety</category>", "", "alert/info[0]/category: missing");
    check("<severity>Severe</severity>", "<severity></severity>", "alert/info[0]/severity: missing");
    check(
        "24.1,102.1 24.1,102.2 24.2,102.2 24.1,102.1",
        "24.1,102.1 24.1,102.2 24.2,102.2 24.3,102.1",
        "alert/info[0]/area[0]/polygon[0]: polygon_open",
    );
    check(
        "24.1,102.1 24.1,102.2 24.2,102.2 24.1,102.1",
        "24.1,102.1 24.1,102.2 24.1,102.1",
        "alert/info[0]/area[0]/polygon[0]: polygon_short",
    );
    check("24.1,102.1 0.5", "24.1,102.1 -1", "alert/info[0]/area[0]/circle[0]: circle");
    check("24.1,102.1 0.5", "94.1,102.1 1", "alert/info[0]/area[0]/circle[0]: circle");
    check("</area>", "<ceiling>3</ceiling></area>", "alert/info[0]/area[0]/altitude: missing");
    check("</area>", "<altitude>1e3</altitude></area>", "alert/info[0]/area[0]/altitude: number");
    check("<language>zh-CN", "<language>中文", "alert/info[0]/language: language");
    check("<sender>anlan</sender>", "<sender>anlan</sender><sender>b</sender>", "alert/sender: twice");
    check("</alert>", "<colour>red</colour></alert>", "alert/colour: unknown");
    check("<value>orange</value>", "", "alert/info[0]/parameter[0]/value: missing");
    check("cap:1.2", "cap:1.1", "alert: namespace");
    check(
        "<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\">",
        "<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\" lang=\"zh\">",
        ": attribute",
    );
    // Out of order, and at both places.
    let turned = GOOD.replacen("<scope>Public</scope>", "", 1).replacen("</references>", "</references><scope>Public</scope>", 1);
    assert_eq!(codes(&turned)[0], "alert/scope: missing");
    assert!(codes(&turned).contains(&"alert/scope: order".to_owned()));
}

/// The document of google/cap-library's testdata/xee.cap, its hosts left out.
#[test]
fn a_document_type_is_refused_whole_and_so_is_an_entity() {
    let with = |doctype: &str| GOOD.replacen("<alert", &format!("{doctype}<alert"), 1);
    for doctype in [
        "<!DOCTYPE alert [<!ENTITY xxe SYSTEM \"file:///etc/passwd\">]>",
        "<!DOCTYPE alert PUBLIC \"-//A/B/EN\" \"http://localhost/payload.dtd\" [<!ENTITY % remote SYSTEM \"http://localhost/p\"> %remote;]>",
        "<!DOCTYPE alert [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]>",
        "<!DOCTYPE alert>",
    ] {
        assert_eq!(codes(&with(doctype)), [": doctype"], "{doctype}");
    }
    check("<event>", "<event>&xxe;", "alert/info/event: entity");
    check("<event>", "<event>&#0;", "alert/info/event: character");
    assert_eq!(Alert::read_text(&GOOD.replacen("<event>", "<event>&#x6f14;&amp;", 1)).unwrap().infos[0].event, "演&危险化学品泄漏");
}

#[test]
fn too_much_is_refused_before_it_is_held() {
    assert_eq!(Alert::read(&vec![b' '; BYTES_MAX + 1]).unwrap_err()[0].code, "too_long");
    assert_eq!(
        codes(&GOOD.replacen("<event>", &"<event>".repeat(20), 1))[0],
        "alert/info/event/event/event/event/event/event/event/event/event/event/event/event/event/event: too_much"
    );
    assert!(codes(&GOOD.replacen("<info>", &format!("{}<info>", "<code>a</code>".repeat(20_001)), 1))[0].contains("too_much"));
    let many = GOOD.replacen("<info>", &format!("{}<info>", "<x/>".repeat(5_000)), 1);
    assert!(codes(&many).len() <= 100);
}

#[test]
fn bytes_are_read_as_their_declaration_says() {
    let text = GOOD.replacen("UTF-8", "GB18030", 1);
    let (bytes, ..) = encoding_rs::GB18030.encode(&text);
    assert_eq!(Alert::read(&bytes), Alert::read_text(GOOD));
    assert_eq!(Alert::read(GOOD.replacen("UTF-8", "EBCDIC-7", 1).as_bytes()).unwrap_err()[0].code, "encoding");
    assert_eq!(Alert::read(b"<alert>\xff</alert>").unwrap_err()[0].code, "encoding");
    assert_eq!(Alert::read(format!("\u{feff}{GOOD}").as_bytes()), Alert::read_text(GOOD));
}

#[test]
fn what_is_against_the_standard_is_not_written() {
    let mut alert = Alert::read_text(GOOD).unwrap();
    alert.references.clear();
    alert.infos[0].headline = Some("a\u{1}".to_owned());
    let told: Vec<String> = alert.write().unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["alert/references: missing", "alert/info[0]/headline: character"]);
}

fn text() -> impl Strategy<Value = String> {
    "[a-z<>&\"'\r\n\t中\u{85}🔥\\]]{0,12}x".prop_map(|text| text)
}

fn identity() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._:/中>'\"@-]{1,20}"
}

fn time() -> impl Strategy<Value = Time> {
    (1_i16..=9999, 1_i8..=12, 1_i8..=28, 0_i8..24, 0_i8..60, 0_i8..60, -840_i16..=840).prop_map(
        |(year, month, day, hour, minute, second, offset_min)| Time { at: date(year, month, day).at(hour, minute, second, 0), offset_min },
    )
}

fn named() -> impl Strategy<Value = Vec<Named>> {
    prop::collection::vec((text(), "[a-z &<\r]{0,6}").prop_map(|(value_name, value)| Named { value_name, value }), 0..3)
}

fn pair() -> impl Strategy<Value = (f64, f64)> {
    (-90.0..=90.0_f64, -180.0..=180.0_f64)
}

fn area() -> impl Strategy<Value = Area> {
    let polygon = prop::collection::vec(pair(), 3..8).prop_map(|mut pairs| {
        pairs.push(pairs[0]);
        pairs
    });
    let circle = (pair(), 0.0..10_000.0_f64).prop_map(|(center, radius_km)| Circle { center, radius_km });
    let height = || prop::option::of(-400.0..60_000.0_f64);
    (text(), prop::collection::vec(polygon, 0..3), prop::collection::vec(circle, 0..3), named(), height(), height()).prop_map(
        |(area_desc, polygons, circles, geocodes, altitude, ceiling)| Area {
            area_desc,
            polygons,
            circles,
            geocodes,
            altitude,
            ceiling: ceiling.filter(|_| altitude.is_some()),
        },
    )
}

fn resource() -> impl Strategy<Value = Resource> {
    let optional = || prop::option::of(text());
    let uri = prop::option::of("https?://[a-z.]{1,9}/[a-z&<]{0,5}");
    (text(), text(), any::<Option<u64>>(), uri, optional(), optional()).prop_map(
        |(resource_desc, mime_type, size, uri, deref_uri, digest)| Resource { resource_desc, mime_type, size, uri, deref_uri, digest },
    )
}

fn one<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

fn info() -> impl Strategy<Value = Info> {
    let optional = || prop::option::of(text());
    let words = (
        prop::collection::vec(one(Category::ALL), 1..3),
        prop::collection::vec(one(ResponseType::ALL), 0..3),
        one(Urgency::ALL),
        one(Severity::ALL),
        one(Certainty::ALL),
    );
    let times = (prop::option::of(time()), prop::option::of(time()), prop::option::of(time()));
    let texts = (text(), optional(), optional(), optional(), optional(), optional(), optional());
    let lists = (named(), named(), prop::collection::vec(resource(), 0..3), prop::collection::vec(area(), 0..3));
    (prop::option::of("[a-z]{2}(-[A-Z]{2})?"), words, times, texts, prop::option::of("https://[a-z]{1,9}"), lists).prop_map(
        |(language, words, times, texts, web, lists)| Info {
            language,
            categories: words.0,
            response_types: words.1,
            urgency: words.2,
            severity: words.3,
            certainty: words.4,
            effective: times.0,
            onset: times.1,
            expires: times.2,
            event: texts.0,
            audience: texts.1,
            sender_name: texts.2,
            headline: texts.3,
            description: texts.4,
            instruction: texts.5,
            contact: texts.6,
            web,
            event_codes: lists.0,
            parameters: lists.1,
            resources: lists.2,
            areas: lists.3,
        },
    )
}

prop_compose! {
    fn alert()(
        (identifier, sender, sent) in (identity(), identity(), time()),
        (status, msg_type, scope) in (one(Status::ALL), one(MsgType::ALL), one(Scope::ALL)),
        (source, restriction, addresses, note, incidents) in (prop::option::of(text()), text(), text(), prop::option::of(text()), prop::option::of(text())),
        codes in prop::collection::vec(text(), 0..3),
        references in prop::collection::vec((identity(), identity(), time()), 1..3),
        infos in prop::collection::vec(info(), 0..3),
    ) -> Alert {
        let references = references.into_iter().map(|(sender, identifier, sent)| Reference { sender, identifier, sent }).collect();
        Alert {
            identifier, sender, sent, status, msg_type, source, scope,
            restriction: (scope == Scope::Restricted).then_some(restriction),
            addresses: (scope == Scope::Private).then_some(addresses),
            codes, note, references, incidents, infos, is_signed: false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_written_is_read_as_the_same(alert in alert()) {
        let written = alert.write().unwrap();
        prop_assert_eq!(Alert::read(written.as_bytes()), Ok(alert));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Alert::read(&bytes);
    }

    #[test]
    fn no_damage_panics_and_what_is_still_read_is_written_again(at in 0..GOOD.len(), byte in any::<u8>(), cut in 0..40_usize) {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[at] = byte;
        bytes.drain(at..(at + cut).min(GOOD.len()));
        if let Ok(alert) = Alert::read(&bytes) {
            let written = alert.write().unwrap();
            prop_assert_eq!(Alert::read(written.as_bytes()), Ok(alert));
        }
    }
}
