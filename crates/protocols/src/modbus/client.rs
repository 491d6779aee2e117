//! Transactions of one connection: what is out, which answer belongs to it, what came too late.
//!
//! Sans-IO: the caller owns the socket and says what time it is (µs on any clock that only runs forward). Start at [`Client::send`].

use super::codec::{Exception, Frame, FrameError, Frames, Request, Response};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its answer, as many values as were asked for.
    Answer(Response),
    /// The server refuses.
    Exception(Exception),
    /// Answered under its number, but not with what was asked for.
    Garbled,
    /// Nothing came in time; an answer that comes later is discarded.
    Timeout,
}

#[derive(Clone, Debug)]
struct Pending {
    transaction: u16,
    unit: u8,
    request: Request,
    token: u64,
    deadline_us: u64,
}

/// The state of one connection.
#[derive(Clone, Debug)]
pub struct Client {
    frames: Frames,
    pending: Vec<Pending>,
    in_flight_max: usize,
    next: u16,
    discarded: u64,
}

impl Client {
    /// A fresh connection that may have `in_flight_max` requests out (at least one).
    pub fn new(in_flight_max: usize) -> Self {
        Self { frames: Frames::default(), pending: Vec::new(), in_flight_max: in_flight_max.max(1), next: 0, discarded: 0 }
    }

    /// Whether one more request may go out.
    pub fn has_room(&self) -> bool {
        self.pending.len() < self.in_flight_max
    }

    /// Requests out.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// Writes a request into `out`; its outcome will carry `token`. A caller that did not ask [`Client::has_room`] is let through.
    pub fn send(&mut self, token: u64, unit: u8, request: Request, deadline_us: u64, out: &mut Vec<u8>) {
        // A number comes back after 65,536 requests; one that is still out is passed over.
        let transaction = std::iter::successors(Some(self.next), |n| Some(n.wrapping_add(1)))
            .take(self.pending.len() + 1)
            .find(|n| self.pending.iter().all(|p| p.transaction != *n))
            .unwrap_or(self.next);
        self.next = transaction.wrapping_add(1);
        self.pending.push(Pending { transaction, unit, request, token, deadline_us });
        Frame { transaction, unit, pdu: request.encode() }.encode(out);
    }

    /// Takes what the socket gave and appends the outcomes of requests it answers.
    ///
    /// An answer nobody waits for (too late, another unit, another function) is discarded and counted: it must never
    /// become the value of something else.
    ///
    /// # Errors
    /// A fatal [`FrameError`]: close the connection; what is out will never be answered.
    pub fn receive(&mut self, bytes: &[u8], outcomes: &mut Vec<(u64, Outcome)>) -> Result<(), FrameError> {
        self.frames.push(bytes);
        for frame in self.frames.by_ref() {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => {
                    self.discarded += 1;
                    continue;
                }
            };
            let function = frame.pdu.first().map(|f| f & 0x7f);
            let is_it = |p: &Pending| p.transaction == frame.transaction && p.unit == frame.unit && Some(p.request.function()) == function;
            let Some(at) = self.pending.iter().position(is_it) else {
                self.discarded += 1;
                continue;
            };
            let pending = self.pending.remove(at);
            let outcome = match Response::decode(&frame.pdu) {
                Ok(Response::Exception { code, .. }) => Outcome::Exception(code),
                Ok(response) if response.answers(&pending.request) => Outcome::Answer(response),
                Ok(_) | Err(_) => Outcome::Garbled,
            };
            outcomes.push((pending.token, outcome));
        }
        Ok(())
    }

    /// Gives up what is overdue at `now_us`.
    pub fn expire(&mut self, now_us: u64, outcomes: &mut Vec<(u64, Outcome)>) {
        self.pending.retain(|p| {
            let overdue = p.deadline_us <= now_us;
            if overdue {
                outcomes.push((p.token, Outcome::Timeout));
            }
            !overdue
        });
    }

    /// When [`Client::expire`] has something to do.
    pub fn next_deadline_us(&self) -> Option<u64> {
        self.pending.iter().map(|p| p.deadline_us).min()
    }

    /// Answers discarded since the last call.
    pub fn take_discarded(&mut self) -> u64 {
        std::mem::take(&mut self.discarded)
    }

    /// Tokens of everything still out, oldest first; the connection is gone.
    pub fn abandon(&mut self) -> Vec<u64> {
        self.pending.drain(..).map(|p| p.token).collect()
    }
}

