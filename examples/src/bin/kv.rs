//! The command line of `kvd`.
//!
//! Shows a client without a runtime (`.wait()`), a deadline on every call, and how a program tells its user what went
//! wrong: each kind of failure has its sentence and its exit code.
//!
//! ```console
//! $ cargo run --bin kv -- put greeting hello
//! 1
//! $ cargo run --bin kv -- get greeting
//! hello
//! $ cargo run --bin kv -- status
//! 1 keys, 13 bytes, version 1
//! served by pid 4711 (/usr/bin/kvd), uid 1000, to pid 4712 (/usr/bin/kv), uid 1000, over shm
//! ```
//!
//! Exit codes: 0 ok, 1 the store says no, 2 usage, 3 cannot connect, 4 deadline, 5 any other failure of the call.

use std::fmt::Display;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use examples::kv::{self, Expect, KvClient, KvError, Version};
use ipc_rpc::{CallError, Error, ErrorKind, ServiceClient};

const USAGE: &str = "\
usage: kv [--at ENDPOINT] [--timeout SECONDS] COMMAND

commands:
  get KEY                                       write the value to the standard output
  put KEY VALUE [--if-version N | --if-absent]  set a key and print its version; VALUE - is the standard input
  delete KEY [--if-version N]                   delete a key
  list [PREFIX]                                 print keys with their versions and lengths
  status                                        print what the store holds, who serves it, and over which transport";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("kv: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("kv: {}", failure.sentence);
            ExitCode::from(failure.code)
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let kv = KvClient::connect(&options.at)
        .wait()
        .map_err(|error| no_connection(&options.at, &error))?;
    // Where a call sets none itself, this is its deadline; the daemon sees it, too.
    let kv = kv.with_timeout(options.timeout);
    let mut out = io::stdout().lock();
    match &options.command {
        Command::Get { key } => {
            let entry = kv
                .get(key)
                .wait()?
                .ok_or(KvError::NotFound)
                .map_err(CallError::Service)?;
            out.write_all(&entry.value)?;
            if out.is_terminal() {
                out.write_all(b"\n")?;
            }
        }
        Command::Put { key, value, expect } => {
            let value = match value.as_str() {
                "-" => standard_input()?,
                value => value.as_bytes().to_owned(),
            };
            writeln!(out, "{}", kv.put(key, &value, *expect).wait()?)?;
        }
        Command::Delete { key, expect } => kv.delete(key, *expect).wait()?,
        Command::List { prefix } => list(&kv, prefix, &mut out)?,
        Command::Status => {
            let status = kv.status().wait()?;
            writeln!(
                out,
                "{} keys, {} bytes, version {}",
                status.keys, status.bytes, status.version
            )?;
            let client = kv.as_client();
            writeln!(
                out,
                "served by {}, to {}, over {}",
                client.peer(),
                status.caller,
                client.transport()
            )?;
        }
    }
    Ok(out.flush()?)
}

/// A store may hold more keys than fit into one answer, so they come in pages.
fn list(kv: &KvClient, prefix: &str, out: &mut impl Write) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = kv.list(prefix, after.as_deref()).wait()?;
        for listed in &page.keys {
            writeln!(out, "{}\t{}\t{}", listed.key, listed.version, listed.bytes)?;
        }
        match page.keys.into_iter().last() {
            Some(last) if page.more => after = Some(last.key),
            _ => return Ok(()),
        }
    }
}

/// All of the standard input, as far as a value may be long: the store refuses one byte more.
fn standard_input() -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    io::stdin()
        .lock()
        .take(kv::MAX_VALUE as u64 + 1)
        .read_to_end(&mut value)?;
    Ok(value)
}

/// What the user reads, and the exit code.
struct Failure {
    sentence: String,
    code: u8,
}

fn no_connection(at: &str, error: &Error) -> Failure {
    let sentence = match error.kind() {
        ErrorKind::NotConnected => {
            format!("no kvd is running at {at:?}. Start one with: cargo run --bin kvd -- --at {at}")
        }
        _ => error.to_string(),
    };
    Failure { sentence, code: 3 }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let advice = match error.is_retryable() {
            true => "; nothing was changed, try again",
            false => "",
        };
        let code = match error.kind() {
            ErrorKind::Deadline => 4,
            _ => 5,
        };
        Self {
            sentence: format!("{error}{advice}"),
            code,
        }
    }
}

impl<E: Display> From<CallError<E>> for Failure {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Service(error) => Self {
                sentence: error.to_string(),
                code: 1,
            },
            CallError::Rpc(error) => error.into(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            sentence: format!("cannot read or write: {error}"),
            code: 5,
        }
    }
}

struct Options {
    at: String,
    timeout: Duration,
    command: Command,
}

enum Command {
    Get {
        key: String,
    },
    Put {
        key: String,
        value: String,
        expect: Expect,
    },
    Delete {
        key: String,
        expect: Expect,
    },
    List {
        prefix: String,
    },
    Status,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut at = kv::ENDPOINT.to_owned();
        let mut timeout = Duration::from_secs(5);
        let mut expect = Expect::Anything;
        let mut words = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--at" => at = value()?,
                "--timeout" => timeout = seconds(&value()?)?,
                "--if-version" => expect = Expect::At(version(&value()?)?),
                "--if-absent" => expect = Expect::Absent,
                // What follows is no option, whatever it looks like.
                "--" => words.extend(arguments.by_ref()),
                option if option.starts_with("--") => return Err(format!("unknown option {option}")),
                _ => words.push(argument),
            }
        }
        let command = Command::parse(words, expect)?;
        Ok(Self { at, timeout, command })
    }
}

impl Command {
    fn parse(words: Vec<String>, expect: Expect) -> Result<Self, String> {
        let mut words = words.into_iter();
        let name = words.next().ok_or("a command is missing")?;
        let mut word = |what: &str| words.next().ok_or(format!("{name} needs a {what}"));
        let command = match name.as_str() {
            "get" => Self::Get { key: word("KEY")? },
            "put" => Self::Put {
                key: word("KEY")?,
                value: word("VALUE")?,
                expect,
            },
            "delete" => Self::Delete {
                key: word("KEY")?,
                expect,
            },
            "list" => Self::List {
                prefix: words.next().unwrap_or_default(),
            },
            "status" => Self::Status,
            _ => return Err(format!("unknown command {name:?}")),
        };
        let conditional = matches!(command, Self::Put { .. } | Self::Delete { .. });
        match words.next() {
            Some(excess) => Err(format!("{name} does not take {excess:?}")),
            None if expect != Expect::Anything && !conditional => Err(format!("{name} takes no condition")),
            None => Ok(command),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let parsed = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.ok_or(format!("{text:?} is not a number of seconds"))
}

fn version(text: &str) -> Result<Version, String> {
    text.parse()
        .map(Version)
        .map_err(|_| format!("{text:?} is not a version"))
}
