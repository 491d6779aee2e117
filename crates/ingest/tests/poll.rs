//! Polling against servers that behave, and against every way in which real ones do not.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anlan_ingest::poll::{self, Polling};
use anlan_ingest::{Limits, Protocol};
use anlan_model::modbus::{ModbusMap, Polled, Polls, Register, Table, ValueType, WordOrder};
use anlan_model::{DeviceId, Refusal, Source, SourceEvent, Timestamp};
use anlan_protocols::modbus::codec::{Exception, Frame, Frames, Request, Response};
use common::{House, Mode, NOW, listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A device with holding registers `R0`, `R1` … at even addresses, each read by itself.
fn device(id: i64, address: SocketAddr, n: u16) -> Arc<Polled> {
    let register = |i: u16| Register {
        code: format!("R{i}"),
        table: Table::Holding,
        address: i * 2,
        kind: ValueType::U16,
        bit: None,
        order: WordOrder::Abcd,
        scale: 1.0,
        offset: 0.0,
        unit: String::new(),
        interval_ms: 50,
    };
    let registers = (0..n).map(register).collect();
    let map = ModbusMap { address, unit: id as u8, timeout_ms: 100, gap: 0, forbidden: vec![], registers };
    Arc::new(Polled { device: DeviceId::new(id), code: format!("D{id}"), map })
}

fn polling() -> Polling {
    let networks = vec!["127.0.0.1".parse().unwrap()];
    Polling { networks, backoff_first_ms: 20, backoff_last_ms: 100, connect_timeout_ms: 500, ..Polling::default() }
}

struct Poller {
    house: House,
    polls: watch::Sender<Polls>,
    task: tokio::task::JoinHandle<()>,
}

impl Poller {
    fn start(devices: Vec<Arc<Polled>>, polling: Polling, limits: Limits) -> Self {
        let house = House::with(limits);
        let (polls, receiver) = watch::channel(Arc::new(devices));
        let task = tokio::spawn(poll::serve(house.ctx.clone(), receiver, polling));
        Self { house, polls, task }
    }
    async fn stop(self) {
        self.house.ctx.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("it stops").unwrap();
        assert_eq!(self.house.ctx.stats.link(Protocol::Modbus).connections(), 0);
    }
    /// Reasons of failures and `restored`, in order.
    fn told(&self) -> Vec<&'static str> {
        let word = |event| match event {
            SourceEvent::PollFailed { reason, .. } => Some(reason),
            SourceEvent::PollRestored { .. } => Some("restored"),
            _ => None,
        };
        self.house.intake.events().into_iter().filter_map(word).collect()
    }
}

/// Serves connections of `listener` one after another with `answer`: the request's frame in, the bytes of the answer out.
/// `None` closes the connection.
async fn server(listener: TcpListener, mut answer: impl FnMut(Frame) -> Option<Vec<u8>> + Send + 'static) {
    while let Ok((mut stream, _)) = listener.accept().await {
        one(&mut stream, &mut answer).await;
    }
}

