//! Configuration: defaults, then the file, then `ANLAN_<SECTION>__<KEY>`; and the reference that is generated from one table.
//!
//! Start at [`load`]. A key that is unknown or has a wrong type stops the start with exit code 2 and says which.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anlan_app::Settings;
use anlan_app::link::{NatsSettings, NatsUse, Ways};
use anlan_app::settings::{Access, ArchiveSettings, History, Retention};
use anlan_app::telemetry::shard::TimeBounds;
use anlan_model::NodeLevel;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

/// Everything an operator can set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Console and API.
    pub http: Http,
    /// MQTT listener.
    pub mqtt: Mqtt,
    /// JT/T 808 listener.
    pub jt808: Jt808,
    /// JT/T 809: platforms below and above.
    pub jt809: anlan_ingest::jt809::Settings,
    /// Submissions to platforms that are no nodes.
    pub submission: anlan_app::submission::Settings,
    /// Certificates of the device listeners.
    pub tls: Tls,
    /// Devices that are polled over Modbus TCP.
    pub modbus: anlan_ingest::poll::Polling,
    /// Database.
    pub store: StoreConfig,
    /// This node.
    pub node: Node,
    /// Measuring points.
    pub points: Points,
    /// Vehicles.
    pub vehicles: Vehicles,
    /// Which device times are believed.
    pub time: TimeBounds,
    /// Telemetry engine.
    pub telemetry: TelemetryConfig,
    /// Its files.
    pub history: History,
    /// How long it is kept.
    pub retention: Retention,
    /// Files of records.
    pub attachments: anlan_app::settings::Attachments,
    /// What others may read by key.
    pub open_data: anlan_app::settings::OpenData,
    /// Official documents.
    pub documents: anlan_app::settings::Documents,
    /// Packs that can be switched on.
    pub packs: PacksConfig,
    /// The machine's clock.
    pub clock: ClockConfig,
    /// Proof of life outwards.
    pub life: Life,
    /// Parquet archive of days that are over.
    pub archive: ArchiveSettings,
    /// Sign-in and sessions.
    pub access: Access,
    /// How much one source may ask for.
    pub limits: anlan_ingest::Limits,
    /// Nodes above and below.
    pub link: LinkConfig,
    /// Logs.
    pub log: Log,
}

/// Section `link`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Address where nodes below connect; absent = none may.
    pub listen: Option<SocketAddr>,
    /// Further names and addresses under which they reach it.
    pub names: Vec<String>,
    /// Most bytes per second of readings to the node above; 0 = no cap.
    pub bytes_per_s: u64,
    /// Seconds between two comparisons with the node above.
    pub claim_s: u64,
    /// A NATS cluster as the way there.
    pub nats: NatsConfig,
}

/// Section `link.nats`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Servers of the cluster; empty = NATS is not used.
    pub servers: Vec<String>,
    /// To whom it leads.
    pub ways: Ways,
    /// File of credentials.
    pub credentials: Option<PathBuf>,
    /// Or a user,
    pub user: Option<String>,
    /// and the file with the password.
    pub password_file: Option<PathBuf>,
    /// PEM of the authority of the servers.
    pub ca: Option<PathBuf>,
    /// Copies of the stream.
    pub replicas: Option<usize>,
    /// Most MB of the stream.
    pub stream_mb: u32,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            ways: Ways::default(),
            credentials: None,
            user: None,
            password_file: None,
            ca: None,
            replicas: None,
            stream_mb: 512,
        }
    }
}

/// A code of digits, which an environment variable gives as a number.
fn code<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a code such as 5304")]
    enum Code {
        Text(String),
        Number(u64),
    }
    Ok(match Code::deserialize(deserializer)? {
        Code::Text(text) => text,
        Code::Number(number) => number.to_string(),
    })
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { listen: None, names: Vec::new(), bytes_per_s: 0, claim_s: 60, nats: NatsConfig::default() }
    }
}

/// Section `http`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address.
    pub listen: SocketAddr,
    /// PEM chain; absent outside loopback = one is made on first start.
    pub certificate: Option<PathBuf>,
    /// PEM key of the certificate.
    pub key: Option<PathBuf>,
    /// Bearer token for `/metrics` from elsewhere; absent = this machine only.
    pub metrics_token: Option<String>,
}

/// Section `mqtt`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Address.
    pub listen: SocketAddr,
    /// Address of the TLS listener; absent = none.
    pub tls_listen: Option<SocketAddr>,
}

