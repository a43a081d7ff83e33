//! Large tensors, exchanged with a worker that is a child of this program, as one would with a process that does inference.
//!
//! Shows what `View` and `Section` are for. The same work is asked for in five ways:
//!
//! - `copied`: a slice of bytes there, a vector back. Each is copied into the message and out of it.
//! - `section`: memory of the connection, written in place by whoever sends it, and copied once, when it arrives: the other side could still
//!   change it.
//! - `trusted`: the same between two programs that trust each other (`Endpoint::trust_peer`), as these do, being one. It is read in place.
//! - `in place`: between these two, the worker writes its results over what came, and sends that back: no second tensor is needed.
//! - `sealed`: a tensor that does not change, such as a model's weights, sent again and again. The system keeps everybody from writing
//!   to it, so that it is read in place without trust.
//!
//! ```console
//! $ cargo run --release --bin tensor                # 64 MiB there and back, 10 times
//! $ cargo run --release --bin tensor -- 16 100      # 16 MiB, 100 times
//! ```
//!
//! It prints for each the bytes that went both ways in a second, the time of a call with the writing of its tensor included, and
//! exits with 1 if the results differ.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ipc_rpc::{Context, Endpoint, Section, Server, View, bytemuck};

const USAGE: &str = "usage: tensor [MEBIBYTES [TIMES]]";

/// What a message needs beside its tensor, and more.
const BESIDE: usize = 4 << 10;

/// What the worker does: it multiplies each value by two and keeps it from being negative, which takes less time than to pass it on.
#[ipc_rpc::service]
trait Worker {
    /// The tensor as bytes, which are copied.
    async fn apply_copied(&self, tensor: &[u8]) -> Vec<u8>;
    /// The tensor in memory that travels.
    async fn apply(&self, context: &Context, tensor: View<f32>) -> Section<f32>;
    /// The tensor in memory that travels, and goes back with the results in it.
    async fn apply_in_place(&self, tensor: Section<f32>) -> Section<f32>;
    /// What all values come to, of a tensor in memory that travels.
    async fn sum(&self, tensor: View<f32>) -> f64;
}

struct Rectifier;

fn rectified(value: f32) -> f32 {
    (2.0 * value).max(0.0)
}

fn sum(tensor: &[f32]) -> f64 {
    tensor.iter().copied().map(f64::from).sum()
}

impl Worker for Rectifier {
    async fn apply_copied(&self, tensor: &[u8]) -> Vec<u8> {
        let mut result = tensor.to_vec();
        for bytes in result.chunks_exact_mut(size_of::<f32>()) {
            let value: f32 = bytemuck::pod_read_unaligned(bytes);
            bytes.copy_from_slice(&rectified(value).to_ne_bytes());
        }
        result
    }

    async fn apply(&self, context: &Context, tensor: View<f32>) -> Section<f32> {
        // With all of the connection's memory in use, a vector is as good: it is copied when it is sent.
        let mut result = context
            .alloc(tensor.len())
            .unwrap_or_else(|_| vec![0.0; tensor.len()].into());
        for (result, value) in result.iter_mut().zip(tensor.iter()) {
            *result = rectified(*value);
        }
        result
    }

    async fn apply_in_place(&self, mut tensor: Section<f32>) -> Section<f32> {
        for value in tensor.iter_mut() {
            *value = rectified(*value);
        }
        tensor
    }

