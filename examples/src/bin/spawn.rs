//! A pool of workers: children of this program, which are this program again, count primes for it.
//!
//! Shows `spawn` and `serve_inherited`: no name, no socket file, nobody else can connect. When a worker dies, the call that it
//! was handling says of what, and another takes its place; the rest of the program goes on. When this program
//! ends, in whatever way, so do its workers.
//!
//! ```console
//! $ cargo run --release --bin spawn -- 1000000
//! $ cargo run --release --bin spawn -- 1000000 --unlucky 13     # the worker that meets this number aborts
//! ```

use std::ops::Range;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use ipc_rpc::ErrorKind;

const USAGE: &str = "usage: spawn BELOW [--unlucky NUMBER]";
const WORKERS: usize = 4;
/// Numbers in a piece of work.
const PIECE: u64 = 10_000;

/// What a worker does.
#[ipc_rpc::service]
trait Worker {
    /// Counts the primes among some numbers, and aborts at the unlucky one.
    #[rpc(blocking)]
    fn primes(&self, from: u64, to: u64, unlucky: Option<u64>) -> u64;
}

struct Counter;

impl Worker for Counter {
    fn primes(&self, from: u64, to: u64, unlucky: Option<u64>) -> u64 {
        let mut count = 0;
        for number in from..to {
            if unlucky == Some(number) {
                std::process::abort();
            }
            count += u64::from(is_prime(number));
        }
        count
    }
}

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|factor| factor * factor <= number)
            .all(|factor| !number.is_multiple_of(factor))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--worker"] {
        // Nothing else comes first: until then this process would pass its connection on.
        let served = ipc_rpc::serve_inherited(WorkerServer::new(Counter)).await;
        return ended(served.map(|()| true));
    }
    let Some((below, unlucky)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    ended(count(below, unlucky).await)
}

fn parse(arguments: &[String]) -> Option<(u64, Option<u64>)> {
    match arguments {
        [below] => Some((below.parse().ok()?, None)),
        [below, option, unlucky] if option == "--unlucky" => {
            Some((below.parse().ok()?, Some(unlucky.parse().ok()?)))
        }
        _ => None,
    }
}

fn ended(result: Result<bool, ipc_rpc::Error>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("spawn: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Has the workers count. False: not all could be counted.
async fn count(below: u64, unlucky: Option<u64>) -> Result<bool, ipc_rpc::Error> {
    let pieces = (0..below)
        .step_by(PIECE as usize)
        .map(|from| from..below.min(from.saturating_add(PIECE)));
    let queue = Arc::new(Mutex::new(pieces.collect::<Vec<Range<u64>>>()));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(queue.clone(), unlucky));
    }
    let (mut primes, mut missing) = (0, 0);
    while let Some(worked) = workers.join_next().await {
        let (counted, lost) = worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        primes += counted;
        missing += lost;
    }
    println!("{primes} primes below {below}, counted by {WORKERS} workers");
    if missing > 0 {
        println!("without {missing} piece(s) of {PIECE} numbers");
    }
    Ok(missing == 0)
}

/// Keeps one worker at work until there is no more: how many primes it counted, and how many pieces were lost.
async fn work(
    queue: Arc<Mutex<Vec<Range<u64>>>>,
    unlucky: Option<u64>,
) -> Result<(u64, u64), ipc_rpc::Error> {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut worker = start().await?;
    let (mut primes, mut lost) = (0, 0);
    while let Some(piece) = next() {
        match worker.primes(piece.start, piece.end, unlucky).await {
            Ok(counted) => primes += counted,
            Err(error) if error.kind() == ErrorKind::PeerDied => {
                // It would die again of the same piece.
                eprintln!("spawn: {error}; another takes its place");
                lost += 1;
                worker = start().await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((primes, lost))
}

/// Starts this program again.
async fn start() -> Result<WorkerClient, ipc_rpc::Error> {
    // If it cannot be found, starting it says so.
    let program = std::env::current_exe().unwrap_or_else(|_| "spawn".into());
    let mut command = Command::new(program);
    command.arg("--worker");
    WorkerClient::spawn(command).await
}
