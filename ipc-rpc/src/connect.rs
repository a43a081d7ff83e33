//! Connecting: finding the server, the handshake, and what may be asked of both.

#[cfg(feature = "tokio")]
use std::future::Future;
use std::marker::PhantomData;
#[cfg(feature = "tokio")]
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::task;
#[cfg(feature = "tokio")]
use std::task::Poll;
use std::time::{Duration, Instant};

use transports::{Appearance, Channel, Endpoint, Port};

use crate::blocking::{self, Look};
use crate::connection::{CONNECTING_HANDSHAKE, ClosedBy, Config, Role, State};
use crate::link::{self, Link, Out};
use crate::{Client, Codec, Error, ErrorKind, Limits, Outcome, Scheme, ServiceClient, child};

/// The first pause between two attempts of [`Connect::retry`] where the system does not tell that a server has appeared;
/// it doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(50);
/// The pause where the system tells, in case that it failed to: the file system may be another machine's.
const WATCHED_PAUSE: Duration = Duration::from_secs(1);

/// A connection to a server in the making. End it with `.await` (in a Tokio runtime) or [`Connect::wait`].
///
/// Nothing happens before the first poll or `wait`. Dropping it abandons the attempt.
#[must_use = "a connection is not made until it is awaited or waited for"]
pub struct Connect<C> {
    plan: Option<Plan>,
    #[cfg(feature = "tokio")]
    running: Option<Running>,
    client: PhantomData<fn() -> C>,
}

/// A connection in the making that was polled.
#[cfg(feature = "tokio")]
type Running = Pin<Box<dyn Future<Output = Result<Client, Error>> + Send>>;

/// What is to be done, and how.
struct Plan {
    target: Target,
    codec: Codec,
    greeting: Vec<u8>,
    timeout: Duration,
    retry: Duration,
    keepalive: Option<Duration>,
    limits: Limits,
    /// How a child is connected, if that was said.
    channel: Option<Channel>,
    /// How long a child may take to end after its connection.
    grace: Duration,
    max_message: Option<usize>,
    direct: Option<bool>,
    direct_from: Option<usize>,
    pieces_from: Option<usize>,
    piece_of: Option<usize>,
    sections_from: Option<usize>,
}

enum Target {
    Endpoint(Result<Endpoint, Error>),
    /// A child, until it is started.
    Child(Option<Command>),
    /// A server in this process, started when the connection is made.
    #[cfg(feature = "tokio")]
    InProcess(Option<Box<dyn FnOnce() -> Result<Port, Error> + Send>>),
}

