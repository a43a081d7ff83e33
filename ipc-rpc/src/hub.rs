//! What all connections of one server share, and how a connection becomes one of them.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use transports::{Peer, Port};

use crate::catalogue::Catalogue;
use crate::connection::{Config, Role};
use crate::driver::Driver;
use crate::gate::Gate;
use crate::link::{self, Link, Share};
use crate::serving::Serving;
use crate::sync::lock;
use crate::{Codec, Error, ErrorKind, Limits};

/// What all connections of one server share.
pub(crate) struct Hub {
    catalogue: Arc<Catalogue>,
    gate: Arc<Gate>,
    connections: Mutex<HashMap<u64, Arc<Link>>>,
    /// Bytes that each user leaves unread; as many entries as users have ever connected.
    queues: Mutex<HashMap<u32, Arc<AtomicUsize>>>,
    /// Places for refused connections until their clients have taken note.
    refused: Arc<Semaphore>,
    /// A connection has ended.
    fewer: Notify,
}

impl Hub {
    pub(crate) fn new(catalogue: Catalogue, gate: Gate) -> Arc<Self> {
        let refused = gate.limits.max_refused.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            catalogue: Arc::new(catalogue),
            gate: Arc::new(gate),
            connections: Mutex::default(),
            queues: Mutex::default(),
            refused: Arc::new(Semaphore::new(refused)),
            fewer: Notify::new(),
        })
    }

    /// Starts serving an accepted connection in a task of its own, or refusing it there.
    pub(crate) fn admit(self: &Arc<Self>, port: Port) {
        let refusal = match self.gate.refuse(&port.peer) {
            Some(sentence) => Some((ErrorKind::Denied, sentence)),
            None => self.full(&port.peer).map(|sentence| (ErrorKind::Busy, sentence)),
        };
        self.take(port, refusal);
    }

    /// Serves a connection that this process was started with. Whoever starts a process may use it, unless
    /// `Server::allow` says otherwise.
    pub(crate) fn admit_parent(self: &Arc<Self>, port: Port) -> Result<(), Error> {
        if let Some(sentence) = self
            .gate
            .allow
            .as_ref()
            .and_then(|_| self.gate.refuse(&port.peer))
        {
            // To nobody else could it be told.
            return Err(Error::new(
                ErrorKind::Denied,
                format!("cannot serve {}: {sentence}", port.endpoint),
            ));
        }
        self.take(port, None);
        Ok(())
    }

    fn take(self: &Arc<Self>, port: Port, refusal: Option<(ErrorKind, String)>) {
        let config = Config {
            role: Role::Accepting,
            codecs: Codec::ALL.iter().map(|codec| codec.id()).collect(),
            limits: self.gate.limits.core(port.endpoint.message_limit()),
            services: self.catalogue.offered(),
            handshake_timeout: self.gate.limits.handshake,
            keepalive: self.gate.keepalive,
            wishes: link::wishes(&port),
        };
        // It fails only for services that no handshake can tell of, which `listen` has refused.
        let Ok(link) = Link::new(port, config, self.gate.limits.clone(), Duration::ZERO) else {
            return;
        };
        if let Some((kind, sentence)) = refusal {
            link.reject(kind, &sentence);
            // It is none of the connections that are counted, and has a place of its own until the client has read the
            // refusal, or the handshake's time is up.
            match self.refused.clone().try_acquire_owned() {
                Ok(place) => Driver::spawn_refused(&Handle::current(), link, place),
                Err(_) => link.part(),
            }
            return;
        }
        if let Some(uid) = link.peer.uid() {
            link.out().share = Some(Share::of(self.queue_of(uid)));
        }
        lock(&self.connections).insert(link.id, link.clone());
        let guest = Guest {
            hub: self.clone(),
            id: link.id,
        };
        let serving = Serving::new(self.catalogue.clone(), self.gate.clone(), Box::new(guest));
        Driver::spawn(&Handle::current(), link, serving);
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
        } = self.gate.limits;
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
    pub(crate) async fn drain(&self) {
        let until = Instant::now() + self.gate.drain;
        for link in self.links() {
            link.drain(until);
        }
        // The connections close themselves when the time is up; the margin is for their tasks to run.
        let _ = tokio::time::timeout(self.gate.drain + Duration::from_secs(1), self.empty()).await;
    }

    /// Waits until there is no connection.
    pub(crate) async fn empty(&self) {
        loop {
            let fewer = self.fewer.notified();
            if lock(&self.connections).is_empty() {
                return;
            }
            fewer.await;
        }
    }

    /// Waits until a connection has ended.
    pub(crate) async fn fewer(&self) {
        self.fewer.notified().await;
    }

    fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.connections).values().cloned().collect()
    }
}

/// A connection's place in the hub.
struct Guest {
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
pub(crate) struct CloseAll(pub(crate) Arc<Hub>);

impl Drop for CloseAll {
    fn drop(&mut self) {
        for link in self.0.links() {
            link.close(ErrorKind::Closed, "the server has ended");
        }
    }
}
