//! Serving the other side's calls: each request finds its handler, and each handler's value its way back.
//!
//! A handler gets its first poll right where its request was received. One that finishes at once is answered at once; one
//! that waits moves, box and all, to a task of its own, and the box comes back for a later call.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use transports::{Lease, buffers};

use crate::catalogue::Catalogue;
use crate::connection::{self, ReplyStatus};
use crate::context::{Cancellation, ConnectionInfo, unless_cancelled};
use crate::dispatch::{Handler, Incoming};
use crate::gate::Gate;
use crate::link::Link;
use crate::sync::lock;
use crate::{Error, ErrorKind, MethodInfo, Outcome};

/// What the buffers of a handler that had a task of its own keep.
const KEPT_CAPACITY: usize = 64 << 10;

/// A call of the peer.
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) ordinal: u64,
    pub(crate) deadline: Option<Instant>,
    pub(crate) one_way: bool,
}

/// A handler's place and its buffers, between two calls.
struct Idle {
    handler: Box<dyn Handler>,
    incoming: Incoming,
    /// That of `incoming`, within reach while the handler has the rest.
    cancellation: Arc<Cancellation>,
}

/// The serving half of a connection.
pub(crate) struct Serving {
    catalogue: Arc<Catalogue>,
    gate: Arc<Gate>,
    /// The connection's place in its server, which it leaves by being dropped.
    _guest: Box<dyn Send>,
    /// Made when the server lets the client in.
    info: Option<Arc<ConnectionInfo>>,
    shelf: Arc<Shelf>,
    /// The method that was called last, and the index of its service.
    last: Option<(usize, &'static MethodInfo)>,
    /// The place that the next call of each service takes.
    next: Vec<Option<Idle>>,
}

/// Places that came back from handlers in tasks of their own, by service.
type Shelf = Mutex<Vec<Vec<Idle>>>;

impl Serving {
    pub(crate) fn new(catalogue: Arc<Catalogue>, gate: Arc<Gate>, guest: Box<dyn Send>) -> Self {
        let services = catalogue.len();
        let empty = std::iter::repeat_with(Vec::new).take(services).collect();
        Self {
            catalogue,
            gate,
            _guest: guest,
            info: None,
            last: None,
            shelf: Arc::new(Mutex::new(empty)),
            next: std::iter::repeat_with(|| None).take(services).collect(),
        }
    }

    /// Lets a client in, or not.
    pub(crate) fn decide(&mut self, link: &Link, greeting: &[u8]) {
        match self.gate.decide(&link.peer, greeting) {
            Ok(attachments) => {
                let info = ConnectionInfo {
                    id: link.id,
                    peer: link.peer.clone(),
                    carrier: link.carrier.clone(),
                    lender: link.lender(link.out().codec()).cloned(),
                    counters: link.counters.clone(),
                    pool: link.pool().cloned(),
                    attachments,
                };
                self.info = Some(Arc::new(info));
                link.accept();
            }
            Err(sentence) => link.reject(ErrorKind::Rejected, &sentence),
        }
    }

    /// Runs a handler as far as it goes without waiting. Whether the connection is congested then.
    pub(crate) fn begin(
        &mut self,
        link: &Arc<Link>,
        call: Call,
        body: &mut Vec<u8>,
        sections: Vec<Lease>,
    ) -> bool {
        let Some(info) = &self.info else { return false };
        // Most calls are of the same method as the one before.
        let known = self.last.filter(|(_, method)| method.ordinal == call.ordinal);
        let Some((service, method)) = known.or_else(|| self.catalogue.method(call.ordinal)) else {
            let mut sentence = b"the server has no such method: it is older than this program".to_vec();
            return link.answer(
                call.id,
                ReplyStatus::Refused(ErrorKind::UnknownMethod),
                0,
                &mut sentence,
                false,
            );
        };
        self.last = Some((service, method));
        let place = self.next[service]
            .take()
            .or_else(|| lock(&self.shelf)[service].pop());
        let Idle {
            mut handler,
            mut incoming,
            cancellation,
        } = place.unwrap_or_else(|| {
            let incoming = incoming(link, info);
            Idle {
                handler: self.catalogue.handler(service),
                cancellation: incoming.cancellation(),
                incoming,
            }
        });
        let cancellation = incoming.refill(cancellation, method, call.deadline, body, sections);
        handler.begin(incoming);
        match handler.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(mut incoming)) => {
                let congested = answer(link, &call, &mut incoming, false);
                incoming.shrink(buffers::LEAST);
                self.next[service] = Some(Idle {
                    handler,
                    incoming,
                    cancellation,
                });
                congested
            }
            Poll::Ready(Err(panic)) => fail(link, &call, &panic, false),
            Poll::Pending => {
                let congested = {
                    let mut out = link.out();
                    out.running.insert(call.id, cancellation.clone());
                    out.congested(&link.limits)
                };
                let (link, shelf) = (link.clone(), self.shelf.clone());
                tokio::spawn(async move {
                    let mut polled = std::pin::pin!(std::future::poll_fn(|cx| handler.poll(cx)));
                    let ended = unless_cancelled(&cancellation, polled.as_mut()).await;
                    link.out().running.remove(&call.id);
                    match ended {
                        Some(Ok(mut incoming)) => {
                            answer(&link, &call, &mut incoming, true);
                            incoming.shrink(KEPT_CAPACITY);
                            lock(&shelf)[service].push(Idle {
                                handler,
                                incoming,
                                cancellation,
                            });
                        }
                        Some(Err(panic)) => {
                            fail(&link, &call, &panic, true);
                        }
                        None => {
                            handler.abandon();
                            // It has been answered already, if anybody waits.
                            link.finish_unanswered(call.id);
                        }
                    }
                });
                congested
            }
        }
    }

    pub(crate) fn shrink(&mut self, capacity: usize) {
        for idle in self.next.iter_mut().flatten() {
            idle.incoming.shrink(capacity);
        }
    }
}

/// Buffers for the calls of one connection.
fn incoming(link: &Link, info: &Arc<ConnectionInfo>) -> Incoming {
    let (codec, max_reply) = {
        let out = link.out();
        (out.codec(), out.core.max_body_to_send() as usize)
    };
    Incoming::new(info.clone(), codec, link.limits.clone(), max_reply)
}

/// Sends what a handler made of its call. Whether the connection is congested then.
fn answer(link: &Link, call: &Call, incoming: &mut Incoming, flush: bool) -> bool {
    let reply = incoming.reply_mut();
    match reply.take_failure() {
        Some(error) => fail(link, call, &error, flush),
        None if call.one_way => link.finish_unanswered(call.id),
        None => {
            let (head, body, attached) = reply.parts_mut();
            link.answer_parts(call.id, ReplyStatus::Ok, 0, head, body, attached, flush)
        }
    }
}

fn fail(link: &Link, call: &Call, error: &Error, flush: bool) -> bool {
    if call.one_way {
        return link.finish_unanswered(call.id);
    }
    let status = match error.outcome() {
        Outcome::RejectedByPeer => ReplyStatus::Refused(error.kind()),
        _ => ReplyStatus::Failed(error.kind()),
    };
    let sentence = error.to_string();
    let mut body = connection::clipped(&sentence, connection::MAX_SENTENCE as usize)
        .as_bytes()
        .to_vec();
    link.answer(call.id, status, 0, &mut body, flush)
}
