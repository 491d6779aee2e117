//! What the store promises, each claim on SQLite and on PostgreSQL.

use std::sync::atomic::{AtomicU32, Ordering};

use anlan_model::noun::{CombinationMember, Enterprise, Grant, Limits, LimitsSource, Point, Region, Vehicle};
use anlan_model::{
    AlarmChange, AlarmId, AlarmPart, AlarmState, CommandBody, DataEvent, Effect, Level, Permission, PointSet, Quarantined, RaisedAlarm,
    RegionCode, Role, RuleKind, Scope, Subject, Timestamp, Trust, UserId, Wgs84,
};
use anlan_store::testing::{Database, on_both, postgres_server, sqlite_url, tamper};
use anlan_store::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_400_000);

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}
fn grant(role: Role, code: &str) -> Grant {
    Grant { role, region: Some(region(code)), sector: None, enterprise: None }
}
fn scope(grants: Vec<Grant>) -> Scope {
    Scope { user: None, name: "张三".into(), grants }
}
fn county(code: &str) -> Scope {
    scope(vec![grant(Role::Supervisor, code)])
}
fn after(s: i64) -> Timestamp {
    NOW.plus_us(s * 1_000_000)
}

/// One enterprise with one device, one point and one vehicle.
struct Plant {
    enterprise: Enterprise,
    device: anlan_model::noun::Device,
    point: Point,
    vehicle: Vehicle,
}

async fn plant(store: &Store, code: &str, county: &str) -> Plant {
    let node = Scope::node();
    let new = NewEnterprise {
        code: code.into(),
        name: format!("{code}化工"),
        region: region(county),
        sector: "hazchem".into(),
        place: Wgs84::new(102.5, 24.3),
    };
    let enterprise = store.create_enterprise(&node, &new, NOW).await.unwrap();
    let device = new_device(&format!("dev-{code}"), Some(&enterprise));
    let device = store.create_device(&node, &device, NOW).await.unwrap();
    let put = PointPut {
        code: "GT-101".into(),
        name: "罐区可燃气".into(),
        unit: "%LEL".into(),
        period_s: 1.0,
        range_low: Some(0.0),
        range_high: Some(100.0),
        limits: Limits { hh: Some(50.0), h: Some(25.0), deadband: 0.1, ..Limits::default() },
        limits_source: Some(LimitsSource { document: "设计文件".into(), clause: "3.2".into() }),
        ..PointPut::default()
    };
    let point = store.upsert_points(&node, device.id, &[put], NOW).await.unwrap().remove(0);
    let phone: String = code.bytes().map(|b| char::from(b'1' + b % 9)).collect();
    let vehicle = store.ensure_vehicle(&format!("00{phone}"), Trust::Listed, true, NOW).await.unwrap();
    let change =
        VehicleChange {
            revision: 1, plate: Some(format!("云F{code}")), enterprise: Some(Some(enterprise.id)), ..VehicleChange::default()
        };
    let vehicle = store.update_vehicle(&node, vehicle.id, &change, NOW).await.unwrap();
    Plant { enterprise, device, point, vehicle }
}

fn new_device(code: &str, enterprise: Option<&Enterprise>) -> NewDevice {
    NewDevice {
        code: code.into(),
        name: "网关".into(),
        enterprise: enterprise.map(|e| e.id),
        protocol: "mqtt".into(),
        gateway: false,
        may_backfill: true,
        secret_hash: [7; 32],
    }
}

