//! Orders on their way over two and three levels, on both databases: each node has its newest state, and nobody is obeyed or believed beyond their place.

use anlan_model::noun::{Enterprise, Grant};
use anlan_model::{EnterpriseId, NodeId, NodeLevel, OrderId, RegionCode, Role, Scope, Timestamp};
use anlan_store::testing::{number, on_both, sqlite_url};
use anlan_store::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const CITY: NodeId = NodeId::new(0xc1);
const COUNTY: NodeId = NodeId::new(0xaaaa_aaaa_0000_0000_0000_0000_0000_0002);
const TOWN: NodeId = NodeId::new(0xbbbb_bbbb_0000_0000_0000_0000_0000_0003);
const OTHER: NodeId = NodeId::new(0xcccc_cccc_0000_0000_0000_0000_0000_0004);

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}

fn later(s: i64) -> Timestamp {
    NOW.plus_us(s * 1_000_000)
}

fn order_id(n: u128) -> OrderId {
    OrderId::new(0x0199_f3c2_7f00_7abc_8def_0123_4567_0000 + n)
}

async fn other() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Store::open(&sqlite_url(directory.path())).await.unwrap(), directory)
}

async fn be(store: &Store, id: NodeId, name: &str, level: NodeLevel, of: &str) {
    store.put_self(id, name, level, Some(&region(of)), NOW).await.unwrap();
}

async fn made(store: &Store, code: &str, of: &str) -> Enterprise {
    let new = NewEnterprise { code: code.into(), name: format!("{code}化工"), region: region(of), sector: "hazchem".into(), place: None };
    store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap()
}

/// Lets a node in below `parent`, and tells it of its parent; as pairing does.
async fn join(parent: &Store, child: &Store, id: NodeId, level: NodeLevel, of: &str) {
    let (node, secret) = (Scope::node(), [id.get() as u8; 16]);
    let new = NewInvitation { name: format!("{id}"), level, region: Some(region(of)), enterprise: None, secret, expires_at: later(3_600) };
    let made = parent.invite(&node, &new, NOW, NOW).await.unwrap();
    assert!(matches!(parent.claim_invitation(&secret, id, b"key", NOW, NOW).await.unwrap(), Claim::Held(_)));
    let admission = Admission { certificate: "PEM".into(), fingerprint: "ab".into(), serial: "01".into(), not_after: later(86_400 * 90) };
    parent.confirm_invitation(&node, made.id, &admission, NOW).await.unwrap();
    stand_below(child, parent).await;
}

async fn stand_below(child: &Store, parent: &Store) {
    let own = parent.own_node().unwrap();
    let row = parent.node(&Scope::node(), own).await.unwrap();
    let (fingerprint, address) = ("cd".to_owned(), Some("127.0.0.1:1".to_owned()));
    let above = Neighbour { id: own, name: row.name, level: row.level, region: row.region, enterprise: None, fingerprint, address };
    child.put_parent(&Scope::node(), &above, NOW).await.unwrap();
}

fn peer(id: NodeId, level: NodeLevel, of: &str) -> Peer {
    Peer { id, level, region: Some(region(of)), enterprise: None }
}

/// Carries everything of a way that the receiver lacks; what was refused.
async fn carry(from: &Store, way: &str, to: &Store, as_: &Peer, now: Timestamp) -> Vec<Refused> {
    let mut refused = Vec::new();
    loop {
        let after = to.inbox(as_.id).await.unwrap().feed;
        let entries = from.feed(way, after, 7).await.unwrap();
        let Some(last) = entries.last() else { return refused };
        let applied = to.apply_feed(as_, after, last.seq, &entries, now).await.unwrap();
        assert!(applied.is_new);
        refused.extend(applied.refused);
    }
}

/// City, county and township in a line, each knowing the others; nothing is left to carry.
struct Line {
    city: Store,
    county: Store,
    town: Store,
    _directories: [tempfile::TempDir; 2],
    enterprise: EnterpriseId,
}

