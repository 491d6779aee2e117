//! Both ends of JT/T 809 over real sockets: ours against ours, and against bytes that nobody should send. As claims.
#![allow(missing_docs)]

mod common;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anlan_ingest::jt808::Unknown;
use anlan_ingest::jt809::{Pace, PlatformSettings, Settings, UpperSettings, Year, serve_platforms, serve_upper};
use anlan_ingest::{Protocol, Reason};
use anlan_model::platform::{Fleet, FleetError, FleetVehicle, Follow, Stretch, plate_key};
use anlan_model::{Flags, Kept, Position, RawPosition, Refusal, RegionCode, Source, SourceEvent, Timestamp, Trust, VehicleId};
use anlan_protocols::jt808::{self, Record, Value};
use anlan_protocols::jt809::session::Timing;
use anlan_protocols::jt809::{Cipher, Edition, Frames, Header, Message, Vehicle, body, encode_frame, position_record};
use common::{Client, House, Mode, NOW, limits, listener};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CODE: u32 = 530_400_001;
const USER: u32 = 4_711;

fn now() -> Timestamp {
    Timestamp::parse(NOW).unwrap()
}

/// Everything that takes minutes in the field takes moments here.
fn pace() -> Pace {
    Pace {
        timing: Timing { beat_us: 300_000, silent_us: 3_000_000, retry_us: 100_000 },
        count: Duration::from_millis(200),
        mark: Duration::from_millis(50),
        look: Duration::from_millis(20),
    }
}

/// Vehicles and a log in memory.
#[derive(Default)]
struct FakeFleet {
    vehicles: Mutex<Vec<FleetVehicle>>,
    log: Arc<Mutex<Vec<Vec<Position>>>>,
    /// Records up to this one are gone from the log.
    gone: Arc<Mutex<u64>>,
}

struct FakeFollow {
    log: Arc<Mutex<Vec<Vec<Position>>>>,
    gone: Arc<Mutex<u64>>,
    at: u64,
}

impl Follow for FakeFollow {
    fn next(&mut self, upto: u64, most: usize) -> Result<Stretch, FleetError> {
        let gone = *self.gone.lock().unwrap();
        if self.at < gone {
            return Err(FleetError::Gone { first: gone + 1, now: Some(now()) });
        }
        let mut found = Stretch { upto: self.at, ..Stretch::default() };
        for record in self.log.lock().unwrap().iter().skip(self.at as usize) {
            if found.upto >= upto || found.positions.len() >= most {
                break;
            }
            found.positions.extend(record.iter().cloned());
            found.now = Some(now());
            found.upto += 1;
        }
        self.at = found.upto;
        Ok(found)
    }
}

impl Fleet for FakeFleet {
    fn generation(&self) -> u64 {
        0
    }
    fn by_plate(&self, plate: &str) -> Vec<FleetVehicle> {
        self.vehicles.lock().unwrap().iter().filter(|v| plate_key(&v.plate) == plate_key(plate)).cloned().collect()
    }
    fn by_phone(&self, phone: &str) -> Option<FleetVehicle> {
        self.vehicles.lock().unwrap().iter().find(|v| v.phone == phone).cloned()
    }
    fn vehicle(&self, id: VehicleId) -> Option<FleetVehicle> {
        self.vehicles.lock().unwrap().iter().find(|v| v.id == id).cloned()
    }
    fn vehicles(&self) -> Vec<VehicleId> {
        self.vehicles.lock().unwrap().iter().map(|v| v.id).collect()
    }
    fn head(&self) -> u64 {
        self.log.lock().unwrap().len() as u64
    }
    fn follow(&self, from: u64) -> Box<dyn Follow> {
        Box::new(FakeFollow { log: self.log.clone(), gone: self.gone.clone(), at: from })
    }
    fn positions(
        &self,
        id: VehicleId,
        from: Timestamp,
        to: Timestamp,
        after: Option<Timestamp>,
        most: usize,
    ) -> Result<Vec<Position>, FleetError> {
        let mut found: Vec<_> = self.log.lock().unwrap().iter().flatten().filter(|p| p.vehicle == id).cloned().collect();
        found.retain(|p| p.event_at >= from && p.event_at < to && after.is_none_or(|after| p.event_at > after));
        found.sort_by_key(|p| p.event_at);
        found.truncate(most);
        Ok(found)
    }
}

fn vehicle(id: i64, phone: &str, plate: &str) -> FleetVehicle {
    FleetVehicle { id: VehicleId::new(id), phone: phone.into(), plate: plate.into(), region: RegionCode::new("530402"), adopted: true }
}

