//! Clients: a service's methods, over a connection that several clients share.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use transports::{DirectUsage, Endpoint, Peer, Scheme};

use crate::connection::Fit;
use crate::link::Link;
use crate::section::Lender;
use crate::{
    Allocation, Child, Codec, Error, ErrorKind, MethodInfo, Outcome, Ping, Section, ServiceInfo, SharedMut,
    Traffic, Word,
};

/// What every generated client can do, for code that is generic over services.
pub trait ServiceClient: Clone + Send + Sync + 'static {
    /// The service that it calls.
    const INFO: &'static ServiceInfo;

    /// A client over an existing connection.
    fn from_client(client: Client) -> Self;

    /// What it calls through.
    fn as_client(&self) -> &Client;

    /// A client of another service of the same server, over the same connection.
    ///
    /// It can always be made; if the server does not serve `C`, its calls fail with `UnknownService`.
    fn service<C: ServiceClient>(&self) -> C {
        C::from_client(self.as_client().rebound(C::INFO))
    }
}

/// The service-independent part of a client: a connection, and what its server knows of the service.
///
/// Clones share the connection; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Option<Duration>,
}

struct Shared {
    connection: Arc<Open>,
    info: &'static ServiceInfo,
    /// Methods that cannot be called, with the reason: those that the server lacks or has in another form.
    problems: HashMap<u64, Problem>,
}

/// A connection whose handshake is done. It closes when nobody uses it any more.
struct Open {
    link: Arc<Link>,
    codec: Codec,
    max_body: usize,
}

struct Problem {
    kind: ErrorKind,
    sentence: String,
}

impl Client {
    pub(crate) fn new(link: Arc<Link>, info: &'static ServiceInfo) -> Self {
        let (codec, max_body) = {
            let out = link.out();
            // What the peer takes, and what our own port lets out.
            let max_body = (out.core.max_body_to_send() as usize).min(link.endpoint.message_limit());
            (out.codec(), max_body)
        };
        Self::bind(
            Arc::new(Open {
                link,
                codec,
                max_body,
            }),
            info,
            None,
        )
    }

    fn rebound(&self, info: &'static ServiceInfo) -> Self {
        Self::bind(self.shared.connection.clone(), info, self.timeout)
    }

    fn bind(connection: Arc<Open>, info: &'static ServiceInfo, timeout: Option<Duration>) -> Self {
        let problems = problems(&connection.link, info);
        Self {
            shared: Arc::new(Shared {
                connection,
                info,
                problems,
            }),
            timeout,
        }
    }

