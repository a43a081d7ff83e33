//! Processors: where a process may run, what it used of them, and what memory it had.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use rustix::param::clock_ticks_per_second;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::job::{Job, Placement};
use crate::system::Error;

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one that calls.
    Client,
    /// The one that serves.
    Server,
}

/// The processors that this process may use.
///
/// # Errors
/// If the system refuses to tell.
pub fn processors() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&processor| set.is_set(processor))
        .collect())
}

/// Pins the calling thread, and with it each thread it starts from now on. Call it before a runtime is built: the
/// number of its workers follows the processors allowed.
pub(crate) fn pin(role: Role, job: &Job) -> Result<(), Error> {
    let allowed = processors()?;
    let index = match (job.placement, role) {
        (Placement::Free, _) => return Ok(()),
        (Placement::Same, _) | (Placement::Split, Role::Client) => 0,
        (Placement::Split, Role::Server) => 1,
    };
    let processor = *allowed.get(index).ok_or("this placement needs two processors")?;
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set)?;
    Ok(())
}

/// Processor time at one moment, in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    /// By this process and the server.
    pub(crate) own: u64,
    /// By everything on the machine, these two included; in steps of 10 ms.
    pub(crate) machine: u64,
}

/// Which end of a span of time is read: what the reading itself costs is kept outside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Opens,
    Closes,
}

/// Processor time used so far.
pub(crate) fn used(job: &Job, edge: Edge) -> Result<Used, Error> {
    let own = || {
        let client = clock_gettime(ClockId::ProcessCPUTime);
        client.tv_sec as u64 * 1_000_000_000 + client.tv_nsec as u64
    };
    let closing = own();
    let server = job
        .server
        .map_or(Ok(0), |id| of_threads(Path::new(&format!("/proc/{id}/task"))))?;
    let machine = of_machine()?;
    let client = if edge == Edge::Opens { own() } else { closing };
    Ok(Used {
        own: client + server,
        machine,
    })
}

/// The most memory that this process, and the server, had resident, in KiB.
pub(crate) fn peak_memory(job: &Job) -> Result<(u64, u64), Error> {
    let server = job
        .server
        .map_or(Ok(0), |id| peak(Path::new(&format!("/proc/{id}/status"))))?;
    Ok((peak(Path::new("/proc/self/status"))?, server))
}

/// Processors that were busy over `pause` with whatever runs on this machine.
///
/// # Errors
/// If `/proc/stat` cannot be read.
pub fn busy(pause: Duration) -> Result<f64, Error> {
    let before = of_machine()?;
    std::thread::sleep(pause);
    Ok(of_machine()?.saturating_sub(before) as f64 / pause.as_nanos() as f64)
}

/// Nanoseconds that the threads listed in `tasks` ran: the first word of `schedstat`. It counts in nanoseconds where
/// `stat` counts in ticks of 10 ms; threads that have ended are missing, and a server ends none while a client is
/// connected.
fn of_threads(tasks: &Path) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(tasks)? {
        match fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => {
                total += text
                    .split(' ')
                    .next()
                    .and_then(|word| word.parse::<u64>().ok())
                    .unwrap_or(0)
            }
            // It ended between the listing and the reading.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// Time that all processors were not idle: user, nice, system, irq, softirq and stolen time of `/proc/stat`, where the
/// fourth and fifth words count idle time.
fn of_machine() -> Result<u64, Error> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))
        .ok_or("no processors in /proc/stat")?;
    let words = line
        .split_whitespace()
        .take(8)
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4));
    let ticks = words
        .map(|(_, word)| word.parse::<u64>())
        .sum::<Result<u64, _>>()?;
    Ok(ticks * (1_000_000_000 / clock_ticks_per_second()))
}

fn peak(status: &Path) -> Result<u64, Error> {
    let text = fs::read_to_string(status)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM in /proc")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
