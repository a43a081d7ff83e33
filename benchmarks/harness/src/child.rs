//! What a binary with systems in it does when the coordinator starts it.

use std::io::{Read, Write};
use std::process::ExitCode;

use crate::job::{Job, Load};
use crate::process::{Role, pin};
use crate::system::{Error, Ready, System, offers};

/// The words that ask for a child's work; the word after them is JSON.
pub const OFFERS: &str = "@offers";
/// Serve a [`Job`] until standard input ends.
pub const SERVER: &str = "@server";
/// Measure a [`Job`] and print a [`Measured`](crate::Measured).
pub const CLIENT: &str = "@client";

/// Does what the arguments (without the program's name) ask of a child; `None` if they ask for none.
#[must_use]
pub fn run(systems: &[&dyn System], arguments: &[String]) -> Option<ExitCode> {
    let [word, json] = arguments else { return None };
    let done = match word.as_str() {
        OFFERS => list(systems, json),
        SERVER => serve(systems, json),
        CLIENT => measure(systems, json),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: the coordinator shows it as the row's note.
            println!("failed {}", error.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    })
}

fn list(systems: &[&dyn System], json: &str) -> Result<(), Error> {
    let loads: Vec<Load> = serde_json::from_str(json)?;
    println!("{}", serde_json::to_string(&offers(systems, &loads))?);
    Ok(())
}

fn serve(systems: &[&dyn System], json: &str) -> Result<(), Error> {
    let job: Job = serde_json::from_str(json)?;
    // The coordinator holds the other end: when it goes, however it goes, so does its server.
    std::thread::spawn(|| {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().read(&mut rest), Ok(1..)) {}
        std::process::exit(0);
    });
    pin(Role::Server, &job)?;
    chosen(systems, &job)?.serve(&job, Ready::on_standard_output())
}

fn measure(systems: &[&dyn System], json: &str) -> Result<(), Error> {
    let job: Job = serde_json::from_str(json)?;
    pin(Role::Client, &job)?;
    let measured = chosen(systems, &job)?.drive(&job)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "measured {}", serde_json::to_string(&measured)?)?;
    out.flush()?;
    Ok(())
}

fn chosen<'a>(systems: &[&'a dyn System], job: &Job) -> Result<&'a dyn System, Error> {
    let same_name = |system: &&&dyn System| {
        system
            .variants()
            .iter()
            .any(|variant| variant.system == job.variant.system)
    };
    systems
        .iter()
        .find(same_name)
        .copied()
        .ok_or_else(|| format!("this binary has no system {:?}", job.variant.system).into())
}