/// Section `jt808`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jt808 {
    /// Address of the TCP listener.
    pub listen: SocketAddr,
    /// Address of the TLS listener; absent = none.
    pub tls_listen: Option<SocketAddr>,
    /// Address of the UDP socket; absent = none.
    pub udp_listen: Option<SocketAddr>,
    /// What happens to unknown terminals.
    pub unknown: Unknown,
}

/// Section `tls`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM chain for devices; absent = that of the console.
    pub certificate: Option<PathBuf>,
    /// PEM key of the certificate.
    pub key: Option<PathBuf>,
    /// PEM certificates; a device must then show one that these signed.
    pub client_ca: Option<PathBuf>,
    /// Further names and addresses in the certificate that is made on first start.
    pub names: Vec<String>,
}

/// What happens to a terminal nobody has adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// Answered "failed" and closed.
    Refuse,
    /// Kept raw, counted and listed for adoption.
    Quarantine,
    /// Heard as an open vehicle.
    Accept,
}

/// Section `store`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite:PATH` or `postgres://…`; absent = `DIR/anlan.sqlite`.
    pub url: Option<String>,
}

/// Section `node`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Level in the network.
    pub level: NodeLevel,
    /// Name; empty = that of the division.
    pub name: String,
    /// Division served.
    #[serde(deserialize_with = "code")]
    pub region: String,
    /// Text drawn on the map.
    pub map_attribution: String,
}

/// Section `points`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Points {
    /// Create points unknown at first sight.
    pub create: bool,
    /// Points a device may bring in at first sight.
    pub per_device_max: usize,
}

/// Section `vehicles`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vehicles {
    /// Seconds without a position until a vehicle counts as offline.
    pub offline_s: i64,
    /// Vehicles nobody has adopted that the node keeps.
    pub open_max: usize,
}

/// Section `telemetry`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Batches one shard may hold.
    pub shard_queue: usize,
}

/// Packs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PacksConfig {
    /// Folder of packs that an administrator may switch on; absent = `packs` in the data directory.
    pub dir: Option<PathBuf>,
    /// Public keys whose signatures are believed; empty = packs need no signature.
    pub trusted_keys: Vec<anlan_app::signing::PublicKey>,
}

/// Section `clock`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockConfig {
    /// NTP server asked for the offset; absent = only systemd-timesyncd's word is taken.
    pub ntp_server: Option<String>,
    /// Seconds between questions.
    pub check_s: u64,
    /// An offset beyond this is told on every page.
    pub offset_max_ms: i64,
}

/// Section `life`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Life {
    /// Where the proof of life goes: `http(s)://…` or `file:/path`; absent = nowhere.
    pub channel: Option<String>,
    /// Seconds between two.
    pub every_s: u64,
}

/// Section `log`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Filter such as `info` or `anlan_ingest=debug,info`.
    pub filter: String,
    /// `text` or `json`.
    pub format: String,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: loopback(8080), certificate: None, key: None, metrics_token: None }
    }
}
impl Default for Mqtt {
    fn default() -> Self {
        // Registered for MQTT with IANA.
        Self { listen: loopback(1883), tls_listen: None }
    }
}
impl Default for Jt808 {
    fn default() -> Self {
        Self { listen: loopback(8081), tls_listen: None, udp_listen: None, unknown: Unknown::Quarantine }
    }
}
impl Default for Node {
    fn default() -> Self {
        let settings = Settings::default();
        Self { level: NodeLevel::City, name: String::new(), region: settings.region, map_attribution: settings.map_attribution }
    }
}
impl Default for Points {
    fn default() -> Self {
        let settings = Settings::default();
        Self { create: settings.points_create, per_device_max: settings.points_per_device_max }
    }
}
impl Default for Vehicles {
    fn default() -> Self {
        let settings = Settings::default();
        Self { offline_s: settings.vehicle_offline_s, open_max: settings.vehicles_open_max }
    }
}
impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { shard_queue: Settings::default().shard_queue }
    }
}
impl Default for ClockConfig {
    fn default() -> Self {
        Self { ntp_server: None, check_s: 300, offset_max_ms: Settings::default().clock_offset_max_us / 1_000 }
    }
}
impl Default for Life {
    fn default() -> Self {
        Self { channel: None, every_s: 30 }
    }
}
impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: "text".to_owned() }
    }
}

/// Reads defaults, then `file`, then the environment.
///
/// # Errors
/// The key and what is wrong with it.
pub fn load(file: Option<&Path>) -> Result<Config, Box<figment::Error>> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(file) = file {
        figment = figment.merge(Toml::file_exact(file));
    }
    figment.merge(Env::prefixed("ANLAN_").filter(|key| key.as_str().contains("__")).split("__")).extract().map_err(Box::new)
}

