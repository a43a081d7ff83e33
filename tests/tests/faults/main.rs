//! What strangers, hostile programs and accidents do to a server, and what people read then.
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, and clippy knows only functions marked as tests"
)]

mod breaches;
#[cfg(target_os = "linux")]
mod changing;
mod floods;
#[cfg(target_os = "linux")]
mod foes;
mod holdings;

mod hostile;
mod impostors;
mod last_words;
#[cfg(target_os = "linux")]
mod loans;
#[cfg(target_os = "linux")]
mod memories;
mod messages;
mod pieces;
mod raw;
#[cfg(target_os = "linux")]
mod sections;
#[cfg(target_os = "linux")]
mod served;
#[cfg(target_os = "linux")]
mod shared;

use std::process::Command;

use tests::process::Helper;
use tests::subject::Plan;

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

fn serve(plan: &Plan) -> Helper {
    Helper::serve(PROGRAM, plan, |_: &mut Command| {})
}
