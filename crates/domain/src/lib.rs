//! Rules: (state, input, now) in, (state, effects) out.
//!
//! Synchronous and deterministic. Knows only `model`: no I/O, no clock, no database, no log, no threads.
//! Start at [`alarm`] for how a reading becomes an alarm, at [`combination`] for alarms made of alarms, at [`road`] for what the positions of a vehicle say, at [`pack`] for
//! where thresholds come from, at [`plan`] for where the targets of a document stand, at [`transfer`] for which of two nodes is home.

pub mod accident;
pub mod alarm;
pub mod assessment;
pub mod calendar;
pub mod combination;
pub mod control;
pub mod credit_code;
pub mod decimal;
pub mod division;
pub mod duty;
pub mod indicator;
pub mod major_hazard;
pub mod networking;
pub mod pack;
pub mod plan;
pub mod register;
pub mod responsibility;
pub mod road;
pub mod submission;
pub mod transfer;