/// The `n`-th position of a vehicle: a second apart, so that each is known again.
fn kept(id: i64, n: i64) -> Position {
    let at = now().plus_us(-3_600_000_000 + n * 1_000_000);
    Position {
        vehicle: VehicleId::new(id),
        event_at: at,
        device_at: Some(at),
        received_at: now().plus_us(-1_000_000),
        lon_e6: 102_543_000 + n as i32,
        lat_e6: 24_351_000,
        altitude_m: 1_640,
        speed_dkmh: 600,
        direction_deg: 90,
        alarm_bits: 0,
        status_bits: 0b11,
        body_crc: 1,
        flags: Flags::default(),
        // Whole kilometres: 2011 has no others.
        items: vec![1, 4, 0, 1, 0xe2, 0x3a],
    }
}

impl FakeFleet {
    fn of(vehicles: &[FleetVehicle]) -> Arc<Self> {
        Arc::new(Self { vehicles: Mutex::new(vehicles.to_vec()), ..Self::default() })
    }
    fn keep(&self, positions: impl IntoIterator<Item = Position>) {
        self.log.lock().unwrap().extend(positions.into_iter().map(|p| vec![p]));
    }
}

/// A folder with the password, a certificate and its key.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("password"), "s3cret-9\n").unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self(dir)
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn server(&self) -> Arc<rustls::ServerConfig> {
        use rustls::pki_types::pem::PemObject as _;
        let chain = vec![rustls::pki_types::CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()];
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(self.path("key.pem")).unwrap();
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        Arc::new(builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

#[derive(Clone, Copy)]
struct Way {
    year: Year,
    tls: bool,
    cipher: bool,
}

const PLAIN_2011: Way = Way { year: Year::V2011, tls: false, cipher: false };

impl Way {
    fn constants(self) -> [Option<u32>; 3] {
        if self.cipher { [Some(10_000_000), Some(20_000_000), Some(30_000_000)] } else { [None; 3] }
    }
}

fn below(files: &Files, way: Way) -> PlatformSettings {
    let [m1, ia1, ic1] = way.constants();
    PlatformSettings {
        name: "plant".into(),
        access_code: CODE,
        user_id: USER,
        password_file: files.path("password"),
        edition: way.year,
        m1,
        ia1,
        ic1,
        addresses: vec!["127.0.0.1".parse().unwrap()],
        region: Some("5304".into()),
        ca: way.tls.then(|| files.path("ca.pem")),
        plain: !way.tls,
    }
}

fn above(files: &Files, way: Way, address: SocketAddr) -> UpperSettings {
    let [m1, ia1, ic1] = way.constants();
    UpperSettings {
        name: "city".into(),
        address: address.to_string(),
        access_code: CODE,
        user_id: USER,
        password_file: files.path("password"),
        edition: way.year,
        m1,
        ia1,
        ic1,
        ca: way.tls.then(|| files.path("ca.pem")),
        plain: !way.tls,
        listen: Some("127.0.0.1:0".parse().unwrap()),
        announce: None,
        announce_port: None,
        addresses: Vec::new(),
        platform_id: None,
        region: None,
        plate_colour: 2,
    }
}

/// An upper end that runs.
struct Taking {
    house: House,
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn take(files: &Files, way: Way, platform: PlatformSettings, fleet: Arc<FakeFleet>, unknown: Unknown) -> Taking {
    let (listener, _) = listener().await;
    take_on(listener, files, way, platform, fleet, unknown).await
}

async fn take_on(
    listener: TcpListener,
    files: &Files,
    way: Way,
    platform: PlatformSettings,
    fleet: Arc<FakeFleet>,
    unknown: Unknown,
) -> Taking {
    let house = House::with(limits());
    let address = listener.local_addr().unwrap();
    let setup = Settings { platform: vec![platform], plain: !way.tls, ..Settings::default() }.check().unwrap();
    let tls = way.tls.then(|| files.server());
    let task = tokio::spawn(serve_platforms(listener, tls, house.ctx.clone(), fleet, setup.platforms, unknown, pace()));
    Taking { stop: house.ctx.stop.clone(), house, address, task }
}

impl Taking {
    async fn stop(self) -> House {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(8), self.task).await.expect("it stops").unwrap();
        self.house
    }
    fn refused(&self, reason: Reason) -> u64 {
        self.house.ctx.stats.link(Protocol::Jt809).refused(reason)
    }
    async fn until_refused(&self, reason: Reason) {
        self.house.until(reason.as_str(), |_| self.refused(reason) > 0).await;
    }
    fn positions(&self) -> Vec<(String, Trust, RawPosition)> {
        positions(&self.house)
    }
}

fn positions(house: &House) -> Vec<(String, Trust, RawPosition)> {
    let seen = house.intake.seen().into_iter();
    let of = |source: &Source| match source {
        Source::Terminal { phone, trust } => (phone.clone(), *trust),
        other => panic!("positions of {other:?}"),
    };
    seen.flat_map(|s| s.positions.into_iter().map(move |p| (s.source.clone(), p)))
        .map(|(source, p)| {
            let (phone, trust) = of(&source);
            (phone, trust, p)
        })
        .collect()
}

/// A lower end that runs.
struct Giving {
    house: House,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn give(files: &Files, way: Way, upper: UpperSettings, fleet: Arc<FakeFleet>, dir: &Path) -> Giving {
    let house = House::new();
    let setup = Settings { upper: vec![upper], ..Settings::default() }.check().unwrap();
    let upper = setup.uppers.into_iter().next().unwrap();
    let listener = TcpListener::bind(upper.listen().unwrap()).await.unwrap();
    let tls = way.tls.then(|| files.server());
    let given = serve_upper(upper, Some(listener), tls, house.ctx.clone(), fleet, dir, pace()).unwrap();
    Giving { stop: house.ctx.stop.clone(), house, task: tokio::spawn(given) }
}

impl Giving {
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(8), self.task).await.expect("it stops").unwrap();
    }
}

fn fleet_of_two() -> Arc<FakeFleet> {
    FakeFleet::of(&[vehicle(1, "13800138000", "云F12345"), vehicle(2, "13800138001", "云F·6789D")])
}

/// How many positions came under each number, repeats left out.
fn distinct(house: &House, phone: &str) -> usize {
    let mut all: Vec<_> = positions(house).into_iter().filter(|(p, _, _)| p == phone).map(|(_, _, p)| (p.device_at, p.body_crc)).collect();
    all.sort();
    all.dedup();
    all.len()
}

/// Positions from one end to the other, with everything that either side may want.
async fn check_pair(way: Way) {
    let files = Files::new();
    let taking = take(&files, way, below(&files, way), fleet_of_two(), Unknown::Refuse).await;
    let fleet = fleet_of_two();
    let giving = give(&files, way, above(&files, way, taking.address), fleet.clone(), files.0.path()).await;
    taking
        .house
        .until("both ends log in", |i| i.events().iter().any(|e| matches!(e, SourceEvent::Platform { kind: "platform_up", .. })))
        .await;
    giving.house.until("and see it", |i| i.events().iter().any(|e| matches!(e, SourceEvent::Platform { kind: "platform_up", .. }))).await;
    let fresh = |id, n: i64| {
        let at = now().plus_us(-n * 1_000_000);
        Position { event_at: at, device_at: Some(at), ..kept(id, n) }
    };
    fleet.keep((0..20).map(|n| fresh(1 + n % 2, n)));
    taking.house.until("all positions", |_| taking.positions().len() >= 20).await;
    let all = taking.positions();
    assert_eq!(all.len(), 20, "on an unbroken link nothing comes twice");
    let (phone, trust, first) = &all[0];
    assert_eq!((phone.as_str(), *trust), ("13800138000", Trust::Platform));
    let sent = fresh(1, 0);
    assert_eq!((first.device_at, first.lon_e6, first.lat_e6), (sent.device_at, sent.lon_e6, sent.lat_e6));
    assert_eq!((first.speed_dkmh, first.direction_deg, first.altitude_m, first.status_bits), (600, 90, 1_640, 0b11));
    assert!(!first.backfill);
    assert_eq!(anlan_model::item(&first.items, 1), anlan_model::item(&sent.items, 1), "the odometer comes through in both editions");
    giving.stop().await;
    taking
        .house
        .until("the logout is heard", |i| i.events().iter().any(|e| matches!(e, SourceEvent::Platform { kind: "platform_down", .. })))
        .await;
    assert_eq!(taking.refused(Reason::BadFrame) + taking.refused(Reason::Unreadable), 0);
    taking.stop().await;
}

#[tokio::test]
async fn positions_of_2011_go_up() {
    check_pair(PLAIN_2011).await;
}

#[tokio::test]
async fn positions_of_2019_go_up_encrypted_inside_tls() {
    check_pair(Way { year: Year::V2019, tls: true, cipher: true }).await;
}

#[tokio::test]
async fn positions_of_2011_go_up_encrypted_inside_tls() {
    check_pair(Way { year: Year::V2011, tls: true, cipher: true }).await;
}

#[tokio::test]
async fn positions_of_2019_go_up_in_the_clear() {
    check_pair(Way { year: Year::V2019, tls: false, cipher: false }).await;
}

#[tokio::test]
async fn what_was_kept_while_the_link_was_down_follows_as_back_fill() {
    let files = Files::new();
    let (listener, address) = listener().await;
    drop(listener);
    let fleet = fleet_of_two();
    let giving = give(&files, PLAIN_2011, above(&files, PLAIN_2011, address), fleet.clone(), files.0.path()).await;
    // Nobody listens yet.
    tokio::time::sleep(Duration::from_millis(150)).await;
    fleet.keep((0..1_234).map(|n| kept(1 + n % 2, n)));
    let listener = TcpListener::bind(address).await.unwrap();
    let taking = take_on(listener, &files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    taking.house.until("the backlog", |_| distinct(&taking.house, "13800138000") + distinct(&taking.house, "13800138001") >= 1_234).await;
    let all = taking.positions();
    assert!(all.iter().all(|(_, _, p)| p.backfill));
    let of_one: Vec<_> = all.iter().filter(|(phone, _, _)| phone == "13800138000").map(|(_, _, p)| p.device_at).collect();
    assert!(of_one.is_sorted(), "oldest first");
    giving.stop().await;
    taking.stop().await;
}

#[tokio::test]
async fn a_restart_of_either_side_loses_nothing() {
    let files = Files::new();
    let way = PLAIN_2011;
    let fleet = fleet_of_two();
    let taking = take(&files, way, below(&files, way), fleet_of_two(), Unknown::Refuse).await;
    let address = taking.address;
    let giving = give(&files, way, above(&files, way, address), fleet.clone(), files.0.path()).await;
    fleet.keep((0..100).map(|n| kept(1, n)));
    taking.house.until("the first hundred", |_| distinct(&taking.house, "13800138000") >= 100).await;
    // The upper end goes away in the middle of it; what it has then is all that it has.
    fleet.keep((100..600).map(|n| kept(1, n)));
    let before = taking.stop().await;
    fleet.keep((600..700).map(|n| kept(1, n)));
    // The lower end starts anew, too: from its file.
    giving.stop().await;
    let giving = give(&files, way, above(&files, way, address), fleet.clone(), files.0.path()).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let taking = take_on(listener, &files, way, below(&files, way), fleet_of_two(), Unknown::Refuse).await;
    let together = || {
        let mut all: Vec<_> = positions(&before).into_iter().chain(taking.positions()).map(|(_, _, p)| (p.device_at, p.body_crc)).collect();
        all.sort();
        all.dedup();
        all.len()
    };
    taking.house.until("all seven hundred", |_| together() >= 700).await;
    assert_eq!(together(), 700, "given twice is the same twice");
    giving.stop().await;
    taking.stop().await;
}

#[tokio::test]
async fn what_the_log_has_dropped_comes_from_history() {
    let files = Files::new();
    let fleet = fleet_of_two();
    let (listener, address) = listener().await;
    drop(listener);
    let giving = give(&files, PLAIN_2011, above(&files, PLAIN_2011, address), fleet.clone(), files.0.path()).await;
    fleet.keep((0..300).map(|n| kept(1 + n % 2, n)));
    *fleet.gone.lock().unwrap() = 200;
    let taking =
        take_on(TcpListener::bind(address).await.unwrap(), &files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse)
            .await;
    let n = || distinct(&taking.house, "13800138000") + distinct(&taking.house, "13800138001");
    taking.house.until("all of it", |_| n() >= 300).await;
    giving.stop().await;
    taking.stop().await;
}

#[tokio::test]
async fn a_full_shard_is_waited_for_and_a_heartbeat_until_then_unanswered() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::login(taking.address).await;
    taking.house.intake.set(Mode::Hold);
    platform.send(&platform.position(0x1202, "云F12345", 7)).await;
    platform.send(&Message::raw(0x1005, Vec::new())).await;
    taking.house.until("the position is out", |i| i.n_held() > 0).await;
    assert!(platform.client.silent().await, "a heartbeat is answered once what came before it is kept");
    taking.house.intake.release(Err(Refusal::Overloaded));
    taking.house.until("it is offered again", |i| i.n_held() > 0).await;
    taking.house.intake.set(Mode::Keep);
    taking.house.intake.release(Ok(Kept { stored: 1, repeated: 0 }));
    assert_eq!(platform.hear().await.business, 0x1006);
    // And then counted, over the main link, since this platform has no other.
    let count = platform.hear().await;
    assert_eq!((count.business, count.record().unwrap().number("total")), (0x9101, Some(1)));
    taking.stop().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_written_ends_the_link() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::login(taking.address).await;
    taking.house.intake.set(Mode::RefuseFirst(Refusal::Storage, 100));
    platform.send(&platform.position(0x1202, "云F12345", 7)).await;
    assert!(platform.client.closes().await);
    taking.until_refused(Reason::Storage).await;
    taking.stop().await;
}

/// A platform that says what it is told to.
struct Bytes {
    client: Client,
    frames: Frames,
    serial: u32,
    code: u32,
}

impl Bytes {
    async fn connect(address: SocketAddr) -> Self {
        Self { client: Client::connect(address).await, frames: Frames::new(Edition::V2011), serial: 0, code: CODE }
    }
    async fn login(address: SocketAddr) -> Self {
        let mut platform = Self::connect(address).await;
        platform.send(&login(USER, "s3cret-9", "", 0)).await;
        let answer = platform.hear().await;
        assert_eq!((answer.business, answer.record().unwrap().number("result")), (0x1002, Some(0)));
        platform
    }
    fn frame(&mut self, message: &Message) -> Vec<u8> {
        let header = Header::new(message.business, self.code, self.serial, 0);
        self.serial += 1;
        encode_frame(&header, Edition::V2011, &body(message, Edition::V2011).unwrap(), None).unwrap()
    }
    async fn send(&mut self, message: &Message) {
        let frame = self.frame(message);
        self.client.send(&frame).await;
    }
    async fn hear(&mut self) -> Message {
        loop {
            if let Some(frame) = self.frames.next() {
                return frame.unwrap().decode(None).0;
            }
            let bytes = self.client.some().await;
            assert!(!bytes.is_empty(), "the server closed");
            self.frames.push(&bytes);
        }
    }
    fn position(&self, sub: u16, plate: &str, n: i64) -> Message {
        let time = now().plus_us(-n * 1_000_000);
        let one = position_record(&jt808::Position::at(24_351_000, 102_543_000, time), Edition::V2011).unwrap();
        let record = if sub == 0x1203 { Record(vec![("positions", Value::List(vec![one]))]) } else { one };
        Message::sub(Edition::V2011, 0x1200, Some(Vehicle::new(plate, 2)), sub, record).unwrap()
    }
    fn registration(&self, plate: &str, sim: &str) -> Message {
        let text = |t: &str| Value::Text(t.to_owned());
        let values =
            vec![("platform", text("x")), ("producer", text("y")), ("model", text("")), ("terminal", text("z")), ("sim", text(sim))];
        Message::sub(Edition::V2011, 0x1200, Some(Vehicle::new(plate, 2)), 0x1201, Record(values)).unwrap()
    }
}

fn login(user: u32, password: &str, address: &str, port: u16) -> Message {
    let values = vec![
        ("user_id", Value::Number(user.into())),
        ("password", Value::Text(password.to_owned())),
        ("down_address", Value::Text(address.to_owned())),
        ("down_port", Value::Number(port.into())),
    ];
    Message::new(0x1001, Record(values)).unwrap()
}

/// A login that is refused with `result`.
async fn check_login(code: u32, login: Message, result: u64) {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::connect(taking.address).await;
    platform.code = code;
    platform.send(&login).await;
    let answer = platform.hear().await;
    assert_eq!((answer.business, answer.record().unwrap().number("result")), (0x1002, Some(result)));
    assert!(platform.client.closes().await);
    taking.until_refused(Reason::Credentials).await;
    assert!(taking.house.intake.events().is_empty());
    taking.stop().await;
}

#[tokio::test]
async fn wrong_logins_are_told_what_is_wrong_and_closed() {
    check_login(CODE, login(USER, "s3cret-9", "10.1.2.3", 9_000), 1).await;
    check_login(CODE, login(USER, "s3cret-9", "localhost", 9_000), 1).await;
    check_login(CODE + 1, login(USER, "s3cret-9", "", 0), 2).await;
    check_login(CODE, login(USER + 1, "s3cret-9", "", 0), 3).await;
    check_login(CODE, login(USER, "s3cret-8", "", 0), 4).await;
    check_login(CODE, login(USER, "", "", 0), 4).await;
}

/// Whoever tries many passwords at once waits for the first as long as for one.
#[tokio::test]
async fn a_login_behind_a_wrong_one_is_not_looked_at() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::connect(taking.address).await;
    platform.send(&login(USER, "wrong", "", 0)).await;
    platform.send(&login(USER, "s3cret-9", "", 0)).await;
    let answer = platform.hear().await;
    assert_eq!((answer.business, answer.record().unwrap().number("result")), (0x1002, Some(4)));
    assert!(platform.client.closes().await);
    taking.stop().await;
}