impl<C: ServiceClient> Connect<C> {
    /// Plans a connection to `endpoint`: a name as `"store"`, or `scheme:name`.
    pub fn new<E>(endpoint: E) -> Self
    where
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        Self::to(Target::Endpoint(endpoint.try_into().map_err(Into::into)))
    }

    /// Plans to start a child that serves this client alone: `command` is a program whose `main` calls
    /// [`serve_inherited`](crate::serve_inherited), this one again for example (`std::env::current_exe()`).
    ///
    /// The child inherits one descriptor of ours, its end of a socket pair, and its standard streams as the command
    /// has them; no other process inherits that end. It ends with the connection, as [`Child`](crate::Child) says.
    /// The same can be had with a text: an endpoint `exec:PROGRAM ARGUMENTS`.
    pub fn spawn(command: Command) -> Self {
        Self::to(Target::Child(Some(command)))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn in_process(start: impl FnOnce() -> Result<Port, Error> + Send + 'static) -> Self {
        Self::to(Target::InProcess(Some(Box::new(start))))
    }

    fn to(target: Target) -> Self {
        let plan = Plan {
            target,
            codec: C::INFO.codec,
            greeting: Vec::new(),
            timeout: CONNECTING_HANDSHAKE,
            retry: Duration::ZERO,
            keepalive: None,
            limits: Limits::default(),
            channel: None,
            grace: child::GRACE,
            max_message: None,
            direct: None,
            direct_from: None,
            pieces_from: None,
            piece_of: None,
            sections_from: None,
        };
        Self {
            plan: Some(plan),
            #[cfg(feature = "tokio")]
            running: None,
            client: PhantomData,
        }
    }

    /// Goes on trying for this long while nobody listens: for a server that is still starting. Not at all by default.
    /// A child is started once: its program is there or not.
    ///
    /// For a name or a path on Linux, the directory is watched, and the next attempt is made when the server appears;
    /// elsewhere, attempts are made 1 to 50 ms apart.
    pub fn retry(self, retry: Duration) -> Self {
        self.with(|plan| plan.retry = retry)
    }

    /// How long one attempt may take, the handshake included. 5 s by default.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|plan| plan.timeout = timeout)
    }

    /// Notices when the server has stopped answering: when it is stopped, or hangs. Without it a server is noticed
    /// when its process ends, and a call that has no deadline waits for one that hangs.
    ///
    /// A server that is silent is asked for a sign of life; if none comes within `interval` (4 ms at least), the
    /// connection ends, and its calls with `PeerDied`. A handler that computes without awaiting keeps its
    /// connection's task from answering: `interval` should be longer than that, or the method `#[rpc(blocking)]`. A
    /// client that blocks with `.wait()` asks only while it waits; one that awaits asks also while it is idle.
    pub fn keepalive(self, interval: Duration) -> Self {
        self.with(|plan| plan.keepalive = Some(interval))
    }

    /// The codec to ask for; by default the one that the service names. A server that lacks it refuses.
    pub fn codec(self, codec: Codec) -> Self {
        self.with(|plan| plan.codec = codec)
    }

    /// Bytes for the server's `on_connect` to see before it lets us in, a token for example. At most 4 KiB.
    pub fn greeting(self, greeting: impl Into<Vec<u8>>) -> Self {
        let greeting = greeting.into();
        self.with(|plan| plan.greeting = greeting)
    }

    /// Limits of this side of the connection.
    pub fn limits(self, limits: Limits) -> Self {
        self.with(|plan| plan.limits = limits)
    }

    /// The largest message body, in bytes, that this side sends or receives: `Endpoint::max_message`, for where there
    /// is no endpoint at hand.
    pub fn max_message(self, bytes: usize) -> Self {
        self.with(|plan| plan.max_message = Some(bytes))
    }

    /// Has large bodies read out of their sender's memory, if the other side asks for that, too: `Endpoint::direct`, for where
    /// there is no endpoint at hand.
    pub fn direct(self, direct: bool) -> Self {
        self.with(|plan| plan.direct = Some(direct))
    }

    /// From how many bytes on that is done with the bodies that this side sends: `Endpoint::direct_from`, for where there is
    /// no endpoint at hand.
    pub fn direct_from(self, bytes: usize) -> Self {
        self.with(|plan| plan.direct_from = Some(bytes))
    }

    /// From how many bytes on the bodies that this side sends travel in pieces, over a stream and over shared memory:
    /// `Endpoint::pieces_from`, for where there is no endpoint at hand.
    pub fn pieces_from(self, bytes: usize) -> Self {
        self.with(|plan| plan.pieces_from = Some(bytes))
    }

    /// The bytes of such a piece: `Endpoint::piece_of`, for where there is no endpoint at hand.
    pub fn piece_of(self, bytes: usize) -> Self {
        self.with(|plan| plan.piece_of = Some(bytes))
    }

    /// From how many bytes on the sections that this side sends travel beside a message: `Endpoint::sections_from`, for where there is
    /// no endpoint at hand.
    pub fn sections_from(self, bytes: usize) -> Self {
        self.with(|plan| plan.sections_from = Some(bytes))
    }

    /// Connects a child over its standard input and output rather than a socket that it inherits: for one that
    /// is started through another program (`ssh`, `docker`, `sudo`). What the command says of these two is
    /// overruled; standard error stays free.
    ///
    /// The child must print nothing on its standard output before it serves, or connecting fails with `Protocol`; what it
    /// prints later goes to its standard error. A child that does not learn from its environment how it was
    /// started serves `Endpoint::stdio()`.
    pub fn stdio(self) -> Self {
        self.with(|plan| plan.channel = Some(Channel::Stdio))
    }

    /// How long a child may take to end by itself once its connection is closed; then it is killed. 5 s by default.
    pub fn grace(self, grace: Duration) -> Self {
        self.with(|plan| plan.grace = grace)
    }

    fn with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        if let Some(plan) = &mut self.plan {
            change(plan);
        }
        self
    }

    /// Connects and blocks the thread until that is done. No runtime is needed.
    ///
    /// # Errors
    /// `NotConnected` if nobody listens or a child's program does not exist, `PeerDied` if a child ended first, `Denied` or `Rejected` if the server refuses, `Incompatible` if the two speak no common protocol or
    /// codec, `Deadline` if it takes too long; `Unsupported` on a thread that a Tokio runtime needs for other tasks.
    pub fn wait(mut self) -> Result<C, Error> {
        blocking::may_block("Connect::wait()")?;
        let mut plan = self.plan.take().ok_or_else(taken)?;
        let mut attempts = Attempts::new(plan.retry());
        let link = loop {
            match plan.link() {
                Ok(link) => break link,
                Err(error) => match attempts.next_after(error, &plan)? {
                    Next::AtOnce => {}
                    Next::After(pause) => std::thread::sleep(pause),
                    Next::News { appearance, until } => appearance.wait(until)?,
                },
            }
        };
        let opened = blocking::block_until(&link, |out, waker| match opened(&link, out, waker) {
            Some(opened) => Look::Done(opened),
            None => Look::NotYet(None),
        });
        opened?;
        Ok(C::from_client(Client::new(link, C::INFO)))
    }
}

