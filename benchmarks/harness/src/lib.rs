//! The part of the benchmark program that runs inside the measured processes.
//!
//! A *system* (an RPC framework, or a raw socket as a floor) implements [`System`] in one file: how to serve, and
//! how to connect workers that make calls. A case is measured with two processes, a server and a client, each a
//! fresh copy of the binary that the system is linked into ([`child`]); the client measures ([`drive`]) and prints
//! one [`Measured`]. The coordinator, which starts the processes and prints the tables, is the program `bench`.
//!
//! Linux only: pinning and processor time come from its system calls and from `/proc`.
#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

pub mod child;
mod drive;
mod job;
mod payload;
mod process;
mod system;

pub use drive::{Worker, drive, runtime};
pub use job::{Call, Case, Job, Load, Measured, Mode, Placement, SMALL, Variant, Waiting};
pub use payload::{Payload, check_echo, sum};
pub use process::{busy, processors};
pub use system::{Answer, Error, Offer, Ready, System, offers};