impl Config {
    /// What of it the link to other nodes needs.
    pub fn link(&self) -> anlan_app::link::LinkSettings {
        let has_territory = self.node.level != NodeLevel::Enterprise;
        anlan_app::link::LinkSettings {
            listen: self.link.listen,
            names: self.link.names.clone(),
            level: self.node.level,
            name: self.node.name.clone(),
            region: if has_territory { anlan_model::RegionCode::new(&self.node.region) } else { None },
            bytes_per_s: self.link.bytes_per_s,
            claim_s: self.link.claim_s,
            nats: self.nats(),
        }
    }

    fn nats(&self) -> Option<NatsUse> {
        let NatsConfig { servers, ways, credentials, user, password_file, ca, replicas, stream_mb } = self.link.nats.clone();
        let settings = NatsSettings { servers, credentials, user, password_file, ca, replicas, stream_mb };
        (!settings.servers.is_empty()).then_some(NatsUse { settings, ways })
    }

    /// The part that use cases need.
    pub fn settings(&self, demo: bool) -> Settings {
        Settings {
            demo,
            region: self.node.region.clone(),
            map_attribution: self.node.map_attribution.clone(),
            points_create: self.points.create,
            points_per_device_max: self.points.per_device_max,
            vehicles_open_max: self.vehicles.open_max,
            modbus_networks: self.modbus.networks.clone(),
            modbus_devices_max: self.modbus.devices_max,
            time: self.time,
            shard_queue: self.telemetry.shard_queue,
            queue_readings: self.limits.queue_readings,
            points_per_enterprise_max: self.limits.points_per_enterprise,
            disk_free_min_mb: self.limits.disk_free_min_mb,
            vehicle_offline_s: self.vehicles.offline_s,
            clock_offset_max_us: self.clock.offset_max_ms.saturating_mul(1_000),
            history: self.history,
            retention: self.retention.clone(),
            attachments: self.attachments,
            open_data: self.open_data.clone(),
            documents: self.documents.clone(),
            packs: self.packs.dir.clone(),
            trusted_keys: self.packs.trusted_keys.clone(),
            media: anlan_app::settings::Media {
                vehicle_mb: self.limits.media_vehicle_mb,
                total_mb: self.limits.media_total_mb,
                days: self.limits.media_days,
            },
            archive: self.archive.clone(),
            access: self.access.clone(),
            // Checked, and given, where the node starts.
            submissions: Vec::new(),
        }
    }
}