#[cfg(feature = "tokio")]
impl<C: ServiceClient> Future for Connect<C> {
    type Output = Result<C, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(plan) = this.plan.take() {
            this.running = Some(Box::pin(plan.run(C::INFO)));
        }
        match &mut this.running {
            Some(running) => running.as_mut().poll(cx).map_ok(C::from_client),
            None => Poll::Ready(Err(taken())),
        }
    }
}

#[cfg(feature = "tokio")]
impl Plan {
    async fn run(mut self, info: &'static crate::ServiceInfo) -> Result<Client, Error> {
        crate::driver::runtime("Connect")?;
        crate::driver::timers()?;
        let mut attempts = Attempts::new(self.retry());
        let link = loop {
            // Looking a name up and connecting may block for a moment, and a full backlog for longer.
            let attempt = tokio::task::spawn_blocking(move || {
                let link = self.link();
                (self, link)
            });
            let (plan, link) = attempt.await.map_err(|error| {
                Error::new(
                    ErrorKind::Cancelled,
                    "connecting was cancelled: the runtime is shutting down",
                )
                .with_source(error)
            })?;
            self = plan;
            match link {
                Ok(link) => break link,
                Err(error) => match attempts.next_after(error, &self)? {
                    Next::AtOnce => {}
                    Next::After(pause) => tokio::time::sleep(pause).await,
                    Next::News { appearance, until } => {
                        // Without news it looks again, too.
                        let news = tokio::time::timeout_at(until.into(), appearance.changed()).await;
                        news.unwrap_or(Ok(()))?;
                    }
                },
            }
        };
        // Until the client exists, nobody else would close the connection if this future is dropped.
        let guard = CloseOnDrop(Some(link.clone()));
        std::future::poll_fn(|cx| {
            let mut out = link.out();
            if let Err(error) = crate::driver::ensure(&link, &mut out) {
                return Poll::Ready(Err(error));
            }
            match opened(&link, &mut out, cx.waker()) {
                Some(opened) => Poll::Ready(opened),
                None => Poll::Pending,
            }
        })
        .await?;
        guard.disarm();
        Ok(Client::new(link, info))
    }
}

