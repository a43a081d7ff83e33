//! The server of [`Subject`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipc_rpc::{Context, Endpoint, Error, Limits, Listening, Reject, Server, ServerHandle};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::{Record, Refusal, Second, SecondServer, Seen, Subject, SubjectServer, pattern};
use crate::meter::{self, Holdings};
use crate::trust::trusting;

/// How a server is set up. What is not set is as `Server` has it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Where it listens.
    pub endpoint: String,
    /// `Endpoint::max_message`.
    pub max_message: Option<usize>,
    /// `Endpoint::direct`, for each body.
    pub direct: bool,
    /// `Endpoint::direct`, for what is large.
    pub direct_if_large: bool,
    /// `Endpoint::pieces_from`, `piece_of` and `sections_from`, all as low as they go.
    pub shared_from_one: bool,
    /// `Endpoint::trust_peer`: whoever connects is one of these tests' programs.
    pub trusts: bool,
    /// Nobody without special rights may look into the process, and it has none.
    pub bare: bool,
    /// `Server::max_in_flight`.
    pub max_in_flight: Option<u32>,
    /// `Server::max_connections`.
    pub max_connections: Option<usize>,
    /// `Limits::max_connections_per_user`.
    pub max_connections_per_user: Option<usize>,
    /// `Limits::max_refused`.
    pub max_refused: Option<usize>,
    /// `Limits::max_queued`.
    pub max_queued: Option<usize>,
    /// `Limits::handshake`, in milliseconds.
    pub handshake: Option<u64>,
    /// `Limits::message`, in milliseconds.
    pub message: Option<u64>,
    /// `Server::drain`, in milliseconds.
    pub drain: Option<u64>,
    /// `on_connect` refuses everybody with this sentence.
    pub reject: Option<String>,
    /// `on_connect` wants this greeting, and refuses others with "the token is wrong".
    pub token: Option<String>,
    /// `on_connect` panics.
    pub panic: bool,
    /// `allow` lets everybody in, or nobody.
    pub allow: Option<bool>,
    /// `Server::keepalive`, in milliseconds.
    pub keepalive: Option<u64>,
    /// The user that the process becomes before it listens; only root can.
    pub uid: Option<u32>,
    /// `allow` lets the processes of these users in, and of this group.
    pub allow_users: Vec<u32>,
    /// See `allow_users`.
    pub allow_group: Option<u32>,
    /// `Endpoint::allow_other_users`.
    pub open: bool,
    /// As many descriptors as the process may have open (`RLIMIT_NOFILE`), as far as it may raise that itself.
    pub descriptors: Option<u64>,
    /// Threads of the runtime; two if not set.
    pub workers: Option<usize>,
}

impl Plan {
    /// A server at this endpoint with nothing special.
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            ..Self::default()
        }
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Served {
    listening: Listening,
}

impl Served {
    /// Listens as the plan says.
    ///
    /// # Errors
    /// Those of `Server::listen`.
    pub fn new(plan: &Plan) -> Result<Self, Error> {
        let mut endpoint: Endpoint = plan.endpoint.parse()?;
        if let Some(bytes) = plan.max_message {
            endpoint = endpoint.max_message(bytes);
        }
        if plan.direct_if_large {
            endpoint = endpoint.direct(true);
        }
        if plan.direct {
            endpoint = endpoint.direct(true).direct_from(1);
        }
        if plan.shared_from_one {
            endpoint = endpoint.pieces_from(1).piece_of(1).sections_from(1);
        }
        if plan.trusts {
            endpoint = trusting(endpoint);
        }
        if plan.open {
            endpoint = endpoint.allow_other_users();
        }
        let mut server = Server::bind(endpoint).limits(limits(plan));
        if let Some(drain) = plan.drain {
            server = server.drain(Duration::from_millis(drain));
        }
        if let Some(allowed) = plan.allow {
            server = server.allow(move |_| allowed);
        }
        if !plan.allow_users.is_empty() || plan.allow_group.is_some() {
            let (users, group) = (plan.allow_users.clone(), plan.allow_group);
            server = server.allow(move |peer| {
                users.iter().any(|uid| peer.is_user(*uid)) || group.is_some_and(|gid| peer.in_group(gid))
            });
        }
        if let Some(interval) = plan.keepalive {
            server = server.keepalive(Duration::from_millis(interval));
        }
        let state = Arc::new(State::new(server.handle()));
        let (visits, plan) = (state.clone(), plan.clone());
        server = server.on_connect(move |request| {
            if plan.panic {
                panic_as_told("on_connect was told to panic");
            }
            if let Some(sentence) = &plan.reject {
                return Err(Reject::new(sentence.as_str()));
            }
            let greeting = String::from_utf8_lossy(request.greeting()).into_owned();
            if plan.token.as_ref().is_some_and(|token| *token != greeting) {
                return Err(Reject::new("the token is wrong"));
            }
            request.attach(Visit {
                greeting,
                state: visits.clone(),
            });
            Ok(())
        });
        let listening = server
            .service(SubjectServer::from_arc(state))
            .service(SecondServer::new(Doubler))
            .service(crate::values::server())
            .service(crate::samples::server())
            .listen()?;
        Ok(Self { listening })
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never: it listens somewhere.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.listening
            .endpoints()
            .next()
            .expect("a server has an endpoint")
            .clone()
    }