#[cfg(test)]
mod tests {
    use anlan_model::modbus::Table;

    use super::*;

    const READ: Request = Request::Read { table: Table::Holding, start: 0, count: 1 };

    fn answer(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Frame { transaction, unit, pdu: pdu.to_vec() }.encode(&mut out);
        out
    }

    #[test]
    fn answers_find_their_requests_in_any_order_and_cut_anywhere() {
        let mut client = Client::new(2);
        let mut out = Vec::new();
        client.send(10, 1, READ, 100, &mut out);
        client.send(11, 2, READ, 100, &mut out);
        assert!(!client.has_room());
        assert_eq!(out, [answer(0, 1, &READ.encode()), answer(1, 2, &READ.encode())].concat());
        let bytes = [answer(1, 2, &[3, 2, 0, 7]), answer(0, 1, &[0x83, 6])].concat();
        for cut in 0..=bytes.len() {
            let (mut client, mut found) = (client.clone(), Vec::new());
            client.receive(&bytes[..cut], &mut found).unwrap();
            client.receive(&bytes[cut..], &mut found).unwrap();
            assert_eq!(found, [(11, Outcome::Answer(Response::Registers(vec![7]))), (10, Outcome::Exception(Exception(6)))]);
            assert_eq!(client.in_flight(), 0);
        }
    }

    #[test]
    fn a_late_answer_is_nobodys() {
        let mut client = Client::new(1);
        let (mut out, mut found) = (Vec::new(), Vec::new());
        client.send(1, 1, READ, 100, &mut out);
        client.expire(99, &mut found);
        assert_eq!((found.len(), client.next_deadline_us()), (0, Some(100)));
        client.expire(100, &mut found);
        assert_eq!(found.remove(0), (1, Outcome::Timeout));
        client.send(2, 1, READ, 200, &mut out);
        client.receive(&answer(0, 1, &[3, 2, 0, 1]), &mut found).unwrap();
        assert_eq!((found.len(), client.in_flight(), client.take_discarded()), (0, 1, 1), "the answer to the first is not the second's");
        client.receive(&answer(1, 1, &[3, 2, 0, 2]), &mut found).unwrap();
        assert_eq!(found, [(2, Outcome::Answer(Response::Registers(vec![2])))]);
    }

    #[test]
    fn another_unit_or_function_does_not_answer_and_a_wrong_size_is_garbled() {
        let mut client = Client::new(1);
        let (mut out, mut found) = (Vec::new(), Vec::new());
        client.send(1, 1, READ, 100, &mut out);
        client.receive(&answer(0, 9, &[3, 2, 0, 1]), &mut found).unwrap();
        client.receive(&answer(0, 1, &[4, 2, 0, 1]), &mut found).unwrap();
        assert_eq!((found.len(), client.take_discarded()), (0, 2));
        client.receive(&answer(0, 1, &[3, 4, 0, 1, 0, 2]), &mut found).unwrap();
        assert_eq!(found, [(1, Outcome::Garbled)]);
    }

    #[test]
    fn a_number_that_is_still_out_is_not_given_twice() {
        let mut client = Client::new(3);
        let mut out = Vec::new();
        client.send(0, 1, READ, u64::MAX, &mut out);
        for token in 1..=70_000 {
            client.send(token, 1, READ, 1, &mut out);
            let transaction = client.pending.last().unwrap().transaction;
            assert_ne!(transaction, 0, "request {token}");
            client.expire(1, &mut Vec::new());
            out.clear();
        }
    }

    #[test]
    fn a_broken_stream_gives_up_everything() {
        let mut client = Client::new(2);
        let mut out = Vec::new();
        client.send(5, 1, READ, 100, &mut out);
        client.send(6, 1, READ, 100, &mut out);
        assert!(client.receive(&[0, 0, 0, 0, 0, 0, 1], &mut Vec::new()).is_err());
        assert_eq!((client.abandon(), client.in_flight()), (vec![5, 6], 0));
    }
}
