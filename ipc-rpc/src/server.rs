//! Servers: services at an endpoint, who may call them, and how serving ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use tokio::sync::watch;
use transports::{Endpoint, Inherited, Listener, Peer, Port, Scheme};

use crate::accept::accept;
use crate::catalogue::Catalogue;
use crate::dispatch::AnyService;
use crate::gate::{ConnectRequest, Gate, Reject};
use crate::hub::{CloseAll, Hub};
use crate::{Error, ErrorKind, Limits, Service, blocking, connection};

/// Serves one service at `endpoint` until the process is told to end (Ctrl-C, or SIGTERM), then drains: it accepts no
/// more, lets the calls in progress finish, and returns.
///
/// End it with `.await`, or with `.wait()` outside of a runtime, which makes one.
///
/// ```no_run
/// #[ipc_rpc::service]
/// trait Hello {
///     async fn hello(&self, name: &str) -> String;
/// }
///
/// struct Polite;
///
/// impl Hello for Polite {
///     async fn hello(&self, name: &str) -> String {
///         format!("Hello, {name}!")
///     }
/// }
///
/// # async fn run() -> Result<(), ipc_rpc::Error> {
/// ipc_rpc::serve("hello", HelloServer::new(Polite)).await
/// # }
/// ```
pub fn serve<E>(endpoint: E, service: impl Service) -> Run
where
    E: TryInto<Endpoint>,
    E::Error: Into<Error>,
{
    Server::bind(endpoint).service(service).until_signal().run()
}

/// Serves one service to whoever started this process: a client's `spawn`, or its `exec:` endpoint. Returns when that
/// connection ends, as it does when the parent drops its client, or ends itself in whatever way.
///
/// Call it first thing in `main`: until then, processes that this one starts inherit the connection, and over
/// standard output nothing may be printed. Then children inherit nothing of it. End it with `.await`, or with `.wait()` outside
/// of a runtime. More than one service takes the long form: `Server::bind(Endpoint::inherited())`.
///
/// A Ctrl-C at a terminal goes to all processes that it started, this one too, and is left as it is.
///
/// ```no_run
/// # #[ipc_rpc::service]
/// # trait Hello {
/// #     async fn hello(&self, name: &str) -> String;
/// # }
/// # struct Polite;
/// # impl Hello for Polite {
/// #     async fn hello(&self, name: &str) -> String {
/// #         format!("Hello, {name}!")
/// #     }
/// # }
/// // The child's program:
/// fn main() -> Result<(), ipc_rpc::Error> {
///     ipc_rpc::serve_inherited(HelloServer::new(Polite)).wait()
/// }
/// // Its parent: HelloClient::spawn(Command::new("hello-child")).await?
/// ```
pub fn serve_inherited(service: impl Service) -> Run {
    Server::bind(Endpoint::inherited()).service(service).run()
}

/// Where a service manager tells this process to listen, by socket activation: as systemd does for a service with a
/// `.socket` unit, in the environment variables `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`. In the order of the
/// unit's `ListenStream=` lines; each with the name of `FileDescriptorName=`, or none. Empty for a process that was started in another
/// way, or by another one than the manager.
///
/// ```no_run
/// # fn main() -> Result<(), ipc_rpc::Error> {
/// use ipc_rpc::Server;
///
/// let server = match ipc_rpc::activated()?.into_iter().next() {
///     Some((endpoint, _)) => Server::bind(endpoint),
///     None => Server::bind("store"),
/// };
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `Unsupported` if the variables are garbled.
pub fn activated() -> Result<Vec<(Endpoint, Option<String>)>, Error> {
    let sockets = transports::activated()?.into_iter();
    Ok(sockets.map(|socket| (socket.endpoint, socket.name)).collect())
}

/// A server in the making: where it listens, what it serves, whom it lets in.
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    endpoints: Vec<Result<Endpoint, Error>>,
    services: Vec<Arc<dyn AnyService>>,
    gate: Gate,
    until_signal: bool,
    handle: ServerHandle,
}

