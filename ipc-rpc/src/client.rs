//! Clients: a service's methods, over a connection that several clients share.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use transports::{Endpoint, Peer, Scheme};

use crate::connection::Fit;
use crate::link::Link;
use crate::{Child, Codec, Error, ErrorKind, MethodInfo, Outcome, Ping, ServiceInfo};

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

    /// The codec that the handshake chose.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.shared.connection.codec
    }

    /// Asks the server for a sign of life, past all services and handlers. The result is the time that it took.
    pub fn ping(&self) -> Ping<'_> {
        Ping::new(self)
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
