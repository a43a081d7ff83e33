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
    /// Bytes go there, one byte of each page is added up, the sum comes back. The caller writes one byte of each page
    /// before it sends: in place, where a system lends the memory that it sends from, else in a buffer of its own.
    Sum,
    /// Nothing there, nothing back. This and the three that follow are the calls of LRPC (Bershad and others, 1990).
    Null,
    /// Two integers there, their sum back.
    Add,
    /// Bytes there, nothing back.
    BigIn,
    /// Bytes there and back.
    BigInOut,
    /// One-way messages, as fast as they go; counted until the last one has arrived.
    Post,
    /// Connections that nobody uses: what they cost in processor time and memory.
    Idle,
    /// An echo after a millisecond in which nothing was called; the silence is not part of its time.
    #[serde(rename = "after_1ms")]
    After1Ms,
    /// The same after ten milliseconds.
    #[serde(rename = "after_10ms")]
    After10Ms,
    /// Echoes of [`SMALL`] bytes while bodies of the load's size are echoed on the same connection, one after another.
    /// Times and calls are those of the small ones.
    Beside,
}

/// What the server is asked for; several cases ask for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The bytes back, as a `Vec<u8>`.
    Echo,
    /// The bytes back, in the system's cheapest form for bytes.
    EchoBytes,
    /// The sum of one byte of each page of the bytes.
    Sum,
    /// Nothing.
    Null,
    /// The sum of two integers.
    Add,
    /// Nothing, for bytes.
    Take,
    /// No answer at all, for bytes.
    Post,
}

/// Bytes in a message that counts as small.
pub const SMALL: usize = 32;

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

impl Case {
    /// Every case, in the order of the tables.
    pub const ALL: [Self; 12] = [
        Self::Null,
        Self::Add,
        Self::BigIn,
        Self::BigInOut,
        Self::Echo,
        Self::EchoBytes,
        Self::Sum,
        Self::Post,
        Self::After1Ms,
        Self::After10Ms,
        Self::Beside,
        Self::Idle,
    ];

    /// How long nothing is called before each call.
    #[must_use]
    pub fn silence(self) -> Duration {
        match self {
            Self::After1Ms => Duration::from_millis(1),
            Self::After10Ms => Duration::from_millis(10),
            _ => Duration::ZERO,
        }
    }
}

impl Load {
    /// What is called.
    #[must_use]
    pub fn call(&self) -> Call {
        match self.case {
            Case::EchoBytes => Call::EchoBytes,
            Case::Sum => Call::Sum,
            Case::Null => Call::Null,
            Case::Add => Call::Add,
            Case::BigIn => Call::Take,
            Case::Post => Call::Post,
            Case::Echo | Case::BigInOut | Case::Idle | Case::After1Ms | Case::After10Ms | Case::Beside => {
                Call::Echo
            }
        }
    }

    /// The workers of one connection, by the bytes that each of them sends.
    #[must_use]
    pub fn workers(&self) -> Vec<usize> {
        match self.case {
            Case::Beside => vec![SMALL, self.size],
            _ => vec![self.size; self.in_flight],
        }
    }

    /// The largest body of this load, in bytes.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.size.max(SMALL)
    }
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
    /// The server's part of it; 0 if it has no process of its own.
    pub server_rss_kb: u64,
    /// Of several connections, what the slowest one did for each call of the fastest.
    pub share: Option<f64>,
    /// Large bodies that passed meanwhile, of [`Case::Beside`].
    pub beside: Option<u64>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::EchoBytes => "echo_bytes",
            Self::Sum => "sum",
            Self::Null => "null",
            Self::Add => "add",
            Self::BigIn => "big_in",
            Self::BigInOut => "big_in_out",
            Self::Post => "post",
            Self::Idle => "idle",
            Self::After1Ms => "after_1ms",
            Self::After10Ms => "after_10ms",
            Self::Beside => "beside",
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
    /// A blocking client of a server on a current-thread runtime.
    pub const BLOCKING_CURRENT: Self = Self {
        client: Waiting::Blocking,
        server: Waiting::CurrentThread,
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

    /// The mode that is written like `ct/mt`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (client, server) = text.split_once('/')?;
        let waiting = |text| {
            [Waiting::Blocking, Waiting::CurrentThread, Waiting::MultiThread]
                .into_iter()
                .find(|waiting| waiting.to_string() == text)
        };
        Some(Self {
            client: waiting(client)?,
            server: waiting(server)?,
        })
    }
}