#[tokio::test]
async fn who_never_pauses_is_counted_all_the_same() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::login(taking.address).await;
    let mut heard = None;
    for n in 0..500 {
        platform.send(&platform.position(0x1202, "云F12345", n)).await;
        if let Ok(message) = tokio::time::timeout(Duration::from_millis(20), platform.hear()).await {
            heard = Some(message.business);
            break;
        }
    }
    assert_eq!(heard, Some(0x9101));
    taking.stop().await;
}

#[tokio::test]
async fn an_address_of_no_platform_is_closed_unheard() {
    let files = Files::new();
    let elsewhere = PlatformSettings { addresses: vec!["192.0.2.0/24".parse().unwrap()], ..below(&files, PLAIN_2011) };
    let taking = take(&files, PLAIN_2011, elsewhere, fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::connect(taking.address).await;
    assert!(platform.client.closes().await);
    taking.until_refused(Reason::UnknownSource).await;
    taking.stop().await;
}

#[tokio::test]
async fn a_login_in_pieces_is_put_together_and_anything_before_it_closes() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::connect(taking.address).await;
    let mut frames = platform.frame(&login(USER, "s3cret-9", "", 0));
    frames.extend(platform.frame(&platform.position(0x1202, "云F12345", 1)));
    for piece in frames.chunks(7) {
        platform.client.send(piece).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(platform.hear().await.business, 0x1002);
    taking.house.until("the position behind it", |_| taking.positions().len() == 1).await;
    // Business without a login.
    let mut stranger = Bytes::connect(taking.address).await;
    stranger.send(&stranger.position(0x1202, "云F12345", 2)).await;
    assert!(stranger.client.closes().await);
    taking.until_refused(Reason::NotAuthenticated).await;
    // Noise, half a frame and then nothing, and a frame without end.
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0x5b; 5_000], vec![0x5b, 1, 2, 0x5d]] {
        let mut stranger = Bytes::connect(taking.address).await;
        stranger.client.send(&bytes).await;
        assert!(stranger.client.closes().await);
    }
    assert!(taking.refused(Reason::BadFrame) >= 3);
    assert_eq!(taking.positions().len(), 1);
    taking.stop().await;
}