    async fn sum(&self, tensor: View<f32>) -> f64 {
        sum(&tensor)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [role, limit] if role == "--worker" => serve(limit, false),
        [role, limit] if role == "--trusting-worker" => serve(limit, true),
        options => match parse(options) {
            Some((bytes, times)) => exchange(bytes, times),
            None => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tensor: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

/// The bytes of a tensor, and how often it goes there and back.
fn parse(options: &[String]) -> Option<(usize, u32)> {
    let (mebibytes, times) = match options {
        [] => (64, 10),
        [mebibytes] => (mebibytes.parse().ok()?, 10),
        [mebibytes, times] => (mebibytes.parse().ok()?, times.parse().ok()?),
        _ => return None,
    };
    let bytes = 1_usize.checked_mul(mebibytes)?.checked_mul(1 << 20)?;
    (bytes > 0 && times > 0).then_some((bytes, times))
}

/// The endpoint of one of the two programs that trust each other.
fn trusting(endpoint: Endpoint) -> Endpoint {
    // SAFETY: at the other end is this very program, which its parent has started for this connection alone, or which has started its
    // child. It writes to no section that it has sent: the library does not let it.
    unsafe { endpoint.trust_peer() }
}

/// The child's part.
fn serve(limit: &str, trusts: bool) -> Result<(), Failure> {
    let mut endpoint = Endpoint::try_from("fd:inherited")?.max_message(limit.parse()?);
    if trusts {
        endpoint = trusting(endpoint);
    }
    let server = Server::bind(endpoint).service(WorkerServer::new(Rectifier));
    Ok(server.run().wait()?)
}

fn exchange(bytes: usize, times: u32) -> Result<(), Failure> {
    let limit = bytes + BESIDE;
    let mut again = Command::new(std::env::current_exe()?);
    again.args(["--worker", &limit.to_string()]);
    let worker = WorkerClient::spawn(again).max_message(limit).wait()?;
    let count = bytes / size_of::<f32>();
    println!(
        "tensors of {} MiB, {times} times, to a child and back",
        bytes >> 20
    );

    let mut tensor = vec![0.0; count];
    let copied = measure("copied", 2 * bytes, times, |round| {
        write(&mut tensor, round);
        let result = worker.apply_copied(bytemuck::cast_slice(&tensor)).wait()?;
        Ok(result
            .chunks_exact(size_of::<f32>())
            .map(bytemuck::pod_read_unaligned::<f32>)
            .map(f64::from)
            .sum())
    })?;
    let in_sections = |name, worker: &WorkerClient| {
        measure(name, 2 * bytes, times, |round| {
            // Waits, if the worker still has what it was sent before.
            let mut tensor = worker.alloc_waiting(count).wait()?;
            write(&mut tensor, round);
            Ok(sum(&worker.apply(tensor).wait()?))
        })
    };
    let passed = in_sections("section", &worker)?;
    let program = std::env::current_exe()?;
    let child = format!("exec:{} --trusting-worker {limit}", program.display());
    let trusted = WorkerClient::connect(trusting(Endpoint::try_from(child)?.max_message(limit))).wait()?;
    let uncopied = in_sections("trusted", &trusted)?;
    let in_place = measure("in place", 2 * bytes, times, |round| {
        let mut tensor = trusted.alloc_waiting(count).wait()?;
        write(&mut tensor, round);
        Ok(sum(&trusted.apply_in_place(tensor).wait()?))
    })?;
    let mut weights = worker.alloc_sealed(count)?;
    write(&mut weights, 0);
    let expected = sum(&weights);
    let weights = weights.freeze()?;
    let sealed = measure("sealed", bytes, times, |_| Ok(worker.sum(&weights).wait()?))?;
    if [passed, uncopied, in_place] == [copied; 3] && sealed == f64::from(times) * expected {
        Ok(())
    } else {
        Err("the results differ: what arrived is not what was sent".into())
    }
}

/// Values that differ from round to round, half of them negative; few enough different ones that their sum is exact.
fn write(tensor: &mut [f32], round: u32) {
    for (index, value) in tensor.iter_mut().enumerate() {
        *value = (index as u32 ^ round) as u8 as i8 as f32;
    }
}

/// Does it so often, after a first time that pays for fresh memory, and prints how long it took. The results' sum.
fn measure(
    name: &str,
    bytes: usize,
    times: u32,
    mut call: impl FnMut(u32) -> Result<f64, Failure>,
) -> Result<f64, Failure> {
    call(0)?;
    let mut results = 0.0;
    let started = Instant::now();
    for round in 1..=times {
        results += call(round)?;
    }
    let took: Duration = started.elapsed() / times;
    let rate = bytes as f64 / took.as_secs_f64() / f64::from(1 << 30);
    println!(
        "{name:<9} {rate:>7.2} GiB/s  {:>9.3} ms a call",
        took.as_secs_f64() * 1e3
    );
    Ok(results)
}