impl Line {
    /// `county` is the database under test.
    async fn around(county: Store) -> Self {
        let ((city, a), (town, b)) = (other().await, other().await);
        be(&city, CITY, "市局", NodeLevel::City, "5304").await;
        be(&county, COUNTY, "县局", NodeLevel::County, "530402").await;
        be(&town, TOWN, "镇安监站", NodeLevel::Township, "530402101").await;
        join(&county, &town, TOWN, NodeLevel::Township, "530402101").await;
        join(&city, &county, COUNTY, NodeLevel::County, "530402").await;
        let enterprise = made(&town, "E1", "530402101").await.id;
        let line = Self { city, county, town, _directories: [a, b], enterprise };
        line.round().await;
        line
    }
    async fn up(&self) {
        assert_eq!(carry(&self.town, UP, &self.county, &peer(TOWN, NodeLevel::Township, "530402101"), later(1)).await, []);
        assert_eq!(carry(&self.county, UP, &self.city, &peer(COUNTY, NodeLevel::County, "530402"), later(2)).await, []);
    }
    async fn down(&self) {
        assert_eq!(carry(&self.city, &COUNTY.to_string(), &self.county, &peer(CITY, NodeLevel::City, "5304"), later(3)).await, []);
        assert_eq!(carry(&self.county, &TOWN.to_string(), &self.town, &peer(COUNTY, NodeLevel::County, "530402"), later(4)).await, []);
    }
    async fn round(&self) {
        for _ in 0..3 {
            self.up().await;
            self.down().await;
        }
    }
    async fn ends(&self) -> [i64; 4] {
        let end = async |store: &Store, way: String| store.feed_end(&way).await.unwrap();
        [
            end(&self.town, UP.to_owned()).await,
            end(&self.county, UP.to_owned()).await,
            end(&self.city, COUNTY.to_string()).await,
            end(&self.county, TOWN.to_string()).await,
        ]
    }
    async fn states(&self, id: OrderId) -> [Option<(OrderState, bool)>; 3] {
        let mut states = [None; 3];
        for (store, state) in [&self.city, &self.county, &self.town].into_iter().zip(&mut states) {
            *state = store.order(&Scope::node(), id).await.ok().map(|row| (row.state, row.is_confirmed));
        }
        states
    }
}

fn question(target: NodeId, of: &str) -> Order {
    Order {
        kind: "question".into(),
        target,
        origin_name: String::new(),
        title: "报送汛期值守情况".into(),
        text: "请报送".into(),
        due_on: Some("2025-11-30".into()),
        region: of.into(),
        enterprise: None,
        step: None,
        by: OrderedBy { user: "7".into(), name: "王五".into(), roles: vec!["supervisor".into()] },
        made_at: 0,
        withdrawn: None,
    }
}

fn opening(target: NodeId, of: &str) -> Order {
    let fields = json!({"description": "x"}).as_object().unwrap().clone();
    let step = OrderedStep { register: "hidden_danger".into(), transition: "report".into(), fields, record: None };
    let enterprise = Some(OrderedEnterprise { code: "E1".into(), name: "市里的名字".into() });
    Order { kind: "open".into(), step: Some(step), enterprise, ..question(target, of) }
}

async fn give(store: &Store, n: u128, order: Order) -> OrderRow {
    let enterprises = store.all_enterprises().await.unwrap();
    let enterprise = order.enterprise.as_ref().and_then(|named| enterprises.iter().find(|e| e.code == named.code)).map(|e| e.id);
    store.make_order(&Scope::node(), &NewOrder { id: order_id(n), enterprise, order }, later(10)).await.unwrap()
}

const SENT: Option<(OrderState, bool)> = Some((OrderState::Sent, false));
const RECEIVED: Option<(OrderState, bool)> = Some((OrderState::Received, true));
const ANSWERED: Option<(OrderState, bool)> = Some((OrderState::Answered, true));
const WITHDRAWN: Option<(OrderState, bool)> = Some((OrderState::Withdrawn, true));

