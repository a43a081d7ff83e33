//! One combination of transport, codec and mode, and the servers that a case starts in it.

use std::future::Future;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ipc_rpc::{Codec, Connect, Endpoint, Error, ServerHandle, ServiceClient};

use crate::mode::{Ending, Mode, Running};
use crate::process::Helper;
use crate::subject::{Plan, Served, SubjectClient};
use crate::trust::trusting;

/// How the two sides are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `mem:name`; the server is in the same process.
    Memory,
    /// `shm:name`.
    SharedMemory,
    /// `shm:name`, where each body is read out of its sender's memory.
    DirectSharedMemory,
    /// `unix:name`, the same.
    DirectUnix,
    /// As `Spawn`, the same.
    DirectSpawn,
    /// `shm:name`, where each section lies in shared memory, however small.
    AllSharedMemory,
    /// `unix:name`, the same, and each body goes through shared memory in the smallest pieces.
    AllSharedUnix,
    /// As `Spawn`, the same.
    AllSharedSpawn,
    /// `shm:name`, between sides that trust each other.
    TrustingSharedMemory,
    /// `unix:name`, the same.
    TrustingUnix,
    /// `tcp:0`, where each body goes through the stream in the smallest pieces.
    PiecesTcp,
    /// `pipe:name`, where each body goes through a file in the smallest pieces, or through the stream where there can be none.
    PiecesPipe,
    /// As `Stdio`, through the stream in the smallest pieces.
    PiecesStdio,
    /// `unix:name`.
    UnixName,
    /// `unix:/path`.
    UnixPath,
    /// `unix:@name`.
    UnixAbstract,
    /// `pipe:name`.
    Pipe,
    /// `pipe:name?mode=message`, where there is such a thing.
    PipeMessages,
    /// `tcp:0`.
    Tcp,
    /// Each client starts a server of its own as a child, over a socket that the child inherits.
    Spawn,
    /// The same over the child's standard input and output.
    Stdio,
}

impl Transport {
    /// An endpoint that nobody else uses.
    #[must_use]
    pub fn endpoint(self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        match self {
            Self::Memory => format!("mem:{name}"),
            Self::SharedMemory
            | Self::DirectSharedMemory
            | Self::AllSharedMemory
            | Self::TrustingSharedMemory => {
                format!("shm:{name}")
            }
            Self::UnixName | Self::DirectUnix | Self::AllSharedUnix | Self::TrustingUnix => {
                format!("unix:{name}")
            }
            Self::UnixPath => format!("unix:{}/ipc-rpc-{name}.sock", std::env::temp_dir().display()),
            Self::UnixAbstract => format!("unix:@{name}"),
            Self::Pipe | Self::PiecesPipe => format!("pipe:{name}"),
            Self::PipeMessages => format!("pipe:{name}?mode=message"),
            Self::Tcp | Self::PiecesTcp => "tcp:0".to_owned(),
            Self::Spawn | Self::Stdio | Self::DirectSpawn | Self::AllSharedSpawn | Self::PiecesStdio => {
                "fd:inherited".to_owned()
            }
        }
    }

    /// Whether bodies are read out of their sender's memory.
    #[must_use]
    pub fn is_direct(self) -> bool {
        matches!(
            self,
            Self::DirectSharedMemory | Self::DirectUnix | Self::DirectSpawn
        )
    }

    /// Whether whatever can goes through shared memory, however small.
    #[must_use]
    pub fn shares_all(self) -> bool {
        matches!(
            self,
            Self::AllSharedMemory | Self::AllSharedUnix | Self::AllSharedSpawn
        )
    }

    /// Whether each side was told to trust the other.
    #[must_use]
    pub fn trusts(self) -> bool {
        matches!(self, Self::TrustingSharedMemory | Self::TrustingUnix)
    }

    /// Whether whatever can travels beside a message or in pieces, however small, and in the smallest pieces.
    #[must_use]
    pub fn is_cut_small(self) -> bool {
        self.shares_all() || matches!(self, Self::PiecesTcp | Self::PiecesPipe | Self::PiecesStdio)
    }

    /// Whether each side learns who the other is.
    #[must_use]
    pub fn vouches(self) -> bool {
        !matches!(
            self,
            Self::Tcp | Self::PiecesTcp | Self::Stdio | Self::PiecesStdio
        )
    }

    /// Whether each side learns the other's process.
    #[must_use]
    pub fn tells_processes(self) -> bool {
        // FIFOs do not tell it, named pipes do.
        let is_pipe = matches!(self, Self::Pipe | Self::PiecesPipe);
        self.vouches() && (!is_pipe || !self.tells_users())
    }

    /// Whether each side learns the other's user as a number.
    #[must_use]
    pub fn tells_users(self) -> bool {
        self.vouches() && ipc_rpc::Peer::own_uid().is_some()
    }
}

/// The combination that a case runs in.
#[derive(Clone, Copy, Debug)]
pub struct Fixture {
    /// How the two sides are connected.
    pub transport: Transport,
    /// What values are encoded with.
    pub codec: Codec,
    /// How calls are ended.
    pub mode: Mode,
    /// The helper program.
    pub program: &'static str,
}

