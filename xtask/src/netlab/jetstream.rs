//! Trouble of a broker: three nats-servers as a cluster carry the link of three nodes; they die singly, then all at once and with everything they kept.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::net::{Net, Role, wait};
use super::relay::Mood;
use super::trouble::{SETTLE, under_load};
use super::{Lab, Tally};
use crate::faults::At as _;
use crate::tools::NATS_SERVER;

const USER: &str = "anlan";

/// One server of a cluster.
struct Server {
    dir: PathBuf,
    port: u16,
    process: Option<Child>,
}

/// Killed when dropped.
struct Cluster {
    servers: Vec<Server>,
    password_file: PathBuf,
}

impl Cluster {
    fn start(dir: &Path, password: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).at("make", dir)?;
        let password_file = dir.join("password");
        std::fs::write(&password_file, password).at("write", &password_file)?;
        // All at once, so that no two are the same.
        let sockets: Vec<_> = (0..6).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let ports: Vec<u16> = sockets.iter().map(|s| Ok(s.local_addr()?.port())).collect::<std::io::Result<_>>()?;
        let (clients, routes) = ports.split_at(3);
        let all: Vec<String> = routes.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        drop(sockets);
        let mut servers = Vec::new();
        for (i, (port, route)) in clients.iter().zip(routes).enumerate() {
            let dir = dir.join(format!("n{i}"));
            std::fs::create_dir_all(&dir).at("make", &dir)?;
            let config = format!(
                "server_name: n{i}\nlisten: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, max_file_store: 512MB }}\n\
                 cluster {{ name: lab, listen: \"127.0.0.1:{route}\", routes: [{}] }}\nauthorization {{ user: {USER}, password: {password:?} }}\n",
                dir.join("store").to_string_lossy(),
                all.join(", ")
            );
            let path = dir.join("server.conf");
            std::fs::write(&path, config).at("write", &path)?;
            servers.push(Server { dir, port: *port, process: None });
        }
        let mut cluster = Self { servers, password_file };
        for i in 0..3 {
            cluster.servers[i].start()?;
        }
        Ok(cluster)
    }

    fn urls(&self) -> String {
        let urls: Vec<String> = self.servers.iter().map(|s| format!("\"nats://127.0.0.1:{}\"", s.port)).collect();
        format!("[{}]", urls.join(","))
    }
}

impl Server {
    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(NATS_SERVER);
        command.arg("-c").arg(self.dir.join("server.conf")).arg("-l").arg(self.dir.join("log"));
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start nats-server")?);
        let port = self.port;
        wait("a nats-server that listens", || Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok()))?;
        Ok(())
    }
    fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().context("kill nats-server")?;
            process.wait().context("its end")?;
        }
        Ok(())
    }
    fn empty(&self) -> anyhow::Result<()> {
        let store = self.dir.join("store");
        std::fs::remove_dir_all(&store).at("remove", &store)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.servers.iter_mut().for_each(|server| drop(server.kill()));
    }
}

/// How many readings of the first point the city holds.
fn at_city(net: &Net, code: &str) -> anyhow::Result<usize> {
    let points = net.members[0].points()?;
    Ok(match points.get(code) {
        Some(id) => net.members[0].readings(id)?.len(),
        None => 0,
    })
}

/// How long it takes until the city hears new readings, counted from now.
fn goes_on(net: &Net, code: &str) -> anyhow::Result<Duration> {
    let (began, before) = (Instant::now(), at_city(net, code)?);
    // What was under way already may still come; this much is new.
    wait("new readings at the city", || Ok((at_city(net, code)? > before + 100).then_some(())))
        .with_context(|| net.members.iter().map(|m| format!("-- {}\n{}", m.name, m.node.said())).collect::<String>())?;
    Ok(began.elapsed())
}

/// One server is killed under load; then all three, and their storage is emptied.
pub fn jetstream(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    if !Path::new(NATS_SERVER).exists() {
        println!("skipped: 1");
        return Ok("skipped: nats-server is not installed (cargo xtask test --install)".to_owned());
    }
    let mut net = Net::new(lab.bench, "jetstream", lab.seed)?;
    let mut random = net.random();
    let password = format!("{:016x}", random.next());
    let mut cluster = Cluster::start(&lab.bench.place("jetstream").join("nats"), &password)?;
    let (urls, password_file) = (cluster.urls(), cluster.password_file.to_string_lossy().into_owned());
    let settings = [
        ("ANLAN_LINK__NATS__SERVERS", urls.as_str()),
        ("ANLAN_LINK__NATS__USER", USER),
        ("ANLAN_LINK__NATS__PASSWORD_FILE", password_file.as_str()),
        ("ANLAN_LINK__NATS__REPLICAS", "3"),
        ("ANLAN_LINK__NATS__STREAM_MB", "64"),
    ];
    net.add(Role { name: "city", level: "city", region: "5304", settings: &settings })?;
    net.add(Role { name: "county", level: "county", region: "530402", settings: &settings })?;
    net.join(1, 0, None)?;
    net.add_enterprise(1, 1, &settings)?;
    // They joined over TCP; from here on there is no way but the cluster.
    net.set_wires(Mood::Cut);
    let code = net.devices[0].points[0].clone();
    let rounds = (lab.kills / 10).clamp(1, 5);
    let (mut after_one, mut after_all) = (Duration::ZERO, Duration::ZERO);
    under_load(&mut net, |net, _| {
        goes_on(net, &code)?;
        for _ in 0..rounds {
            let victim = random.below(3) as usize;
            cluster.servers[victim].kill()?;
            tally.kills += 4;
            after_one = after_one.max(goes_on(net, &code)?);
            cluster.servers[victim].start()?;
            std::thread::sleep(Duration::from_secs(3));
            for server in &mut cluster.servers {
                server.kill()?;
            }
            for server in &mut cluster.servers {
                server.empty()?;
            }
            std::thread::sleep(Duration::from_secs(2));
            for server in &mut cluster.servers {
                server.start()?;
            }
            after_all = after_all.max(goes_on(net, &code)?);
        }
        Ok(())
    })?;
    net.settle(SETTLE)?;
    let (lost, doubled, unequal) = (tally.lost, tally.doubled, tally.unequal);
    net.check(tally)?;
    Ok(format!(
        "cluster of three, {rounds} x one server killed under load (new readings at the city after {:.1} s at most), {rounds} x all three killed and their \
         storage emptied (after {:.1} s at most); digests equal at all levels; lost {} doubled {} unequal {}",
        after_one.as_secs_f64(),
        after_all.as_secs_f64(),
        tally.lost - lost,
        tally.doubled - doubled,
        tally.unequal - unequal
    ))
}
