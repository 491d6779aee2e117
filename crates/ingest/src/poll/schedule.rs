//! Which read of one connection is due when, which unit is left alone for a while, and what people are told about it.
//!
//! Pure: time is an argument, µs on a clock that only runs forward. Polls stand on a fixed grid per read (start + n · interval), so
//! that a slow answer never shifts the next poll; a poll that is still waiting when its next turn comes is counted, not queued twice.
//! That also bounds the queue: one entry per read. Start at [`Schedule::advance`] and [`Schedule::next`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use anlan_model::modbus::Polled;
use anlan_protocols::modbus::codec::{Exception, Request};
use anlan_protocols::modbus::plan::{self, Read};

/// First polls are spread over at most this long, so that a node that starts does not ask everybody at once.
const SPREAD_US: u64 = 10_000_000;
/// A unit is told about again at most this often while it comes and goes.
const TELL_AGAIN_US: u64 = 60_000_000;
/// Unanswered requests in a row before a unit is reported: a single lost answer is ordinary.
const UNANSWERED_TOLD: u32 = 2;
/// Point codes that an event names.
const CODES_NAMED: usize = 20;

/// How long a unit that does not answer is left alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first_us: u64,
    pub(crate) last_us: u64,
}

impl Backoff {
    /// After the `n`-th failure in a row, from 1: doubles, up to the last.
    pub(crate) fn after(self, n: u32) -> u64 {
        self.first_us.saturating_mul(1 << n.saturating_sub(1).min(20)).min(self.last_us)
    }
}

/// Why a read brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no connection.
    Unreachable(String),
    /// No answer in time, or the connection ended before it.
    Unanswered,
    /// The unit answered with an exception.
    Exception(Exception),
    /// The answer was not what was asked for.
    Garbled,
}

impl Failure {
    /// The unit is not there: asking again at once would only hold up the others of its connection.
    fn is_absence(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Unanswered => true,
            Self::Exception(code) => code.is_gateway(),
            Self::Garbled => false,
        }
    }
    /// The word for people and programs.
    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Unanswered => "unanswered",
            Self::Exception(code) if code.is_gateway() => "gateway",
            Self::Exception(_) => "exception",
            Self::Garbled => "garbled",
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Unreachable(why) => why.clone(),
            Self::Exception(code) => code.to_string(),
            Self::Unanswered | Self::Garbled => String::new(),
        }
    }
}

/// What people should learn about a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It does not give what it should.
    Failed { reason: &'static str, detail: String, codes: Vec<String> },
    /// It gives everything again.
    Restored,
}

/// A read to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) job: usize,
    pub(crate) unit: u8,
    pub(crate) request: Request,
    pub(crate) timeout_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Ready,
    Out,
}

struct Job {
    unit: usize,
    read: Read,
    interval_us: u64,
    /// The next place on the grid.
    next_us: u64,
    state: State,
    failed: Option<Failure>,
}

struct Unit {
    polled: Arc<Polled>,
    /// Places of its reads in the list of jobs.
    jobs: Range<usize>,
    is_out: bool,
    /// Absences in a row.
    absences: u32,
    not_before_us: u64,
    told: Option<&'static str>,
    told_at_us: Option<u64>,
}

/// All reads of one connection.
pub(crate) struct Schedule {
    units: Vec<Unit>,
    jobs: Vec<Job>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
    ready: VecDeque<usize>,
    backoff: Backoff,
    overruns: u64,
}

