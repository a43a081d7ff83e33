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
mod process;
mod system;

pub use drive::{Worker, drive, runtime};
pub use job::{Case, Job, Load, Measured, Mode, Placement, Variant, Waiting};
pub use process::{busy, processors};
pub use system::{Error, Offer, Ready, System, offers};

/// The body that clients send: a pattern, so that a reply that is shifted or cut is noticed.
#[must_use]
pub fn body(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at.wrapping_mul(167) ^ (at >> 8)) as u8)
        .collect()
}

/// Checks that `reply` is the echo of `body`: its length and both ends. Not every byte: comparing 1 MiB would add
/// 20 µs to a call of 400.
///
/// # Errors
/// If the reply is not the echo.
pub fn check_echo(body: &[u8], reply: &[u8]) -> Result<(), Error> {
    let ends = body.len().min(16);
    let same = reply.len() == body.len()
        && reply[..ends] == body[..ends]
        && reply[reply.len() - ends..] == body[body.len() - ends..];
    if same {
        Ok(())
    } else {
        Err(format!("{} bytes came back for {}, or others", reply.len(), body.len()).into())
    }
}