#[tokio::test]
async fn damage_on_a_link_that_stands_costs_the_damaged_frame_alone() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::login(taking.address).await;
    let mut wrong = platform.frame(&platform.position(0x1202, "云F12345", 1));
    wrong[20] ^= 1;
    let whole = platform.frame(&platform.position(0x1202, "云F12345", 2));
    let half = platform.frame(&platform.position(0x1202, "云F12345", 3));
    platform.client.send(&[&wrong[..], b"noise", &half[..half.len() / 2], &whole].concat()).await;
    taking.house.until("the whole one", |_| taking.positions().len() == 1).await;
    assert_eq!(taking.positions()[0].2.device_at, Some(now().plus_us(-2_000_000)));
    assert!(taking.refused(Reason::BadFrame) >= 2);
    // Another access code on the same link.
    platform.code += 1;
    platform.send(&platform.position(0x1202, "云F12345", 4)).await;
    taking.until_refused(Reason::Violation).await;
    // Encrypted, although no cipher is agreed.
    let cipher = Cipher { m1: NonZeroU32::new(7).unwrap(), ia1: 8, ic1: 9 };
    let header = Header { encrypt: 1, key: 5, ..Header::new(0x1200, CODE, 99, 0) };
    let body = body(&platform.position(0x1202, "云F12345", 5), Edition::V2011).unwrap();
    platform.client.send(&encode_frame(&header, Edition::V2011, &body, Some(&cipher)).unwrap()).await;
    taking.house.until("it is put aside", |i| i.quarantined().iter().any(|q| q.reason.contains("no cipher"))).await;
    assert_eq!(taking.positions().len(), 1);
    taking.stop().await;
}