impl Plan {
    /// Watches the place where the server is to appear, if the system can.
    fn appearance(&self) -> Option<Appearance> {
        match &self.target {
            Target::Endpoint(Ok(endpoint)) => Appearance::watch(endpoint),
            _ => None,
        }
    }

    /// One attempt: a connection over the planned port, with its handshake still ahead.
    fn link(&mut self) -> Result<Arc<Link>, Error> {
        let started = Instant::now();
        let deadline = started.checked_add(self.timeout);
        let port = self.port(deadline)?;
        let config = Config {
            role: Role::Connecting {
                blob: self.greeting.clone(),
            },
            codecs: vec![self.codec.id()],
            limits: self.limits.core(port.endpoint.message_limit()),
            services: Arc::new([]),
            handshake_timeout: self.timeout.saturating_sub(started.elapsed()),
            keepalive: self.keepalive,
            wishes: link::wishes(&port),
        };
        Link::new(port, config, self.limits.clone(), self.grace)
    }

    fn port(&mut self, deadline: Option<Instant>) -> Result<Port, Error> {
        let (max_message, direct, direct_from) = (self.max_message, self.direct, self.direct_from);
        let (pieces_from, piece_of, sections_from) = (self.pieces_from, self.piece_of, self.sections_from);
        let settings = |mut endpoint: Endpoint| {
            if let Some(bytes) = max_message {
                endpoint = endpoint.max_message(bytes);
            }
            if let Some(direct) = direct {
                endpoint = endpoint.direct(direct);
            }
            if let Some(bytes) = direct_from {
                endpoint = endpoint.direct_from(bytes);
            }
            if let Some(bytes) = pieces_from {
                endpoint = endpoint.pieces_from(bytes);
            }
            if let Some(bytes) = piece_of {
                endpoint = endpoint.piece_of(bytes);
            }
            if let Some(bytes) = sections_from {
                endpoint = endpoint.sections_from(bytes);
            }
            endpoint
        };
        Ok(match &mut self.target {
            Target::Endpoint(Ok(endpoint)) => {
                let endpoint = settings(endpoint.clone());
                match (self.channel, transports::exec_command(&endpoint)) {
                    (None | Some(Channel::Socket), _) => transports::connect(&endpoint, deadline)?,
                    (Some(channel), Some(command)) => {
                        transports::spawn(command, channel, endpoint.message_limit())?
                    }
                    (Some(_), None) => {
                        let sentence = format!(
                            "Connect::stdio is for children: {:?} starts none",
                            endpoint.to_string()
                        );
                        return Err(Error::new(ErrorKind::Unsupported, sentence));
                    }
                }
            }
            Target::Endpoint(failed) => {
                return Err(std::mem::replace(failed, Err(taken()))
                    .err()
                    .unwrap_or_else(taken));
            }
            Target::Child(command) => {
                let command = command.take().ok_or_else(taken)?;
                transports::spawn_with(command, self.channel.unwrap_or_default(), settings)?
            }
            #[cfg(feature = "tokio")]
            Target::InProcess(start) => start.take().ok_or_else(taken)?()?,
        })
    }

    /// A child's program is there or not, and so is a service in this process.
    fn retry(&self) -> Duration {
        match &self.target {
            Target::Endpoint(Ok(endpoint)) if endpoint.scheme() != Scheme::Exec => self.retry,
            _ => Duration::ZERO,
        }
    }
}

/// The attempts of [`Connect::retry`].
struct Attempts {
    give_up: Option<Instant>,
    pause: Duration,
    appearance: Watching,
}

/// Whether the place is watched in which the server is to appear.
enum Watching {
    NotYet,
    /// From before the last attempt on.
    Since(Appearance),
    CannotBe,
}

/// What to do before the next attempt.
enum Next {
    AtOnce,
    After(Duration),
    /// Wait for news, but not for longer.
    News {
        appearance: Appearance,
        until: Instant,
    },
}

impl Attempts {
    fn new(retry: Duration) -> Self {
        Self {
            give_up: Instant::now().checked_add(retry),
            pause: FIRST_PAUSE,
            appearance: Watching::NotYet,
        }
    }

