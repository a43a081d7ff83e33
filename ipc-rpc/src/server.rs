//! Servers: services at an endpoint, who may call them, and how serving ends.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use transports::{Accepted, Endpoint, Listener, Peer, Port};

use crate::catalogue::Catalogue;
use crate::connection::{self, Config, Role};
use crate::context::Attachments;
use crate::dispatch::AnyService;
use crate::driver::Driver;
use crate::link::{Link, Share};
use crate::serving::Serving;
use crate::sync::lock;
use crate::{Codec, Error, ErrorKind, Limits, Service, blocking};

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

/// A server in the making: where it listens, what it serves, whom it lets in.
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    endpoints: Vec<Result<Endpoint, Error>>,
    services: Vec<Arc<dyn AnyService>>,
    policy: Policy,
    until_signal: bool,
    handle: ServerHandle,
}

/// What decides about connections.
struct Policy {
    allow: Option<Allow>,
    on_connect: Option<OnConnect>,
    limits: Limits,
    drain: Duration,
}

type Allow = Box<dyn Fn(&Peer) -> bool + Send + Sync>;
type OnConnect = Box<dyn Fn(&mut ConnectRequest<'_>) -> Result<(), Reject> + Send + Sync>;

/// A client that asks to be let in, as [`Server::on_connect`] sees it.
#[derive(Debug)]
pub struct ConnectRequest<'a> {
    peer: &'a Peer,
    greeting: &'a [u8],
    attachments: Attachments,
}

impl ConnectRequest<'_> {
    /// Who asks, as far as the transport vouches for it.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.peer
    }

    /// The bytes that the client sent along with `Connect::greeting`; empty if none.
    #[must_use]
    pub fn greeting(&self) -> &[u8] {
        self.greeting
    }

    /// Attaches a value to the connection for its handlers to find with `Context::attached`. It is dropped when the
    /// connection has ended, once, after the last handler.
    pub fn attach<T: Send + Sync + 'static>(&mut self, value: T) {
        self.attachments.attach(value);
    }
}

/// Why [`Server::on_connect`] does not let a client in. The client sees the sentence.
#[derive(Clone, Debug)]
pub struct Reject(String);

impl Reject {
    /// A refusal with its reason; the client reads it behind "refused us: ".
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
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
            policy: Policy {
                allow: None,
                on_connect: None,
                limits: Limits::default(),
                drain: connection::DRAIN,
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
    pub fn allow(mut self, allow: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.policy.allow = Some(Box::new(allow));
        self
    }

    /// Decides about each connection after `allow`, with the client's greeting at hand. It runs on the connection's
    /// task, so it should be quick; a panic in it refuses the client.
    pub fn on_connect(
        mut self,
        decide: impl Fn(&mut ConnectRequest<'_>) -> Result<(), Reject> + Send + Sync + 'static,
    ) -> Self {
        self.policy.on_connect = Some(Box::new(decide));
        self
    }

    /// How many connections there may be at once, over all endpoints. One more is refused with `Busy`.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.policy.limits.max_connections = connections;
        self
    }

    /// How many calls of one connection may be in progress at once. Clients are told, and wait.
    pub fn max_in_flight(mut self, calls: u32) -> Self {
        self.policy.limits.max_in_flight = calls;
        self
    }

    /// All limits of a connection together.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.policy.limits = limits;
        self
    }

    /// How long calls in progress may take to finish once the server shuts down. 10 s by default.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.policy.drain = drain;
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
            policy,
            until_signal,
            handle,
        } = self;
        let catalogue = Catalogue::new(services)?;
        let mut listeners = Vec::new();
        for endpoint in endpoints {
            let endpoint = endpoint?;
            if !endpoint.scheme().vouches_for_peer() {
                policy.refuse_anonymous(&endpoint, &catalogue)?;
            }
            listeners.push(transports::listen(&endpoint)?);
        }
        Ok(Listening {
            listeners,
            hub: Hub::new(catalogue, policy),
            until_signal,
            handle,
        })
    }

    /// The server without its endpoints, for connections that come otherwise.
    pub(crate) fn into_hub(self) -> Result<Arc<Hub>, Error> {
        Ok(Hub::new(Catalogue::new(self.services)?, self.policy))
    }

    /// Serves until it is shut down. End it with `.await`, or with `.wait()` outside of a runtime.
    pub fn run(self) -> Run {
        Run::new(self.listen())
    }
}