    /// What shuts it down.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.listening.handle()
    }

    /// Serves until it is shut down.
    ///
    /// # Errors
    /// Those of `Run`.
    ///
    /// # Panics
    /// If no runtime can be made.
    pub fn run(self, plan: &Plan) -> Result<(), Error> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(plan.workers.unwrap_or(2))
            .enable_all()
            .build()
            .expect("a runtime can be made")
            .block_on(self.listening.run())
    }
}

fn limits(plan: &Plan) -> Limits {
    let mut limits = Limits::default();
    limits.max_in_flight = plan.max_in_flight.unwrap_or(limits.max_in_flight);
    limits.max_connections = plan.max_connections.unwrap_or(limits.max_connections);
    limits.max_connections_per_user = plan
        .max_connections_per_user
        .unwrap_or(limits.max_connections_per_user);
    limits.max_refused = plan.max_refused.unwrap_or(limits.max_refused);
    limits.max_queued = plan.max_queued.unwrap_or(limits.max_queued);
    limits.handshake = plan.handshake.map_or(limits.handshake, Duration::from_millis);
    limits.message = plan.message.map_or(limits.message, Duration::from_millis);
    limits
}

/// What the server remembers.
#[derive(Debug)]
struct State {
    handle: ServerHandle,
    held: watch::Sender<u64>,
    abandoned: watch::Sender<u64>,
    cancelled: watch::Sender<u64>,
    notes: watch::Sender<Vec<u64>>,
    /// Handlers that were dropped, connections that ended.
    events: watch::Sender<Vec<String>>,
    gates: Mutex<HashMap<u64, Arc<Notify>>>,
}

/// What is attached to a connection.
struct Visit {
    greeting: String,
    state: Arc<State>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.state.event(RUNDOWN);
    }
}

const RUNDOWN: &str = "rundown";

/// Notices that a handler is dropped.
struct Guard<'a> {
    state: &'a State,
    finished: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.state.event("abandoned");
            self.state.abandoned.send_modify(|count| *count += 1);
        }
    }
}

impl State {
    fn new(handle: ServerHandle) -> Self {
        Self {
            handle,
            held: watch::Sender::new(0),
            abandoned: watch::Sender::new(0),
            cancelled: watch::Sender::new(0),
            notes: watch::Sender::new(Vec::new()),
            events: watch::Sender::new(Vec::new()),
            gates: Mutex::default(),
        }
    }

    fn event(&self, event: &str) {
        self.events.send_modify(|events| events.push(event.to_owned()));
    }

    fn gate(&self, token: u64) -> Arc<Notify> {
        self.gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(token)
            .or_default()
            .clone()
    }
}

/// Panics as a handler might, but without a word on standard error: there are thousands of these in a run of the tests, each
/// with a backtrace where those are asked for, and they would bury what has really failed.
fn panic_as_told(text: &str) -> ! {
    std::panic::resume_unwind(Box::new(text.to_owned()))
}

/// Waits until `enough` holds, and gives the value.
async fn until<T: Clone>(sender: &watch::Sender<T>, enough: impl FnMut(&T) -> bool) -> T {
    let mut receiver = sender.subscribe();
    let value = receiver.wait_for(enough).await.map(|value| value.clone());
    match value {
        Ok(value) => value,
        // The sender is borrowed for as long as this waits.
        Err(_) => std::future::pending().await,
    }
}

impl Subject for State {
    async fn nothing(&self) {}

    async fn number(&self, value: u64) -> u64 {
        value
    }

    async fn text(&self, text: &str) -> String {
        text.to_owned()
    }