/// Every key with its unit and meaning, in both languages; `anlan reference` prints it as Markdown.
const REFERENCE: &[(&str, &str, &str, &str)] = &[
    ("http.listen", "address", "控制台与接口的监听地址；回环之外只说 HTTPS", "address of console and API; outside loopback HTTPS only"),
    (
        "http.certificate",
        "path",
        "PEM 证书链；缺省时在回环之外自动生成并打印指纹",
        "PEM chain; absent outside loopback: made on first start, fingerprint printed",
    ),
    ("http.key", "path", "证书私钥", "PEM key of the certificate"),
    (
        "http.metrics_token",
        "text",
        "从其他机器读取 /metrics 须带的令牌；缺省时仅本机可读",
        "bearer token that /metrics asks for from elsewhere; absent: this machine only",
    ),
    ("mqtt.listen", "address", "MQTT 监听地址", "address of the MQTT listener"),
    ("mqtt.tls_listen", "address", "MQTT over TLS 监听地址；缺省不开", "address of the MQTT listener over TLS; absent: none"),
    ("jt808.listen", "address", "JT/T 808 TCP 监听地址", "address of the JT/T 808 TCP listener"),
    ("jt808.tls_listen", "address", "JT/T 808 over TLS 监听地址；缺省不开", "address of the JT/T 808 listener over TLS; absent: none"),
    ("jt808.udp_listen", "address", "JT/T 808 UDP 监听地址；缺省不开", "address of the JT/T 808 UDP socket; absent: none"),
    (
        "jt808.unknown",
        "refuse | quarantine | accept",
        "未登记终端：拒绝、隔离待采纳、接受",
        "unknown terminals: refuse, quarantine for adoption, accept",
    ),
    (
        "jt809.listen",
        "address",
        "下级平台（JT/T 809）登录的地址；缺省不开；用 tls 一节的证书",
        "address where platforms below log in (JT/T 809); absent: none; with the certificate of section tls",
    ),
    (
        "jt809.plain",
        "true | false",
        "上述地址说明文（须明确写出；启动时告警），否则只说 TLS",
        "that address speaks in the clear (must be said, and is warned of at every start), or else TLS alone",
    ),
    (
        "jt809.platform",
        "list of tables",
        "下级平台：name、access_code、user_id、password_file、edition（2011 或 2019）、addresses，可选 m1、ia1、ic1、region、ca 或 plain；见 jt809.md",
        "platforms below: name, access_code, user_id, password_file, edition (2011 or 2019), addresses; m1, ia1, ic1, region, ca or plain; see jt809.md",
    ),
    (
        "jt809.upper",
        "list of tables",
        "上级平台：name、address、access_code、user_id、password_file、edition、plate_colour，ca 或 plain，可选 m1、ia1、ic1、listen、announce、announce_port、addresses、platform_id、region；见 jt809.md",
        "platforms above: name, address, access_code, user_id, password_file, edition, plate_colour, ca or plain; m1, ia1, ic1, listen, announce, announce_port, addresses, platform_id, region; see jt809.md",
    ),
    (
        "submission.target",
        "list of tables",
        "报送目标：name、submission，以及 url（接口）或 dir（文件目录），可选 secret_file、ca、timeout_s；见 submission.md",
        "targets of submissions: name, submission, and url (calls) or dir (files); secret_file, ca, timeout_s; see submission.md",
    ),
    ("tls.certificate", "path", "设备接入用的 PEM 证书链；缺省与控制台相同", "PEM chain shown to devices; absent: the console's"),
    ("tls.key", "path", "设备接入证书的私钥", "PEM key of that certificate"),
    (
        "tls.client_ca",
        "path",
        "设置后，设备须出示由此 CA 签发的证书（口令与鉴权码仍须正确）",
        "if set, a device must show a certificate that this CA signed; secret or code is asked for all the same",
    ),
    (
        "tls.names",
        "list of names",
        "自动生成的证书中追加的域名或地址（仅首次启动时生效）",
        "further names and addresses in the certificate made on first start",
    ),
    (
        "modbus.networks",
        "list of CIDR",
        "允许轮询的网段；缺省为空，即不轮询任何设备，以免有权登记设备者借本节点扫描内网",
        "networks that may be polled; empty = none, so that who may register a device cannot scan with this node",
    ),
    ("modbus.devices_max", "devices", "轮询设备数上限", "devices with a register map"),
    (
        "modbus.in_flight_max",
        "requests, 1 to 16",
        "每条连接上同时未答的请求数；1 为串口网关都能承受的值",
        "requests out on one connection; 1 = what every serial gateway can take",
    ),
    ("modbus.connect_timeout_ms", "ms", "建立连接的时限", "how long a connection may take to open"),
    ("modbus.backoff_first_ms", "ms", "无应答后的首次退避，逐次加倍", "first wait after no answer; doubles"),
    ("modbus.backoff_last_ms", "ms", "退避上限", "the longest such wait"),
    (
        "store.url",
        "URL",
        "sqlite:路径 或 postgres://…；缺省为数据目录内的 SQLite",
        "sqlite:PATH or postgres://…; absent: SQLite in the data directory",
    ),
    ("node.level", "`enterprise`, `township`, `county`, `city` or `province`", "本节点在网络中的层级", "level of this node in the network"),
    ("node.name", "text", "节点名称；空 = 行政区划名称", "name of the node; empty = that of the division"),
    ("node.region", "GB/T 2260 code", "本节点服务的行政区划", "division served by this node"),
    ("node.map_attribution", "text", "地图来源与审图号，绘于地图", "map source and approval number, drawn on the map"),
    ("points.create", "true | false", "首次出现的测点自动登记为待确认", "create points unknown at first sight, unconfirmed"),
    ("points.per_device_max", "points", "一个设备自动登记的测点上限", "points a device may bring in at first sight"),
    ("vehicles.open_max", "vehicles", "未采纳车辆的上限", "vehicles nobody has adopted that the node keeps"),
    ("vehicles.offline_s", "s", "多久没有定位算离线", "seconds without a position until offline"),
    ("time.past_s", "s", "早于此的设备时间不可信（补传除外）", "an older device time is not believed unless back-filled"),
    ("time.future_s", "s", "超前于此的设备时间不可信", "a device time further ahead is never believed"),
    ("time.reorder_ms", "ms, at most 1000", "规则等待乱序数据的时间", "how long rules wait for readings that overtook each other"),
    ("telemetry.shard_queue", "batches", "每个分片的队列上限，满则拒收", "queue limit of a shard; full = refused"),
    ("history.segment_bytes", "bytes", "日志分段超过此大小即换新段", "a log segment is closed when it has grown past this"),
    ("history.seal_after_readings", "readings", "内存中的读数达到此数即提前封块", "readings in memory that start a seal before its time"),
    ("history.seal_window_s", "s", "数据块的时间宽度；建库时固定", "width of a block; fixed when the data directory is made"),
    ("history.keep_log_s", "s", "日志分段至少保留的时间", "log segments younger than this are kept even if nobody needs them"),
    (
        "history.checkpoint_ms",
        "ms",
        "规则状态存盘的最长间隔（每约200万条读数也存一次）",
        "longest time between saves of rule state (also after some 2 million readings)",
    ),
    ("history.merge_look_ms", "ms", "多久查看一次可合并的数据块", "how often blocks to merge are looked for"),
    (
        "clock.ntp_server",
        "host[:port]",
        "用于核对本机时钟的 NTP 服务器；缺省仅看 systemd-timesyncd",
        "NTP server the clock is compared with; absent: only systemd-timesyncd's word",
    ),
    ("clock.check_s", "s", "核对时钟的间隔", "between two comparisons"),
    ("clock.offset_max_ms", "ms", "时钟偏差超过此值，各页面横幅提示", "an offset beyond this is told on every page"),
    ("life.channel", "http(s)://… | file:/path", "存活证明发往何处；缺省不发", "where the proof of life goes; absent: nowhere"),
    ("life.every_s", "s", "存活证明的间隔", "between two proofs of life"),
    (
        "archive.url",
        "path | s3://bucket/prefix",
        "归档位置：目录或对象存储；缺省不归档。凭据只来自环境变量 AWS_ACCESS_KEY_ID、AWS_SECRET_ACCESS_KEY",
        "where days that are over are archived as Parquet; absent: no archive. Credentials from the environment alone",
    ),
    ("archive.endpoint", "URL", "非亚马逊的 S3 服务地址", "address of an S3 service that is not Amazon's"),
    ("archive.region", "text", "S3 服务的区域名", "region of the S3 service"),
    ("archive.after_days", "days", "一天结束后多少天归档", "a day is archived when it has been over for this many days"),
    ("archive.compact_parts", "files", "分区内文件达到此数即合并", "parts of a partition that are merged into one"),
    ("archive.look_ms", "ms", "多久查看一次到期的日子和迟到的数据", "how often days that are due and late data are looked for"),
    (
        "packs.dir",
        "path",
        "可由管理员启用的包所在的文件夹；缺省为数据目录下的 packs",
        "folder of packs that an administrator may switch on; absent: packs in the data directory",
    ),
    ("attachments.file_mb", "MB", "台账附件单个文件的大小上限", "one file of a record"),
    ("attachments.record_files", "files", "一条台账记录全程的附件数上限", "files of one record over its whole life"),
    (
        "attachments.person_mb",
        "MB",
        "一人已上传、尚未随记录提交的附件合计上限；未提交的一天后删除",
        "uploads of one person that no record names yet; they go after a day",
    ),
    ("attachments.total_mb", "MB", "全部台账附件合计上限", "files of all records together"),
    (
        "open_data.terms",
        "text",
        "数据目录所写的使用条款；为空时用基础包的条款",
        "terms of use that the catalogue of datasets says; empty: those of the base pack",
    ),
    (
        "open_data.base_url",
        "URL",
        "外部访问本节点的地址，用于 SensorThings 回答中的链接，如 `https://anlan.example`；为空时按请求的主机名",
        "how others reach this node, for links in SensorThings answers, such as `https://anlan.example`; empty: as the request names it",
    ),
    (
        "documents.issuer",
        "text",
        "公文的发文机关；为空时为“公文所属区划＋安全生产委员会办公室”",
        "who issues official documents; empty: the work-safety committee's office of the document's division",
    ),
    (
        "documents.mark",
        "text",
        "发文字号的机关代字，如“玉安办”；为空时字号为〔年〕号",
        "what numbers of documents begin with (机关代字); empty: the year and the number alone",
    ),
    (
        "documents.fonts",
        "paths",
        "先于系统字体查找的字体文件夹，用于单位自有的仿宋、小标宋、黑体、楷体；仅带 pdf 功能的版本使用",
        "folders of fonts that are looked for before the system's; only in a build with the feature pdf",
    ),
    (
        "packs.trusted_keys",
        "public keys",
        "信任的签名公钥（`anlan pack key` 输出的 `ed25519:…`）；非空时，只能启用由其中之一签名的包",
        "public keys (`ed25519:…`, as `anlan pack key` prints them); unless empty, only packs signed by one of them can be switched on",
    ),
    (
        "retention.readings_days",
        "days",
        "读数保留的整天数；缺省永久保留，保全优先",
        "whole days readings are kept; left out = for ever; legal holds come first",
    ),
    ("retention.kinds", "days by kind", "按测点类型分别规定，如 `methane = 1095`", "by kind of measurement, such as `methane = 1095`"),
    ("retention.positions_days", "days", "车辆定位保留的整天数", "whole days positions of vehicles are kept"),
    (
        "retention.rollups_days",
        "days",
        "小时统计保留的整天数，在读数删除之后仍保留",
        "whole days stored hourly statistics are kept; they outlive the readings",
    ),
    (
        "retention.thin_below_mb",
        "MB",
        "数据盘剩余空间低于此时，最早的读数让位于其小时统计（抽稀），逐日记录；0 为不抽稀",
        "while the data disk has less free, the oldest readings give way to their hourly statistics, day by day and written down; 0: never",
    ),
    (
        "retention.thin_keep_days",
        "days",
        "抽稀时一律保留的整天数，至少 8；按类型规定期限的测点与保全的一律不抽稀",
        "whole days of which nothing gives way for that, 8 at least; kinds with days of their own and what is held never do",
    ),
    ("access.idle_s", "s", "多久无操作后须重新输入口令", "acting asks for the password again after this long"),
    ("access.session_s", "s", "登录的最长有效期", "life of a session"),
    ("access.screen_session_s", "s", "大屏只读登录的有效期", "life of a duty screen's session"),
    ("access.setup_s", "s", "初始化链接的有效期", "life of the setup link"),
    ("access.argon2_memory_kib", "KiB", "口令散列的内存", "memory of password hashing"),
    ("access.argon2_passes", "passes", "口令散列的轮数", "passes of password hashing"),
    ("link.listen", "address; absent = none", "下级节点接入地址，双向 TLS", "where nodes below connect, mutual TLS"),
    (
        "link.names",
        "list of names or addresses",
        "下级节点访问本节点所用的其他名称或地址",
        "further names and addresses under which nodes below reach it",
    ),
    ("link.bytes_per_s", "bytes; 0 = no cap", "向上级传输监测数据的带宽上限", "most bytes per second of readings to the node above"),
    ("link.claim_s", "s", "与上级对账的间隔", "seconds between two comparisons with the node above"),
    (
        "link.nats.servers",
        "list of `nats://host:port` or `tls://host:port`",
        "作为上下级通道的 NATS 集群（JetStream）；缺省为空，即不用。只传密文",
        "NATS cluster with JetStream as the way to nodes above and below; empty = none. It carries ciphertext alone",
    ),
    (
        "link.nats.ways",
        "up | down | both",
        "经 NATS 连接上级、下级或两者；加入上级仍经 link.listen",
        "who is reached through NATS: the node above, those below, or both; joining stays with link.listen",
    ),
    ("link.nats.credentials", "path", "NATS 凭据文件（nsc 生成的 .creds）", "file of NATS credentials (.creds, as nsc writes it)"),
    ("link.nats.user", "text", "NATS 用户名；与凭据文件二选一", "user at NATS, instead of credentials"),
    ("link.nats.password_file", "path", "存放该用户口令的文件", "file that holds the password of that user"),
    (
        "link.nats.ca",
        "path",
        "NATS 服务器证书的签发机构（PEM）；缺省用本机信任的机构",
        "PEM of the authority of the servers' certificates; absent: those this machine trusts",
    ),
    (
        "link.nats.replicas",
        "1 to 5",
        "流的副本数；缺省：集群为 3，单机为 1",
        "copies of the stream; absent: three in a cluster, one with a single server",
    ),
    (
        "link.nats.stream_mb",
        "MB, 16 to 65536",
        "每个上级节点的流在每台服务器上最多占用的空间，满则弃旧",
        "most a parent's stream takes on each server; the oldest goes first",
    ),
    ("log.filter", "filter", "日志级别，如 info", "log filter such as info"),
    ("log.format", "text | json", "日志格式", "log format"),
];

