//! Where our calls wait for their ends, until their callers have taken note: longer than the core knows the calls.

use std::task::Waker;

use transports::Lease;

use crate::connection::{CallKey, ReplyStatus};

/// The places of our calls and pings. A place is reused once its caller has left it.
#[derive(Default)]
pub(crate) struct Places {
    places: Vec<Place>,
    free: Vec<usize>,
    /// By the slot that the core gave to a call, its place.
    routes: Vec<usize>,
}

/// One of our calls or pings, as its caller refers to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// None for a ping.
    pub(super) key: Option<CallKey>,
    place: usize,
}

/// How one of our calls ended.
pub(crate) enum Ended {
    /// The peer answered; the body is the value, or the sentence of the failure.
    Reply {
        status: ReplyStatus,
        extra: u64,
        body: Vec<u8>,
        sections: Vec<Lease>,
    },
    /// Our own clock ended it.
    Expired,
    /// The peer answered a ping.
    Pong,
    /// The connection ended first.
    Lost { may_have_run: bool },
}

#[derive(Default)]
struct Place {
    /// Of the call, or the ping's token; 0 if free.
    id: u64,
    state: State,
    /// What the request was sent in; the reply is received in it.
    buffer: Vec<u8>,
}

#[derive(Default)]
enum State {
    #[default]
    Free,
    Waiting(Waker),
    Ended(Ended),
}

impl Places {
    /// Gives a call that was just sent a place to wait in.
    pub(super) fn enter_call(&mut self, key: CallKey) -> Pending {
        let place = self.enter(key.id());
        if self.routes.len() <= key.slot() {
            self.routes.resize(key.slot() + 1, 0);
        }
        self.routes[key.slot()] = place;
        Pending {
            key: Some(key),
            place,
        }
    }

    /// The same for a ping.
    pub(super) fn enter_ping(&mut self, token: u64) -> Pending {
        Pending {
            key: None,
            place: self.enter(token),
        }
    }

    fn enter(&mut self, id: u64) -> usize {
        let entered = Place {
            id,
            state: State::Waiting(Waker::noop().clone()),
            buffer: Vec::new(),
        };
        match self.free.pop() {
            Some(place) => {
                self.places[place] = entered;
                place
            }
            None => {
                self.places.push(entered);
                self.places.len() - 1
            }
        }
    }

    /// How a call ended, once; until then `waker` is kept to be told.
    pub(crate) fn take_ended(&mut self, pending: Pending, waker: &Waker) -> Option<Ended> {
        match &mut self.places[pending.place].state {
            State::Waiting(known) => {
                if !known.will_wake(waker) {
                    known.clone_from(waker);
                }
                None
            }
            _ => self.leave(pending),
        }
    }

    /// Frees a place. Gives how its call ended, if that was not taken.
    pub(super) fn leave(&mut self, pending: Pending) -> Option<Ended> {
        self.free.push(pending.place);
        match std::mem::take(&mut self.places[pending.place]).state {
            State::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// Leaves the buffer of a call's request with it, for the reply.
    pub(crate) fn lend(&mut self, pending: Pending, buffer: Vec<u8>) {
        self.places[pending.place].buffer = buffer;
    }

    /// The buffer that was left with a call; empty otherwise.
    pub(super) fn take_buffer(&mut self, key: CallKey) -> Vec<u8> {
        let place = self
            .routes
            .get(key.slot())
            .and_then(|&place| self.places.get_mut(place));
        place
            .filter(|place| place.id == key.id())
            .map_or_else(Vec::new, |place| std::mem::take(&mut place.buffer))
    }

    /// Keeps how a call ended, and gives the waker of its caller.
    pub(super) fn end_call(&mut self, key: CallKey, ended: Ended) -> Option<Waker> {
        let place = self.places.get_mut(*self.routes.get(key.slot())?)?;
        if place.id == key.id() {
            place.end(ended)
        } else {
            None
        }
    }

    /// The same for a ping.
    pub(super) fn end_ping(&mut self, token: u64) -> Option<Waker> {
        self.places
            .iter_mut()
            .find(|place| place.id == token)?
            .end(Ended::Pong)
    }

    /// Ends all that still wait: the connection is lost.
    pub(super) fn end_all(&mut self) -> impl Iterator<Item = Waker> {
        self.places
            .iter_mut()
            .filter_map(|place| place.end(Ended::Lost { may_have_run: true }))
    }

    /// The wakers of all that wait.
    #[cfg(feature = "tokio")]
    pub(super) fn wakers(&self) -> impl Iterator<Item = Waker> {
        self.places.iter().filter_map(|place| match &place.state {
            State::Waiting(waker) => Some(waker.clone()),
            _ => None,
        })
    }
}

impl Place {
    fn end(&mut self, ended: Ended) -> Option<Waker> {
        if !matches!(self.state, State::Waiting(_)) {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Ended(ended)) {
            State::Waiting(waker) => Some(waker),
            _ => None,
        }
    }
}