impl Fixture {
    /// A plan for a server with nothing special.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan {
            direct: self.transport.is_direct(),
            shared_from_one: self.transport.is_cut_small(),
            trusts: self.transport.trusts(),
            ..Plan::at(self.transport.endpoint())
        }
    }

    /// A server with nothing special.
    #[must_use]
    pub fn server(&self) -> TestServer {
        self.serve(&self.plan())
    }

    /// A server, in another process where the transport reaches one, which listens when this returns.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn serve(&self, plan: &Plan) -> TestServer {
        match self.transport {
            Transport::Memory => TestServer::Thread(InThread::serve(plan).expect("the server listens")),
            Transport::Spawn
            | Transport::Stdio
            | Transport::DirectSpawn
            | Transport::AllSharedSpawn
            | Transport::PiecesStdio => TestServer::Children {
                endpoint: format!("exec:{}", self.program)
                    .parse()
                    .expect("the program's path is a path"),
                plan: serde_json::to_string(plan).expect("a plan is JSON"),
            },
            _ => TestServer::Process(Helper::serve(self.program, plan, |_| {})),
        }
    }

    /// A connection in the making, in this fixture's codec.
    pub fn connect<C: ServiceClient>(&self, server: &TestServer) -> Connect<C> {
        let connect = match server {
            TestServer::Children { plan, .. } => {
                let mut command = Command::new(self.program);
                command.args(["child", plan]);
                let connect = Connect::spawn(command);
                if matches!(self.transport, Transport::Stdio | Transport::PiecesStdio) {
                    connect.stdio()
                } else {
                    connect
                }
            }
            listening if self.transport.trusts() => Connect::new(trusting(listening.endpoint().clone())),
            listening => Connect::new(listening.endpoint()),
        };
        let connect = if self.transport.is_direct() {
            connect.direct(true).direct_from(1)
        } else if self.transport.is_cut_small() {
            connect.pieces_from(1).piece_of(1).sections_from(1)
        } else {
            connect
        };
        connect.codec(self.codec)
    }

    /// A client.
    ///
    /// # Panics
    /// If it cannot connect.
    pub async fn client(&self, server: &TestServer) -> SubjectClient {
        self.end(self.connect(server)).await.expect("the server is there")
    }

    /// A server with nothing special and a client of it.
    pub async fn pair(&self) -> (TestServer, SubjectClient) {
        let server = self.server();
        let client = self.client(&server).await;
        (server, client)
    }

    /// See [`Mode::end`].
    pub async fn end<E: Ending>(&self, ending: E) -> E::Output {
        self.mode.end(ending).await
    }

    /// See [`Mode::start`].
    pub fn start<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Running<T> {
        self.mode.start(work)
    }

    /// See [`Mode::together`].
    pub async fn together<T, F>(&self, count: u64, work: impl Fn(u64) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.mode.together(count, work).await
    }
}

/// A server that ends with its test.
#[derive(Debug)]
pub enum TestServer {
    /// In a process of its own.
    Process(Helper),
    /// In a thread of this process.
    Thread(InThread),
    /// Started by each client for itself.
    Children {
        /// The program.
        endpoint: Endpoint,
        /// What it is told.
        plan: String,
    },
}

impl TestServer {
    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Process(helper) => helper.endpoint(),
            Self::Thread(thread) => &thread.endpoint,
            Self::Children { endpoint, .. } => endpoint,
        }
    }

    /// The server's process.
    ///
    /// # Panics
    /// If it is in this one, or each client has one of its own.
    pub fn process(&mut self) -> &mut Helper {
        match self {
            Self::Process(helper) => helper,
            Self::Thread(_) => panic!("the server is in this process"),
            Self::Children { .. } => panic!("each client has a server of its own"),
        }
    }

    /// The process id of the server.
    ///
    /// # Panics
    /// If each client has one of its own.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match self {
            Self::Process(helper) => helper.pid(),
            Self::Thread(_) => std::process::id(),
            Self::Children { .. } => panic!("each client has a server of its own"),
        }
    }

    /// Waits until it has ended by itself, and tells how.
    ///
    /// # Errors
    /// What it ended with.
    ///
    /// # Panics
    /// If each client has one of its own.
    pub fn wait(&mut self) -> Result<(), String> {
        match self {
            Self::Process(helper) => match helper.line() {
                line if line == "ended" => helper.wait().success().then_some(()).ok_or(line),
                line => Err(line),
            },
            Self::Thread(thread) => thread.wait().map_err(|error| error.to_string()),
            Self::Children { .. } => panic!("each client has a server of its own"),
        }
    }
}

/// A server in a thread of this process, shut down when this is dropped.
#[derive(Debug)]
pub struct InThread {
    endpoint: Endpoint,
    handle: ServerHandle,
    thread: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

impl InThread {
    /// Serves as the plan says.
    ///
    /// # Errors
    /// Those of `Server::listen`.
    pub fn serve(plan: &Plan) -> Result<Self, Error> {
        let served = Served::new(plan)?;
        let (endpoint, handle, plan) = (served.endpoint(), served.handle(), plan.clone());
        let thread = std::thread::spawn(move || served.run(&plan));
        Ok(Self {
            endpoint,
            handle,
            thread: Mutex::new(Some(thread)),
        })
    }

    fn wait(&self) -> Result<(), Error> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.map_or(Ok(()), |thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for InThread {
    fn drop(&mut self) {
        // Its end is not waited for: a client that lives longer would hold it up.
        self.handle.shutdown();
    }
}

/// Short enough to wait for, long enough for a busy machine not to end it early.
pub const MOMENT: Duration = Duration::from_millis(100);
