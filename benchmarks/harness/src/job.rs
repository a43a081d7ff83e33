//! What is measured: the vocabulary of a case, of a system's variants, and of a result.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// Bytes go there and come back as a `Vec<u8>`.
    Echo,
    /// Bytes go there and come back in the system's cheapest form for bytes.
    EchoBytes,
    /// One-way messages, as fast as they go; counted until the last one has arrived.
    Post,
    /// A connection that nobody uses: what it costs in processor time.
    Idle,
}

/// A case with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Load {
    /// What a call does.
    pub case: Case,
    /// Bytes of payload in a call, in each direction that carries it.
    pub size: usize,
    /// Calls in flight on each connection.
    pub in_flight: usize,
    /// Connections between the two processes.
    pub connections: usize,
}

/// How a process waits for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// In blocking system calls, without a runtime.
    Blocking,
    /// In tokio's current-thread runtime.
    CurrentThread,
    /// In tokio's multi-thread runtime, as `#[tokio::main]` builds it: a worker for each processor allowed.
    MultiThread,
}

/// How both processes wait; printed as `client/server`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mode {
    /// The process that calls.
    pub client: Waiting,
    /// The process that serves.
    pub server: Waiting,
}

/// Where the two processes may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Both pinned to one processor.
    Same,
    /// Each pinned to a processor of its own.
    Split,
    /// Left to the scheduler.
    Free,
}

/// One way to run a system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Variant {
    /// The system's name, unique among all binaries.
    pub system: String,
    /// What carries the messages: `unix`, `tcp`, `mem`, ..
    pub transport: String,
    /// How both sides wait.
    pub mode: Mode,
    /// The server lives in the client's process; no second one is started.
    pub in_process: bool,
}

/// All that a child process has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Which system runs, and how.
    pub variant: Variant,
    /// What is measured.
    pub load: Load,
    /// Where this process may run.
    pub placement: Placement,
    /// How long calls are made before they count.
    pub warm_up: Duration,
    /// How long they count.
    pub measure: Duration,
    /// A private directory for sockets, empty when the server starts.
    pub directory: PathBuf,
    /// Where the server listens, in its own words; empty for the server itself.
    pub address: String,
    /// The server's process, whose processor time counts too; `None` for the server itself and in process.
    pub server: Option<u32>,
}

/// What a client measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Median time of a turn (a call, or a batch of them: the system's note says so), in nanoseconds.
    pub p50_ns: Option<u64>,
    /// The 99th percentile of the same.
    pub p99_ns: Option<u64>,
    /// Calls that finished in the time measured; 0 for [`Case::Idle`].
    pub calls: u64,
    /// The time measured, in nanoseconds.
    pub wall_ns: u64,
    /// Processor time of both processes in it, in nanoseconds, user and system.
    pub cpu_ns: u64,
    /// Processor time of everything else on the machine in it, in nanoseconds, to the nearest 10 ms or so.
    pub others_ns: u64,
    /// The most memory that was resident, both processes added, in KiB.
    pub rss_kb: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::EchoBytes => "echo_bytes",
            Self::Post => "post",
            Self::Idle => "idle",
        })
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocking => "blocking",
            Self::CurrentThread => "ct",
            Self::MultiThread => "mt",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.client, self.server)
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Split => "split",
            Self::Free => "free",
        })
    }
}

impl Mode {
    /// A blocking client of the default server.
    pub const BLOCKING: Self = Self {
        client: Waiting::Blocking,
        server: Waiting::MultiThread,
    };
    /// Current-thread runtimes on both sides.
    pub const CURRENT: Self = Self {
        client: Waiting::CurrentThread,
        server: Waiting::CurrentThread,
    };
    /// Multi-thread runtimes on both sides.
    pub const MULTI: Self = Self {
        client: Waiting::MultiThread,
        server: Waiting::MultiThread,
    };
}