/// Section `limits`: every key, what it bounds and what happens beyond it.
const LIMITS: &[(&str, &str, &str, &str)] = &[
    (
        "max_connections",
        "connections",
        "每个设备监听口的连接总数；超出即关闭",
        "connections of one device listener; beyond it closed at once",
    ),
    ("max_connections_per_ip", "connections", "每个设备监听口来自同一地址的连接数", "of them from one address"),
    (
        "messages_per_s",
        "messages/s",
        "单台设备或终端的持续报文速率；超出则告知稍后再发",
        "lasting rate of one device or terminal; beyond it told to come again",
    ),
    ("message_burst", "messages", "单台设备可一次补发的报文数", "messages one device may send at once before that rate counts"),
    (
        "enterprise_messages_per_s",
        "messages/s",
        "一家企业全部设备合计的持续报文速率（MQTT 与 HTTP）",
        "lasting rate of all devices of one enterprise (MQTT and HTTP)",
    ),
    ("enterprise_message_burst", "messages", "一家企业可一次补发的报文数", "messages they may send at once before that rate counts"),
    (
        "points_per_enterprise",
        "points",
        "一家企业可自动登记的测点数；超出的测点不收并计数",
        "points an enterprise's devices may bring in; further ones are left out and counted",
    ),
    (
        "queue_readings",
        "readings",
        "全部分片队列合计的读数上限；接近时先拒补传，报警最后",
        "readings all shard queues may hold; near it back-fill is refused first, alarms last",
    ),
    (
        "disk_free_min_mb",
        "MB",
        "数据盘剩余空间下限：低于此拒补传，低于一半拒遥测，低于四分之一全拒；0 为不检查",
        "free space of the data disk: below it back-fill is refused, below half telemetry, below a quarter everything; 0: no guard",
    ),
    ("max_message_bytes", "bytes", "一条 MQTT 报文或一个 HTTP 请求体的大小", "one MQTT packet or one HTTP body as sent"),
    ("max_unpacked_bytes", "bytes", "HTTP 请求体解压后的大小", "one HTTP body after gunzip"),
    (
        "max_readings_per_message",
        "readings",
        "一条报文的读数个数；超出部分不收并告知",
        "readings of one message; the rest is left out and told",
    ),
    (
        "max_inflight",
        "messages",
        "一个连接等待落盘的报文数；MQTT 5 会被告知",
        "messages of one connection that wait for their sync; MQTT 5 is told",
    ),
    (
        "max_held_bytes",
        "bytes",
        "全进程等待落盘的报文及其读数（每个按 256 字节计）的总大小；超出则告知稍后再发",
        "bytes of all messages that wait for their sync and of their readings (256 each); beyond it told to come again",
    ),
    ("max_output_bytes", "bytes", "对方不读取时可欠发的字节；超出则断开", "bytes owed to a client that does not read; beyond it dropped"),
    ("write_timeout_ms", "ms", "发送无进展多久断开", "time without progress of a write until the connection is dropped"),
    (
        "first_message_timeout_ms",
        "ms",
        "新连接完成 TLS 握手、发出首条完整报文的时限；UDP 未鉴权来源的保留时间",
        "time for the TLS handshake and for the first whole message; how long a UDP source without a code is remembered",
    ),
    (
        "mqtt_idle_timeout_s",
        "s",
        "MQTT 无保活时的最长静默，也是保活上限",
        "silence of an MQTT connection without keep alive, and the longest keep alive",
    ),
    (
        "mqtt_session_expiry_s",
        "s",
        "MQTT 会话断线后保留的最长时间；0 为不保留",
        "how long an MQTT session may outlive its connection; 0: not at all",
    ),
    ("jt808_idle_timeout_s", "s", "JT/T 808 连接的最长静默", "silence of a JT/T 808 connection"),
    (
        "max_phones_per_connection",
        "numbers",
        "一个 808 连接可承载的终端号码数（转发平台）",
        "phone numbers on one JT/T 808 connection (forwarding platforms)",
    ),
    ("max_assemblies", "messages", "一个 808 连接同时拼装的分包消息数", "messages in parts that one JT/T 808 connection may have open"),
    ("max_assembly_bytes", "bytes", "一个 808 连接分包拼装占用的内存", "memory of those"),
    (
        "media_file_bytes",
        "bytes",
        "终端单个多媒体文件（照片、录音、录像）的大小上限；还须装得下 max_assembly_bytes",
        "one picture, sound or film of a terminal; must fit into max_assembly_bytes as well",
    ),
    (
        "media_vehicle_mb",
        "MB",
        "一辆车的多媒体文件合计上限；超出的不收并计数",
        "such files of one vehicle; further ones are refused and counted",
    ),
    ("media_total_mb", "MB", "全部车辆的多媒体文件合计上限", "such files of all vehicles together"),
    (
        "media_days",
        "days",
        "多媒体文件保存的整天数（保全中的除外）；0 为一直保存",
        "whole days such files are kept, legal holds excepted; 0: for ever",
    ),
    (
        "assembly_timeout_ms",
        "ms",
        "多久未收到新分包即请求补传（至多三次）",
        "time without a new part until the missing ones are asked for (three times at most)",
    ),
    (
        "max_downlinks",
        "commands",
        "一个连接排队的下行指令数；超出视为未连接",
        "commands waiting in one connection; beyond it the device counts as not connected",
    ),
    (
        "reoffer_first_ms",
        "ms",
        "分片满时 MQTT 3.1.1 报文首次重试的等待，逐次加倍",
        "first wait of an MQTT 3.1.1 message that met a full shard; doubles",
    ),
    ("reoffer_last_ms", "ms", "上述等待的上限", "the longest such wait"),
    (
        "refuse_delay_first_ms",
        "ms",
        "凭据错误时应答的延迟，同一地址逐次加倍",
        "delay of the answer to a wrong credential; doubles per failure of an address",
    ),
    ("refuse_delay_last_ms", "ms", "上述延迟的上限", "the longest such delay"),
    ("retry_after_s", "s", "过载时告知 HTTP 客户端的重试间隔", "what an overloading HTTP client is told to wait"),
    (
        "http_reply_timeout_ms",
        "ms",
        "HTTP 请求等待落盘的时限，超出答 503",
        "time an HTTP request waits for the sync before it is answered 503",
    ),
    ("max_http_connections", "connections", "HTTP 连接总数；超出即关闭", "HTTP connections; beyond it closed at once"),
    ("max_http_connections_per_ip", "connections", "来自同一地址的 HTTP 连接数", "of them from one address"),
    ("max_http_requests", "requests", "同时处理的 HTTP 接入请求数；超出答 503", "HTTP ingest requests in work; beyond it 503"),
];