#[tokio::test]
async fn a_flood_is_read_no_faster_than_it_is_kept() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::login(taking.address).await;
    taking.house.until("the login is an event", |i| !i.events().is_empty()).await;
    taking.house.intake.set(Mode::Hold);
    let n = 2_000;
    let mut bytes = Vec::new();
    for i in 0..n {
        bytes.extend(platform.frame(&platform.position(0x1202, "云F12345", i)));
    }
    platform.client.send(&bytes).await;
    taking.house.until("as many as may wait", |i| i.n_held() >= limits().max_inflight).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(taking.house.intake.n_held(), limits().max_inflight, "no more is out than may be");
    taking.house.intake.set(Mode::Keep);
    taking.house.intake.release(Ok(Kept { stored: 1, repeated: 0 }));
    taking.house.until("all of it", |_| taking.positions().len() == n as usize).await;
    taking.stop().await;
}

#[tokio::test]
async fn who_a_plate_is_decides_whether_it_is_heard() {
    let files = Files::new();
    let mut foreign = vehicle(3, "13800138003", "云A00003");
    foreign.region = RegionCode::new("530102");
    let mut open = vehicle(4, "13800138004", "");
    open.adopted = false;
    let twins = [vehicle(5, "13800138005", "云F55555"), vehicle(6, "13800138006", "云F55555")];
    let fleet =
        || FakeFleet::of(&[vehicle(1, "13800138000", "云F12345"), foreign.clone(), open.clone(), twins[0].clone(), twins[1].clone()]);
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet(), Unknown::Quarantine).await;
    let mut platform = Bytes::login(taking.address).await;
    for (n, (plate, sim)) in
        [("云A00003", ""), ("云F44444", "13800138004"), ("云F99999", ""), ("云F99998", "13700137000"), ("云F55555", "")]
            .into_iter()
            .enumerate()
    {
        if !sim.is_empty() {
            platform.send(&platform.registration(plate, sim)).await;
        }
        platform.send(&platform.position(0x1202, plate, n as i64)).await;
    }
    platform.send(&platform.registration("云F55555", "013800138006")).await;
    platform.send(&platform.position(0x1203, "云F55555", 8)).await;
    platform.send(&platform.position(0x1202, "云f 12345", 9)).await;
    taking.house.until("the heard ones", |_| taking.positions().len() == 2).await;
    let heard: Vec<_> = taking.positions().into_iter().map(|(phone, _, p)| (phone, p.backfill)).collect();
    assert_eq!(heard, [("13800138006".to_owned(), true), ("13800138000".to_owned(), false)]);
    assert_eq!(taking.refused(Reason::ForeignDevice), 1);
    let aside = taking.house.intake.quarantined();
    assert!(aside.iter().any(|q| q.source == "13700137000"), "listed under the number for a person to adopt: {aside:?}");
    taking.stop().await;
    // Where unknown terminals are heard, they are heard through a platform, too.
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet(), Unknown::Accept).await;
    let mut platform = Bytes::login(taking.address).await;
    platform.send(&platform.registration("云F99998", "013700137000")).await;
    platform.send(&platform.position(0x1202, "云F99998", 1)).await;
    taking.house.until("the stranger", |_| taking.positions().len() == 1).await;
    assert_eq!((taking.positions()[0].0.as_str(), taking.positions()[0].1), ("13700137000", Trust::Platform));
    assert!(taking.house.intake.events().iter().any(|e| matches!(e, SourceEvent::Registered { plate, .. } if plate == "云F99998")));
    taking.stop().await;
}

