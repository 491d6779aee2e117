//! Device and city simulators with truth files: for tests, for `anlan demo` and for `anlan sim`.
//!
//! An invented city ([`world`]) plays a script that its seed fixes ([`script`], incidents in [`story`]) over real sockets ([`client`]),
//! and writes down what was acknowledged and what should follow ([`truth`]); controllers are polled instead ([`plc`]). [`check`](mod@check) then asks the server.
//! Never part of a production node. Start at [`run`]; to fill an empty server first, [`provision`](mod@provision).

pub mod api;
pub mod check;
pub mod client;
pub mod county;
pub mod fleet;
mod gas_main;
pub mod join;
pub mod picture;
pub mod plc;
pub mod provision;
pub mod replay;
pub mod rng;
pub mod road;
pub mod script;
pub mod signal;
pub mod stage;
pub mod story;
mod tank_farm;
pub mod terminals;
pub mod truth;
pub mod workload;
pub mod world;

pub use api::Credentials;
pub use check::{CheckReport, check};
pub use client::Summary;
pub use join::join;
pub use provision::{Secrets, provision};
pub use replay::{ReplayOptions, replay};
pub use stage::{SimError, SimOptions, run};
pub use terminals::{TerminalsOptions, TerminalsReport};
pub use world::{Part, Scale, World};