impl Schedule {
    /// The reads of these devices, first due within [`SPREAD_US`] of `now_us`. What `before` knew of a device's health stays.
    pub(crate) fn new(devices: &[Arc<Polled>], backoff: Backoff, now_us: u64, before: Option<&Self>) -> Self {
        let mut made = Self { units: Vec::new(), jobs: Vec::new(), due: BinaryHeap::new(), ready: VecDeque::new(), backoff, overruns: 0 };
        for polled in devices {
            let unit = made.units.len();
            let known = before.and_then(|b| b.units.iter().find(|u| u.polled.device == polled.device));
            made.units.push(Unit {
                polled: polled.clone(),
                jobs: made.jobs.len()..made.jobs.len(),
                is_out: false,
                absences: 0,
                not_before_us: 0,
                told: known.and_then(|u| u.told),
                told_at_us: known.and_then(|u| u.told_at_us),
            });
            for (n, read) in plan::reads(&polled.map).into_iter().enumerate() {
                let interval_us = read.interval_ms.saturating_mul(1_000).max(1);
                // Fibonacci hashing (Knuth, TAOCP 6.4): neighbouring ids land far apart.
                let spread = (polled.device.get() as u64).wrapping_add(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                let next_us = now_us + spread % interval_us.min(SPREAD_US);
                made.due.push(Reverse((next_us, made.jobs.len())));
                made.jobs.push(Job { unit, read, interval_us, next_us, state: State::Idle, failed: None });
            }
            made.units[unit].jobs.end = made.jobs.len();
        }
        made
    }

    /// Makes ready what is due by `now_us`.
    pub(crate) fn advance(&mut self, now_us: u64) {
        while let Some(&Reverse((at, n))) = self.due.peek().filter(|d| d.0.0 <= now_us) {
            self.due.pop();
            let job = &mut self.jobs[n];
            let on_grid = at == job.next_us;
            if on_grid {
                let missed = (now_us - at) / job.interval_us;
                self.overruns += missed;
                job.next_us = at + job.interval_us * (missed + 1);
                self.due.push(Reverse((job.next_us, n)));
            }
            match job.state {
                State::Idle => {
                    job.state = State::Ready;
                    self.ready.push_back(n);
                }
                State::Ready | State::Out => self.overruns += u64::from(on_grid),
            }
        }
    }

    /// The next read to be sent: first come first served, one at a time per unit, none to a unit that is left alone.
    pub(crate) fn next(&mut self, now_us: u64) -> Option<Ask> {
        let mut at = 0;
        while let Some(&n) = self.ready.get(at) {
            let unit = &mut self.units[self.jobs[n].unit];
            if unit.is_out {
                at += 1;
                continue;
            }
            self.ready.remove(at);
            if now_us < unit.not_before_us {
                self.jobs[n].state = State::Idle;
                self.again(n);
                continue;
            }
            unit.is_out = true;
            let map = &unit.polled.map;
            let ask = Ask { job: n, unit: map.unit, request: self.jobs[n].read.request, timeout_us: map.timeout_ms.saturating_mul(1_000) };
            self.jobs[n].state = State::Out;
            return Some(ask);
        }
        None
    }

    /// Whether a read waits for a connection.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When [`Self::advance`] has something to do.
    pub(crate) fn wake_us(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Polls that were left out since the last call because the one before was not done.
    pub(crate) fn take_overruns(&mut self) -> u64 {
        std::mem::take(&mut self.overruns)
    }

    /// Whose read it is, and the read.
    pub(crate) fn job(&self, n: usize) -> (&Arc<Polled>, &Read) {
        (&self.units[self.jobs[n].unit].polled, &self.jobs[n].read)
    }

    /// How many devices are reported as failing.
    pub(crate) fn n_told(&self) -> usize {
        self.units.iter().filter(|u| u.told.is_some()).count()
    }

    /// A read is done; what to tell about its device, if anything.
    pub(crate) fn done(&mut self, n: usize, result: Result<(), Failure>, now_us: u64) -> Option<Told> {
        let job = &mut self.jobs[n];
        job.state = State::Idle;
        let unit = &mut self.units[job.unit];
        unit.is_out = false;
        let absent = result.as_ref().is_err_and(Failure::is_absence);
        job.failed = result.err();
        if absent {
            unit.absences = unit.absences.saturating_add(1);
            unit.not_before_us = now_us + self.backoff.after(unit.absences);
            self.again(n);
        } else {
            unit.absences = 0;
            unit.not_before_us = 0;
        }
        self.tell(self.jobs[n].unit, now_us)
    }

    /// No connection: everything that waits for one has failed. What to tell, by device.
    pub(crate) fn fail_ready(&mut self, why: &str, now_us: u64) -> Vec<(Arc<Polled>, Told)> {
        let mut told = Vec::new();
        for n in std::mem::take(&mut self.ready) {
            // Of a unit that is left alone anyway, nothing new is known.
            if now_us < self.units[self.jobs[n].unit].not_before_us {
                self.jobs[n].state = State::Idle;
                self.again(n);
            } else if let Some(what) = self.done(n, Err(Failure::Unreachable(why.to_owned())), now_us) {
                told.push((self.units[self.jobs[n].unit].polled.clone(), what));
            }
        }
        told
    }

    /// The connection answers again: units that were only unreachable need not wait any longer.
    pub(crate) fn reachable(&mut self, now_us: u64) {
        for n in 0..self.jobs.len() {
            if matches!(self.jobs[n].failed, Some(Failure::Unreachable(_))) {
                self.units[self.jobs[n].unit].not_before_us = now_us;
                self.again(n);
            }
        }
    }

    /// A try before the next place on the grid, if the unit may be asked before it: a slow grid must not delay a recovery.
    fn again(&mut self, n: usize) {
        let (job, at) = (&self.jobs[n], self.units[self.jobs[n].unit].not_before_us);
        if at < job.next_us {
            self.due.push(Reverse((at, n)));
        }
    }

    fn tell(&mut self, unit: usize, now_us: u64) -> Option<Told> {
        let state = &mut self.units[unit];
        let failing: Vec<usize> = state.jobs.clone().filter(|n| self.jobs[*n].failed.is_some()).collect();
        let Some(first) = failing.first() else {
            return state.told.take().map(|_| Told::Restored);
        };
        let failure = self.jobs[*first].failed.as_ref()?;
        let enough = !failure.is_absence() || state.absences == 0 || state.absences >= UNANSWERED_TOLD;
        let recently = state.told_at_us.is_some_and(|at| now_us.saturating_sub(at) < TELL_AGAIN_US);
        if !enough || recently || state.told == Some(failure.reason()) {
            return None;
        }
        state.told = Some(failure.reason());
        state.told_at_us = Some(now_us);
        let registers = failing.iter().flat_map(|n| self.jobs[*n].read.registers.iter());
        let codes = registers.filter_map(|i| state.polled.map.registers.get(*i)).map(|r| r.code.clone()).take(CODES_NAMED).collect();
        Some(Told::Failed { reason: failure.reason(), detail: failure.detail(), codes })
    }
}

#[cfg(test)]
mod tests {
    use anlan_model::DeviceId;
    use anlan_model::modbus::{ModbusMap, Register, Table, ValueType, WordOrder};

    use super::*;

    const S: u64 = 1_000_000;
    const BACKOFF: Backoff = Backoff { first_us: S, last_us: 8 * S };

    /// A device whose reads have these intervals, in seconds.
    fn device(id: i64, intervals: &[u64]) -> Arc<Polled> {
        let register = |(n, s): (usize, &u64)| Register {
            code: format!("P{n}"),
            table: Table::Holding,
            address: n as u16 * 10,
            kind: ValueType::U16,
            bit: None,
            order: WordOrder::Abcd,
            scale: 1.0,
            offset: 0.0,
            unit: String::new(),
            interval_ms: s * 1_000,
        };
        let registers = intervals.iter().enumerate().map(register).collect();
        let address = ([127, 0, 0, 1], 502).into();
        let map = ModbusMap { address, unit: id as u8, timeout_ms: 500, gap: 0, forbidden: vec![], registers };
        Arc::new(Polled { device: DeviceId::new(id), code: format!("D{id}"), map })
    }

    /// Runs until `until`, answering every ask at once with `answer`; the instants of the asks of each job, in whole 10 ms.
    fn run(schedule: &mut Schedule, from: u64, until: u64, mut answer: impl FnMut(u64) -> Result<(), Failure>) -> Vec<(usize, u64)> {
        let (mut now, mut asked) = (from, Vec::new());
        while now <= until {
            schedule.advance(now);
            while let Some(ask) = schedule.next(now) {
                asked.push((ask.job, now));
                schedule.done(ask.job, answer(now), now);
            }
            now = schedule.wake_us().unwrap_or(u64::MAX).max(now + 1);
        }
        asked
    }

    #[test]
    fn polls_stand_on_their_grid_whatever_the_answers_do() {
        let mut schedule = Schedule::new(&[device(1, &[10])], BACKOFF, 0, None);
        let first = schedule.wake_us().unwrap();
        assert!(first < 10 * S);
        let (mut now, mut asks) = (0, Vec::new());
        // Every answer takes 3 s and the shell wakes late; no ask drifts.
        while now < 100 * S {
            now = schedule.wake_us().unwrap() + 7;
            schedule.advance(now);
            let ask = schedule.next(now).unwrap();
            asks.push(now - 7);
            schedule.done(ask.job, Ok(()), now + 3 * S);
        }
        assert_eq!(asks, (0..asks.len() as u64).map(|n| first + n * 10 * S).collect::<Vec<_>>());
        assert_eq!(schedule.take_overruns(), 0);
    }

    #[test]
    fn a_poll_that_waits_too_long_is_counted_and_not_queued_twice() {
        let mut schedule = Schedule::new(&[device(1, &[1])], BACKOFF, 0, None);
        schedule.advance(S);
        let ask = schedule.next(S).unwrap();
        for second in 2..=5 {
            schedule.advance(second * S);
            assert_eq!(schedule.next(second * S), None);
        }
        assert_eq!(schedule.take_overruns(), 4);
        schedule.done(ask.job, Ok(()), 5 * S);
        schedule.advance(6 * S);
        assert!(schedule.next(6 * S).is_some());
        assert_eq!(schedule.next(6 * S), None);
        // The shell slept through four turns: one poll, three counted.
        schedule.done(0, Ok(()), 6 * S);
        schedule.advance(10 * S);
        assert!(schedule.next(10 * S).is_some() && schedule.next(10 * S).is_none());
        assert_eq!(schedule.take_overruns(), 3);
    }

    #[test]
    fn a_silent_unit_is_left_alone_longer_and_longer_and_holds_up_nobody() {
        let devices = [device(1, &[1]), device(2, &[1])];
        let mut schedule = Schedule::new(&devices, BACKOFF, 0, None);
        let mut asked = [Vec::new(), Vec::new()];
        let mut now = 0;
        while now < 60 * S {
            schedule.advance(now);
            while let Some(ask) = schedule.next(now) {
                asked[ask.job].push(now);
                let result = if ask.unit == 1 { Err(Failure::Unanswered) } else { Ok(()) };
                schedule.done(ask.job, result, now);
            }
            now = schedule.wake_us().unwrap().max(now + 1);
        }
        assert_eq!(asked[1].len(), 60);
        let waits: Vec<u64> = asked[0].windows(2).map(|w| (w[1] - w[0]) / S).collect();
        assert_eq!(waits[..4], [1, 2, 4, 8]);
        assert!(waits[4..].iter().all(|w| *w == 8));
    }

    #[test]
    fn a_slow_grid_does_not_delay_a_recovery() {
        let mut schedule = Schedule::new(&[device(1, &[3_600])], BACKOFF, 0, None);
        let mut n = 0;
        let asked = run(&mut schedule, 0, 3_000 * S, |_| {
            n += 1;
            if n <= 3 { Err(Failure::Unanswered) } else { Ok(()) }
        });
        let waits: Vec<u64> = asked.windows(2).map(|w| (w[1].1 - w[0].1) / S).collect();
        assert_eq!(waits, [1, 2, 4]);
    }

    #[test]
    fn people_are_told_when_it_begins_and_when_it_is_over_and_not_in_between() {
        let mut schedule = Schedule::new(&[device(1, &[1, 2])], BACKOFF, 0, None);
        let mut told = Vec::new();
        let mut step = |schedule: &mut Schedule, n, result, now| told.extend(schedule.done(n, result, now));
        step(&mut schedule, 0, Err(Failure::Unanswered), S);
        step(&mut schedule, 0, Err(Failure::Unanswered), 2 * S);
        step(&mut schedule, 0, Err(Failure::Unanswered), 4 * S);
        step(&mut schedule, 0, Ok(()), 8 * S);
        // It comes and goes: told once a minute at most.
        step(&mut schedule, 1, Err(Failure::Exception(Exception(2))), 9 * S);
        step(&mut schedule, 1, Ok(()), 10 * S);
        step(&mut schedule, 1, Err(Failure::Exception(Exception(2))), 70 * S);
        step(&mut schedule, 0, Ok(()), 71 * S);
        step(&mut schedule, 1, Ok(()), 72 * S);
        let failed = |reason, detail: &str, code: &str| Told::Failed { reason, detail: detail.into(), codes: vec![code.into()] };
        let exception = "exception 0x02 illegal data address";
        assert_eq!(told, [failed("unanswered", "", "P0"), Told::Restored, failed("exception", exception, "P1"), Told::Restored]);
    }

    #[test]
    fn without_a_connection_everything_that_waits_fails_and_comes_back_at_once() {
        let devices: Vec<_> = (1..=20).map(|id| device(id, &[5])).collect();
        let mut schedule = Schedule::new(&devices, BACKOFF, 0, None);
        schedule.advance(10 * S);
        assert!(schedule.fail_ready("connection refused", 10 * S).is_empty(), "once is not enough to tell");
        schedule.advance(11 * S);
        let told = schedule.fail_ready("connection refused", 11 * S);
        assert_eq!((told.len(), schedule.n_told()), (20, 20));
        assert!(!schedule.has_ready());
        schedule.reachable(12 * S);
        schedule.advance(12 * S);
        let mut restored = 0;
        while let Some(ask) = schedule.next(12 * S) {
            restored += usize::from(schedule.done(ask.job, Ok(()), 12 * S) == Some(Told::Restored));
        }
        assert_eq!((restored, schedule.n_told()), (20, 0));
    }

    #[test]
    fn an_exception_is_no_reason_to_ask_less_often() {
        let mut schedule = Schedule::new(&[device(1, &[1])], BACKOFF, 0, None);
        let busy = run(&mut schedule, 0, 20 * S, |_| Err(Failure::Exception(Exception(6)))).len();
        assert!(busy >= 20);
        let mut schedule = Schedule::new(&[device(1, &[1])], BACKOFF, 0, None);
        assert!(run(&mut schedule, 0, 20 * S, |_| Err(Failure::Exception(Exception(0x0b)))).len() < 8);
    }

    #[test]
    fn health_survives_a_changed_map() {
        let mut schedule = Schedule::new(&[device(1, &[1])], BACKOFF, 0, None);
        schedule.done(0, Err(Failure::Garbled), S);
        assert_eq!(schedule.n_told(), 1);
        let mut schedule = Schedule::new(&[device(1, &[1, 1]), device(2, &[1])], BACKOFF, 2 * S, Some(&schedule));
        assert_eq!(schedule.n_told(), 1);
        assert_eq!(schedule.done(0, Ok(()), 3 * S), Some(Told::Restored));
    }
}