    /// What to do after an attempt has failed: the error, if there should be no other.
    fn next_after(&mut self, error: Error, plan: &Plan) -> Result<Next, Error> {
        let now = Instant::now();
        let left = self
            .give_up
            .map_or(Duration::MAX, |give_up| give_up.saturating_duration_since(now));
        if error.kind() != ErrorKind::NotConnected || left.is_zero() {
            return Err(error);
        }
        match std::mem::replace(&mut self.appearance, Watching::NotYet) {
            Watching::Since(appearance) => Ok(Next::News {
                appearance,
                until: now + WATCHED_PAUSE.min(left),
            }),
            // A server that came between the attempt and the watching is found by the next attempt. Each one has a new
            // watch: the directory may be there by now.
            Watching::NotYet => match plan.appearance() {
                Some(appearance) => {
                    self.appearance = Watching::Since(appearance);
                    Ok(Next::AtOnce)
                }
                None => {
                    self.appearance = Watching::CannotBe;
                    Ok(Next::After(self.next_pause(left)))
                }
            },
            Watching::CannotBe => {
                self.appearance = Watching::CannotBe;
                Ok(Next::After(self.next_pause(left)))
            }
        }
    }

    fn next_pause(&mut self, left: Duration) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LAST_PAUSE);
        pause.min(left)
    }
}

/// How the handshake ended, once it has.
fn opened(link: &Link, out: &mut Out, waker: &task::Waker) -> Option<Result<(), Error>> {
    match out.core.state() {
        State::Open | State::Draining => Some(Ok(())),
        State::Closed => Some(Err(refused(link, out))),
        State::Handshaking | State::AwaitingDecision => {
            if !out.opening.iter().any(|known| known.will_wake(waker)) {
                out.opening.push(waker.clone());
            }
            None
        }
    }
}

/// Why there is no connection.
fn refused(link: &Link, out: &Out) -> Error {
    match out.core.close_reason() {
        Some(reason) if reason.by == ClosedBy::Peer => {
            let sentence = format!("{:?} refused us: {}", link.endpoint.to_string(), reason.sentence);
            Error::new(reason.kind, sentence).with_outcome(Outcome::NotSent)
        }
        _ => {
            let error = out.closed_error(link, Outcome::NotSent);
            if let Some(child) = link.child() {
                return not_served(link, child, error);
            }
            let advice = match error.kind() {
                ErrorKind::Protocol => "; what answers there is no ipc-rpc server, or one of another age",
                _ => "",
            };
            let sentence = format!(
                "cannot connect to {:?}: {error}{advice}",
                link.endpoint.to_string()
            );
            Error::new(error.kind(), sentence)
        }
    }
}

/// Why a child that was started serves nothing.
fn not_served(link: &Link, child: &transports::Child, error: Error) -> Error {
    let endpoint = link.endpoint.to_string();
    let serves = match child.channel() {
        Channel::Stdio => "a child that serves over its standard output prints to its standard error only",
        _ => "it should call ipc_rpc::serve_inherited, and print to its standard streams only",
    };
    let why = match error.kind() {
        ErrorKind::PeerDied => format!("{error} before it answered"),
        ErrorKind::Deadline => {
            format!("{child} has not answered: {error}; it should call ipc_rpc::serve_inherited")
        }
        ErrorKind::Protocol | ErrorKind::TooLarge => {
            format!("{child} is no ipc-rpc server: {error}; {serves}")
        }
        _ => error.to_string(),
    };
    Error::new(error.kind(), format!("cannot connect to {endpoint:?}: {why}"))
}

fn taken() -> Error {
    Error::new(ErrorKind::Closed, "this Connect has already given its result")
}

#[cfg(feature = "tokio")]
struct CloseOnDrop(Option<Arc<Link>>);

#[cfg(feature = "tokio")]
impl CloseOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

#[cfg(feature = "tokio")]
impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.close(ErrorKind::Closed, "the client gave up connecting");
        }
    }
}
