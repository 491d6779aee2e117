//! Tunnels through a real nats-server: what goes in comes out, and what breaks is over at both ends.
#![cfg(feature = "nats")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anlan_link::identity::Validity;
use anlan_link::nats::{Nats, NatsSettings};
use anlan_link::transport::{Limits, LinkError, Tunnel, connect_through};
use anlan_model::NodeId;
use async_nats::jetstream;
use common::{Node, Parent, end_of, now};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const SERVER: &str = "/usr/sbin/nats-server";
const SOON: Duration = Duration::from_secs(30);

/// A server with JetStream; killed when dropped.
struct Server {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// `None`: it is not installed.
    fn start() -> Option<Self> {
        if !Path::new(SERVER).exists() {
            println!("skipped: 1");
            eprintln!("nats-server is not installed");
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        Some(Self { process: run(port, dir.path()), port, dir })
    }
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
    /// Starts again with nothing of what it had.
    fn start_empty(&mut self) {
        std::fs::remove_dir_all(self.dir.path().join("jetstream")).unwrap();
        self.process = run(self.port, self.dir.path());
    }
    fn settings(&self) -> NatsSettings {
        NatsSettings { servers: vec![format!("nats://127.0.0.1:{}", self.port)], stream_mb: 64, ..NatsSettings::default() }
    }
    fn nats(&self, own: NodeId) -> Arc<Nats> {
        Arc::new(Nats::new(&self.settings(), own).unwrap())
    }
    async fn client(&self) -> async_nats::Client {
        async_nats::connect(format!("127.0.0.1:{}", self.port)).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(port: u16, dir: &Path) -> Child {
    let port_text = port.to_string();
    let mut command = Command::new(SERVER);
    command.args(["-js", "-a", "127.0.0.1", "-p", &port_text, "-sd"]).arg(dir);
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let answers = || {
        std::thread::sleep(Duration::from_millis(50));
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    };
    if !(0..200).any(|_| answers()) {
        eprintln!("nats-server does not answer at {port}");
    }
    process
}

/// A parent's door, whoever comes.
struct DoorOf {
    id: NodeId,
    tunnels: mpsc::Receiver<Tunnel>,
    _task: AbortOnDropHandle<()>,
}

fn node_id() -> NodeId {
    Node::new().identity.id()
}

fn open_door(server: &Server) -> DoorOf {
    let id = node_id();
    let nats = server.nats(id);
    let (sender, tunnels) = mpsc::channel(8);
    let task = tokio::spawn(async move { nats.serve(id, sender, CancellationToken::new()).await });
    DoorOf { id, tunnels, _task: AbortOnDropHandle::new(task) }
}

impl DoorOf {
    /// Both ends of a tunnel; asked for again while the door is not open yet.
    async fn tunnel(&mut self, child: &Nats) -> (DuplexStream, DuplexStream) {
        let dialled = async {
            loop {
                match child.dial(self.id).await {
                    Ok(tunnel) => return tunnel,
                    Err(LinkError::Broker(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let ours = tokio::time::timeout(SOON, dialled).await.expect("a tunnel in time");
        // Of tries whose answer was lost nobody knows here.
        let mut theirs = None;
        while let Ok(tunnel) = self.tunnels.try_recv() {
            theirs = Some(tunnel);
        }
        let theirs = match theirs {
            Some(tunnel) => tunnel,
            None => tokio::time::timeout(SOON, self.tunnels.recv()).await.unwrap().unwrap(),
        };
        (ours.into_stream(), theirs.into_stream())
    }
}

fn noise(n: usize, seed: u32) -> Vec<u8> {
    (0..n as u32).map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Ends of a stream within a time, whatever it still gives.
async fn is_over(stream: &mut DuplexStream) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_megabytes_go_both_ways_and_both_may_end() {
    let Some(server) = Server::start() else { return };
    let mut door = open_door(&server);
    let child = server.nats(node_id());
    let (ours, theirs) = door.tunnel(&child).await;
    let began = std::time::Instant::now();
    let both = [(ours, 1u32, 2u32), (theirs, 2, 1)].map(|(stream, says, hears)| async move {
        let (mut read, mut write) = tokio::io::split(stream);
        let (out, mut came) = (noise(5 << 20, says), Vec::new());
        let said = async {
            write.write_all(&out).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let ((), heard) = tokio::join!(said, read.read_to_end(&mut came));
        heard.unwrap();
        assert!(came == noise(5 << 20, hears), "{} bytes came", came.len());
    });
    let [ours, theirs] = both;
    tokio::time::timeout(SOON, async { tokio::join!(ours, theirs) }).await.expect("in time");
    println!("figure: NATS tunnel: 5 MiB both ways at once in {:.2} s", began.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_connects_through_it_and_the_broker_sees_none_of_its_words() {
    let Some(server) = Server::start() else { return };
    let (sender, tunnels) = mpsc::channel(8);
    let mut parent = Parent::listen_with(Limits::default(), Some(tunnels)).await;
    let id = parent.node.identity.id();
    let nats = server.nats(id);
    let serving = nats.clone();
    let _serving = AbortOnDropHandle::new(tokio::spawn(async move { serving.serve(id, sender, CancellationToken::new()).await }));
    let child = Node::below(&parent.node, Validity::from(now()));
    let through = server.nats(child.identity.id());
    // Whatever the broker is given.
    let client = server.client().await;
    let mut overheard = client.subscribe("anlan.>").await.unwrap();
    client.flush().await.unwrap();
    let connected = async {
        loop {
            match through.dial(id).await {
                Ok(tunnel) => return connect_through(tunnel, &child.identity, Arc::default()).await.unwrap(),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let connected = tokio::time::timeout(SOON, connected).await.unwrap();
    assert_eq!(connected.peer.id(), id);
    let accepted = parent.accept().await;
    assert_eq!(accepted.peer.id(), child.identity.id());
    let (up, mut of_child) = connected.split();
    let (down, mut of_parent) = accepted.split();
    let secret = b"pressure 1.5 MPa at the reactor ".repeat(8_000);
    up.send(secret.clone()).await.unwrap();
    assert_eq!(end_of(&mut of_parent).await.unwrap(), Some(secret.clone()));
    down.send(secret.clone()).await.unwrap();
    assert_eq!(end_of(&mut of_child).await.unwrap(), Some(secret.clone()));
    up.close("").await;
    assert_eq!(end_of(&mut of_parent).await.unwrap(), None);
    let (mut n_bytes, mut is_clear) = (0, false);
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(300), overheard.next()).await {
        n_bytes += message.payload.len();
        is_clear |= message.payload.windows(16).any(|window| window == &secret[..16]);
    }
    assert!(n_bytes > 2 * secret.len(), "it all went this way: {n_bytes} bytes");
    assert!(!is_clear, "the broker can read it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_ends_it_and_a_new_dial_works_though_the_storage_is_gone() {
    let Some(mut server) = Server::start() else { return };
    let mut door = open_door(&server);
    let child = server.nats(node_id());
    let (mut ours, mut theirs) = door.tunnel(&child).await;
    ours.write_all(b"before").await.unwrap();
    let mut heard = [0; 6];
    theirs.read_exact(&mut heard).await.unwrap();
    server.kill();
    ours.write_all(b"nobody has this").await.unwrap();
    assert!(is_over(&mut ours).await, "what is not confirmed ends the tunnel");
    server.start_empty();
    let (mut ours, mut theirs) = door.tunnel(&child).await;
    theirs.write_all(b"after!").await.unwrap();
    tokio::time::timeout(SOON, ours.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(&heard, b"after!");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_no_chunk_a_gap_and_a_strange_opening_are_refused() {
    let Some(server) = Server::start() else { return };
    let mut door = open_door(&server);
    let child = server.nats(node_id());
    let client = server.client().await;
    let context = jetstream::new(client.clone());
    let chunk = |number: u64| [&b"AT1\0"[..], &number.to_be_bytes(), &0u64.to_be_bytes(), b"x"].concat();
    for wrong in [b"nonsense".to_vec(), chunk(7), vec![0; 200_000]] {
        let mut overheard = client.subscribe(format!("anlan.link.{}.*.up", door.id)).await.unwrap();
        client.flush().await.unwrap();
        let (mut ours, mut theirs) = door.tunnel(&child).await;
        ours.write_all(b"x").await.unwrap();
        let subject = tokio::time::timeout(SOON, overheard.next()).await.unwrap().unwrap().subject;
        context.publish(subject, wrong.into()).await.unwrap().await.unwrap();
        assert!(is_over(&mut theirs).await, "the end that hears it");
        assert!(is_over(&mut ours).await, "the other is told");
    }
    for wrong in ["", "anlan-tunnel/2 00000000000000000000000000000000", "anlan-tunnel/1 a.b", "anlan-tunnel/1 *"] {
        let answer = client.request(format!("anlan.link.{}.door", door.id), wrong.into()).await.unwrap();
        assert!(String::from_utf8_lossy(&answer.payload).contains("not understood"), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_slows_the_other_down() {
    let Some(server) = Server::start() else { return };
    let mut door = open_door(&server);
    let child = server.nats(node_id());
    let (mut ours, mut theirs) = door.tunnel(&child).await;
    let big = noise(16 << 20, 3);
    let copy = big.clone();
    let writing = tokio::spawn(async move { ours.write_all(&copy).await.map(|()| ours) });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!writing.is_finished(), "16 MiB that nobody reads have gone somewhere");
    let context = jetstream::new(server.client().await);
    let held = context.get_stream(format!("ANLAN_LINK_{}", door.id)).await.unwrap().cached_info().state.bytes;
    assert!(held < 4 << 20, "the stream holds {held} bytes");
    let mut came = vec![0; 16 << 20];
    tokio::time::timeout(SOON, theirs.read_exact(&mut came)).await.unwrap().unwrap();
    assert!(came == big);
    assert!(writing.await.unwrap().is_ok());
}

#[tokio::test]
async fn no_server_and_no_door_say_so() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = NatsSettings { servers: vec![format!("127.0.0.1:{port}")], stream_mb: 64, ..NatsSettings::default() };
    let failure = Nats::new(&settings, node_id()).unwrap().dial(node_id()).await.err().unwrap();
    assert!(failure.to_string().contains("check link.nats") && failure.is_passing(), "{failure}");
    let Some(server) = Server::start() else { return };
    let failure = server.nats(node_id()).dial(node_id()).await.err().unwrap();
    assert!(failure.to_string().contains("does not open its door") && failure.is_passing(), "{failure}");
}

#[test]
fn a_wrong_setting_says_which_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (absent, empty) = (dir.path().join("absent"), dir.path().join("empty"));
    std::fs::write(&empty, "\n").unwrap();
    let good = || NatsSettings { servers: vec!["nats://10.0.0.1:4222".to_owned()], stream_mb: 64, ..NatsSettings::default() };
    assert!(Nats::new(&good(), node_id()).is_ok());
    let servers = |text: &str| NatsSettings { servers: vec![text.to_owned()], ..good() };
    let cases = [
        (NatsSettings { servers: vec![], ..good() }, "servers"),
        (servers("http://10.0.0.1"), "servers"),
        (servers("nats://"), "servers"),
        (servers("nats://me:secret@10.0.0.1"), "servers"),
        (NatsSettings { credentials: Some(absent.clone()), ..good() }, "credentials"),
        (NatsSettings { credentials: Some(empty.clone()), ..good() }, "credentials"),
        (NatsSettings { credentials: Some(empty.clone()), user: Some("me".to_owned()), ..good() }, "credentials"),
        (NatsSettings { user: Some("me".to_owned()), ..good() }, "password_file"),
        (NatsSettings { user: Some("me".to_owned()), password_file: Some(absent.clone()), ..good() }, "password_file"),
        (NatsSettings { user: Some("me".to_owned()), password_file: Some(empty.clone()), ..good() }, "password_file"),
        (NatsSettings { password_file: Some(empty), ..good() }, "user"),
        (NatsSettings { ca: Some(absent), ..good() }, "ca"),
        (NatsSettings { replicas: Some(0), ..good() }, "replicas"),
        (NatsSettings { stream_mb: 1, ..good() }, "stream_mb"),
    ];
    for (settings, field) in cases {
        let failure = Nats::new(&settings, node_id()).err().unwrap_or_else(|| panic!("{settings:?} is taken"));
        assert_eq!(failure.field, field, "{failure}");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
}