fn raised(n: u128, subject: Subject, at: Timestamp) -> RaisedAlarm {
    RaisedAlarm {
        id: AlarmId::new(n),
        rule: "hh".into(),
        kind: RuleKind::Hh,
        subject,
        level: Level::Red,
        value: Some(61.25),
        threshold: Some(50.0),
        unit: "%LEL".into(),
        source: "GB/T 50493-2019 5.5.2".into(),
        confidence: "verified".into(),
        onset_at: at,
        raised_at: at,
        historic: false,
    }
}
fn raise(n: u128, subject: Subject, at: Timestamp) -> Effect {
    Effect::Alarm(AlarmChange::Raised(raised(n, subject, at)))
}
fn returns(n: u128, at: Timestamp) -> Effect {
    Effect::Alarm(AlarmChange::Returned { id: AlarmId::new(n), at })
}
fn event(kind: &str, plant: Option<&Plant>) -> Effect {
    let enterprise = plant.map(|p| p.enterprise.id);
    Effect::Event(DataEvent { at: NOW, kind: kind.into(), subject: "dev".into(), detail: r#"{"offset_s":28800}"#.into(), enterprise })
}

#[tokio::test]
async fn second_county_cannot_see_the_first() {
    on_both(|store| async move {
        let (first, second) = (plant(&store, "AA", "530402").await, plant(&store, "BB", "530423").await);
        let effects = [
            raise(1, Subject::Point(first.point.id), NOW),
            raise(2, Subject::Vehicle(first.vehicle.id), NOW),
            event("clock_offset", Some(&first)),
            event("unknown_terminal", None),
        ];
        store.project(1, &effects).await.unwrap();
        let body = CommandBody::QueryPosition;
        store.create_command(&Scope::node(), Target::Vehicle(first.vehicle.id), &body, NOW).await.unwrap();
        store.create_command(&Scope::node(), Target::Device(first.device.id), &body, NOW).await.unwrap();
        let all = Paging::all();
        let check = async |asker: &Scope, n: usize| {
            let at = asker.clone();
            let see = [
                store.enterprises(&at, &EnterpriseFilter::default(), &all).await.unwrap().items.len(),
                store.devices(&at, &DeviceFilter::default(), &all).await.unwrap().items.len(),
                store.points(&at, &PointFilter::default(), &all).await.unwrap().items.len(),
                store.point_set(&at, &PointFilter::default()).await.unwrap().len(),
                store.vehicles(&at, &VehicleFilter::default(), &all).await.unwrap().items.len(),
                store.vehicle_set(&at).await.unwrap().len(),
            ];
            assert_eq!(see, [n; 6], "{asker:?}");
        };
        let (at_first, at_second) = (county("530402"), county("530423"));
        check(&at_first, 1).await;
        check(&at_second, 1).await;
        check(&county("5304"), 2).await;
        check(&county("5303"), 0).await;
        check(&scope(vec![]), 0).await;
        check(&scope(vec![grant(Role::Leader, "530402"), grant(Role::Leader, "530423")]), 2).await;
        let of = |enterprise| Grant { role: Role::SafetyManager, region: None, sector: None, enterprise };
        check(&scope(vec![of(Some(first.enterprise.id))]), 1).await;
        let sector = |word: &str| Grant { role: Role::Leader, region: None, sector: Some(word.into()), enterprise: None };
        check(&scope(vec![sector("hazchem")]), 2).await;
        check(&scope(vec![sector("mine")]), 0).await;

        // One by one: what is outside looks like what does not exist.
        let missing = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
        missing(store.enterprise(&at_second, first.enterprise.id).await.map(drop));
        missing(store.device(&at_second, first.device.id).await.map(drop));
        missing(store.point(&at_second, first.point.id).await.map(drop));
        missing(store.vehicle(&at_second, first.vehicle.id).await.map(drop));
        missing(store.alarm(&at_second, AlarmId::new(1)).await.map(drop));
        missing(store.acknowledge(&at_second, AlarmId::new(1), "", NOW).await.map(drop));
        missing(store.close_alarm(&at_second, AlarmId::new(1), "x", NOW).await.map(drop));
        missing(store.update_enterprise(&at_second, first.enterprise.id, &EnterpriseChange::default(), NOW).await.map(drop));
        missing(store.update_device(&at_second, first.device.id, &DeviceChange::default(), NOW).await.map(drop));
        missing(store.set_device_secret(&at_second, first.device.id, [1; 32], NOW).await.map(drop));
        missing(store.update_point(&at_second, first.point.id, &PointChange::default(), NOW).await.map(drop));
        missing(store.upsert_points(&at_second, first.device.id, &[], NOW).await.map(drop));
        missing(store.update_vehicle(&at_second, first.vehicle.id, &VehicleChange::default(), NOW).await.map(drop));
        missing(store.adopt_vehicle(&at_second, first.vehicle.id, NOW).await.map(drop));
        missing(store.create_command(&at_second, Target::Vehicle(first.vehicle.id), &body, NOW).await.map(drop));
        missing(store.create_command(&at_second, Target::Device(first.device.id), &body, NOW).await.map(drop));

        // Alarms, events, commands, audit and the summary follow the same rule.
        let ids = [AlarmId::new(1), AlarmId::new(2), AlarmId::new(99)];
        for (asker, n) in [(&at_first, 2), (&at_second, 0), (&county("5304"), 2), (&Scope::node(), 2)] {
            assert_eq!(store.alarms(asker, &AlarmFilter::default(), &all).await.unwrap().items.len(), n);
            assert_eq!(store.alarm_ids_visible(asker, &ids).await.unwrap().len(), n);
            assert_eq!(store.alarm_visible(asker, ids[0]).await.unwrap(), n == 2);
            assert_eq!(store.alarm_counts(asker, &AlarmFilter::default()).await.unwrap().raised, n as i64);
            assert_eq!(store.commands(asker, &CommandFilter::default(), &all).await.unwrap().items.len(), n);
            let summary = store.summary(asker, NOW).await.unwrap();
            assert_eq!((summary.standing.red, summary.alarms.raised), (n as i64, n as i64));
            assert_eq!(summary.hours.len(), 24);
            assert_eq!(summary.hours[23].raised.red, n as i64);
        }
        let n_events = async |asker: &Scope| store.events(asker, None, &all).await.unwrap().items.len();
        assert_eq!([n_events(&at_first).await, n_events(&at_second).await, n_events(&Scope::node()).await], [1, 0, 2]);
        let entries = store.audit(&at_second, &AuditFilter::default(), &all).await.unwrap().items;
        assert!(!entries.is_empty() && entries.iter().all(|e| !e.detail.to_string().contains("AA")), "{entries:?}");
        assert!(store.audit(&Scope::node(), &AuditFilter::default(), &all).await.unwrap().items.len() > entries.len());

        // And nobody makes rows outside, or moves their own out.
        let new = NewEnterprise { code: "CC".into(), name: "丙".into(), region: region("530402"), sector: "mine".into(), place: None };
        assert!(matches!(store.create_enterprise(&at_second, &new, NOW).await, Err(StoreError::OutOfScope)));
        let foreign = new_device("x", Some(&first.enterprise));
        assert!(matches!(store.create_device(&at_second, &foreign, NOW).await, Err(StoreError::Missing { field: "enterprise" })));
        assert!(matches!(store.create_device(&at_second, &new_device("x", None), NOW).await, Err(StoreError::OutOfScope)));
        let away = EnterpriseChange { revision: 1, region: Some(region("530402")), ..EnterpriseChange::default() };
        assert!(matches!(store.update_enterprise(&at_second, second.enterprise.id, &away, NOW).await, Err(StoreError::OutOfScope)));
    })
    .await;
}

#[tokio::test]
async fn rows_without_an_owner_are_for_node_wide_eyes() {
    on_both(|store| async move {
        let device = store.create_device(&Scope::node(), &new_device("lone", None), NOW).await.unwrap();
        let points = store.ensure_points(device.id, &["a".into()], NOW).await.unwrap();
        let vehicle = store.ensure_vehicle("13800000001", Trust::Open, false, NOW).await.unwrap();
        let entry =
            Quarantined { at: NOW, source: "127.0.0.1".into(), protocol: "jt808", reason: "checksum".into(), bytes: vec![0x7e; 9_000] };
        store.put_quarantined(&[entry]).await.unwrap();
        let (wide, whole_city) = (Scope::node(), county("5304"));
        assert!(store.device(&wide, device.id).await.is_ok() && store.device(&whole_city, device.id).await.is_err());
        assert!(store.point(&wide, points[0].id).await.is_ok() && store.point(&whole_city, points[0].id).await.is_err());
        assert!(store.vehicle(&wide, vehicle.id).await.is_ok() && store.vehicle(&whole_city, vehicle.id).await.is_err());
        let page = store.quarantined(&wide, &Paging::default()).await.unwrap();
        assert_eq!(page.items[0].bytes.len(), 4_096);
        assert!(store.quarantined(&whole_city, &Paging::default()).await.unwrap().items.is_empty());
        // With a region of its own the vehicle is the county's.
        let change = VehicleChange { revision: 1, region: Some(Some(region("530402"))), ..VehicleChange::default() };
        store.update_vehicle(&wide, vehicle.id, &change, NOW).await.unwrap();
        assert!(store.vehicle(&whole_city, vehicle.id).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn setup_token_works_once() {
    on_both(|store| async move {
        let (good, wrong) = ([1; 32], [2; 32]);
        store.put_setup_token(&good, after(600)).await.unwrap();
        assert!(!store.administrator_exists().await.unwrap());
        assert!(matches!(store.set_up(&wrong, "root", "管理员", "$argon2id$x", NOW).await, Err(StoreError::NotFound)));
        assert!(matches!(store.set_up(&good, "root", "管理员", "$argon2id$x", after(600)).await, Err(StoreError::NotFound)), "expired");
        let user = store.set_up(&good, "root", "管理员", "$argon2id$x", NOW).await.unwrap();
        assert_eq!(user.grants[0].role, Role::Administrator);
        assert!(matches!(store.set_up(&good, "two", "二", "$argon2id$x", NOW).await, Err(StoreError::NotFound)));
        assert!(store.administrator_exists().await.unwrap());
        store.put_setup_token(&good, after(600)).await.unwrap();
        assert!(matches!(store.set_up(&good, "two", "二", "$argon2id$x", NOW).await, Err(StoreError::NotFound)), "void: there is one");
        let (found, password) = store.sign_in_name("root").await.unwrap().unwrap();
        assert_eq!((found, password.as_str()), (user, "$argon2id$x"));
    })
    .await;
}

#[tokio::test]
async fn a_stale_revision_is_refused() {
    on_both(|store| async move {
        let (p, node) = (plant(&store, "AA", "530402").await, Scope::node());
        let change = EnterpriseChange { revision: 1, name: Some("新名".into()), place: Some(None), ..EnterpriseChange::default() };
        let changed = store.update_enterprise(&node, p.enterprise.id, &change, NOW).await.unwrap();
        assert_eq!((changed.revision, changed.name.as_str(), changed.place), (2, "新名", None));
        assert_eq!(store.enterprise(&node, p.enterprise.id).await.unwrap().enterprise, changed);
        assert!(matches!(store.update_enterprise(&node, p.enterprise.id, &change, NOW).await, Err(StoreError::Stale)));
        let change = DeviceChange { revision: 1, disabled: Some(true), ..DeviceChange::default() };
        assert!(store.update_device(&node, p.device.id, &change, NOW).await.unwrap().disabled);
        assert!(matches!(store.update_device(&node, p.device.id, &change, NOW).await, Err(StoreError::Stale)));
        let limits = Limits { hh: Some(0.1 + 0.2), ..Limits::default() };
        let change = PointChange { revision: 1, limits: Some(limits.clone()), range_low: Some(None), ..PointChange::default() };
        let changed = store.update_point(&node, p.point.id, &change, NOW).await.unwrap();
        assert_eq!((&changed.limits, changed.range_low), (&limits, None));
        assert_eq!(store.point(&node, p.point.id).await.unwrap().point, changed, "every bit of a limit is kept");
        assert!(matches!(store.update_point(&node, p.point.id, &change, NOW).await, Err(StoreError::Stale)));
        let change = VehicleChange { revision: 2, speed_limit_kmh: Some(Some(80.0)), ..VehicleChange::default() };
        store.update_vehicle(&node, p.vehicle.id, &change, NOW).await.unwrap();
        assert!(matches!(store.update_vehicle(&node, p.vehicle.id, &change, NOW).await, Err(StoreError::Stale)));
    })
    .await;
}

#[tokio::test]
async fn projecting_twice_changes_nothing() {
    on_both(|store| async move {
        let p = plant(&store, "AA", "530402").await;
        let effects = [raise(1, Subject::Point(p.point.id), NOW), event("clock_offset", None)];
        assert_eq!(store.projected().await.unwrap(), 0);
        assert_eq!(store.project(40, &effects).await.unwrap(), [AlarmId::new(1)]);
        assert_eq!(store.project(40, &effects).await.unwrap(), []);
        assert_eq!(store.project(12, &[returns(1, NOW)]).await.unwrap(), [], "an older position is behind us");
        assert_eq!(store.projected().await.unwrap(), 40);
        assert_eq!(store.events(&Scope::node(), Some("clock_offset"), &Paging::all()).await.unwrap().items.len(), 1);
        assert_eq!(store.standing_alarms().await.unwrap().len(), 1);
        // The same effects under a later position (a log that was cut and grew again) still make no second alarm.
        assert_eq!(store.project(41, &effects[..1]).await.unwrap(), []);
        assert_eq!(store.project(42, &[returns(1, after(9)), returns(1, after(99))]).await.unwrap(), [AlarmId::new(1)]);
        assert_eq!(store.alarm(&Scope::node(), AlarmId::new(1)).await.unwrap().returned_at, Some(after(9)));
        assert!(store.standing_alarms().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn one_open_occurrence_per_rule_and_point() {
    on_both(|store| async move {
        let p = plant(&store, "AA", "530402").await;
        let about = Subject::Point(p.point.id);
        store.project(1, &[raise(1, about, NOW)]).await.unwrap();
        let changed = store.project(2, &[raise(2, about, after(5))]).await.unwrap();
        assert_eq!(changed, [AlarmId::new(1), AlarmId::new(2)], "neither is lost: the older one ends where the newer begins");
        assert_eq!(store.alarm(&Scope::node(), AlarmId::new(1)).await.unwrap().returned_at, Some(after(5)));
        assert_eq!(store.standing_alarms().await.unwrap().len(), 1);
        // Another rule, another subject and history are no rivals.
        let other_rule = RaisedAlarm { rule: "h".into(), kind: RuleKind::H, ..raised(3, about, NOW) };
        let historic = RaisedAlarm { historic: true, ..raised(4, about, NOW) };
        let effects = [other_rule, historic, raised(5, Subject::Vehicle(p.vehicle.id), NOW)].map(|a| Effect::Alarm(AlarmChange::Raised(a)));
        assert_eq!(store.project(3, &effects).await.unwrap().len(), 3);
        assert_eq!(store.standing_alarms().await.unwrap().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn an_alarm_is_answered_once_and_closed_only_when_it_is_over() {
    on_both(|store| async move {
        let p = plant(&store, "AA", "530402").await;
        store.project(1, &[raise(1, Subject::Point(p.point.id), NOW)]).await.unwrap();
        let id = AlarmId::new(1);
        let duty = Scope { user: None, name: "值班员".into(), ..county("530402") }.with(Permission::HandleAlarm).unwrap();
        let seen = store.acknowledge(&duty, id, "已派人", after(1)).await.unwrap();
        assert_eq!((seen.state(), seen.acknowledged_by.as_deref()), (AlarmState::Acknowledged, Some("值班员")));
        let again = store.acknowledge(&Scope::node(), id, "other", after(2)).await.unwrap();
        assert_eq!(again, seen, "the first answer stays");
        assert!(matches!(store.close_alarm(&duty, id, "误报", after(3)).await, Err(StoreError::StillStanding)));
        store.project(2, &[returns(1, after(4))]).await.unwrap();
        let closed = store.close_alarm(&duty, id, "已处置", after(5)).await.unwrap();
        assert_eq!((closed.state(), closed.closed_reason.as_deref()), (AlarmState::Closed, Some("已处置")));
        assert_eq!(closed.acknowledged_note.as_deref(), Some("已派人"));
        assert_eq!(store.close_alarm(&duty, id, "x", after(6)).await.unwrap(), closed);
        assert_eq!((closed.subject_name.as_str(), closed.value), ("罐区可燃气", Some(61.25)));
        let told: Vec<String> = store.outbox(0, 100).await.unwrap().into_iter().map(|o| o.kind).collect();
        assert_eq!(told.iter().filter(|k| *k == "alarm_handling").count(), 2);
        let filter = AuditFilter { noun: Some("alarm".into()), subject: Some(id.to_string()), user: None };
        let actions: Vec<String> = store.audit(&duty, &filter, &Paging::all()).await.unwrap().items.into_iter().map(|e| e.action).collect();
        assert_eq!(actions, ["close", "acknowledge"]);
    })
    .await;
}

#[tokio::test]
async fn pages_of_alarms_are_complete_and_in_order() {
    on_both(|store| async move {
        let p = plant(&store, "AA", "530402").await;
        // Several with the same instant: the id decides.
        let effects: Vec<Effect> =
            (1..=25).flat_map(|n| [raise(n, Subject::Point(p.point.id), after(n as i64 / 4)), returns(n, after(n as i64 / 4))]).collect();
        store.project(1, &effects).await.unwrap();
        let (mut paging, mut seen) = (Paging { cursor: None, limit: 7 }, Vec::new());
        loop {
            let page = store.alarms(&Scope::node(), &AlarmFilter::default(), &paging).await.unwrap();
            seen.extend(page.items.iter().map(|a| a.id.get()));
            paging.cursor = page.next;
            if paging.cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (1..=25).rev().collect::<Vec<u128>>());
        let bad = Paging { cursor: Some("nonsense".into()), limit: 7 };
        assert!(matches!(store.alarms(&Scope::node(), &AlarmFilter::default(), &bad).await, Err(StoreError::Cursor)));
        assert!(matches!(store.points(&Scope::node(), &PointFilter::default(), &bad).await, Err(StoreError::Cursor)));
    })
    .await;
}

#[tokio::test]
async fn filters_of_alarms_narrow_each_by_itself_and_together() {
    on_both(|store| async move {
        let (p, other) = (plant(&store, "AA", "530402").await, plant(&store, "BB", "530423").await);
        let blue =
            RaisedAlarm { level: Level::Blue, rule: "l".into(), kind: RuleKind::L, ..raised(2, Subject::Point(other.point.id), after(60)) };
        let historic = RaisedAlarm { historic: true, ..raised(3, Subject::Vehicle(p.vehicle.id), after(120)) };
        let effects = [raised(1, Subject::Point(p.point.id), NOW), blue, historic].map(|a| Effect::Alarm(AlarmChange::Raised(a)));
        store.project(1, &effects).await.unwrap();
        let check = async |filter: AlarmFilter, ids: &[u128]| {
            let page = store.alarms(&Scope::node(), &filter, &Paging::all()).await.unwrap();
            assert_eq!(page.items.iter().map(|a| a.id.get()).collect::<Vec<_>>(), ids, "{filter:?}");
            if filter.states.is_empty() {
                assert_eq!(store.alarm_counts(&Scope::node(), &filter).await.unwrap().raised, ids.len() as i64, "{filter:?}");
            }
        };
        let any = AlarmFilter::default;
        check(any(), &[3, 2, 1]).await;
        check(AlarmFilter { states: vec![AlarmState::Raised, AlarmState::Closed], ..any() }, &[3, 2, 1]).await;
        check(AlarmFilter { states: vec![AlarmState::Returned], ..any() }, &[]).await;
        check(AlarmFilter { levels: vec![Level::Blue, Level::Yellow], ..any() }, &[2]).await;
        check(AlarmFilter { enterprise: Some(p.enterprise.id), ..any() }, &[3, 1]).await;
        check(AlarmFilter { point: Some(other.point.id), ..any() }, &[2]).await;
        check(AlarmFilter { vehicle: Some(p.vehicle.id), ..any() }, &[3]).await;
        check(AlarmFilter { region: Some(region("530402")), ..any() }, &[3, 1]).await;
        check(AlarmFilter { region: Some(region("5304")), ..any() }, &[3, 2, 1]).await;
        check(AlarmFilter { from: Some(after(60)), to: Some(after(120)), ..any() }, &[2]).await;
        check(AlarmFilter { historic: Some(false), ..any() }, &[2, 1]).await;
        check(AlarmFilter { q: Some("可燃".into()), ..any() }, &[2, 1]).await;
        check(AlarmFilter { q: Some("云faa".into()), ..any() }, &[3]).await;
        check(AlarmFilter { q: Some("%".into()), ..any() }, &[]).await;
        check(AlarmFilter { levels: vec![Level::Red], historic: Some(true), q: Some("AA".into()), ..any() }, &[3]).await;
        let summary = store.summary(&Scope::node(), after(180)).await.unwrap();
        let counts: Vec<_> = summary.regions.iter().map(|r| (r.region.as_str(), r.enterprises, r.points, r.vehicles, r.standing)).collect();
        let (red, blue) = (LevelCounts { red: 1, ..LevelCounts::default() }, LevelCounts { blue: 1, ..LevelCounts::default() });
        assert_eq!(counts, [("530402", 1, 1, 1, red), ("530423", 1, 1, 1, blue)]);
        assert_eq!((summary.enterprises, summary.devices, summary.points, summary.vehicles), (2, 2, 2, 2));
        let worst = store.enterprises(&Scope::node(), &EnterpriseFilter::default(), &Paging::all()).await.unwrap().items;
        assert_eq!(worst.iter().map(|e| e.worst_level).collect::<Vec<_>>(), [Some(Level::Red), Some(Level::Blue)]);
        assert_eq!(store.point(&Scope::node(), other.point.id).await.unwrap().worst_level, Some(Level::Blue));
        assert_eq!(store.vehicle(&Scope::node(), p.vehicle.id).await.unwrap().worst_level, None, "history alarms nobody");
    })
    .await;
}

#[tokio::test]
async fn lists_find_what_is_asked_for() {
    on_both(|store| async move {
        store.ping().await.unwrap();
        let regions = [("5304", "玉溪市", "Yuxi"), ("530402", "红塔区", "Hongta")];
        let regions = regions.map(|(code, name, en)| Region {
            code: region(code),
            name: name.into(),
            name_en: en.into(),
            kind: "county".into(),
            valid_from: Some("2001-01-01".parse().unwrap()),
            valid_to: Some("2020-02-29".parse().unwrap()),
            became: Some(region("530403")),
            confidence: "verified".into(),
        });
        store.put_regions(&regions).await.unwrap();
        store.put_regions(&regions).await.unwrap();
        assert_eq!(store.regions().await.unwrap(), regions);
        let (p, node, all) = (plant(&store, "AA", "530402").await, Scope::node(), Paging::all());
        plant(&store, "BB", "530423").await;
        let filter = EnterpriseFilter { q: Some("aa".into()), region: Some(region("5304")), sector: Some("hazchem".into()) };
        let found = store.enterprises(&node, &filter, &all).await.unwrap().items;
        assert_eq!((found.len(), found[0].region_name.as_deref(), found[0].points), (1, Some("红塔区"), 1));
        assert_eq!(found[0].enterprise, p.enterprise);
        let filter = DeviceFilter { enterprise: Some(p.enterprise.id), q: Some("DEV-".into()) };
        let found = store.devices(&node, &filter, &all).await.unwrap().items;
        assert_eq!((found.len(), &found[0].device, found[0].points), (1, &p.device, 1));
        assert_eq!(found[0].enterprise_name.as_deref(), Some("AA化工"));
        let filter = PointFilter {
            device: Some(p.device.id),
            enterprise: Some(p.enterprise.id),
            region: Some(region("5304")),
            q: Some("gt-".into()),
            ..PointFilter::default()
        };
        assert_eq!(store.points(&node, &filter, &all).await.unwrap().items[0].point, p.point);
        assert_eq!(store.point_set(&node, &filter).await.unwrap().iter().collect::<Vec<_>>(), [p.point.id]);
        assert!(store.points(&node, &PointFilter { unconfirmed: true, ..filter }, &all).await.unwrap().items.is_empty());
        let phone = format!("000{}", p.vehicle.phone);
        let filter =
            VehicleFilter { phone: Some(phone), q: Some("云f".into()), region: Some(region("530402")), enterprise: Some(p.enterprise.id) };
        let found = store.vehicles(&node, &filter, &all).await.unwrap().items;
        assert_eq!((found.len(), found[0].vehicle.region.as_ref().map(|r| r.as_str())), (1, Some("530402")));
        let page = store.enterprises(&node, &EnterpriseFilter::default(), &Paging { cursor: None, limit: 1 }).await.unwrap();
        let rest = Paging { cursor: page.next, limit: 1 };
        let page = store.enterprises(&node, &EnterpriseFilter::default(), &rest).await.unwrap();
        assert_eq!((page.items[0].enterprise.code.as_str(), page.next), ("BB", None));
        assert_eq!([store.all_enterprises().await.unwrap().len(), store.all_vehicles().await.unwrap().len()], [2, 2]);
        assert_eq!([store.all_devices().await.unwrap().len(), store.all_points().await.unwrap().len()], [2, 2]);
        let credentials = store.credentials().await.unwrap();
        assert_eq!(credentials.devices["dev-AA"].enterprise, Some(p.enterprise.id));
        assert!(credentials.devices["dev-AA"].may_backfill && credentials.terminals[&p.vehicle.phone].adopted);
    })
    .await;
}

#[tokio::test]
async fn a_taken_name_says_which_field() {
    on_both(|store| async move {
        let (p, node) = (plant(&store, "AA", "530402").await, Scope::node());
        let new = NewEnterprise { code: "AA".into(), name: "乙".into(), region: region("530402"), sector: "gas".into(), place: None };
        assert!(matches!(store.create_enterprise(&node, &new, NOW).await, Err(StoreError::Taken { field: "code" })));
        let new = new_device(&p.device.code, None);
        assert!(matches!(store.create_device(&node, &new, NOW).await, Err(StoreError::Taken { field: "code" })));
        let new = NewUser { username: "li".into(), name: "李".into(), password: "x".into(), grants: vec![grant(Role::Leader, "5304")] };
        store.create_user(&node, &new, NOW).await.unwrap();
        assert!(matches!(store.create_user(&node, &new, NOW).await, Err(StoreError::Taken { field: "username" })));
    })
    .await;
}

#[tokio::test]
async fn a_crowd_of_changes_waits_in_line_and_what_does_not_fit_is_told_so() {
    on_both(|store| async move {
        let new = NewUser { username: "li".into(), name: "李".into(), password: "x".into(), grants: vec![] };
        let user = store.create_user(&Scope::node(), &new, NOW).await.unwrap().id;
        let crowd: Vec<_> = (0..200)
            .map(|n| {
                let (store, scope) = (store.clone(), Scope { user: Some(user), ..Scope::node() });
                tokio::spawn(async move { store.create_device(&scope, &new_device(&format!("d{n}"), None), NOW).await })
            })
            .collect();
        let (mut made, mut told) = (0, 0);
        for one in crowd {
            match one.await.unwrap() {
                Ok(_) => made += 1,
                Err(StoreError::Busy) => told += 1,
                Err(other) => panic!("{other}"),
            }
        }
        // The line holds 128 beside the one in work, and none of those fails because of the others.
        assert!(made >= 129 && told > 0 && made + told == 200, "{made} made, {told} told to come back");
        assert_eq!(store.all_devices().await.unwrap().len(), made);
        let scope = Scope { user: Some(user), ..Scope::node() };
        store.create_device(&scope, &new_device("later", None), NOW).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_fleet_seen_at_once_is_one_change() {
    on_both(|store| async move {
        let phones: Vec<String> = (0..1_200).map(|n| format!("0139{n:08}")).collect();
        let fleet = |trust| phones.iter().map(|phone| Seen { phone, trust, adopted: false }).collect::<Vec<_>>();
        let first = store.ensure_vehicles(&fleet(Trust::Open), NOW).await.unwrap();
        assert_eq!((first.len(), first[7].phone.as_str(), first[7].trust), (1_200, "13900000007", Trust::Open));
        assert_eq!(store.ensure_vehicles(&fleet(Trust::Open), NOW).await.unwrap(), first, "the same again changes nothing");
        let again = store.ensure_vehicles(&fleet(Trust::Listed)[..2], NOW).await.unwrap();
        assert_eq!((again[1].id, again[1].trust, again[1].revision), (first[1].id, Trust::Listed, 2));
        let twice = [Seen { phone: "7", trust: Trust::Open, adopted: false }; 2];
        let twice = store.ensure_vehicles(&twice, NOW).await.unwrap();
        assert_eq!(twice[0], twice[1], "one terminal named twice is one vehicle");
        assert_eq!(store.all_vehicles().await.unwrap().len(), 1_201);
        let among = store.vehicles_among(&[first[3].id, first[4].id], &[]).await.unwrap();
        assert_eq!(among.iter().map(|v| v.id).collect::<std::collections::BTreeSet<_>>(), [first[3].id, first[4].id].into());
        let check = store.verify_audit(None).await.unwrap();
        assert_eq!((check.entries, check.broken_at, check.complete), (1_203, None, true));
    })
    .await;
}

#[tokio::test]
async fn points_seen_first_are_unconfirmed_until_somebody_sets_them() {
    on_both(|store| async move {
        let (p, node) = (plant(&store, "AA", "530402").await, Scope::node());
        let codes = ["GT-101", "T-1", "T-2", "T-1"].map(String::from);
        let count = async || store.audit(&Scope::node(), &AuditFilter::default(), &Paging::all()).await.unwrap().items.len();
        let before = count().await;
        let seen = store.ensure_points(p.device.id, &codes, NOW).await.unwrap();
        assert_eq!(seen.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(), ["GT-101", "T-1", "T-2", "T-1"]);
        assert_eq!((seen[0].confirmed, seen[1].confirmed, seen[1].enterprise), (true, false, Some(p.enterprise.id)));
        assert_eq!(store.ensure_points(p.device.id, &codes, NOW).await.unwrap(), seen);
        assert_eq!(count().await, before + 1, "one entry per call that made any");
        let put = PointPut { code: "T-1".into(), name: "温度".into(), unit: "℃".into(), ..PointPut::default() };
        let set = store.upsert_points(&node, p.device.id, &[put.clone(), put.clone()], NOW).await.unwrap();
        assert_eq!((set[0].id, set[0].confirmed, set[0].revision), (seen[1].id, true, 2));
        assert_eq!(store.upsert_points(&node, p.device.id, &[put], NOW).await.unwrap()[0].revision, 2, "the same again changes nothing");
        assert!(matches!(store.ensure_points(anlan_model::DeviceId::new(999), &codes, NOW).await, Err(StoreError::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn three_thousand_points_are_one_page() {
    on_both(|store| async move {
        let p = plant(&store, "AA", "530402").await;
        let codes: Vec<String> = (0..2_999).map(|n| format!("P-{n:04}")).collect();
        assert_eq!(store.ensure_points(p.device.id, &codes, NOW).await.unwrap().len(), 2_999);
        let page = store.points(&county("5304"), &PointFilter::default(), &Paging::all()).await.unwrap();
        assert_eq!((page.items.len(), page.next), (3_000, None));
    })
    .await;
}

#[tokio::test]
async fn a_terminal_becomes_one_vehicle() {
    on_both(|store| async move {
        let first = store.ensure_vehicle("013800000001", Trust::Open, false, NOW).await.unwrap();
        assert_eq!(first.phone, "13800000001");
        assert_eq!(store.ensure_vehicle("13800000001", Trust::Open, true, NOW).await.unwrap(), first, "adopted counts at first sight only");
        let listed = store.ensure_vehicle("13800000001", Trust::Listed, false, NOW).await.unwrap();
        assert_eq!((listed.id, listed.trust, listed.revision), (first.id, Trust::Listed, 2));
        let adopted = store.adopt_vehicle(&Scope::node(), first.id, NOW).await.unwrap();
        assert_eq!((adopted.adopted, adopted.revision), (true, 3));
    })
    .await;
}

#[tokio::test]
async fn every_adoption_voids_the_code_before_it_and_opens_half_an_hour() {
    on_both(|store| async move {
        let node = Scope::node();
        let credential = async || store.credentials().await.unwrap().terminals["13800000001"].clone();
        let heard = store.ensure_vehicle("13800000001", Trust::Open, false, NOW).await.unwrap();
        let c = credential().await;
        assert_eq!((c.adopted, c.generation, c.enrol_until), (false, 0, None));
        let half_an_hour = 30 * 60 * 1_000_000;
        store.adopt_vehicle(&node, heard.id, NOW).await.unwrap();
        let c = credential().await;
        assert_eq!((c.adopted, c.generation, c.enrol_until), (true, 1, Some(NOW.plus_us(half_an_hour))));
        let later = NOW.plus_us(5_000_000);
        let again = store.adopt_vehicle(&node, heard.id, later).await.unwrap();
        let c = credential().await;
        assert_eq!((again.revision, c.generation, c.enrol_until), (3, 2, Some(later.plus_us(half_an_hour))));
        let entries = store.audit(&node, &AuditFilter::default(), &Paging::all()).await.unwrap().items;
        let mut actions: Vec<String> = entries.into_iter().filter(|e| e.noun == "vehicle").map(|e| e.action).collect();
        actions.sort();
        assert_eq!(actions, ["adopt", "first_seen", "replace_code"]);
        let known = store.ensure_vehicle("13800000002", Trust::Listed, true, NOW).await.unwrap();
        let c = store.credentials().await.unwrap().terminals[&known.phone].clone();
        assert_eq!((c.adopted, c.generation, c.enrol_until), (true, 1, None), "code 0 is for strangers");
    })
    .await;
}

#[tokio::test]
async fn nobody_gives_away_more_than_they_have() {
    on_both(|store| async move {
        let p = plant(&store, "AA", "530402").await;
        let local = scope(vec![grant(Role::Administrator, "530402")]);
        let user =
            |username: &str, grants: Vec<Grant>| NewUser { username: username.into(), name: "人".into(), password: "x".into(), grants };
        let wide = Grant { role: Role::Leader, region: None, sector: None, enterprise: None };
        let refused = [vec![wide.clone()], vec![grant(Role::Leader, "5304")], vec![grant(Role::Leader, "530402"), wide.clone()], vec![]];
        for grants in refused {
            assert!(matches!(store.create_user(&local, &user("a", grants), NOW).await, Err(StoreError::OutOfScope)));
        }
        let own = Grant { role: Role::SafetyManager, region: None, sector: None, enterprise: Some(p.enterprise.id) };
        let made = store.create_user(&local, &user("b", vec![own, grant(Role::DutyOfficer, "530402001")]), NOW).await.unwrap();
        let boss = store.create_user(&Scope::node(), &user("c", vec![wide.clone()]), NOW).await.unwrap();
        assert_eq!(store.users(&local, &Paging::all()).await.unwrap().items, std::slice::from_ref(&made));
        assert_eq!(store.users(&Scope::node(), &Paging::all()).await.unwrap().items.len(), 2);
        assert!(matches!(store.user(&local, boss.id).await, Err(StoreError::NotFound)));
        let change = UserChange { revision: 1, grants: Some(vec![wide]), ..UserChange::default() };
        assert!(matches!(store.update_user(&local, made.id, &change, NOW).await, Err(StoreError::OutOfScope)));
        assert_eq!(store.user(&local, made.id).await.unwrap(), made, "what was refused left no trace");
        let county_b = scope(vec![grant(Role::Administrator, "530423")]);
        assert!(store.users(&county_b, &Paging::all()).await.unwrap().items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_last_administrator_stays() {
    on_both(|store| async move {
        store.put_setup_token(&[1; 32], after(9)).await.unwrap();
        let root = store.set_up(&[1; 32], "root", "管理员", "x", NOW).await.unwrap();
        let disable = UserChange { revision: 1, disabled: Some(true), ..UserChange::default() };
        assert!(matches!(store.update_user(&Scope::node(), root.id, &disable, NOW).await, Err(StoreError::LastAdministrator)));
        let second = NewUser { username: "two".into(), name: "二".into(), password: "x".into(), grants: root.grants.clone() };
        store.create_user(&Scope::node(), &second, NOW).await.unwrap();
        assert!(store.update_user(&Scope::node(), root.id, &disable, NOW).await.unwrap().disabled);
    })
    .await;
}

#[tokio::test]
async fn a_session_lives_until_it_is_ended() {
    on_both(|store| async move {
        let new =
            NewUser { username: "li".into(), name: "李".into(), password: "old".into(), grants: vec![grant(Role::DutyOfficer, "530402")] };
        let user = store.create_user(&Scope::node(), &new, NOW).await.unwrap();
        let new = |n: u8| NewSession {
            token_hash: [n; 32],
            user: user.id,
            csrf: "c".into(),
            user_agent: "浏".repeat(500),
            created_at: NOW,
            expires_at: after(100),
        };
        for n in 1..=4 {
            store.create_session(&new(n)).await.unwrap();
        }
        let session = store.session(&[1; 32]).await.unwrap().unwrap();
        assert_eq!((&session.user, session.csrf.as_str(), session.expires_at), (&user, "c", after(100)));
        store.touch_session(&[1; 32], after(5)).await.unwrap();
        store.touch_session(&[1; 32], after(4)).await.unwrap();
        store.reauthenticate_session(&[2; 32], after(6)).await.unwrap();
        assert_eq!(store.session(&[1; 32]).await.unwrap().unwrap().seen_at, after(5), "never back in time");
        assert_eq!(store.session(&[2; 32]).await.unwrap().unwrap().reauth_at, after(6));
        // Grants are those of now, not of the sign-in.
        let change = UserChange { revision: 1, grants: Some(vec![grant(Role::Leader, "5304")]), ..UserChange::default() };
        store.update_user(&Scope::node(), user.id, &change, NOW).await.unwrap();
        assert_eq!(store.session(&[1; 32]).await.unwrap().unwrap().user.grants, [grant(Role::Leader, "5304")]);
        store.end_session(&[1; 32]).await.unwrap();
        assert_eq!(store.session(&[1; 32]).await.unwrap(), None);
        let own = Scope { user: Some(user.id), name: "李".into(), grants: vec![] };
        store.set_password(&own, user.id, "new", Some([2; 32]), NOW).await.unwrap();
        assert!(store.session(&[2; 32]).await.unwrap().is_some() && store.session(&[3; 32]).await.unwrap().is_none());
        assert!(matches!(store.set_password(&own, UserId::new(99), "new", None, NOW).await, Err(StoreError::NotFound)));
        assert_eq!(store.sign_in_name("li").await.unwrap().unwrap().1, "new");
        assert_eq!(store.end_sessions_of(&Scope::node(), user.id, NOW).await.unwrap(), 1);
        assert!(matches!(store.reauthenticate_session(&[2; 32], NOW).await, Err(StoreError::NotFound)));
        store.create_session(&new(5)).await.unwrap();
        assert_eq!([store.purge_sessions(after(99)).await.unwrap(), store.purge_sessions(after(100)).await.unwrap()], [0, 1]);
    })
    .await;
}

#[tokio::test]
async fn failed_sign_ins_are_counted_by_name_and_by_address() {
    on_both(|store| async move {
        for (name, address, s) in [("li", "10.0.0.1", 0), ("li", "10.0.0.2", 10), ("wang", "10.0.0.1", 20)] {
            store.put_sign_in_failure(name, address, after(s)).await.unwrap();
        }
        let check = async |since: i64, by_username: i64, by_address: i64| {
            let found = store.sign_in_failures("li", "10.0.0.1", after(since)).await.unwrap();
            assert_eq!(found, SignInFailures { by_username, by_address }, "since {since}");
        };
        check(0, 2, 2).await;
        check(5, 1, 1).await;
        store.clear_sign_in_failures("li", "10.0.0.1").await.unwrap();
        check(0, 1, 1).await;
    })
    .await;
}

#[tokio::test]
async fn a_command_is_kept_sent_and_answered_once() {
    on_both(|store| async move {
        let (p, node) = (plant(&store, "AA", "530402").await, Scope::node());
        let body = CommandBody::Text { text: "前方大雾".into(), flags: 1 };
        let id = store.create_command(&node, Target::Vehicle(p.vehicle.id), &body, NOW).await.unwrap();
        let other =
            store.create_command(&node, Target::Device(p.device.id), &CommandBody::Mqtt { payload: "{}".into() }, NOW).await.unwrap();
        let unsent = store.unsent_commands(0, 10).await.unwrap();
        assert_eq!(unsent.iter().map(|c| c.command.to.as_str()).collect::<Vec<_>>(), [p.vehicle.phone.as_str(), "dev-AA"]);
        assert_eq!((unsent[0].command.id, &unsent[0].command.body), (id, &body));
        store.mark_command_sent(id, after(1)).await.unwrap();
        assert_eq!(store.unsent_commands(0, 10).await.unwrap().len(), 1);
        let (phone, device) = (p.vehicle.phone.clone(), p.device.code.clone());
        let answer = |from: &str, ok, detail: &str| Effect::CommandAnswer {
            command: id,
            from: from.into(),
            ok,
            detail: detail.into(),
            at: after(2),
        };
        store.project(1, &[answer(&device, false, "not mine"), answer(&phone, true, "{}"), answer(&phone, false, "late")]).await.unwrap();
        store.answer_command(other, &device, false, r#""offline""#, after(3)).await.unwrap();
        let filter = CommandFilter { vehicle: Some(p.vehicle.id), device: None };
        let row = store.commands(&node, &filter, &Paging::all()).await.unwrap().items.remove(0);
        assert_eq!(
            (row.state, row.answer.as_deref(), row.sent_at, row.answered_at),
            (CommandState::Answered, Some("{}"), Some(after(1)), Some(after(2)))
        );
        let filter = CommandFilter { vehicle: None, device: Some(p.device.id) };
        assert_eq!(store.commands(&node, &filter, &Paging::all()).await.unwrap().items[0].state, CommandState::Failed);
    })
    .await;
}

#[tokio::test]
async fn the_quarantine_drops_the_oldest() {
    on_both(|store| async move {
        let entry = |n: usize| Quarantined { at: NOW, source: n.to_string(), protocol: "mqtt", reason: "json".into(), bytes: vec![1] };
        let entries: Vec<_> = (0..10_003).map(entry).collect();
        store.put_quarantined(&entries).await.unwrap();
        let (mut paging, mut sources) = (Paging::all(), Vec::new());
        loop {
            let page = store.quarantined(&Scope::node(), &paging).await.unwrap();
            sources.extend(page.items.into_iter().map(|q| q.source));
            paging.cursor = page.next;
            if paging.cursor.is_none() {
                break;
            }
        }
        assert_eq!((sources.len(), sources[0].as_str(), sources[9_999].as_str()), (10_000, "10002", "3"));
    })
    .await;
}

#[tokio::test]
async fn settings_are_made_once_and_put_by_node_wide_askers() {
    on_both(|store| async move {
        assert_eq!(store.setting("terminal_key").await.unwrap(), None);
        assert_eq!(store.setting_or_put("terminal_key", "one").await.unwrap(), "one");
        assert_eq!(store.setting_or_put("terminal_key", "two").await.unwrap(), "one");
        assert!(matches!(store.put_setting(&county("5304"), "idle", "9", NOW).await, Err(StoreError::OutOfScope)));
        store.put_setting(&Scope::node(), "idle", "9", NOW).await.unwrap();
        assert_eq!(store.setting("idle").await.unwrap().as_deref(), Some("9"));
    })
    .await;
}

#[tokio::test]
async fn changes_at_the_same_time_keep_one_audit_chain() {
    on_both(|store| async move {
        let p = plant(&store, "AA", "530402").await;
        let mut tasks = tokio::task::JoinSet::new();
        let won = std::sync::Arc::new(AtomicU32::new(0));
        for n in 0..12 {
            let (store, won, id) = (store.clone(), won.clone(), p.enterprise.id);
            tasks.spawn(async move {
                let change = EnterpriseChange { revision: 1, name: Some(format!("名{n}")), ..EnterpriseChange::default() };
                match store.update_enterprise(&Scope::node(), id, &change, NOW).await {
                    Ok(_) => won.fetch_add(1, Ordering::Relaxed),
                    Err(StoreError::Stale) => 0,
                    Err(error) => panic!("{error:?}"),
                };
                let note = Note { action: "refuse_sign_in", noun: "session", subject: n.to_string(), detail: serde_json::json!({}) };
                store.note(&Scope::node(), note, NOW).await.unwrap();
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(won.load(Ordering::Relaxed), 1, "one of twelve had the current revision");
        let check = store.verify_audit(None).await.unwrap();
        assert_eq!((check.broken_at, check.complete), (None, true));
        let entries = store.audit(&Scope::node(), &AuditFilter::default(), &Paging::all()).await.unwrap().items;
        assert_eq!(check.entries, entries.len() as u64);
        assert!(entries.windows(2).all(|pair| pair[0].id > pair[1].id));
        store.forget_outbox(i64::MAX).await.unwrap();
        assert!(store.outbox(0, 10).await.unwrap().is_empty());
    })
    .await;
}

/// Makes a database, runs the statement `spoil` behind the store's back, opens it again and hands what came to `check`; on both.
async fn spoiled<F: Future<Output = ()>>(spoil: &'static str, check: impl Fn(Result<Store, StoreError>) -> F) {
    let on = async |url: &str| {
        let store = Store::open(url).await.unwrap();
        for action in ["first", "second"] {
            let note = Note { action, noun: "session", subject: "x".into(), detail: serde_json::json!({}) };
            store.note(&Scope::node(), note, NOW).await.unwrap();
        }
        store.close().await;
        tamper(url, spoil).await;
        let again = Store::open(url).await;
        let open = again.as_ref().ok().cloned();
        check(again).await;
        if let Some(open) = open {
            open.close().await;
        }
    };
    let directory = tempfile::tempdir().unwrap();
    on(&sqlite_url(directory.path())).await;
    if let Some(server) = postgres_server() {
        let database = Database::create(server).await;
        on(&database.url).await;
        database.remove().await;
    }
}

#[tokio::test]
async fn a_register_map_makes_its_points_and_follows_its_device() {
    use anlan_model::modbus::{ModbusMap, Register, Table, ValueType, WordOrder};
    on_both(|store| async move {
        let (plant, node) = (plant(&store, "AA", "530402").await, Scope::node());
        let id = plant.device.id;
        let register = |code: &str, unit: &str| Register {
            code: code.into(),
            table: Table::Holding,
            address: 7,
            kind: ValueType::F32,
            bit: None,
            order: WordOrder::Cdab,
            scale: 0.1,
            offset: -40.0,
            unit: unit.into(),
            interval_ms: 2_500,
        };
        let registers = vec![register("GT-101", ""), register("PI-7", "kPa")];
        let (address, forbidden) = ("[::1]:502".parse().unwrap(), vec![]);
        let map = ModbusMap { address, unit: 3, timeout_ms: 500, gap: 4, forbidden, registers };
        assert_eq!(store.modbus(&node, id).await.unwrap(), None);
        store.put_modbus(&node, id, &map, NOW).await.unwrap();
        assert_eq!(store.modbus(&node, id).await.unwrap().as_ref(), Some(&map));
        // The known point keeps its limits and unit and learns its period; the other is new.
        let points = store.points(&node, &PointFilter { device: Some(id), ..PointFilter::default() }, &Paging::all()).await.unwrap().items;
        let seen: Vec<_> =
            points.iter().map(|p| (p.point.code.as_str(), p.point.unit.as_str(), p.point.period_s, p.point.revision)).collect();
        assert_eq!(seen, [("GT-101", "%LEL", 2.5, 2), ("PI-7", "kPa", 2.5, 1)]);
        assert_eq!(points[0].point.limits, plant.point.limits);

        assert!(store.all_modbus().await.unwrap().is_empty(), "its protocol is another");
        let change = |revision, disabled| DeviceChange {
            revision,
            protocol: Some("modbus".into()),
            disabled: Some(disabled),
            ..DeviceChange::default()
        };
        store.update_device(&node, id, &change(1, false), NOW).await.unwrap();
        let polled = store.all_modbus().await.unwrap();
        assert_eq!((polled.len(), polled[0].device, &polled[0].map), (1, id, &map));
        store.update_device(&node, id, &change(2, true), NOW).await.unwrap();
        assert!(store.all_modbus().await.unwrap().is_empty(), "it is disabled");

        for other in [county("530423"), scope(vec![])] {
            assert!(matches!(store.modbus(&other, id).await, Err(StoreError::NotFound)));
            assert!(matches!(store.put_modbus(&other, id, &map, NOW).await, Err(StoreError::NotFound)));
            assert!(matches!(store.delete_modbus(&other, id, NOW).await, Err(StoreError::NotFound)));
        }
        store.delete_modbus(&node, id, NOW).await.unwrap();
        store.delete_modbus(&node, id, NOW).await.unwrap();
        assert_eq!(store.modbus(&node, id).await.unwrap(), None);
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused() {
    spoiled("INSERT INTO migration (version, name, digest, at_us) VALUES (1000, '1000_later', 'x', 0)", |answer| async move {
        assert!(matches!(answer, Err(StoreError::Newer { found: 1000, .. })), "{answer:?}");
    })
    .await;
    assert!(matches!(Store::open("mysql://x").await, Err(StoreError::Url)));
}

#[tokio::test]
async fn an_audit_entry_altered_behind_our_back_shows() {
    spoiled("UPDATE audit SET name = 'somebody else' WHERE id = 1", |answer| async move {
        assert_eq!(answer.unwrap().verify_audit(None).await.unwrap().broken_at, Some(1));
    })
    .await;
    spoiled("DELETE FROM audit WHERE id = 2", |answer| async move {
        let check = answer.unwrap().verify_audit(None).await.unwrap();
        assert_eq!((check.broken_at, check.complete), (None, false), "an entry cut off the end");
    })
    .await;
}

#[tokio::test]
async fn road_days_are_replaced_and_summed_under_the_scope() {
    on_both(|store| async move {
        let (first, second) = (plant(&store, "A", "530402").await, plant(&store, "B", "530423").await);
        let day = |vehicle: &Vehicle, n: u64, drift: u64, computed: i64| RoadDay {
            vehicle: vehicle.id,
            day: "2026-11-23".into(),
            networked: true,
            n,
            n_qualified: n / 2,
            n_drift: drift,
            n_no_fix: 0,
            distance_m: 1_000.5,
            complete_m: 500.25,
            driving_s: 60.0,
            idle_s: 1.0,
            n_trips: 1,
            n_overspeed: 2,
            n_fatigue: 0,
            n_ban: 0,
            computed_at: after(computed),
        };
        store.put_road_days(&[day(&first.vehicle, 7, 7, 0), day(&second.vehicle, 10, 0, 1)]).await.unwrap();
        store.put_road_days(&[day(&first.vehicle, 100, 3, 5)]).await.unwrap();
        let computed = store.road_days_computed("2026-11-23").await.unwrap();
        assert_eq!(computed.values().copied().collect::<Vec<_>>(), [after(5), after(1)]);
        assert_eq!(store.registered_vehicles().await.unwrap(), [first.vehicle.id, second.vehicle.id]);

        let sums = store.road_sums(&Scope::node(), "2026-11-23", RoadBy::Operator).await.unwrap();
        assert_eq!(sums.len(), 2);
        let a = &sums[0];
        assert_eq!((a.key.clone(), a.name.as_deref()), (Some(first.enterprise.id.to_string()), Some("A化工")));
        assert_eq!((a.vehicles, a.computed, a.networked, a.online, a.drifting), (1, 1, 1, 1, 1));
        assert_eq!((a.n, a.n_qualified, a.n_drift, a.n_overspeed), (100, 50, 3, 2));
        assert_eq!((a.distance_m, a.complete_m, a.computed_at), (1_000.5, 500.25, Some(after(5))));
        let counties = store.road_sums(&county("530423"), "2026-11-23", RoadBy::Region).await.unwrap();
        assert_eq!(counties.iter().map(|s| s.key.as_deref()).collect::<Vec<_>>(), [Some("530423")]);
        assert_eq!(store.road_networked_before("2026-11-24").await.unwrap().len(), 2);
        assert!(store.road_networked_before("2026-11-23").await.unwrap().is_empty());
        assert_eq!(store.forget_road_days("2026-11-23").await.unwrap(), 0);
        let empty = store.road_sums(&Scope::node(), "2026-11-24", RoadBy::Region).await.unwrap();
        assert!(empty.iter().all(|s| s.vehicles == 1 && s.computed == 0 && s.online == 0 && s.computed_at.is_none()), "{empty:?}");
        assert_eq!(store.forget_road_days("2026-11-24").await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_hold_names_what_its_enterprise_had_and_ends_by_being_released() {
    on_both(|store| async move {
        let (first, second) = (plant(&store, "AA", "530402").await, plant(&store, "BB", "530423").await);
        let wide = Scope::node();
        let new = NewHold {
            enterprise: Some(first.enterprise.id),
            points: vec![second.point.id],
            vehicles: Vec::new(),
            from: NOW,
            to: after(60),
            reason: "案".into(),
        };
        let county = county("530402");
        assert!(matches!(store.create_hold(&county, &new, NOW).await, Err(StoreError::OutOfScope)));
        let nobody = NewHold { points: vec![anlan_model::PointId::new(999)], ..new.clone() };
        assert!(matches!(store.create_hold(&wide, &nobody, NOW).await, Err(StoreError::Missing { field: "points" })));
        let id = store.create_hold(&wide, &new, NOW).await.unwrap();
        let standing = store.standing_holds().await.unwrap();
        assert_eq!((standing.len(), standing[0].id), (1, id), "the refused one left nothing");
        assert_eq!((&standing[0].points, &standing[0].vehicles), (&vec![first.point.id, second.point.id], &vec![first.vehicle.id]));
        assert!(store.holds(&county, &Paging::default()).await.unwrap().items.is_empty());
        assert!(matches!(store.release_hold(&county, id, "完", after(1)).await, Err(StoreError::OutOfScope)));
        store.release_hold(&wide, id, "完", after(1)).await.unwrap();
        assert!(matches!(store.release_hold(&wide, id, "完", after(2)).await, Err(StoreError::NotFound)));
        assert!(store.standing_holds().await.unwrap().is_empty());
        let listed = store.holds(&wide, &Paging::default()).await.unwrap().items;
        assert_eq!((listed.len(), listed[0].released_at, listed[0].release_reason.as_deref()), (1, Some(after(1)), Some("完")));
    })
    .await;
}

#[tokio::test]
async fn a_day_remembers_what_was_dropped_of_it() {
    on_both(|store| async move {
        let midnight = Timestamp::from_secs(NOW.micros().div_euclid(86_400_000_000) * 86_400);
        let drop = |readings, positions| RetentionDrop { day: midnight, readings, positions, rollups: 0 };
        store.note_drop(&drop(7, 0), None, NOW).await.unwrap();
        store.note_drop(&drop(0, 2), None, after(5)).await.unwrap();
        // What came late goes later; since when something is missing does not change.
        store.note_drop(&drop(1, 1), None, after(9)).await.unwrap();
        let day = midnight.micros().div_euclid(86_400_000_000);
        let want = DroppedDay { day, readings_at: Some(NOW), positions_at: Some(after(5)), rollups_at: None };
        let end = midnight.plus_us(86_400_000_000);
        assert_eq!(store.dropped_days(Timestamp::MIN, Timestamp::MAX).await.unwrap(), [want]);
        assert_eq!(store.dropped_days(end.plus_us(-1), end).await.unwrap(), [want]);
        assert!(store.dropped_days(end, Timestamp::MAX).await.unwrap().is_empty());
        assert!(store.dropped_days(Timestamp::MIN, midnight).await.unwrap().is_empty());
        let filter = AuditFilter { noun: Some("history".into()), ..AuditFilter::default() };
        let entries = store.audit(&Scope::node(), &filter, &Paging::default()).await.unwrap().items;
        assert_eq!(entries.iter().map(|e| e.detail["readings"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(0), Some(7)]);
        assert!(entries.iter().all(|e| e.user.is_none() && e.action == "drop"));
    })
    .await;
}

#[tokio::test]
async fn a_combination_names_points_of_its_enterprise_and_its_alarm_shows_them() {
    on_both(|store| async move {
        let (p, other) = (plant(&store, "AA", "530402").await, plant(&store, "BB", "530423").await);
        let node = Scope::node();
        let second = PointPut { code: "GT-102".into(), name: "装车区可燃气".into(), ..PointPut::default() };
        let second = store.upsert_points(&node, p.device.id, &[second], NOW).await.unwrap().remove(0);
        let member = |point, kind| CombinationMember { point, kind };
        let new = NewCombination {
            enterprise: p.enterprise.id,
            name: "泄漏确认".into(),
            level: Level::Red,
            needed: 2,
            within_s: 30.0,
            members: vec![member(p.point.id, RuleKind::H), member(second.id, RuleKind::Hh)],
            source: LimitsSource { document: "联锁表".into(), clause: "3".into() },
        };
        let foreign = NewCombination { members: vec![new.members[0], member(other.point.id, RuleKind::H)], ..new.clone() };
        let refused = store.create_combination(&node, &foreign, 2, NOW).await;
        assert!(matches!(refused, Err(StoreError::Elsewhere { place: 1 })), "{refused:?}");
        let refused = store.create_combination(&county("530423"), &new, 2, NOW).await;
        assert!(matches!(refused, Err(StoreError::Missing { field: "enterprise" })), "{refused:?}");
        let made = store.create_combination(&county("530402"), &new, 1, NOW).await.unwrap();
        let refused = store.create_combination(&node, &new, 1, NOW).await;
        assert!(matches!(refused, Err(StoreError::TooMany { most: 1 })), "{refused:?}");
        assert_eq!(store.all_combinations().await.unwrap(), std::slice::from_ref(&made));
        assert!(store.combinations(&county("530423"), None, &Paging::all()).await.unwrap().items.is_empty());
        let row = store.combinations(&county("530402"), Some(p.enterprise.id), &Paging::all()).await.unwrap().items.remove(0);
        assert_eq!((row.combination, row.enterprise_name.as_str()), (made.clone(), "AA化工"));

        // A device does not carry a member away.
        let moves = DeviceChange { revision: 1, enterprise: Some(Some(other.enterprise.id)), ..DeviceChange::default() };
        let refused = store.update_device(&node, p.device.id, &moves, NOW).await;
        assert!(matches!(&refused, Err(StoreError::Combined { name }) if name == "泄漏确认"), "{refused:?}");
        let turned = CombinationChange { revision: 1, members: Some(vec![new.members[1], new.members[0]]), ..CombinationChange::default() };
        let turned = store.update_combination(&node, made.id, &turned, NOW).await.unwrap();
        assert_eq!(store.combination(&node, made.id).await.unwrap().combination, turned);
        assert_eq!((turned.members[0].point, turned.revision), (second.id, 2));

        // Its alarm: both members first, then the one that stands anew.
        let raised = |n, rule: &str, kind, point| RaisedAlarm { rule: rule.into(), kind, ..raised(n, Subject::Point(point), NOW) };
        let part = |point, kind, n: Option<u128>| AlarmPart { point, kind, alarm: n.map(AlarmId::new) };
        let combined = |parts| Effect::Combined { alarm: AlarmId::new(9), combination: made.id, parts };
        let effects = [
            Effect::Alarm(AlarmChange::Raised(raised(1, "h", RuleKind::H, p.point.id))),
            Effect::Alarm(AlarmChange::Raised(raised(9, "combination:1", RuleKind::Combination, second.id))),
            combined(vec![part(second.id, RuleKind::Hh, None), part(p.point.id, RuleKind::H, Some(1))]),
        ];
        store.project(1, &effects).await.unwrap();
        let alarm = store.alarm(&county("530402"), AlarmId::new(9)).await.unwrap();
        assert_eq!((alarm.combination, alarm.subject_name.as_str()), (Some(made.id), "泄漏确认"));
        let told: Vec<_> = alarm.members.iter().map(|m| (m.point, m.point_name.as_str(), m.alarm.as_ref().map(|a| a.id.get()))).collect();
        assert_eq!(told, [(second.id, "装车区可燃气", None), (p.point.id, "罐区可燃气", Some(1))]);
        let effects = [
            Effect::Alarm(AlarmChange::Raised(raised(2, "hh", RuleKind::Hh, second.id))),
            combined(vec![part(second.id, RuleKind::Hh, Some(2))]),
        ];
        assert_eq!(store.project(2, &effects).await.unwrap(), [AlarmId::new(2), AlarmId::new(9)]);
        let find = async |filter: AlarmFilter| {
            let found = store.alarms(&county("530402"), &filter, &Paging::all()).await.unwrap().items;
            found.iter().map(|a| (a.id.get(), a.members.len())).collect::<Vec<_>>()
        };
        assert_eq!(find(AlarmFilter { q: Some("泄漏确".into()), ..AlarmFilter::default() }).await, [(9, 2)]);
        assert_eq!(find(AlarmFilter { point: Some(p.point.id), ..AlarmFilter::default() }).await, [(9, 2), (1, 0)]);
        let seen = store.alarm_ids_visible(&county("530402"), &[AlarmId::new(9)]).await.unwrap().remove(0);
        assert_eq!(seen.members[0].alarm.as_ref().map(|a| a.id.get()), Some(2));
        assert_eq!(store.acknowledge(&county("530402"), AlarmId::new(9), "去看", NOW).await.unwrap().members, seen.members);

        // Deleted: the alarm still names it, and the device is free.
        assert!(matches!(store.delete_combination(&node, made.id, 1, NOW).await, Err(StoreError::Stale)));
        store.delete_combination(&county("530402"), made.id, 2, NOW).await.unwrap();
        assert!(store.all_combinations().await.unwrap().is_empty());
        assert!(matches!(store.combination(&node, made.id).await, Err(StoreError::NotFound)));
        assert_eq!(store.alarm(&node, AlarmId::new(9)).await.unwrap().subject_name, "泄漏确认");
        store.update_device(&node, p.device.id, &moves, NOW).await.unwrap();
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

#[tokio::test]
async fn a_remembered_set_of_points_is_void_once_a_change_is_committed() {
    on_both(|store| async move {
        let node = Scope::node();
        let (here, there) = (plant(&store, "AA", "530402").await, plant(&store, "BB", "530423").await);
        let (at_here, at_there) = (county("530402"), county("530423"));
        let gas = PointFilter { kind: Some("gas".into()), ..PointFilter::default() };
        let this = PointFilter { id: Some(here.point.id), ..PointFilter::default() };
        let check = async |what: &str, asker: &Scope, filter: &PointFilter, n: usize| {
            // Twice: what is remembered answers the second time.
            for _ in 0..2 {
                assert_eq!(store.point_set(asker, filter).await.unwrap().len(), n, "{what}");
            }
        };
        let all = PointFilter::default();
        check("at first", &at_here, &all, 1).await;
        check("at first", &at_there, &all, 1).await;
        check("at first", &at_there, &this, 0).await;
        check("no kind yet", &node, &gas, 0).await;

        let more = PointPut { code: "GT-102".into(), name: "more".into(), ..PointPut::default() };
        store.upsert_points(&node, here.device.id, &[more], NOW).await.unwrap();
        check("a point more", &at_here, &all, 2).await;
        store.ensure_points(here.device.id, &["seen".to_owned()], NOW).await.unwrap();
        check("a point seen first", &at_here, &all, 3).await;

        let change = PointChange { revision: here.point.revision, kind: Some("gas".into()), ..PointChange::default() };
        store.update_point(&at_here, here.point.id, &change, NOW).await.unwrap();
        check("a kind", &node, &gas, 1).await;
        assert!(store.update_point(&at_here, here.point.id, &change, NOW).await.is_err(), "stale");
        check("a refused change", &at_here, &gas, 1).await;

        let mut revision = here.device.revision;
        for (owner, n_here, n_there) in [(there.enterprise.id, 0, 4), (here.enterprise.id, 3, 1)] {
            let change = DeviceChange { revision, enterprise: Some(Some(owner)), ..DeviceChange::default() };
            revision = store.update_device(&node, here.device.id, &change, NOW).await.unwrap().revision;
            check("a device moved", &at_here, &all, n_here).await;
            check("a device moved", &at_there, &all, n_there).await;
            check("a device moved", &at_there, &this, n_there / 4).await;
        }
        let change = EnterpriseChange { revision: here.enterprise.revision, region: Some(region("530423")), ..EnterpriseChange::default() };
        store.update_enterprise(&node, here.enterprise.id, &change, NOW).await.unwrap();
        check("an enterprise moved", &at_here, &all, 0).await;
        check("an enterprise moved", &at_there, &all, 4).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_asks_after_a_change_is_told_what_was_before_it() {
    on_both(|store| async move {
        let p = plant(&store, "AA", "530402").await;
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        // Others ask all the time, so that some answer is always on its way when a change commits.
        let others: Vec<_> = (0..3)
            .map(|_| {
                let (store, stop) = (store.clone(), stop.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        store.point_set(&county("530402"), &PointFilter::default()).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        let mut revision = p.enterprise.revision;
        for i in 0..60 {
            let (to, n) = if i % 2 == 0 { ("530423", 0) } else { ("530402", 1) };
            let change = EnterpriseChange { revision, region: Some(region(to)), ..EnterpriseChange::default() };
            revision = store.update_enterprise(&Scope::node(), p.enterprise.id, &change, NOW).await.unwrap().revision;
            for _ in 0..3 {
                assert_eq!(store.point_set(&county("530402"), &PointFilter::default()).await.unwrap().len(), n, "change {i}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        for other in others {
            other.await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn the_worst_standing_alarm_is_the_one_the_table_has() {
    on_both(|store| async move {
        let (node, all) = (Scope::node(), Paging::all());
        let (a, b) = (plant(&store, "AA", "530402").await, plant(&store, "BB", "530423").await);
        let seen = store.point_set(&node, &PointFilter::default()).await.unwrap();
        let check = async |what: &str| {
            let rows = store.points(&node, &PointFilter::default(), &all).await.unwrap().items;
            let told: Vec<_> = rows.iter().map(|row| row.worst_level).collect();
            assert_eq!(store.worst_levels(&seen).await.unwrap(), told, "{what}");
        };
        let of = |n, level, rule: &str, point| RaisedAlarm { level, rule: rule.into(), ..raised(n, Subject::Point(point), NOW) };
        let up = |alarm| Effect::Alarm(AlarmChange::Raised(alarm));
        check("none").await;
        store.project(1, &[up(of(1, Level::Blue, "h", a.point.id)), up(of(2, Level::Yellow, "l", b.point.id))]).await.unwrap();
        check("one each").await;
        store.project(2, &[up(of(3, Level::Red, "hh", a.point.id)), raise(4, Subject::Vehicle(a.vehicle.id), NOW)]).await.unwrap();
        check("a worse one").await;
        store.project(3, &[up(RaisedAlarm { historic: true, ..of(5, Level::Red, "hh", b.point.id) })]).await.unwrap();
        check("history alarms nobody").await;
        store.project(4, &[up(of(6, Level::Orange, "hh", a.point.id))]).await.unwrap();
        check("the older of the same rule ends").await;
        store
            .project(5, &[returns(6, NOW), returns(6, NOW), returns(99, NOW), up(of(7, Level::Blue, "q", b.point.id)), returns(7, NOW)])
            .await
            .unwrap();
        check("some returned").await;
        assert_eq!(store.project(5, &[returns(1, NOW)]).await.unwrap(), []);
        check("a position that was reached before").await;
        store.project(6, &[returns(1, NOW), returns(2, NOW)]).await.unwrap();
        check("none again").await;
        assert_eq!(store.worst_levels(&PointSet::default()).await.unwrap(), []);
    })
    .await;
}