    async fn bytes(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    async fn owned_bytes(&self, data: Vec<u8>) -> Vec<u8> {
        data
    }

    async fn shared_bytes(&self, data: Bytes) -> Bytes {
        data
    }

    async fn take(&self, data: &[u8]) -> bool {
        data == pattern(data.len() as u64)
    }

    async fn count(&self, data: &[u8]) -> u64 {
        data.len() as u64
    }

    async fn give(&self, length: u64) -> Vec<u8> {
        pattern(length)
    }

    async fn sum(&self, values: &[u32]) -> u64 {
        values.iter().map(|value| u64::from(*value)).sum()
    }

    async fn record(&self, record: &Record) -> Record {
        record.clone()
    }

    async fn optional_text(&self, text: Option<&str>) -> Option<String> {
        text.map(str::to_owned)
    }

    async fn optional_bytes(&self, data: Option<&[u8]>) -> Option<Vec<u8>> {
        data.map(<[u8]>::to_vec)
    }

    async fn pair(&self, (text, number): (&str, u32)) -> (u32, String) {
        (number, text.to_owned())
    }

    async fn result(&self, given: Result<u32, String>) -> Result<u32, Refusal> {
        given.map_err(Refusal::Because)
    }

    async fn result_inside(&self, given: Result<Vec<u8>, String>) -> (Result<Vec<u8>, String>, Option<()>) {
        (given, None)
    }

    async fn divide(&self, dividend: i32, divisor: i32) -> Result<i32, Refusal> {
        dividend.checked_div(divisor).ok_or(Refusal::ByZero)
    }

    async fn many(
        &self,
        a: u8,
        b: u8,
        c: u8,
        d: u8,
        e: u8,
        f: u8,
        g: u8,
        h: u8,
        i: u8,
        j: u8,
        k: u8,
        l: u8,
        m: u8,
        n: u8,
        o: u8,
        p: u8,
    ) -> u64 {
        let all = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
        all.iter()
            .zip(1..)
            .map(|(value, place)| u64::from(*value) * place)
            .sum()
    }

    fn work(&self, to: u64) -> (u64, bool) {
        ((1..=to).sum(), tokio::runtime::worker_index().is_none())
    }

    fn work_until_cancelled(&self, context: &Context) {
        self.held.send_modify(|count| *count += 1);
        // A test that fails to cancel shall not leave this behind for ever.
        let patience = Instant::now() + Duration::from_secs(30);
        while !context.is_cancelled() && Instant::now() < patience {
            std::thread::yield_now();
        }
        if context.is_cancelled() {
            self.cancelled.send_modify(|count| *count += 1);
        }
    }

    async fn seen(&self, context: &Context) -> Seen {
        let left = context
            .deadline()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        Seen {
            pid: context.peer().pid(),
            uid: context.peer().uid(),
            anonymous: context.peer().is_anonymous(),
            connection: context.connection_id(),
            left: left.map(|left| left.as_millis() as u64),
            method: context.method().to_owned(),
            cancelled: context.is_cancelled(),
            greeting: context.attached::<Visit>().map(|visit| visit.greeting.clone()),
        }
    }

    async fn panic_at_once(&self, text: &str) -> u8 {
        panic_as_told(text)
    }

    async fn panic_later(&self, text: &str) -> u8 {
        tokio::task::yield_now().await;
        panic_as_told(text)
    }

    fn panic_blocking(&self, text: &str) -> u8 {
        panic_as_told(text)
    }

    async fn hold(&self, context: &Context, token: u64) -> u64 {
        let mut guard = Guard {
            state: self,
            finished: false,
        };
        let (cancelled, counter) = (context.cancelled(), self.cancelled.clone());
        // It outlives the handler. The end of a call that was not cancelled leaves it waiting, and the runtime ends it.
        tokio::spawn(async move {
            cancelled.await;
            counter.send_modify(|count| *count += 1);
        });
        let gate = self.gate(token);
        self.held.send_modify(|count| *count += 1);
        gate.notified().await;
        guard.finished = true;
        token
    }

    async fn release(&self, token: u64) {
        self.gate(token).notify_one();
    }

    async fn until_held(&self, count: u64) -> u64 {
        until(&self.held, |held| *held >= count).await
    }

    async fn until_abandoned(&self, count: u64) -> u64 {
        until(&self.abandoned, |abandoned| *abandoned >= count).await
    }

    async fn until_cancelled(&self, count: u64) -> u64 {
        until(&self.cancelled, |cancelled| *cancelled >= count).await
    }

    async fn until_rundowns(&self, count: u64) -> Vec<String> {
        let rundowns = |events: &Vec<String>| events.iter().filter(|event| *event == RUNDOWN).count() as u64;
        until(&self.events, |events| rundowns(events) >= count).await
    }

    async fn after(&self, milliseconds: u64) -> u64 {
        self.held.send_modify(|count| *count += 1);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        milliseconds
    }

    async fn hog(&self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    async fn note(&self, value: u64) {
        self.notes.send_modify(|notes| notes.push(value));
    }

    async fn ignore(&self, _value: u64) {}

    async fn note_bytes(&self, data: &[u8]) {
        self.notes.send_modify(|notes| notes.push(data.len() as u64));
    }

    async fn until_notes(&self, count: u64) -> Vec<u64> {
        until(&self.notes, |notes| notes.len() as u64 >= count).await
    }

    async fn shut_down(&self) {
        self.handle.shutdown();
    }

    async fn holdings(&self) -> Holdings {
        Holdings::own()
    }

    async fn allocations(&self) -> u64 {
        meter::allocations()
    }
}

struct Doubler;

impl Second for Doubler {
    async fn twice(&self, value: u64) -> u64 {
        2 * value
    }

    async fn connection(&self, context: &Context) -> u64 {
        context.connection_id()
    }
}