#[tokio::test]
async fn the_second_login_takes_over_and_one_without_the_password_does_not() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut first = Bytes::login(taking.address).await;
    let mut stranger = Bytes::connect(taking.address).await;
    stranger.send(&login(USER, "wrong", "", 0)).await;
    assert_eq!(stranger.hear().await.record().unwrap().number("result"), Some(4));
    first.send(&Message::raw(0x1005, Vec::new())).await;
    assert_eq!(first.hear().await.business, 0x1006);
    let _second = Bytes::login(taking.address).await;
    assert!(first.client.closes().await);
    taking.stop().await;
}

#[tokio::test]
async fn the_other_link_opens_back_and_a_stranger_there_is_nobody() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let (back, at) = listener().await;
    let mut platform = Bytes::connect(taking.address).await;
    platform.send(&login(USER, "s3cret-9", "127.0.0.1", at.port())).await;
    let verify = platform.hear().await.record().unwrap().number("verify_code").unwrap();
    let (stream, _) = tokio::time::timeout(Duration::from_secs(5), back.accept()).await.unwrap().unwrap();
    let mut other = Bytes { client: Client { stream }, frames: Frames::new(Edition::V2011), serial: 0, code: CODE };
    let hello = other.hear().await;
    assert_eq!((hello.business, hello.record().unwrap().number("verify_code")), (0x9001, Some(verify)));
    other.send(&Message::new(0x9002, Record(vec![("result", Value::Number(0))])).unwrap()).await;
    platform.send(&platform.position(0x1202, "云F12345", 1)).await;
    loop {
        let heard = other.hear().await;
        if heard.business == 0x9101 {
            assert_eq!(heard.record().unwrap().number("total"), Some(1));
            break;
        }
        assert_eq!(heard.business, 0x9005);
        other.send(&Message::raw(0x9006, Vec::new())).await;
    }
    taking.stop().await;
}

