//! The tour: real files, searched and counted by a service in another process, over every transport in turn.
//!
//! Shows that a program does not change with the transport: the same typed calls go over each, and must give the same results.
//! `mem` stays inside this process; for the others this program starts itself again as the server, and
//! for `spawn` and `stdio` once more for each, as a child that serves it alone.
//!
//! ```console
//! $ cargo run --release --bin tour                       # the project's own sources
//! $ cargo run --release --bin tour -- FILES OR DIRECTORIES
//! $ cargo run --release --bin tour -- --pattern TODO src
//! ```
//!
//! Every file is read once and sent along with three calls over each transport: `count`, `search` and `tidy`. Then one
//! table says how many calls there were, how many bytes of text went both ways, how long the calls took (half of them at most p50,
//! 99 of 100 at most p99; the work on the text included), and the checksum of all results. If the checksums differ, it
//! exits with 1. The last row is all texts at once, in memory that travels with the call: `large`. Files that cannot be read, and those that are not text, are named and left out.

mod files;
mod host;
mod large;
mod row;
mod service;

use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;

use examples::text::TextClient;
use files::Files;
use host::Host;
use ipc_rpc::{Connect, Endpoint, Scheme};
use large::{Large, Texts};
use row::Row;

const USAGE: &str = "usage: tour [--pattern TEXT] [FILES OR DIRECTORIES]";

type Failure = Box<dyn std::error::Error>;

/// The rows of the table: a transport is one line here. `{run}` keeps tours apart that happen at once.
const TRANSPORTS: [&str; 5] = [
    // Within this process, and still through the codec.
    "mem:tour-{run}",
    // Memory that both processes share. A plain name would mean that, too, or its socket where there is no such memory;
    // this insists on it, so that the row is what it says.
    "shm:tour-{run}-shared",
    // A socket in the user's private directory.
    "unix:tour-{run}",
    // FIFOs in the same directory.
    "pipe:tour-{run}",
    // The loopback interface, at any free port.
    "tcp:0",
];

type Connected = fn(Connect<TextClient>) -> Connect<TextClient>;

/// More rows, each with a server of its own that is a child of the client: connected by a socket that it inherits, or by
/// its standard input and output.
const CHILDREN: [(&str, Connected); 2] = [("spawn", |child| child), ("stdio", |child| child.stdio())];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let role = arguments.next_if(|first| first == "--serve" || first == "--child");
    let done = match role.as_deref() {
        Some("--child") => host::serve_parent(),
        Some(_) => host::serve(&arguments.collect::<Vec<_>>()),
        None => match Options::parse(arguments) {
            Ok(options) => tour(&options),
            Err(wrong) => {
                eprintln!("tour: {wrong}\n{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tour(options: &Options) -> Result<(), Failure> {
    let run = std::process::id().to_string();
    let endpoints = TRANSPORTS.map(|transport| Endpoint::try_from(transport.replace("{run}", &run)));
    let endpoints = endpoints.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (supported, missing): (Vec<_>, Vec<_>) = endpoints
        .into_iter()
        .partition(|endpoint| endpoint.scheme().is_supported());
    for endpoint in missing {
        println!("{}: not on this platform", endpoint.scheme());
    }
    let (inside, outside): (Vec<_>, Vec<_>) = supported
        .into_iter()
        .partition(|endpoint| endpoint.scheme() == Scheme::Memory);
    let here = Host::in_this_process(&inside)?;
    let there = Host::in_another_process(&outside)?;
    println!(
        "this is process {}, the service is process {}",
        std::process::id(),
        there.process()
    );

    let mut rows = Vec::new();
    for endpoint in here.endpoints().iter().chain(there.endpoints()) {
        rows.push(Row::new(
            endpoint.scheme().as_str(),
            TextClient::connect(endpoint),
        )?);
    }
    if Scheme::Exec.is_supported() {
        for (name, connected) in CHILDREN {
            let mut again = Command::new(std::env::current_exe()?);
            again.arg("--child");
            rows.push(Row::new(name, connected(TextClient::spawn(again)))?);
        }
    }
    let mut read = 0;
    let mut texts = Texts::default();
    for text in Files::below(&options.paths) {
        match text {
            Ok(text) => {
                read += 1;
                for row in &mut rows {
                    row.ask(&text, &options.pattern)?;
                }
                if let Some(row) = rows.first() {
                    texts.push(&text, &row.counts);
                }
            }
            Err(skipped) => println!("skipped {skipped}"),
        }
    }
    if read == 0 {
        return Err("there is no text to read".into());
    }
    // Where memory is shared, if it can be.
    let large = there
        .endpoints()
        .iter()
        .find(|endpoint| endpoint.scheme() == Scheme::SharedMemory)
        .or_else(|| there.endpoints().first());
    let large = match large {
        Some(endpoint) => Some(texts.count(&TextClient::connect(endpoint).wait()?)?),
        None => None,
    };
    report(read, &options.pattern, &rows, large.as_ref())
}

fn report(read: usize, pattern: &str, rows: &[Row], large: Option<&Large>) -> Result<(), Failure> {
    if let Some(row) = rows.first() {
        println!(
            "{read} files: {}, {} with {pattern:?}\n",
            row::lines(&row.counts),
            row.found
        );
    }
    println!("{}", Row::HEADING);
    for row in rows {
        println!("{row}");
    }
    if let Some(large) = large {
        println!("{large}");
    }
    match all_equal(rows.iter().map(|row| row.checksum)) {
        true => Ok(()),
        false => Err("the checksums differ: a transport did not deliver what was sent".into()),
    }
}

fn all_equal<T: PartialEq>(mut values: impl Iterator<Item = T>) -> bool {
    let first = values.next();
    values.all(|value| first.as_ref() == Some(&value))
}

struct Options {
    pattern: String,
    paths: Vec<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            pattern: "async fn".to_owned(),
            paths: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--pattern" => match arguments.next() {
                    Some(pattern) if !pattern.is_empty() => options.pattern = pattern,
                    _ => return Err("--pattern needs a text".to_owned()),
                },
                "--" => options.paths.extend(arguments.by_ref().map(PathBuf::from)),
                option if option.starts_with("--") => return Err(format!("unknown option {option}")),
                path => options.paths.push(path.into()),
            }
        }
        if options.paths.is_empty() {
            options.paths.push(files::own_sources());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::all_equal;

    #[test]
    fn one_that_differs_is_seen() {
        assert!(all_equal([1, 1, 1].into_iter()));
        assert!(!all_equal([1, 1, 2].into_iter()));
        assert!(!all_equal([2, 1, 1].into_iter()));
    }
}