impl Policy {
    fn refuse_anonymous(&self, endpoint: &Endpoint, catalogue: &Catalogue) -> Result<(), Error> {
        let who = match catalogue.requiring_identity() {
            Some(service) => format!("{service} needs to know who calls"),
            None if self.allow.is_some() => "Server::allow needs to know who calls".to_owned(),
            None => return Ok(()),
        };
        let sentence = format!("{who}, which {endpoint} cannot tell; use unix:");
        Err(Error::new(ErrorKind::Unsupported, sentence))
    }

    /// Why `peer` may not connect.
    fn refuse(&self, peer: &Peer) -> Option<String> {
        match &self.allow {
            Some(allow) if allow(peer) => None,
            Some(_) => Some(format!("it does not let {peer} in (Server::allow decides)")),
            None if peer.is_anonymous() || peer.same_user() => None,
            None => Some(format!(
                "it only accepts uid {}, we are uid {} (Server::allow changes this)",
                shown(Peer::own_uid()),
                shown(peer.uid()),
            )),
        }
    }
}

fn shown(uid: Option<u32>) -> String {
    uid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string())
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
    hub: Arc<Hub>,
    until_signal: bool,
    handle: ServerHandle,
}

impl Listening {
    /// Where it listens, as clients connect to it: a port number that was left open is filled in.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().map(|listener| listener.endpoint())
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
        let mut shutdown = self.handle.shutdown.subscribe();
        let closing = CloseAll(self.hub.clone());
        let mut accepting = tokio::task::JoinSet::new();
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

    /// Serves on this thread and others, in a runtime of its own, and blocks until the server is shut down.
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

/// What all connections of one server share.
pub(crate) struct Hub {
    pub(crate) catalogue: Catalogue,
    policy: Policy,
    connections: Mutex<HashMap<u64, Arc<Link>>>,
    /// Bytes that each user leaves unread; as many entries as users have ever connected.
    queues: Mutex<HashMap<u32, Arc<AtomicUsize>>>,
    /// A connection has ended.
    fewer: Notify,
}

impl Hub {
    fn new(catalogue: Catalogue, policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            catalogue,
            policy,
            connections: Mutex::default(),
            queues: Mutex::default(),
            fewer: Notify::new(),
        })
    }

    /// Decides about a client that asks to be let in.
    pub(crate) fn decide(&self, peer: &Peer, greeting: &[u8]) -> Result<Attachments, String> {
        let mut request = ConnectRequest {
            peer,
            greeting,
            attachments: Attachments::default(),
        };
        if let Some(decide) = &self.policy.on_connect {
            let decided = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decide(&mut request)));
            match decided {
                Ok(Ok(())) => {}
                Ok(Err(Reject(sentence))) => return Err(sentence),
                Err(_) => return Err("its on_connect panicked".to_owned()),
            }
        }
        Ok(request.attachments)
    }

    /// Starts serving an accepted connection in a task of its own, or refusing it there.
    pub(crate) fn admit(self: &Arc<Self>, port: Port) {
        let refusal = match self.policy.refuse(&port.peer) {
            Some(sentence) => Some((ErrorKind::Denied, sentence)),
            None => self.full(&port.peer).map(|sentence| (ErrorKind::Busy, sentence)),
        };
        let config = Config {
            role: Role::Accepting,
            codecs: Codec::ALL.iter().map(|codec| codec.id()).collect(),
            limits: self.policy.limits.core(port.endpoint.message_limit()),
            services: self.catalogue.offered(),
            handshake_timeout: self.policy.limits.handshake,
        };
        // It fails only for services that no handshake can tell of, which `listen` has refused.
        let Ok(link) = Link::new(port, config, self.policy.limits.clone()) else {
            return;
        };
        if let Some((kind, sentence)) = refusal {
            // Not counted: it lives until the client has read the refusal, or the handshake's time is up.
            link.reject(kind, &sentence);
            Driver::spawn(&Handle::current(), link, None);
            return;
        }
        if let Some(uid) = link.peer.uid() {
            link.out().share = Some(Share::of(self.queue_of(uid)));
        }
        lock(&self.connections).insert(link.id, link.clone());
        let guard = Guest {
            hub: self.clone(),
            id: link.id,
        };
        Driver::spawn(&Handle::current(), link, Some(Serving::new(self.clone(), guard)));
    }

    /// The count of bytes that one user leaves unread.
    fn queue_of(&self, uid: u32) -> Arc<AtomicUsize> {
        lock(&self.queues).entry(uid).or_default().clone()
    }

    /// Why there is no place for one more connection of `peer`.
    fn full(&self, peer: &Peer) -> Option<String> {
        let Limits {
            max_connections,
            max_connections_per_user,
            ..
        } = self.policy.limits;
        let connections = lock(&self.connections);
        if connections.len() >= max_connections {
            return Some(format!("it has {max_connections} connections already"));
        }
        let uid = peer.uid()?;
        let same = connections
            .values()
            .filter(|link| link.peer.uid() == Some(uid))
            .count();
        (same >= max_connections_per_user).then(|| format!("uid {uid} has {same} connections already"))
    }

    /// Tells all clients that the server ends, and waits until they are gone or the time is up.
    async fn drain(&self) {
        let until = std::time::Instant::now() + self.policy.drain;
        for link in self.links() {
            link.drain(until);
        }
        let empty = async {
            loop {
                let fewer = self.fewer.notified();
                if lock(&self.connections).is_empty() {
                    return;
                }
                fewer.await;
            }
        };
        // The connections close themselves when the time is up; the margin is for their tasks to run.
        let _ = tokio::time::timeout(self.policy.drain + Duration::from_secs(1), empty).await;
    }

    fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.connections).values().cloned().collect()
    }
}