impl Server {
    /// Plans a server at `endpoint`: a name as `"store"`, or `scheme:name`.
    pub fn bind<E>(endpoint: E) -> Self
    where
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        Self {
            endpoints: vec![endpoint.try_into().map_err(Into::into)],
            services: Vec::new(),
            gate: Gate {
                allow: None,
                on_connect: None,
                limits: Limits::default(),
                drain: connection::DRAIN,
                keepalive: None,
            },
            until_signal: false,
            handle: ServerHandle {
                shutdown: Arc::new(watch::channel(false).0),
            },
        }
    }

    /// Listens at one more endpoint, for the same services.
    pub fn and_bind<E>(mut self, endpoint: E) -> Self
    where
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        self.endpoints.push(endpoint.try_into().map_err(Into::into));
        self
    }

    /// Serves `service`, beside those given before, to every client.
    pub fn service(mut self, service: impl Service) -> Self {
        self.services.push(Arc::new(service));
        self
    }

    /// Decides who may connect, from what the system says of the peer, before a byte of it is read. By default only the
    /// server's own user may, where the transport can tell; `tcp:` cannot, so an `allow` is refused there when the
    /// server runs.
    ///
    /// ```no_run
    /// # use ipc_rpc::{Endpoint, Peer, Server};
    /// # fn plan() -> Result<(), ipc_rpc::Error> {
    /// Server::bind("store").allow(Peer::same_user); // what is done anyway
    ///
    /// // Others come in only where the socket is open to them, which that of a name never is.
    /// let endpoint: Endpoint = "unix:/run/store.sock".parse()?;
    /// Server::bind(endpoint.allow_other_users()).allow(|peer| peer.is_user(1000) || peer.in_group(27));
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow(mut self, allow: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.gate.allow = Some(Box::new(allow));
        self
    }

    /// Decides about each connection after `allow`, with the client's greeting at hand. It runs on the connection's
    /// task, so it should be quick; a panic in it refuses the client.
    pub fn on_connect(
        mut self,
        decide: impl Fn(&mut ConnectRequest<'_>) -> Result<(), Reject> + Send + Sync + 'static,
    ) -> Self {
        self.gate.on_connect = Some(Box::new(decide));
        self
    }

    /// How many connections there may be at once, over all endpoints. One more is refused with `Busy`.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.gate.limits.max_connections = connections;
        self
    }

    /// How many calls of one connection may be in progress at once. Clients are told, and wait.
    pub fn max_in_flight(mut self, calls: u32) -> Self {
        self.gate.limits.max_in_flight = calls;
        self
    }

    /// All limits of a connection together.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.gate.limits = limits;
        self
    }

    /// How long calls in progress may take to finish once the server shuts down. 10 s by default.
    ///
    /// A connection with nothing in progress is then closed, and its client has up to `Limits::handshake` to read why and to
    /// hang up. A client hangs up when its last clone is dropped, not when it hears the news; and one that is stopped, or
    /// blocks with `.wait()` and reads nothing between its calls, is given a quarter of a second to hear it. So a
    /// shutdown takes about a second while anybody keeps an idle client, and in all at most a second longer than `drain`.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.gate.drain = drain;
        self
    }

    /// Ends the connection of a client that has stopped answering while it waits for a reply: one that is stopped, or
    /// hangs. Without it such a client is noticed when its process ends.
    ///
    /// A client that is silent while one of its calls is in progress is asked for a sign of life, and its connection ends
    /// if none comes within `interval` (4 ms at least): its handlers are dropped, as if it had died. A client with no
    /// call in progress is never asked: one that blocks with `.wait()` reads nothing in between, and owes nothing.
    /// An async client answers from its runtime, so `interval` should be longer than anything that blocks that one.
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.gate.keepalive = Some(interval);
        self
    }

    /// Also shuts down when the process is told to end: Ctrl-C, or SIGTERM.
    pub fn until_signal(mut self) -> Self {
        self.until_signal = true;
        self
    }

    /// What shuts this server down from elsewhere.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Takes the endpoints: from here on clients can connect, and wait until it runs.
    ///
    /// # Errors
    /// `Busy` if somebody serves there already, `Unsupported` if a service or `allow` needs to know who calls and the transport cannot
    /// tell, `Incompatible` if two services clash, and those of the system.
    pub fn listen(self) -> Result<Listening, Error> {
        let Self {
            endpoints,
            services,
            gate,
            until_signal,
            handle,
        } = self;
        let catalogue = Catalogue::new(services)?;
        let mut listeners = Vec::new();
        let mut ports = Vec::new();
        for endpoint in endpoints {
            let endpoint = endpoint?;
            if !endpoint.scheme().vouches_for_peer() {
                gate.refuse_anonymous(&endpoint, &catalogue)?;
            }
            if endpoint.scheme() != Scheme::Inherited {
                listeners.push(transports::listen(&endpoint)?);
                continue;
            }
            match transports::inherit(&endpoint)? {
                Inherited::Listener(listener) => {
                    if !listener.endpoint().scheme().vouches_for_peer() {
                        gate.refuse_anonymous(&endpoint, &catalogue)?;
                    }
                    listeners.push(listener);
                }
                Inherited::Port(port) => {
                    if port.peer.is_anonymous() {
                        gate.refuse_anonymous(&endpoint, &catalogue)?;
                    }
                    ports.push(port);
                }
            }
        }
        Ok(Listening {
            listeners,
            ports,
            hub: Hub::new(catalogue, gate),
            until_signal,
            handle,
        })
    }

    /// The server without its endpoints, for connections that come otherwise.
    pub(crate) fn into_hub(self) -> Result<Arc<Hub>, Error> {
        Ok(Hub::new(Catalogue::new(self.services)?, self.gate))
    }

    /// Serves until it is shut down; a server that has nothing but connections that it was started with
    /// (`fd:inherited`), until these have ended. End it with `.await`, or with `.wait()` outside of a runtime.
    pub fn run(self) -> Run {
        Run::new(self.listen())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self.services.iter().map(|service| service.info().name).collect();
        formatter
            .debug_struct("Server")
            .field("endpoints", &self.endpoints)
            .field("services", &services)
            .finish()
    }
}

