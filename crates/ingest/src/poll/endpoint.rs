//! One address: its connection, the requests on it, and the batches that its answers become.
//!
//! The shell around [`Schedule`] and [`Client`]: it owns the socket and the time, they own every decision. Start at [`run`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anlan_model::modbus::Polled;
use anlan_model::{Kept, Quality, RawReading, Refusal, Source, SourceEvent};
use anlan_protocols::modbus::client::{Client, Outcome};
use anlan_protocols::modbus::plan;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Polling;
use super::schedule::{Backoff, Failure, Schedule, Told};
use crate::Context;
use crate::offer::{Content, Offers};
use crate::stats::{Open, Protocol, Reason};

/// Unanswered requests in a row, without a byte in between, before a connection counts as half open and is made anew.
const SILENT_MAX: u32 = 3;

struct Live {
    stream: TcpStream,
    client: Client,
    /// Timeouts since the last byte.
    silent: u32,
    has_answered: bool,
    _open: Open,
}

struct Endpoint {
    ctx: Arc<Context>,
    settings: Arc<Polling>,
    address: SocketAddr,
    started: Instant,
    schedule: Schedule,
    backoff: Backoff,
    live: Option<Live>,
    /// Connections that failed in a row, why the last one did, and when the next may be tried.
    refused: u32,
    why: String,
    retry_at_us: u64,
    offers: Offers,
    /// Batches that are out or wait to be offered again: at most `limits.max_inflight`, then nothing new is asked.
    out: HashMap<u64, (Content, u32)>,
    reoffers: Vec<(Instant, u64)>,
    next_token: u64,
    failing: usize,
}

/// Polls the devices behind `address` until `stop`.
pub(super) async fn run(
    ctx: Arc<Context>,
    settings: Arc<Polling>,
    address: SocketAddr,
    mut devices: watch::Receiver<Vec<Arc<Polled>>>,
    stop: CancellationToken,
) {
    let backoff = Backoff { first_us: settings.backoff_first_ms * 1_000, last_us: settings.backoff_last_ms * 1_000 };
    let first = devices.borrow_and_update().clone();
    let mut endpoint = Endpoint {
        schedule: Schedule::new(&first, backoff, 0, None),
        offers: Offers::new(ctx.intake.clone()),
        started: Instant::now(),
        backoff,
        live: None,
        refused: 0,
        why: String::new(),
        retry_at_us: 0,
        out: HashMap::new(),
        reoffers: Vec::new(),
        next_token: 0,
        failing: 0,
        ctx,
        settings,
        address,
    };
    let mut buffer = vec![0; 4 << 10];
    loop {
        let now_us = endpoint.now_us();
        endpoint.schedule.advance(now_us);
        if endpoint.live.is_none() && endpoint.schedule.has_ready() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = endpoint.connect() => {}
            }
        }
        endpoint.ask().await;
        endpoint.count();
        let wake = endpoint.wake();
        let Endpoint { live, offers, .. } = &mut endpoint;
        let read = async {
            match live {
                Some(live) => live.stream.read(&mut buffer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            changed = devices.changed() => {
                if changed.is_err() {
                    break;
                }
                let wanted = devices.borrow_and_update().clone();
                endpoint.change(&wanted);
            }
            answer = offers.next() => endpoint.answered(answer),
            heard = read => match heard {
                Ok(0) => endpoint.lost("the connection was closed by the peer"),
                Ok(n) => endpoint.heard(&buffer[..n]),
                Err(error) => endpoint.lost(&error.to_string()),
            },
            () = tokio::time::sleep_until(wake) => endpoint.tick(),
        }
    }
    endpoint.failing(0);
}