async fn one(stream: &mut TcpStream, answer: &mut impl FnMut(Frame) -> Option<Vec<u8>>) {
    let (mut frames, mut buffer) = (Frames::default(), [0; 1024]);
    while let Ok(n) = stream.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        frames.push(&buffer[..n]);
        for frame in frames.by_ref() {
            let Some(bytes) = answer(frame.expect("the poller writes whole frames")) else { return };
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}

/// The answer of a device whose register at address a holds `base + a`.
fn registers(frame: &Frame, base: u16) -> Vec<u8> {
    let request = Request::decode(&frame.pdu).expect("a request");
    let Request::Read { start, count, .. } = request else { panic!("{request:?}") };
    reply(frame, &Response::Registers((0..count).map(|i| base + start + i).collect()))
}

fn reply(frame: &Frame, response: &Response) -> Vec<u8> {
    let request = Request::decode(&frame.pdu).expect("a request");
    let mut out = Vec::new();
    Frame { pdu: response.encode(&request), ..frame.clone() }.encode(&mut out);
    out
}

fn exception(frame: &Frame, code: u8) -> Vec<u8> {
    reply(frame, &Response::Exception { function: 3, code: Exception(code) })
}

#[tokio::test]
async fn values_come_with_the_servers_time_and_their_own_names() {
    let (listener, address) = listener().await;
    let poller = Poller::start(vec![device(1, address, 2), device(2, address, 1)], polling(), common::limits());
    tokio::spawn(server(listener, |frame| Some(registers(&frame, u16::from(frame.unit) * 100))));
    poller.house.until("three polls of everything", |i| i.values().len() >= 9).await;
    for seen in poller.house.intake.seen() {
        let Source::Device { device, protocol: "modbus" } = seen.source else { panic!("{seen:?}") };
        assert_eq!((seen.received_at, seen.events.len()), (Timestamp::parse(NOW).unwrap(), 0));
        for r in seen.readings {
            let number: u16 = r.code.trim_start_matches('R').parse().unwrap();
            assert_eq!((r.device_at, r.value), (None, f64::from(device.get() as u16 * 100 + number * 2)), "{}", r.code);
        }
    }
    let link = poller.house.ctx.stats.link(Protocol::Modbus);
    assert_eq!((link.connections(), link.refused_total()), (1, 0), "both devices share one connection");
    poller.stop().await;
}

#[tokio::test]
async fn an_exception_a_garbled_answer_or_a_late_one_is_no_value_and_people_are_told() {
    let check = |answer: fn(Frame) -> Option<Vec<u8>>, want: &'static str| async move {
        let (listener, address) = listener().await;
        let poller = Poller::start(vec![device(1, address, 1)], polling(), common::limits());
        tokio::spawn(server(listener, answer));
        poller.house.until(want, |i| i.events().len() == 1).await;
        assert_eq!(poller.told(), [want]);
        assert_eq!(poller.house.intake.values(), []);
        poller.stop().await;
    };
    check(|f| Some(exception(&f, 2)), "exception").await;
    check(|f| Some(exception(&f, 6)), "exception").await;
    check(|f| Some(exception(&f, 0x0b)), "gateway").await;
    check(|f| Some(reply(&f, &Response::Registers(vec![1, 2]))), "garbled").await;
    check(|f| Some(registers(&Frame { transaction: f.transaction.wrapping_sub(1), ..f }, 0)), "unanswered").await;
    check(|f| Some(registers(&Frame { unit: f.unit + 1, ..f }, 0)), "unanswered").await;
    check(|_| Some(Vec::new()), "unanswered").await;
    check(|_| None, "unanswered").await;
    check(|_| Some(vec![0, 0, 0, 0, 0xff, 0xff, 1]), "unanswered").await;
}

#[tokio::test]
async fn a_silent_unit_does_not_hold_up_its_neighbours_behind_the_same_gateway() {
    let (listener, address) = listener().await;
    let poller = Poller::start(vec![device(1, address, 1), device(2, address, 1)], polling(), common::limits());
    tokio::spawn(server(listener, |f| Some(if f.unit == 1 { Vec::new() } else { registers(&f, 0) })));
    poller.house.until("the good one is polled on", |i| i.values().len() >= 20 && !i.events().is_empty()).await;
    assert_eq!(poller.told(), ["unanswered"]);
    assert!(
        poller
            .house
            .intake
            .seen()
            .iter()
            .all(|s| s.readings.is_empty() || s.source == Source::Device { device: DeviceId::new(2), protocol: "modbus" })
    );
    poller.stop().await;
}

#[tokio::test]
async fn a_device_that_comes_back_is_polled_and_told() {
    let (listener, address) = listener().await;
    drop(listener);
    let poller = Poller::start(vec![device(1, address, 1)], polling(), common::limits());
    poller.house.until("unreachable", |i| i.events().len() == 1).await;
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(server(listener, |f| Some(registers(&f, 7))));
    poller.house.until("restored", |i| i.events().len() == 2 && !i.values().is_empty()).await;
    assert_eq!(poller.told(), ["unreachable", "restored"]);
    assert_eq!(poller.house.intake.values()[0], ("R0".to_owned(), 7.0));
    poller.stop().await;
}

#[tokio::test]
async fn a_half_open_connection_is_made_anew() {
    let (listener, address) = listener().await;
    let poller = Poller::start(vec![device(1, address, 1)], polling(), common::limits());
    // The first connection is taken and never read: what a gateway that lost its power looks like.
    let (_dead, _) = listener.accept().await.unwrap();
    tokio::spawn(server(listener, |f| Some(registers(&f, 0))));
    poller.house.until("a value over the second connection", |i| !i.values().is_empty()).await;
    poller.stop().await;
}

#[tokio::test]
async fn a_connection_that_ends_between_polls_is_nobodys_fault() {
    let (listener, address) = listener().await;
    let poller = Poller::start(vec![device(1, address, 1)], polling(), common::limits());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut n = 0;
            one(&mut stream, &mut |f: Frame| {
                n += 1;
                (n <= 1).then(|| registers(&f, 0))
            })
            .await;
        }
    });
    poller.house.until("values over several connections", |i| i.values().len() >= 5).await;
    poller.stop().await;
}

