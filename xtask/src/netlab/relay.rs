//! A wire between two nodes that can be bad: it delays, stalls, cuts in the middle of a message, resets, and leads nowhere.
//!
//! Bytes are never changed nor reordered: TCP does not either. Its choices follow from a seed; threads make the instants differ. Start at
//! [`Relay::set`].

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use socket2::SockRef;

use crate::faults::Random;

/// How long a pump waits for bytes before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(20);
const CHUNK: usize = 16 * 1024;

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Carries.
    Clear,
    /// Carries, with delays, stalls, cuts and resets.
    Nasty,
    /// Cut: what stands is reset, what comes is refused.
    Cut,
    /// Half open: connections stand and carry nothing.
    Silent,
}

/// One wire.
pub struct Relay {
    /// Where the child connects.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: Mutex<String>,
    mood: Mutex<Mood>,
    random: Mutex<Random>,
    over: AtomicBool,
    n_faults: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

impl Relay {
    /// A clear wire that leads nowhere yet.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(seed: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for a relay")?;
        let address = listener.local_addr().context("the relay's port")?;
        listener.set_nonblocking(true).context("a relay that does not block")?;
        let shared = Arc::new(Shared {
            to: Mutex::default(),
            mood: Mutex::new(Mood::Clear),
            random: Mutex::new(Random(seed)),
            over: AtomicBool::new(false),
            n_faults: AtomicU64::new(0),
        });
        let serving = shared.clone();
        std::thread::spawn(move || serving.serve(&listener));
        Ok(Self { address, shared })
    }

    /// Leads to this address from now on: a node that starts again listens elsewhere.
    pub fn lead_to(&self, address: &str) {
        address.clone_into(&mut lock(&self.shared.to));
    }

    /// Changes what the wire does.
    pub fn set(&self, mood: Mood) {
        *lock(&self.shared.mood) = mood;
    }

    /// Connections that were reset or cut, and stalls.
    pub fn n_faults(&self) -> u64 {
        self.shared.n_faults.load(Ordering::Relaxed)
    }
}

/// What becomes of a chunk.
enum Fate {
    Carried(Duration),
    CutInTheMiddle,
    Reset,
}

impl Shared {
    fn mood(&self) -> Mood {
        *lock(&self.mood)
    }

    fn serve(self: Arc<Self>, listener: &TcpListener) {
        while !self.over.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((near, _)) if self.mood() == Mood::Cut => reset(&near),
                Ok((near, _)) => {
                    let shared = self.clone();
                    std::thread::spawn(move || shared.carry(&near));
                }
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    /// One connection, to its end: both directions, and whichever ends first ends the other.
    fn carry(&self, near: &TcpStream) {
        let to = lock(&self.to).clone();
        let Ok(far) = TcpStream::connect(to) else { return reset(near) };
        let is_over = AtomicBool::new(false);
        for stream in [near, &far] {
            let _ = (stream.set_nodelay(true), stream.set_nonblocking(false), stream.set_read_timeout(Some(LOOK)));
            let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
        }
        std::thread::scope(|scope| {
            scope.spawn(|| self.pump(near, &far, &is_over));
            self.pump(&far, near, &is_over);
        });
    }

    fn pump(&self, from: &TcpStream, to: &TcpStream, is_over: &AtomicBool) {
        let (mut reader, mut writer) = (from, to);
        let mut chunk = [0; CHUNK];
        let is_orderly = loop {
            if is_over.load(Ordering::Relaxed) || self.over.load(Ordering::Relaxed) {
                break false;
            }
            match self.mood() {
                Mood::Cut => {
                    reset(from);
                    reset(to);
                    break false;
                }
                // What has been sent stays in the kernel's buffers, as in a cable that was pulled out.
                Mood::Silent => {
                    std::thread::sleep(LOOK);
                    continue;
                }
                Mood::Clear | Mood::Nasty => {}
            }
            let n = match reader.read(&mut chunk) {
                Ok(0) => break true,
                Ok(n) => n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break true,
            };
            match self.fate() {
                Fate::Carried(pause) => {
                    std::thread::sleep(pause);
                    if writer.write_all(&chunk[..n]).is_err() {
                        break true;
                    }
                }
                Fate::CutInTheMiddle => {
                    let _ = writer.write_all(&chunk[..n / 2]);
                    break true;
                }
                Fate::Reset => {
                    reset(from);
                    reset(to);
                    break false;
                }
            }
        };
        is_over.store(true, Ordering::Relaxed);
        if is_orderly {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        }
    }

    fn fate(&self) -> Fate {
        if self.mood() != Mood::Nasty {
            return Fate::Carried(Duration::ZERO);
        }
        let mut random = lock(&self.random);
        let fate = match random.below(400) {
            0 | 1 => Fate::Reset,
            2 | 3 => Fate::CutInTheMiddle,
            4..12 => Fate::Carried(Duration::from_millis(200 + random.below(1_500))),
            _ => return Fate::Carried(Duration::from_millis(random.below(12))),
        };
        self.n_faults.fetch_add(1, Ordering::Relaxed);
        fate
    }
}

/// Once it is closed, the other side hears a reset and not an orderly end.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
