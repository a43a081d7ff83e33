//! Several threads, one client, no runtime: they count together in a key of `kvd`.
//!
//! Shows that a client can be shared as it is (clones share the connection, too), that calls of several threads are in
//! flight at once, and that none of it needs tokio: this package builds `ipc-rpc` without it. Each thread does its
//! I/O itself, and one of those that wait reads for the others.
//!
//! ```console
//! $ cargo run --bin kvd
//! $ cargo run -p example-blocking -- --threads 4 --times 1000
//! ```
//!
//! Each addition reads the counter and writes it back on condition that nobody else did in between, so that none is
//! lost; who comes too late tries again. `--at ENDPOINT` and `--key KEY` say where and what to count.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use examples::kv::{self, Expect, KvClient, KvError};
use ipc_rpc::CallError;

const USAGE: &str = "usage: blocking [--at ENDPOINT] [--key KEY] [--threads N] [--times N]";

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("blocking: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("blocking: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let kv = KvClient::connect(&options.at)
        .retry(Duration::from_secs(1))
        .wait()?;
    let kv = kv.with_timeout(Duration::from_secs(10));
    let before = read(&kv, &options.key)?.0;
    let started = Instant::now();
    let attempts = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut attempts = 0;
                    for _ in 0..options.times {
                        attempts += add_one(&kv, &options.key)?;
                    }
                    Ok(attempts)
                })
            })
            .collect();
        // All are joined before the first error is reported.
        let results: Vec<Result<u64, Failure>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
            .collect();
        results.into_iter().sum::<Result<u64, Failure>>()
    })?;
    let after = read(&kv, &options.key)?.0;
    println!(
        "{} threads counted from {before} to {after} with {attempts} attempts in {} ms",
        options.threads,
        started.elapsed().as_millis()
    );
    Ok(())
}

/// Adds one, and returns how many attempts that took.
fn add_one(kv: &KvClient, key: &str) -> Result<u64, Failure> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (count, expect) = read(kv, key)?;
        match kv.put(key, (count + 1).to_string().as_bytes(), expect).wait() {
            Ok(_) => return Ok(attempts),
            Err(CallError::Service(KvError::Conflict(_))) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The counter, and what its version must be for a change.
fn read(kv: &KvClient, key: &str) -> Result<(u64, Expect), Failure> {
    match kv.get(key).wait()? {
        Some(entry) => {
            let text = str::from_utf8(&entry.value)?;
            let count = text
                .parse()
                .map_err(|_| format!("{key} holds {text:?}, which is no count"))?;
            Ok((count, Expect::At(entry.version)))
        }
        None => Ok((0, Expect::Absent)),
    }
}

struct Options {
    at: String,
    key: String,
    threads: u64,
    times: u64,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            at: kv::ENDPOINT.to_owned(),
            key: "counter".to_owned(),
            threads: 4,
            times: 1000,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--at" => options.at = value()?,
                "--key" => options.key = value()?,
                "--threads" => options.threads = number(&value()?)?,
                "--times" => options.times = number(&value()?)?,
                _ => return Err(format!("unknown argument {argument:?}")),
            }
        }
        Ok(options)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}
