//! Callers that wait for room, first come, first served.

use std::collections::VecDeque;
use std::task::Waker;

/// A queue of wakers. One that was woken and does not use its turn must pass it on: see [`WaitList::leave`].
#[derive(Default)]
pub(crate) struct WaitList {
    next: u64,
    waiting: VecDeque<(u64, Waker)>,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl WaitList {
    /// Waits, or goes on waiting in the same place.
    pub(crate) fn wait(&mut self, ticket: &mut Option<Ticket>, waker: &Waker) {
        if let Some(Ticket(mine)) = *ticket {
            if let Some((_, known)) = self.waiting.iter_mut().find(|(number, _)| *number == mine) {
                known.clone_from(waker);
                return;
            }
        }
        // A caller that was woken in vain goes to the front again: it came before the others.
        let number = match *ticket {
            Some(Ticket(mine)) => {
                self.waiting.push_front((mine, waker.clone()));
                mine
            }
            None => self.enter(waker).0,
        };
        *ticket = Some(Ticket(number));
    }

    /// Takes the first one out, to be woken.
    pub(crate) fn next(&mut self) -> Option<Waker> {
        self.waiting.pop_front().map(|(_, waker)| waker)
    }

    /// Ends a wait, whether or not it was woken. Gives the waker of the one whose turn it is now if this one had been
    /// woken already.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        let before = self.waiting.len();
        self.waiting.retain(|(number, _)| *number != ticket.0);
        if self.waiting.len() == before {
            self.next()
        } else {
            None
        }
    }

    /// Enters the queue for one wait.
    pub(crate) fn enter(&mut self, waker: &Waker) -> Ticket {
        self.next += 1;
        self.waiting.push_back((self.next, waker.clone()));
        Ticket(self.next)
    }

    /// Takes one out that needs its turn no longer.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        self.waiting.retain(|(number, _)| *number != ticket.0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