impl Endpoint {
    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn wake(&self) -> Instant {
        let of_client = self.live.as_ref().and_then(|l| l.client.next_deadline_us());
        let of_schedule = self.schedule.wake_us();
        let due = of_client.into_iter().chain(of_schedule).map(|us| self.started + Duration::from_micros(us));
        // With nothing to poll there is nothing to wake for; an hour is as good as never.
        due.chain(self.reoffers.iter().map(|(at, _)| *at)).min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600))
    }

    /// Opens the connection, or lets everything that waits for it fail.
    async fn connect(&mut self) {
        if self.now_us() >= self.retry_at_us {
            // The configuration may be narrower than when the map was accepted.
            let opened = if self.settings.allows(self.address) {
                let limit = Duration::from_millis(self.settings.connect_timeout_ms);
                match tokio::time::timeout(limit, TcpStream::connect(self.address)).await {
                    Ok(Ok(stream)) => Ok(stream),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("no connection in time".to_owned()),
                }
            } else {
                Err("the address is outside modbus.networks".to_owned())
            };
            match opened {
                Ok(stream) => {
                    // A request is one small segment; waiting for more to send would only delay it.
                    let _ = stream.set_nodelay(true);
                    let client = Client::new(self.settings.in_flight_max.clamp(1, 16));
                    let open = Open::new(&self.ctx.stats, Protocol::Modbus);
                    self.live = Some(Live { stream, client, silent: 0, has_answered: false, _open: open });
                    return;
                }
                Err(why) => self.refused_by(why),
            }
        }
        let now_us = self.now_us();
        let why = self.why.clone();
        for (polled, told) in self.schedule.fail_ready(&why, now_us) {
            self.tell(&polled, told);
        }
    }

    fn refused_by(&mut self, why: String) {
        outcome("unreachable");
        tracing::debug!(protocol = "modbus", address = %self.address, "{} cannot be reached: {why}", self.address);
        self.refused = self.refused.saturating_add(1);
        self.retry_at_us = self.now_us() + self.backoff.after(self.refused);
        self.why = why;
    }

    /// Sends what is due, as far as the connection and the intake have room.
    async fn ask(&mut self) {
        let now_us = self.now_us();
        let Some(live) = &mut self.live else { return };
        let mut bytes = Vec::new();
        while live.client.has_room() && self.out.len() < self.ctx.limits.max_inflight {
            let Some(ask) = self.schedule.next(now_us) else { break };
            live.client.send(ask.job as u64, ask.unit, ask.request, now_us + ask.timeout_us, &mut bytes);
        }
        if bytes.is_empty() {
            return;
        }
        let limit = Duration::from_millis(self.ctx.limits.write_timeout_ms);
        match tokio::time::timeout(limit, live.stream.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.lost(&error.to_string()),
            Err(_) => self.lost("the peer does not read what it is sent"),
        }
    }

    fn heard(&mut self, bytes: &[u8]) {
        let Some(live) = &mut self.live else { return };
        live.silent = 0;
        let mut outcomes = Vec::new();
        let whole = live.client.receive(bytes, &mut outcomes);
        if !outcomes.is_empty() && !std::mem::replace(&mut live.has_answered, true) {
            self.refused = 0;
            let now_us = self.now_us();
            self.schedule.reachable(now_us);
        }
        self.settle(outcomes);
        if let Err(error) = whole {
            self.ctx.refuse(Protocol::Modbus, Reason::Violation, &self.address.to_string(), error);
            self.lost(&error.to_string());
        }
    }

    fn tick(&mut self) {
        let now_us = self.now_us();
        let mut overdue = Vec::new();
        if let Some(live) = &mut self.live {
            live.client.expire(now_us, &mut overdue);
            live.silent = live.silent.saturating_add(overdue.len() as u32);
        }
        self.settle(overdue);
        if self.live.as_ref().is_some_and(|l| l.silent >= SILENT_MAX) {
            self.lost("nothing was heard for several requests");
        }
        let now = Instant::now();
        let due: Vec<u64> = self.reoffers.extract_if(.., |(at, _)| *at <= now).map(|(_, token)| token).collect();
        for token in due {
            if let Some((content, _)) = self.out.get(&token) {
                self.offers.offer(token, content.clone());
            }
        }
    }

    /// Requests came to an end: values leave, failures are noted.
    fn settle(&mut self, outcomes: Vec<(u64, Outcome)>) {
        let now_us = self.now_us();
        for (token, outcome_of) in outcomes {
            let Ok(job) = usize::try_from(token) else { continue };
            let (polled, read) = self.schedule.job(job);
            let polled = polled.clone();
            let result = match outcome_of {
                Outcome::Answer(response) => {
                    outcome("answered");
                    let at = self.ctx.clock.now();
                    self.ctx.stats.link(Protocol::Modbus).heard(at);
                    let mut content = Content::new(source(&polled), at);
                    for register in read.registers.iter().filter_map(|i| polled.map.registers.get(*i)) {
                        match plan::value(register, &read.request, &response) {
                            Some(value) => content.readings.push(RawReading {
                                code: register.code.clone(),
                                device_at: None,
                                value,
                                quality: Quality::Good,
                            }),
                            None => self.ctx.stats.link(Protocol::Modbus).ignored(1),
                        }
                    }
                    if !content.readings.is_empty() {
                        self.offer(content);
                    }
                    Ok(())
                }
                Outcome::Exception(code) => {
                    outcome("exception");
                    Err(Failure::Exception(code))
                }
                Outcome::Garbled => {
                    outcome("garbled");
                    Err(Failure::Garbled)
                }
                Outcome::Timeout => {
                    outcome("timeout");
                    Err(Failure::Unanswered)
                }
            };
            if let Some(told) = self.schedule.done(job, result, now_us) {
                self.tell(&polled, told);
            }
        }
    }

    /// The connection is gone; what was out on it failed. One that ends between polls is nobody's fault.
    fn lost(&mut self, why: &str) {
        let Some(mut live) = self.live.take() else { return };
        tracing::debug!(protocol = "modbus", address = %self.address, "{} is disconnected: {why}", self.address);
        if !live.has_answered {
            self.refused_by(why.to_owned());
        }
        let out = live.client.abandon().into_iter().map(|token| (token, Outcome::Timeout)).collect();
        self.settle(out);
    }

    fn change(&mut self, devices: &[Arc<Polled>]) {
        // Requests out belong to the old map: their answers must not be read with the new one.
        let now_us = self.now_us();
        if self.live.as_ref().is_some_and(|l| l.client.in_flight() > 0) {
            self.live = None;
        }
        self.schedule = Schedule::new(devices, self.backoff, now_us, Some(&self.schedule));
    }

    fn offer(&mut self, content: Content) {
        let token = self.next_token;
        self.next_token += 1;
        self.offers.offer(token, content.clone());
        self.out.insert(token, (content, 0));
    }

    fn answered(&mut self, (token, result): (u64, Result<Kept, Refusal>)) {
        let Some((content, attempt)) = self.out.get_mut(&token) else { return };
        let reason = match result {
            Ok(_) => {
                self.ctx.stats.link(Protocol::Modbus).kept(content.count());
                self.out.remove(&token);
                return;
            }
            // Nobody else will send it again, so it waits here; with too many waiting nothing new is asked.
            Err(Refusal::Overloaded | Refusal::Storage) => {
                self.reoffers.push((Instant::now() + self.ctx.limits.reoffer_delay(*attempt), token));
                *attempt = attempt.saturating_add(1);
                self.ctx.stats.link(Protocol::Modbus).refuse(Reason::Overloaded);
                return;
            }
            Err(Refusal::UnknownSource) => Reason::UnknownSource,
            Err(Refusal::Stopping) => Reason::Stopping,
        };
        self.ctx.stats.link(Protocol::Modbus).refuse(reason);
        self.out.remove(&token);
    }

    fn tell(&mut self, polled: &Polled, told: Told) {
        let address = format!("{} unit {}", self.address, polled.map.unit);
        let event = match told {
            Told::Failed { reason, detail, codes } => {
                tracing::warn!(
                    protocol = "modbus",
                    device = polled.code,
                    reason,
                    detail,
                    "{} at {address} gives nothing: {reason} {detail}",
                    polled.code
                );
                SourceEvent::PollFailed { address, reason, detail, codes }
            }
            Told::Restored => {
                tracing::info!(protocol = "modbus", device = polled.code, "{} at {address} answers again", polled.code);
                SourceEvent::PollRestored { address }
            }
        };
        self.offer(Content::event(source(polled), self.ctx.clock.now(), event));
    }

    fn count(&mut self) {
        let overruns = self.schedule.take_overruns();
        if overruns > 0 {
            metrics::counter!("modbus_overruns_total").increment(overruns);
        }
        let discarded = self.live.as_mut().map_or(0, |l| l.client.take_discarded());
        if discarded > 0 {
            metrics::counter!("modbus_discarded_answers_total").increment(discarded);
        }
        self.failing(self.schedule.n_told());
    }

    fn failing(&mut self, n: usize) {
        if n != self.failing {
            metrics::gauge!("modbus_devices_failing").increment(n as f64 - self.failing as f64);
            self.failing = n;
        }
    }
}

fn source(polled: &Polled) -> Source {
    Source::Device { device: polled.device, protocol: Protocol::Modbus.as_str() }
}

fn outcome(word: &'static str) {
    metrics::counter!("modbus_requests_total", "outcome" => word).increment(1);
}