#[tokio::test]
async fn a_question_goes_down_three_levels_and_its_reply_comes_up() {
    on_both(|county| async move {
        let line = Line::around(county).await;
        let id = order_id(1);
        let sent = give(&line.city, 1, question(TOWN, "530402101")).await;
        assert_eq!((sent.state, sent.direction, sent.order.origin_name.as_str()), (OrderState::Sent, OrderDirection::Sent, "市局"));
        assert_eq!(line.states(id).await, [SENT, None, None]);
        line.down().await;
        assert_eq!(line.states(id).await, [SENT, SENT, RECEIVED]);
        line.up().await;
        assert_eq!(line.states(id).await, [RECEIVED; 3]);
        let before = line.ends().await;
        line.round().await;
        assert_eq!(line.ends().await, before, "nobody echoes");

        let node = Scope::node();
        let here = line.town.order(&node, id).await.unwrap();
        assert_eq!((here.origin, here.origin_name.as_str(), here.direction), (CITY, "市局", OrderDirection::Received));
        assert_eq!(line.county.order(&node, id).await.unwrap().direction, OrderDirection::Passing);
        assert!(here.is_late("2025-12-01") && !here.is_late("2025-11-30"));
        assert!(matches!(line.county.answer_order(&node, id, "x", later(20)).await, Err(StoreError::NotFound)), "it only passes here");
        assert!(matches!(line.town.withdraw_order(&node, id, later(20)).await, Err(StoreError::NotFound)), "it was not given here");
        let who = Scope { name: "赵六".into(), ..Scope::node() };
        line.town.answer_order(&who, id, "已安排值守", later(20)).await.unwrap();
        assert!(matches!(line.town.answer_order(&who, id, "再答", later(21)).await, Err(StoreError::Stale)));
        line.up().await;
        assert_eq!(line.states(id).await, [ANSWERED; 3]);
        let answer = line.city.order(&node, id).await.unwrap().answer.unwrap();
        assert_eq!((answer.by.as_str(), answer.text.as_str(), answer.at), ("赵六", "已安排值守", later(20).micros()));
        assert!(!line.city.order(&node, id).await.unwrap().is_late("2026-01-01"), "it was replied to");
        assert!(matches!(line.city.withdraw_order(&node, id, later(30)).await, Err(StoreError::Stale)));
        for store in [&line.city, &line.county, &line.town] {
            assert!(store.verify_audit(None).await.unwrap().complete);
        }
        // Once told and old, it goes from the feeds and stays where it stands.
        for (store, way) in [(&line.city, COUNTY.to_string()), (&line.county, UP.to_owned()), (&line.county, TOWN.to_string())] {
            let end = store.feed_end(&way).await.unwrap();
            assert_eq!(store.trim_feed(&way, end, NOW).await.unwrap(), 0);
            assert_eq!(store.trim_feed(&way, end, later(1_000)).await.unwrap(), 1, "{way}");
        }
        assert_eq!(line.states(id).await, [ANSWERED; 3]);
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_back_is_so_unless_it_was_done_before() {
    on_both(|county| async move {
        let line = Line::around(county).await;
        let node = Scope::node();
        for n in [1, 2, 3] {
            give(&line.city, n, question(TOWN, "530402101")).await;
        }
        // Before it arrived, after, and after it was replied to.
        line.city.withdraw_order(&Scope { name: "王五".into(), ..Scope::node() }, order_id(1), later(11)).await.unwrap();
        line.down().await;
        line.city.withdraw_order(&node, order_id(2), later(12)).await.unwrap();
        line.town.answer_order(&node, order_id(3), "好", later(12)).await.unwrap();
        line.city.withdraw_order(&node, order_id(3), later(13)).await.unwrap();
        assert_eq!(line.states(order_id(3)).await[0], Some((OrderState::Withdrawn, false)), "its target has not said so");
        line.round().await;
        assert_eq!(line.states(order_id(1)).await, [WITHDRAWN; 3]);
        assert_eq!(line.states(order_id(2)).await, [WITHDRAWN; 3]);
        assert_eq!(line.states(order_id(3)).await, [ANSWERED; 3]);
        let there = line.town.order(&node, order_id(1)).await.unwrap();
        assert_eq!(there.order.withdrawn.unwrap().by, "王五");
        let before = line.ends().await;
        line.round().await;
        assert_eq!(line.ends().await, before);
    })
    .await;
}

#[tokio::test]
async fn who_has_forgotten_hears_of_it_again() {
    on_both(|county| async move {
        let line = Line::around(county).await;
        let node = Scope::node();
        give(&line.city, 1, question(TOWN, "530402101")).await;
        line.round().await;
        line.town.answer_order(&node, order_id(1), "好", later(20)).await.unwrap();
        line.round().await;

        // The county was put back to a backup of before the order; what it says to its neighbours then begins behind what they have heard.
        let (restored, _directory) = other().await;
        be(&restored, COUNTY, "县局", NodeLevel::County, "530402").await;
        join(&restored, &line.town, TOWN, NodeLevel::Township, "530402101").await;
        stand_below(&restored, &line.city).await;
        for (store, of) in [(&line.town, COUNTY), (&line.city, COUNTY)] {
            store.reset_inbox(of).await.unwrap();
        }
        let Line { city, town, enterprise, _directories, .. } = line;
        let line = Line { city, county: restored, town, enterprise, _directories };
        // The answer is there before the order: it is refused, and comes again with it.
        let early = carry(&line.town, UP, &line.county, &peer(TOWN, NodeLevel::Township, "530402101"), later(30)).await;
        assert_eq!(early.iter().map(|r| (r.kind.as_str(), r.reason)).collect::<Vec<_>>(), [("answer", "unknown")]);
        line.round().await;
        assert_eq!(line.states(order_id(1)).await, [ANSWERED; 3]);

        // So was the township: it is asked anew, and what was heard above stays until it replies again.
        let (restored, _directory) = other().await;
        be(&restored, TOWN, "镇安监站", NodeLevel::Township, "530402101").await;
        stand_below(&restored, &line.county).await;
        line.county.reset_inbox(TOWN).await.unwrap();
        let Line { city, county, enterprise, _directories, .. } = line;
        let line = Line { city, county, town: restored, enterprise, _directories };
        line.round().await;
        assert_eq!(line.states(order_id(1)).await, [ANSWERED, ANSWERED, RECEIVED]);
        line.town.answer_order(&node, order_id(1), "再答", later(40)).await.unwrap();
        line.round().await;
        assert_eq!(line.city.order(&node, order_id(1)).await.unwrap().answer.unwrap().text, "再答");

        // A city that forgot the order does not take its answer for one: whatever a node below says, it gave no order.
        let (restored, _directory) = other().await;
        be(&restored, CITY, "市局", NodeLevel::City, "5304").await;
        join(&restored, &line.county, COUNTY, NodeLevel::County, "530402").await;
        line.county.reset_inbox(CITY).await.unwrap();
        let refused = carry(&line.county, UP, &restored, &peer(COUNTY, NodeLevel::County, "530402"), later(50)).await;
        assert_eq!(refused.iter().map(|r| (r.kind.as_str(), r.reason)).collect::<Vec<_>>(), [("answer", "unknown")]);
        assert_eq!(number(&restored, "SELECT COUNT(*) AS n FROM link_order").await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_an_older_release_refused_arrives_once_it_is_newer() {
    on_both(|county| async move {
        let line = Line::around(county).await;
        give(&line.city, 1, question(COUNTY, "530402")).await;
        // It heard everything, and did not know what an order is.
        let end = line.city.feed_end(&COUNTY.to_string()).await.unwrap();
        let have = line.county.inbox(CITY).await.unwrap().feed;
        line.county.apply_feed(&peer(CITY, NodeLevel::City, "5304"), have, end, &[], later(5)).await.unwrap();
        line.round().await;
        assert_eq!(line.states(order_id(1)).await, [SENT, None, None]);
        line.city.tell_orders(COUNTY, NOW).await.unwrap();
        line.round().await;
        assert_eq!(line.states(order_id(1)).await, [RECEIVED, RECEIVED, None]);
        let before = line.ends().await;
        line.city.tell_orders(COUNTY, NOW).await.unwrap();
        assert_eq!(line.ends().await, before, "what was confirmed is not told again");
    })
    .await;
}

#[tokio::test]
async fn whoever_was_left_orders_and_learns_nothing_any_more() {
    on_both(|county| async move {
        let line = Line::around(county).await;
        give(&line.city, 1, question(COUNTY, "530402")).await;
        give(&line.city, 2, opening(COUNTY, "530402")).await;
        line.round().await;
        assert_eq!(line.county.orders_to_do().await.unwrap(), [order_id(2)]);
        line.county.leave_parent(&Scope::node(), later(5)).await.unwrap();
        assert_eq!(line.county.orders_to_do().await.unwrap(), []);
        let (another, _directory) = other().await;
        be(&another, OTHER, "另一市局", NodeLevel::City, "5304").await;
        join(&another, &line.county, COUNTY, NodeLevel::County, "530402").await;
        let scope = Scope { name: "王五".into(), ..Scope::node() };
        line.county.answer_order(&scope, order_id(1), "好", later(9)).await.unwrap();
        let told = line.county.feed(UP, 0, 1_000).await.unwrap();
        assert!(!told.is_empty() && told.iter().all(|entry| entry.kind != "answer"), "the question was another's");
    })
    .await;
}

#[tokio::test]
async fn nobody_is_obeyed_or_believed_beyond_their_place() {
    on_both(|county| async move {
        let line = Line::around(county).await;
        let node = Scope::node();
        let sent = |from: NodeId, n: u128, body: &Value| FeedEntry {
            seq: 0,
            kind: "order".into(),
            subject: format!("{from}/{}", order_id(n)),
            body: body.to_string(),
        };
        let good = json!(Order { origin_name: "市局".into(), ..question(COUNTY, "530402") });
        let with = |field: &str, value: Value| {
            let mut body = good.clone();
            body[field] = value;
            body
        };
        let apply = async |store: &Store, from: &Peer, entries: &[FeedEntry]| {
            let have = store.inbox(from.id).await.unwrap().feed;
            let applied = store.apply_feed(from, have, have, entries, later(5)).await.unwrap();
            applied.refused.into_iter().map(|refused| refused.reason).collect::<Vec<_>>()
        };
        // From above: of a node that is not above, for a node that is not below, and what is none.
        let step = |register: &str| json!({"register": register, "transition": "report", "fields": {}});
        let cases = [
            (sent(OTHER, 1, &good), "origin"),
            (sent(TOWN, 1, &good), "origin"),
            (sent(COUNTY, 1, &good), "origin"),
            (sent(CITY, 1, &with("target", json!(OTHER.to_string()))), "unknown"),
            (sent(CITY, 1, &with("target", json!(CITY.to_string()))), "unknown"),
            (sent(CITY, 1, &with("target", json!("x"))), "body"),
            (sent(CITY, 1, &with("kind", json!("obey"))), "kind"),
            (sent(CITY, 1, &with("kind", json!("open"))), "body"),
            (sent(CITY, 1, &with("step", step("hidden_danger"))), "body"),
            (sent(CITY, 1, &with("title", json!("a\u{0}b"))), "body"),
            (sent(CITY, 1, &with("title", json!(""))), "body"),
            (sent(CITY, 1, &with("text", json!("x".repeat(4_001)))), "body"),
            (sent(CITY, 1, &with("due_on", json!("soon"))), "body"),
            (sent(CITY, 1, &with("region", json!("here"))), "body"),
            (FeedEntry { subject: format!("{CITY}/1"), ..sent(CITY, 1, &good) }, "subject"),
        ];
        let from_city = peer(CITY, NodeLevel::City, "5304");
        for (entry, why) in cases {
            assert_eq!(apply(&line.county, &from_city, std::slice::from_ref(&entry)).await, [why], "{entry:?}");
        }
        // From below nobody orders, and from above nobody answers.
        let from_town = peer(TOWN, NodeLevel::Township, "530402101");
        for origin in [TOWN, CITY] {
            assert_eq!(apply(&line.county, &from_town, &[sent(origin, 1, &good)]).await, ["origin"]);
        }
        assert_eq!(number(&line.county, "SELECT COUNT(*) AS n FROM link_order").await, 0);
        let said = |n: u128, body: Value| FeedEntry { kind: "answer".into(), ..sent(CITY, n, &body) };

        // A second township answers for the first.
        let (second, _directory) = other().await;
        be(&second, OTHER, "二镇", NodeLevel::Township, "530402102").await;
        join(&line.county, &second, OTHER, NodeLevel::Township, "530402102").await;
        give(&line.city, 1, question(TOWN, "530402101")).await;
        line.round().await;
        let from_other = peer(OTHER, NodeLevel::Township, "530402102");
        let answered = json!({"state": "answered", "at": 1, "text": "好"});
        assert_eq!(apply(&line.county, &from_other, &[said(1, answered.clone())]).await, ["origin"]);
        assert_eq!(apply(&line.county, &from_city, &[said(1, answered.clone())]).await, ["origin"]);
        for (body, why) in [
            (json!({"state": "done", "at": 1}), "body"),
            (json!({"state": "sent", "at": 1}), "body"),
            // Nobody took it back.
            (json!({"state": "withdrawn", "at": 1}), "body"),
            (json!({"state": "answered", "at": 1, "text": "a\u{0}"}), "body"),
            (json!({"state": "answered"}), "body"),
        ] {
            assert_eq!(apply(&line.county, &from_town, &[said(1, body.clone())]).await, [why], "{body}");
        }
        assert_eq!(apply(&line.county, &from_town, &[said(9, answered.clone())]).await, ["unknown"]);
        let of_another = FeedEntry { subject: format!("{COUNTY}/{}", order_id(1)), ..said(1, answered) };
        assert_eq!(apply(&line.county, &from_town, &[of_another]).await, ["unknown"]);
        assert_eq!(line.states(order_id(1)).await, [RECEIVED; 3]);
        // One that is known does not become another's, nor for another.
        let mut other_target = json!(line.city.order(&node, order_id(1)).await.unwrap().order);
        other_target["target"] = json!(COUNTY.to_string());
        assert_eq!(apply(&line.county, &from_city, &[sent(CITY, 1, &other_target)]).await, ["home"]);
        // And an order goes to nobody who is not below.
        for target in [COUNTY, CITY, NodeId::new(9)] {
            let new = NewOrder { id: order_id(7), enterprise: None, order: question(target, "530402") };
            assert!(matches!(line.county.make_order(&node, &new, NOW).await, Err(StoreError::Missing { field: "target" })), "{target}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_step_waits_for_the_node_and_is_settled_once() {
    on_both(|county| async move {
        let line = Line::around(county).await;
        let node = Scope::node();
        give(&line.city, 1, opening(TOWN, "530402101")).await;
        give(&line.city, 2, opening(TOWN, "530402101")).await;
        give(&line.city, 3, question(TOWN, "530402101")).await;
        line.round().await;
        // The enterprise is known at each level by its code, whatever it is called.
        let there = line.town.order(&node, order_id(1)).await.unwrap();
        assert_eq!((there.enterprise, there.enterprise_name.as_deref()), (Some(line.enterprise), Some("E1化工")));
        assert!(line.county.order(&node, order_id(1)).await.unwrap().enterprise.is_some());
        assert_eq!(line.town.orders_to_do().await.unwrap(), [order_id(1), order_id(2)]);
        assert!(line.county.orders_to_do().await.unwrap().is_empty(), "they only pass here");

        let record = || AnsweredRecord { register: "hidden_danger".into(), id: 5, number: "YH-1".into(), title: "x".into() };
        // Nothing of a change that did not commit.
        let mut change = line.town.change_records(&node, later(20)).await.unwrap();
        assert!(change.order(order_id(1)).await.unwrap().is_some());
        change.order_done(order_id(1), record()).await.unwrap();
        drop(change);
        assert_eq!(line.town.order(&node, order_id(1)).await.unwrap().state, OrderState::Received);
        let mut change = line.town.change_records(&node, later(20)).await.unwrap();
        change.order_done(order_id(1), record()).await.unwrap();
        change.commit().await.unwrap();
        let mut change = line.town.change_records(&node, later(20)).await.unwrap();
        assert!(change.order(order_id(1)).await.unwrap().is_none(), "once");
        drop(change);
        let params = [("says".to_owned(), "不行".to_owned()), ("says_en".to_owned(), "no".to_owned())].into();
        let problems = vec![OrderProblem { code: "register.guard".into(), field: None, params }];
        assert!(line.town.refuse_order(order_id(2), problems.clone(), later(21)).await.unwrap());
        assert!(!line.town.refuse_order(order_id(2), Vec::new(), later(22)).await.unwrap());
        assert!(!line.town.refuse_order(order_id(1), Vec::new(), later(22)).await.unwrap());
        line.round().await;
        assert_eq!(line.states(order_id(1)).await, [Some((OrderState::Done, true)); 3]);
        assert_eq!(line.states(order_id(2)).await, [Some((OrderState::Refused, true)); 3]);
        assert_eq!(line.city.order(&node, order_id(1)).await.unwrap().answer.unwrap().record, Some(record()));
        assert_eq!(line.city.order(&node, order_id(2)).await.unwrap().answer.unwrap().problems, problems);
        let page = async |filter: OrderFilter| line.city.orders(&node, &filter, &Paging { cursor: None, limit: 2 }).await;
        let of = |page: Page<OrderRow>| page.items.into_iter().map(|row| row.id).collect::<Vec<_>>();
        let first = line.city.orders(&node, &OrderFilter::default(), &Paging { cursor: None, limit: 2 }).await.unwrap();
        let rest = line.city.orders(&node, &OrderFilter::default(), &Paging { cursor: first.next.clone(), limit: 2 }).await.unwrap();
        assert_eq!((of(first), of(rest)), (vec![order_id(3), order_id(2)], vec![order_id(1)]));
        let late = OrderFilter { due_before: Some("2025-12-01".into()), ..OrderFilter::default() };
        assert_eq!(of(page(late).await.unwrap()), [order_id(3)]);
        let refused = OrderFilter { state: Some(OrderState::Refused), is_open: Some(false), ..OrderFilter::default() };
        assert_eq!(of(page(refused).await.unwrap()), [order_id(2)]);
        for (direction, n) in [(OrderDirection::Sent, 2), (OrderDirection::Received, 0), (OrderDirection::Passing, 0)] {
            let filter = OrderFilter { direction: Some(direction), ..OrderFilter::default() };
            assert_eq!(of(page(filter).await.unwrap()).len(), n, "{direction:?}");
        }
        // Whoever has another territory sees none of it, nor orders into this one.
        let grant = Grant { role: Role::Supervisor, region: Some(region("530423")), sector: None, enterprise: None };
        let foreign = Scope { user: None, name: "x".into(), grants: vec![grant] };
        assert!(of(line.city.orders(&foreign, &OrderFilter::default(), &Paging::all()).await.unwrap()).is_empty());
        assert!(matches!(line.city.order(&foreign, order_id(3)).await, Err(StoreError::NotFound)));
        assert!(matches!(line.city.withdraw_order(&foreign, order_id(3), later(30)).await, Err(StoreError::NotFound)));
        let new = NewOrder { id: order_id(8), enterprise: None, order: question(TOWN, "530402101") };
        assert!(matches!(line.city.make_order(&foreign, &new, later(30)).await, Err(StoreError::OutOfScope)));
        // The enterprise's people see what is about it.
        let grant = Grant { role: Role::SafetyManager, region: None, sector: None, enterprise: Some(line.enterprise) };
        let own = Scope { user: None, name: "x".into(), grants: vec![grant] };
        assert_eq!(of(line.town.orders(&own, &OrderFilter::default(), &Paging::all()).await.unwrap()), [order_id(2), order_id(1)]);
        assert!(line.town.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

/// What a release once sent is understood by every later one; what a later one adds is passed on by the nodes between.
#[tokio::test]
async fn bodies_of_every_release_are_understood() {
    on_both(|county| async move {
        let line = Line::around(county).await;
        let town = TOWN.to_string();
        let bodies = [
            // As first released, with as little as there may be, and all there is.
            json!({"kind": "question", "target": town, "origin_name": "市局", "title": "问", "region": "530402101", "by": {"name": "王五"}, "made_at": 1}),
            json!({"kind": "act", "target": town, "origin_name": "市局", "title": "办", "text": "请办", "due_on": "2025-12-01", "region": "530402101",
                "enterprise": {"code": "E1", "name": "甲厂"},
                "step": {"register": "hidden_danger", "transition": "rate", "fields": {"level": "major"}, "record": {"id": 3, "revision": 2}},
                "by": {"user": "7", "name": "王五", "roles": ["supervisor"]}, "made_at": 1, "withdrawn": {"by": "王五", "at": 2}}),
            json!({"kind": "question", "target": town, "origin_name": "市局", "title": "问", "region": "530402101", "by": {"name": "王五"}, "made_at": 1,
                "urgency": "high"}),
        ];
        let from_city = peer(CITY, NodeLevel::City, "5304");
        for (n, body) in (1..).zip(&bodies) {
            let have = line.county.inbox(CITY).await.unwrap().feed;
            let subject = format!("{CITY}/{}", order_id(n));
            let entry = FeedEntry { seq: have + 1, kind: "order".into(), subject, body: body.to_string() };
            let applied = line.county.apply_feed(&from_city, have, have + 1, &[entry], later(3)).await.unwrap();
            assert!(applied.refused.is_empty(), "{applied:?}");
        }
        let passed = line.county.feed(&town, 0, 100).await.unwrap();
        let passed: Vec<Value> = passed.iter().filter(|e| e.kind == "order").map(|e| serde_json::from_str(&e.body).unwrap()).collect();
        assert_eq!(passed, bodies);
        assert_eq!(carry(&line.county, &town, &line.town, &peer(COUNTY, NodeLevel::County, "530402"), later(4)).await, []);
        let states = [1, 2, 3].map(order_id).map(async |id| line.town.order(&Scope::node(), id).await.unwrap().state);
        let mut stand = Vec::new();
        for state in states {
            stand.push(state.await);
        }
        assert_eq!(stand, [OrderState::Received, OrderState::Withdrawn, OrderState::Received]);
        let answers = [
            json!({"state": "answered", "at": 5, "mood": "good"}),
            json!({"state": "refused", "at": 5, "by": "", "text": "", "record": {"register": "x", "id": 1},
                "problems": [{"code": "register.guard"}, {"code": "x", "field": "fields.a", "params": {"says": "不"}}]}),
        ];
        for (n, body) in (1..).zip(&answers) {
            let have = line.county.inbox(TOWN).await.unwrap().feed;
            let subject = format!("{CITY}/{}", order_id(n));
            let entry = FeedEntry { seq: have + 1, kind: "answer".into(), subject, body: body.to_string() };
            let from = peer(TOWN, NodeLevel::Township, "530402101");
            let applied = line.county.apply_feed(&from, have, have + 1, &[entry], later(3)).await.unwrap();
            assert!(applied.refused.is_empty(), "{applied:?}");
        }
        let passed = line.county.feed(UP, 0, 100).await.unwrap();
        let passed: Vec<Value> = passed.iter().filter(|e| e.kind == "answer").map(|e| serde_json::from_str(&e.body).unwrap()).collect();
        assert_eq!(passed, answers);
    })
    .await;
}
