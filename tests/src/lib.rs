//! What the integration tests share: a service made to be tested, its server in a process of its own, and the measuring
//! of what a process holds.

#![recursion_limit = "512"]

pub mod caller;
pub mod errand;
pub mod fixture;
#[cfg(unix)]
pub mod fork;
pub mod meter;
pub mod mode;
pub mod process;
pub mod samples;
pub mod subject;
pub mod trust;
pub mod values;
#[cfg(unix)]
pub mod visit;
pub mod watchdog;