/// What an upper platform says that a person must see; nobody but the upper end that was configured may open the other link.
#[tokio::test]
async fn duty_checks_and_supervision_become_events_below() {
    let files = Files::new();
    let (main, address) = listener().await;
    let giving = give(&files, PLAIN_2011, above(&files, PLAIN_2011, address), fleet_of_two(), files.0.path()).await;
    let (stream, _) = tokio::time::timeout(Duration::from_secs(5), main.accept()).await.unwrap().unwrap();
    let mut upper = Bytes { client: Client { stream }, frames: Frames::new(Edition::V2011), serial: 0, code: CODE };
    let hello = upper.hear().await;
    let port = hello.record().unwrap().number("down_port").unwrap() as u16;
    let verify = |code| Message::new(0x9001, Record(vec![("verify_code", Value::Number(code))])).unwrap();
    // The other link may be quicker than the answer to the login.
    let mut other = Bytes::connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
    other.send(&verify(77)).await;
    assert!(other.client.silent().await);
    let answer = vec![("result", Value::Number(0)), ("verify_code", Value::Number(77))];
    upper.send(&Message::new(0x1002, Record(answer)).unwrap()).await;
    giving.house.until("logged in", |i| !i.events().is_empty()).await;
    assert_eq!(other.hear().await.record().unwrap().number("result"), Some(0));
    let mut stranger = Bytes::connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
    stranger.send(&verify(78)).await;
    assert_eq!(stranger.hear().await.record().unwrap().number("result"), Some(1));
    let check = vec![("info_id", Value::Number(5)), ("text", Value::Text("值班员是谁".into()))];
    let check = Record([vec![("object_type", Value::Number(1)), ("object", Value::Text("1".into()))], check].concat());
    other.send(&Message::sub(Edition::V2011, 0x9300, None, 0x9301, check).unwrap()).await;
    giving
        .house
        .until("the duty check", |i| {
            i.events()
                .iter()
                .any(|e| matches!(e, SourceEvent::Platform { kind: "platform_check", detail } if detail.contains("值班员是谁")))
        })
        .await;
    // A stranger who only connects does not knock the other link out.
    let _idle = Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
    other.send(&Message::raw(0x9005, Vec::new())).await;
    assert_eq!(other.hear().await.business, 0x9006);
    giving.stop().await;
}

