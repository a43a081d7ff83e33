//! Who listens under which name in this process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::doorbell::{DATA, Doorbell};
use crate::{Accepted, Endpoint, Error, ErrorKind, Interrupt, Listener, Port, connecting};

/// Connections that wait to be accepted; the same number as the standard library asks for sockets.
const BACKLOG: usize = 128;

static DESKS: LazyLock<Mutex<HashMap<Arc<str>, Arc<Desk>>>> = LazyLock::new(Mutex::default);

/// Where clients queue for a listener.
struct Desk {
    endpoint: Endpoint,
    doorbell: Arc<Doorbell>,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    ports: VecDeque<Port>,
    closed: bool,
}

pub(crate) fn connect(endpoint: &Endpoint, name: &str, deadline: Option<Instant>) -> Result<Port, Error> {
    let desk = desks().get(name).map(Arc::clone);
    let gone = || connecting::nobody_listens(endpoint);
    let desk = desk.ok_or_else(gone)?;
    let mut waiting = desk.waiting();
    while !waiting.closed && waiting.ports.len() >= BACKLOG {
        waiting = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            None => desk.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            Some(left) if left.is_zero() => return Err(connecting::timed_out(endpoint)),
            Some(left) => {
                desk.changed
                    .wait_timeout(waiting, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
    }
    if waiting.closed {
        return Err(gone());
    }
    let (client, server) = super::ports(endpoint, &desk.endpoint);
    waiting.ports.push_back(server);
    drop(waiting);
    desk.doorbell.ring(DATA);
    Ok(client)
}

pub(crate) fn listen(endpoint: &Endpoint, name: &Arc<str>) -> Result<Box<dyn Listener>, Error> {
    let mut desks = desks();
    if desks.contains_key(name) {
        let server = endpoint.quoted();
        let message = format!("cannot serve {server}: another server of this process already serves it");
        return Err(Error::new(ErrorKind::InUse, message));
    }
    let desk = Arc::new(Desk {
        endpoint: endpoint.clone(),
        doorbell: Arc::new(Doorbell::new()),
        waiting: Mutex::default(),
        changed: Condvar::new(),
    });
    desks.insert(Arc::clone(name), Arc::clone(&desk));
    Ok(Box::new(MemoryListener {
        name: Arc::clone(name),
        desk,
    }))
}

struct MemoryListener {
    name: Arc<str>,
    desk: Arc<Desk>,
}

impl Listener for MemoryListener {
    fn try_accept(&mut self) -> Result<Accepted, Error> {
        let mut waiting = self.desk.waiting();
        let Some(port) = waiting.ports.pop_front() else {
            return Ok(Accepted::Empty);
        };
        drop(waiting);
        self.desk.changed.notify_one();
        Ok(Accepted::Port(port))
    }

    fn endpoint(&self) -> &Endpoint {
        &self.desk.endpoint
    }

    fn park(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        if self.desk.waiting().ports.is_empty() {
            self.desk.doorbell.wait(DATA, deadline);
        }
        Ok(())
    }

    fn interrupt(&self) -> Interrupt {
        Interrupt::doorbell(Arc::clone(&self.desk.doorbell))
    }

    #[cfg(feature = "tokio")]
    fn source(&self) -> Result<crate::reactor::Source, Error> {
        Ok(crate::reactor::Source::doorbell(Arc::clone(&self.desk.doorbell)))
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        desks().remove(&self.name);
        let mut waiting = self.desk.waiting();
        waiting.closed = true;
        let ports = std::mem::take(&mut waiting.ports);
        drop(waiting);
        self.desk.changed.notify_all();
        drop(ports);
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn desks() -> MutexGuard<'static, HashMap<Arc<str>, Arc<Desk>>> {
    DESKS.lock().unwrap_or_else(PoisonError::into_inner)
}