#[tokio::test]
async fn nothing_outside_the_networks_is_ever_connected_to() {
    let (listener, address) = listener().await;
    let polling = Polling { networks: vec!["10.0.0.0/8".parse().unwrap()], ..polling() };
    let poller = Poller::start(vec![device(1, address, 1)], polling, common::limits());
    poller.house.until("told", |i| i.events().len() == 1).await;
    let SourceEvent::PollFailed { reason: "unreachable", detail, .. } = poller.house.intake.events().remove(0) else { panic!() };
    assert!(detail.contains("modbus.networks"), "{detail}");
    let none = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(none.is_err(), "a connection was opened");
    poller.stop().await;
}

#[tokio::test]
async fn a_full_node_is_offered_the_same_value_again_and_nothing_is_lost() {
    let (listener, address) = listener().await;
    let poller = Poller::start(vec![device(1, address, 1)], polling(), common::limits());
    poller.house.intake.set(Mode::RefuseFirst(Refusal::Overloaded, 3));
    let mut n = 0;
    tokio::spawn(server(listener, move |f| {
        n += 1;
        Some(registers(&f, n))
    }));
    poller.house.until("values", |i| i.values().len() >= 6).await;
    let mut values: Vec<_> = poller.house.intake.values().iter().map(|(_, v)| *v as u16).collect();
    values.sort_unstable();
    assert_eq!(values[..5], [1, 2, 3, 4, 5]);
    poller.stop().await;
}

#[tokio::test]
async fn while_nothing_is_kept_only_so_much_is_asked() {
    let (listener, address) = listener().await;
    let limits = Limits { max_inflight: 2, ..common::limits() };
    let poller = Poller::start(vec![device(1, address, 4)], polling(), limits);
    poller.house.intake.set(Mode::Hold);
    let (sender, mut asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(server(listener, move |f| {
        let _ = sender.send(());
        Some(registers(&f, 0))
    }));
    asked.recv().await;
    asked.recv().await;
    poller.house.until("two are held", |i| i.n_held() == 2).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), asked.recv()).await.is_err(), "a third was asked");
    poller.house.intake.release(Ok(anlan_model::Kept { stored: 1, repeated: 0 }));
    asked.recv().await;
    poller.stop().await;
}

#[tokio::test]
async fn a_changed_map_is_followed_and_a_removed_one_is_left_alone() {
    let (listener, address) = listener().await;
    let poller = Poller::start(vec![device(1, address, 1)], polling(), common::limits());
    tokio::spawn(server(listener, |f| Some(registers(&f, 0))));
    poller.house.until("R0", |i| !i.values().is_empty()).await;
    poller.polls.send_replace(Arc::new(vec![device(1, address, 2)]));
    poller.house.until("R1", |i| i.values().iter().any(|(code, _)| code == "R1")).await;
    poller.polls.send_replace(Arc::default());
    let stats = &poller.house.ctx.stats;
    poller.house.until("the connection is closed", |_| stats.link(Protocol::Modbus).connections() == 0).await;
    poller.stop().await;
}

/// 2,000 units behind four gateways, each asked once a second: all heard, on the grid, over four connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_units_behind_four_gateways_are_all_heard() {
    let mut devices = Vec::new();
    for gateway in 0..4 {
        let (listener, address) = listener().await;
        tokio::spawn(server(listener, |f| Some(registers(&f, u16::from(f.unit)))));
        for n in 0..500 {
            let mut polled = Polled::clone(&device(gateway * 500 + n + 1, address, 1));
            polled.map.timeout_ms = 5_000;
            polled.map.registers[0].interval_ms = 1_000;
            devices.push(Arc::new(polled));
        }
    }
    let began = std::time::Instant::now();
    let poller = Poller::start(devices, polling(), common::limits());
    poller.house.until("2,000 units, twice", |i| i.seen.lock().unwrap().len() >= 4_000).await;
    let seen = poller.house.intake.seen();
    let heard: std::collections::HashSet<_> = seen.iter().map(|s| format!("{:?}", s.source)).collect();
    println!("figure: modbus 2,000 units over 4 connections: {} answers in {:.1} s", seen.len(), began.elapsed().as_secs_f64());
    assert_eq!((heard.len(), poller.told().len()), (2_000, 0));
    assert_eq!(poller.house.ctx.stats.link(Protocol::Modbus).connections(), 4);
    poller.stop().await;
}