#[tokio::test]
async fn alarms_that_are_reported_become_events_of_the_vehicle_or_the_platform() {
    let files = Files::new();
    let taking = take(&files, PLAIN_2011, below(&files, PLAIN_2011), fleet_of_two(), Unknown::Refuse).await;
    let mut platform = Bytes::login(taking.address).await;
    for plate in ["云F12345", "云X99999"] {
        let values = vec![
            ("source", Value::Number(1)),
            ("alarm_type", Value::Number(2)),
            ("time", Value::Number(1_700_000_000)),
            ("info_id", Value::Number(3)),
            ("text", Value::Text(format!("{plate} 超速"))),
        ];
        platform.send(&Message::sub(Edition::V2011, 0x1400, Some(Vehicle::new(plate, 2)), 0x1402, Record(values)).unwrap()).await;
    }
    let of = |source: &Source| {
        taking.house.intake.seen().iter().any(|s| {
            s.source == *source
                && s.events.iter().any(|e| matches!(e, SourceEvent::Platform { kind: "platform_alarm", detail } if detail.contains("超速")))
        })
    };
    let known = Source::Terminal { phone: "13800138000".into(), trust: Trust::Platform };
    taking.house.until("both", |_| of(&known) && of(&Source::Platform { name: "plant".into() })).await;
    taking.stop().await;
}

#[test]
fn settings_that_cannot_be_meant_are_refused_by_name() {
    let files = Files::new();
    let check = |platform: PlatformSettings, want: &str| {
        let error = Settings { platform: vec![platform], ..Settings::default() }.check().unwrap_err().to_string();
        assert!(error.contains(want) && error.contains("plant"), "{error}");
    };
    let good = || below(&files, PLAIN_2011);
    check(PlatformSettings { plain: false, ..good() }, "plain = true");
    check(PlatformSettings { addresses: Vec::new(), ..good() }, "addresses");
    check(PlatformSettings { m1: Some(1), ..good() }, "belong together");
    check(PlatformSettings { region: Some("x".into()), ..good() }, "region");
    check(PlatformSettings { password_file: files.path("nowhere"), ..good() }, "password in");
    std::fs::write(files.path("long"), "123456789").unwrap();
    check(PlatformSettings { password_file: files.path("long"), ..good() }, "1 to 8");
    let twice = Settings { platform: vec![good(), good()], ..Settings::default() }.check().unwrap_err();
    assert!(twice.to_string().contains("twice"));
    let shown = format!("{:?}", Settings { platform: vec![good()], ..Settings::default() }.check().unwrap());
    assert!(!shown.contains("s3cret"), "{shown}");
}