/// A connection's place in the hub.
pub(crate) struct Guest {
    hub: Arc<Hub>,
    id: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.hub.connections).remove(&self.id);
        self.hub.fewer.notify_waiters();
    }
}

/// Closes what is still open when a server ends, also by being dropped.
struct CloseAll(Arc<Hub>);

impl Drop for CloseAll {
    fn drop(&mut self) {
        for link in self.0.links() {
            link.close(ErrorKind::Closed, "the server has ended");
        }
    }
}

/// Accepts connections until that fails for good.
async fn accept(mut listener: Box<dyn Listener>, hub: Arc<Hub>) -> Error {
    /// How long to leave the backlog alone when the process has no descriptor left and no connection ends.
    const PAUSE: Duration = Duration::from_millis(100);
    let source = match listener.source() {
        Ok(source) => source,
        Err(error) => return error.into(),
    };
    loop {
        let accepted = std::future::poll_fn(|cx| {
            loop {
                let mut accepted = None;
                let looked = source.poll_recv(cx, || {
                    let outcome = listener.try_accept();
                    let drained = matches!(outcome, Ok(Accepted::Empty));
                    accepted = Some(outcome);
                    drained
                });
                match (looked, accepted) {
                    (Poll::Ready(Err(error)), _) => return Poll::Ready(Err(error)),
                    (Poll::Ready(Ok(())), Some(Ok(Accepted::Port(port)))) => return Poll::Ready(Ok(port)),
                    (Poll::Ready(Ok(())), Some(Err(error))) => return Poll::Ready(Err(error)),
                    (Poll::Ready(Ok(())), _) => {}
                    (Poll::Pending, _) => return Poll::Pending,
                }
            }
        });
        match accepted.await {
            Ok(port) => hub.admit(port),
            Err(error) if error.kind() == transports::ErrorKind::Resource => {
                let _ = tokio::time::timeout(PAUSE, hub.fewer.notified()).await;
            }
            Err(error) => return error.into(),
        }
    }
}