/// Shuts a server down from elsewhere. Clones are alike.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    shutdown: Arc<watch::Sender<bool>>,
}

impl ServerHandle {
    /// Tells the server to stop: it accepts no more, tells its clients, lets calls in progress finish for as long as
    /// [`Server::drain`] says, and its `run` returns. Does not wait for that.
    pub fn shutdown(&self) {
        self.shutdown.send_replace(true);
    }
}

/// A server that has its endpoints and does not answer yet.
pub struct Listening {
    listeners: Vec<Box<dyn Listener>>,
    /// Connections that this process was started with.
    ports: Vec<Port>,
    hub: Arc<Hub>,
    until_signal: bool,
    handle: ServerHandle,
}

impl Listening {
    /// Where it listens, as clients connect to it: a port number that was left open is filled in.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let listened = self.listeners.iter().map(|listener| listener.endpoint());
        listened.chain(self.ports.iter().map(|port| &port.endpoint))
    }

    /// What shuts this server down from elsewhere.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves until it is shut down. End it with `.await`, or with `.wait()` outside of a runtime.
    pub fn run(self) -> Run {
        Run::new(Ok(self))
    }

    async fn serve(self) -> Result<(), Error> {
        crate::driver::runtime("A server")?;
        crate::driver::timers()?;
        let mut shutdown = self.handle.shutdown.subscribe();
        let closing = CloseAll(self.hub.clone());
        let mut accepting = tokio::task::JoinSet::new();
        // Nobody else can come.
        let is_closed = self.listeners.is_empty() && !self.ports.is_empty();
        for port in self.ports {
            self.hub.admit_parent(port)?;
        }
        for listener in self.listeners {
            accepting.spawn(accept(listener, self.hub.clone()));
        }
        let signal = async {
            match self.until_signal {
                true => transports::reactor::termination().await.map_err(Error::from),
                false => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            _ = shutdown.wait_for(|shutdown| *shutdown) => Ok(()),
            signalled = signal => signalled,
            () = self.hub.empty(), if is_closed => Ok(()),
            Some(failed) = accepting.join_next() => match failed {
                Ok(error) => Err(error),
                Err(panic) => Err(Error::new(ErrorKind::Io, "accepting connections failed").with_source(panic)),
            },
        };
        // Dropping the listeners frees their names for the next server.
        accepting.shutdown().await;
        self.hub.drain().await;
        drop(closing);
        ended
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.endpoints()).finish()
    }
}

/// A running server, as a future. Dropping it ends the server at once, without draining.
#[must_use = "a server does nothing until it is awaited or waited for"]
pub struct Run {
    listening: Option<Result<Listening, Error>>,
    running: Option<Pin<Box<Running>>>,
}

type Running = dyn Future<Output = Result<(), Error>> + Send;

impl Run {
    fn new(listening: Result<Listening, Error>) -> Self {
        Self {
            listening: Some(listening),
            running: None,
        }
    }

    /// Serves on this thread and others, in a runtime of its own, and blocks until the server is shut down, and until
    /// methods with `#[rpc(blocking)]` that still run have ended: nothing stops a thread.
    ///
    /// # Errors
    /// Those of [`Server::listen`], and those of making a runtime.
    pub fn wait(self) -> Result<(), Error> {
        blocking::may_block("Run::wait()")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::new(ErrorKind::Resource, format!("cannot make a runtime: {error}")))?;
        runtime.block_on(self)
    }
}

impl Future for Run {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match self.listening.take() {
            Some(Ok(listening)) => self.running = Some(Box::pin(listening.serve())),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {}
        }
        match &mut self.running {
            Some(running) => running.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