/// The configuration reference as Markdown.
pub fn reference() -> String {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut text = String::from(
        "# 配置 · Configuration\n\n由 `anlan reference` 生成。Generated by `anlan reference`. 环境变量 · environment: `ANLAN_<SECTION>__<KEY>`.\n\n| 键 key | 缺省 default | 单位 unit | 含义 | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    let mut row = |key: &str, unit: &str, zh: &str, en: &str| {
        let default = key.split('.').try_fold(&defaults, |within, name| within.get(name));
        let default = default.map(|v| if v.is_null() { "–".to_owned() } else { v.to_string() }).unwrap_or_default();
        text.push_str(&format!("| `{key}` | `{}` | {} | {zh} | {en} |\n", default.trim_matches('"'), unit.replace('|', "\\|")));
    };
    for (key, unit, zh, en) in REFERENCE {
        row(key, unit, zh, en);
    }
    for (key, unit, zh, en) in LIMITS {
        row(&format!("limits.{key}"), unit, zh, en);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_reference_names_every_key() {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let text = reference();
        for (section, keys) in defaults.as_object().unwrap() {
            let whole = keys.as_object().unwrap().iter().flat_map(|(key, value)| match value {
                Value::Object(within) if !within.is_empty() => within.keys().map(|name| format!("{key}.{name}")).collect(),
                _ => vec![key.clone()],
            });
            for key in whole {
                assert_eq!(text.matches(&format!("`{section}.{key}`")).count(), 1, "{section}.{key} in the reference");
            }
        }
    }

    #[test]
    fn nats_is_used_once_a_server_is_named() {
        assert!(Config::default().link().nats.is_none());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("anlan.toml");
        std::fs::write(&file, "[link.nats]\nservers = [\"nats://a:4222\"]\nways = \"down\"\nreplicas = 1\n").unwrap();
        let nats = load(Some(&file)).unwrap().link().nats.unwrap();
        assert_eq!((nats.ways, nats.settings.replicas, nats.settings.stream_mb), (Ways::Down, Some(1), 512));
        std::fs::write(&file, "[link.nats]\npassword = \"x\"\n").unwrap();
        assert!(load(Some(&file)).unwrap_err().to_string().contains("password"));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("anlan.toml");
        std::fs::write(&file, "[http]\nlissten = \"127.0.0.1:1\"\n").unwrap();
        assert!(load(Some(&file)).unwrap_err().to_string().contains("lissten"));
    }
}