    /// The same client, whose calls have a deadline of `timeout` unless they set their own.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            shared: self.shared.clone(),
            timeout: Some(timeout),
        }
    }

    /// Who serves, as far as the transport vouches for it.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.link().peer
    }

    /// The process that serves, if this one started it: with `spawn`, or at an `exec:` endpoint.
    #[must_use]
    pub fn child(&self) -> Option<Child> {
        self.link().child().cloned().map(Child::new)
    }

    /// Where it is connected.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.link().endpoint
    }

    /// What carries the messages: for a plain name, [`Scheme::SharedMemory`] where both sides can, else
    /// [`Scheme::Unix`]. It is settled when the connection is made, and stays. Does not block.
    ///
    /// ```
    /// # #[cfg(all(feature = "tokio", unix))]
    /// # fn main() -> Result<(), ipc_rpc::Error> {
    /// use ipc_rpc::{Context, Endpoint, Scheme, Server, ServiceClient};
    ///
    /// #[ipc_rpc::service]
    /// trait Mirror {
    ///     async fn transport(&self, context: &Context) -> String;
    /// }
    ///
    /// struct Glass;
    ///
    /// impl Mirror for Glass {
    ///     async fn transport(&self, context: &Context) -> String {
    ///         context.transport().to_string()
    ///     }
    /// }
    ///
    /// let name = format!("mirror-{}", std::process::id());
    /// let server = Server::bind(name.as_str()).service(MirrorServer::new(Glass)).listen()?;
    /// let handle = server.handle();
    /// let thread = std::thread::spawn(|| server.run().wait());
    ///
    /// // A plain name: the fastest that both sides can.
    /// let mirror = MirrorClient::connect(name.as_str()).wait()?;
    /// let expected = if Scheme::SharedMemory.is_supported() { Scheme::SharedMemory } else { Scheme::Unix };
    /// assert_eq!(mirror.as_client().transport(), expected);
    /// assert_eq!(mirror.transport().wait()?, expected.as_str());
    ///
    /// // One side says that it wants the socket: that is what both see.
    /// let mirror = MirrorClient::connect(format!("unix:{name}")).wait()?;
    /// assert_eq!(mirror.as_client().transport(), Scheme::Unix);
    /// assert_eq!(mirror.transport().wait()?, "unix");
    /// # drop(mirror);
    /// # handle.shutdown();
    /// # thread.join().expect("the server does not panic")?;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(all(feature = "tokio", unix)))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn transport(&self) -> Scheme {
        self.link().carrier.scheme()
    }

    /// What came of [`Endpoint::direct`](crate::Endpoint::direct) on this connection, by now: how many bodies this side has
    /// lent and fetched. `None` if it was not asked for, or if this transport has none.
    #[must_use]
    pub fn direct(&self) -> Option<DirectUsage> {
        self.link().carrier.direct()
    }

    /// The codec that the handshake chose.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.shared.connection.codec
    }

    /// Asks the server for a sign of life, past all services and handlers. The result is the time that it took.
    pub fn ping(&self) -> Ping<'_> {
        Ping::new(self)
    }

    /// Memory for `count` values that a call on this connection can take along without a copy; each generated client has it, too. It holds
    /// zeros, or what was sent on this connection before. Never blocks.
    ///
    /// It comes from the connection's pool: at most 64 MiB together, with one section of the largest size that the endpoint's
    /// `max_message` allows beyond them, each rounded up to a power of two. It is the pool's again when this side has dropped the
    /// section, or view, and the other side has, too. [`Client::alloc_waiting`] waits for that moment.
    ///
    /// Below 16 KiB, in JSON, and on connections that carry no memory, it is private, and its values travel inside the message.
    ///
    /// # Errors
    /// `Resource` if the budget is used up, or memory of this process; `TooLarge` above the endpoint's `max_message`; `Forked` in a fork of the
    /// process that connected.
    pub fn alloc<T: Pod>(&self, count: usize) -> Result<Section<T>, Error> {
        self.alloc_as(count, false)
    }

    /// As [`Client::alloc`], but while the budget is used up it waits for memory to come back, from this side or the other: end it with `.await`,
    /// or with [`Allocation::wait`]. So a program that produces faster than the other side consumes is held back by that, and holds no more
    /// than the budget.
    ///
    /// Of several that wait, whoever looks first gets it; a large one may wait long beside small ones. It waits as long as a call of this client
    /// would ([`Client::with_timeout`]), without a timeout for ever: whoever holds all of the memory himself waits in vain.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # fn main() -> Result<(), ipc_rpc::Error> {
    /// # #[ipc_rpc::service]
    /// # trait Recorder { async fn record(&self, frame: ipc_rpc::View<u8>) -> u64; }
    /// # struct Tape;
    /// # impl Recorder for Tape { async fn record(&self, frame: ipc_rpc::View<u8>) -> u64 { frame.len() as u64 } }
    /// let recorder = RecorderClient::in_process(Tape).wait()?;
    /// for number in 0..100 {
    ///     let mut frame = recorder.alloc_waiting::<u8>(8 << 20).wait()?;
    ///     frame[0] = number;
    ///     assert_eq!(recorder.record(frame).wait()?, 8 << 20);
    /// }
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "tokio"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// `Deadline` when the time is over, what ended the connection if that ends, `Resource` if it is the process or the system that has no memory
    /// left; otherwise as [`Client::alloc`].
    pub fn alloc_waiting<T: Pod>(&self, count: usize) -> Allocation<'_, T> {
        Allocation::new(self, count)
    }

    /// As [`Client::alloc`], but when it has been written, the system seals it: nobody can change it any more, and the other side reads
    /// it in place without having to trust this one.
    ///
    /// That takes a memory of its own, which is made, sealed and passed on: some hundred times as long as taking memory from the pool, and
    /// worth it for what is sent several times on this connection. Make it a [`View`](crate::View) then, and send clones of that.
    ///
    /// # Errors
    /// As [`Client::alloc`].
    pub fn alloc_sealed<T: Pod>(&self, count: usize) -> Result<Section<T>, Error> {
        self.alloc_as(count, true)
    }

    /// Memory for `count` words that both sides read and write at any time, through atomic accesses: see [`SharedMut`]. All of them are zero.
    /// Never blocks.
    ///
    /// It counts towards the same budget as the memory of [`Client::alloc`], until both sides have dropped it.
    ///
    /// # Errors
    /// `Unsupported` where two processes cannot share memory: over `tcp:`, `pipe:` and `.stdio()`, between different users, in the codec JSON,
    /// and on systems other than Linux. Otherwise as [`Client::alloc`].
    pub fn alloc_shared<T: Word>(&self, count: usize) -> Result<SharedMut<T>, Error> {
        self.link().check_ours()?;
        Lender::alloc_shared(self.link().lender(self.codec()), count)
    }

    fn alloc_as<T: Pod>(&self, count: usize, sealed: bool) -> Result<Section<T>, Error> {
        self.link().check_ours()?;
        Lender::alloc(self.link().lender(self.codec()), count, sealed)
    }

    /// What this connection has carried so far, in both directions, for all clients that share it.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # fn main() -> Result<(), ipc_rpc::Error> {
    /// use ipc_rpc::{ServiceClient, View};
    ///
    /// #[ipc_rpc::service]
    /// trait Scale {
    ///     async fn weigh(&self, load: View<u8>) -> u64;
    /// }
    ///
    /// struct Spring;
    ///
    /// impl Scale for Spring {
    ///     async fn weigh(&self, load: View<u8>) -> u64 {
    ///         load.iter().map(|&byte| u64::from(byte)).sum()
    ///     }
    /// }
    ///
    /// let scale = ScaleClient::in_process(Spring).wait()?;
    /// let mut load = scale.alloc(1 << 20)?;
    /// load.fill(1);
    /// assert_eq!(scale.weigh(load).wait()?, 1 << 20);
    ///
    /// let traffic = scale.as_client().traffic();
    /// assert_eq!((traffic.sent.section_messages, traffic.sent.section_bytes), (1, 1 << 20));
    /// assert_eq!(traffic.pool_high_water, 1 << 20);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "tokio"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.link().traffic()
    }

    /// Closes the connection for all clients that share it: calls in flight end with `Closed`.
    pub fn close(&self) {
        self.link()
            .close(ErrorKind::Closed, "the client closed the connection");
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) fn link(&self) -> &Link {
        &self.shared.connection.link
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn shared_link(&self) -> &Arc<Link> {
        &self.shared.connection.link
    }

    /// How to encode a call of `method`, if the server has it in the form that we expect.
    pub(crate) fn check(&self, method: &MethodInfo) -> Result<(Codec, usize), Error> {
        let shared = &*self.shared;
        if !shared.problems.is_empty() {
            if let Some(problem) = shared.problems.get(&method.ordinal) {
                return Err(Error::new(problem.kind, problem.sentence.clone()).with_outcome(Outcome::NotSent));
            }
        }
        Ok((shared.connection.codec, shared.connection.max_body))
    }
}

