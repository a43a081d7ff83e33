//! Where our calls wait for their ends, until their callers have taken note: longer than the core knows the calls.

use std::task::Waker;

use super::parcel::Parcel;
use crate::connection::CallKey;

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
    Reply(Box<Parcel>),
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
    /// What the request was sent in, and the reply comes in. A ping has none.
    parcel: Option<Box<Parcel>>,
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
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let place = &mut self.places[at];
        place.id = id;
        place.state = State::Waiting(Waker::noop().clone());
        at
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
        let place = &mut self.places[pending.place];
        place.id = 0;
        place.parcel = None;
        match std::mem::take(&mut place.state) {
            State::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// Leaves what a request was sent in with its call, for the reply.
    pub(crate) fn keep(&mut self, pending: Pending, parcel: Box<Parcel>) {
        self.places[pending.place].parcel = Some(parcel);
    }

    /// Has a call end with a reply, which `fill` puts where its caller finds it; gives the waker of the caller. Does nothing if
    /// nobody waits.
    pub(super) fn deliver(&mut self, key: CallKey, fill: impl FnOnce(&mut Parcel)) -> Option<Waker> {
        let place = self.find(key)?;
        let mut parcel = place.parcel.take().unwrap_or_else(Parcel::new);
        fill(&mut parcel);
        place.end(Ended::Reply(parcel))
    }

    /// Keeps how a call ended, and gives the waker of its caller.
    pub(super) fn end_call(&mut self, key: CallKey, ended: Ended) -> Option<Waker> {
        self.find(key)?.end(ended)
    }

    /// The place of a call, if its caller has not left it.
    fn find(&mut self, key: CallKey) -> Option<&mut Place> {
        let place = self.places.get_mut(*self.routes.get(key.slot())?)?;
        (place.id == key.id()).then_some(place)
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