/// Compares what we expect of a service with what the server said in the handshake.
fn problems(link: &Link, info: &'static ServiceInfo) -> HashMap<u64, Problem> {
    let out = link.out();
    let services = out.core.peer_services();
    let mut problems = HashMap::new();
    for method in info.methods {
        let name = method.name;
        let (kind, sentence) = match services.fit(info, method) {
            Fit::Fits => continue,
            Fit::UnknownService => (
                ErrorKind::UnknownService,
                format!("{name}: {} does not serve {}", link.peer_name(), info.name),
            ),
            Fit::OtherVersion(version) => (
                ErrorKind::Incompatible,
                format!(
                    "{name}: this program expects version {} of {}, the server has version {version}. Rebuild or \
                     restart the older side",
                    info.version, info.name
                ),
            ),
            Fit::UnknownMethod => (
                ErrorKind::UnknownMethod,
                format!(
                    "{} has no {name}: it is older than this program",
                    link.peer_name()
                ),
            ),
            Fit::OtherSignature(theirs) => (
                ErrorKind::Incompatible,
                format!(
                    "{name} changed: this program expects {}, the server has {theirs}. Other methods still work. \
                     Rebuild or restart the older side",
                    method.signature
                ),
            ),
        };
        problems.insert(method.ordinal, Problem { kind, sentence });
    }
    problems
}

impl Drop for Open {
    fn drop(&mut self) {
        self.link
            .close(ErrorKind::Closed, "the client closed the connection");
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("service", &self.shared.info.name)
            .field("endpoint", &self.link().endpoint)
            .field("timeout", &self.timeout)
            .finish()
    }
}
