//! The longest argument of a call: it is left out of the encoded body, and handed to the port piece by piece from where it
//! is.

use transports::buffers;

use super::method::{Encode, Method, Purpose};
use super::trace::Mark;
use super::{Call, How, State, leave_line};
#[cfg(feature = "tokio")]
use crate::driver::give_way;
use crate::link::{Parcel, Pending, StartLent};
use crate::{Error, ErrorKind};

/// Pieces that a caller hands on, one after the other, before others may send.
const AT_A_TIME: usize = 4;

/// What was left out of an encoded body: the longest byte string among the arguments, which stays where it is.
#[derive(Clone, Copy)]
pub(super) struct Gap {
    /// Where it belongs.
    pub(super) at: usize,
    pub(super) length: usize,
}

/// What is left of a call that was sent in part.
pub(super) struct Lending {
    pub(super) call: Pending,
    /// What the port calls it.
    number: usize,
    gap: Gap,
    /// All but what was left out.
    parcel: Box<Parcel>,
    /// Bytes that went since the first piece, which was all that comes before the gap.
    sent: usize,
}

impl Lending {
    /// What has not gone yet. `lent` is what belongs into the gap.
    fn rest<'r>(&'r self, lent: &'r [u8]) -> [&'r [u8]; 2] {
        let tail = &self.parcel.body[self.gap.at..];
        let of_tail = self.sent.saturating_sub(lent.len());
        [&lent[self.sent.min(lent.len())..], &tail[of_tail..]]
    }

    fn total(&self) -> usize {
        self.gap.length + self.parcel.body.len() - self.gap.at
    }
}

impl<M: Method> Call<'_, M> {
    /// Starts a call whose longest argument was left out of its body, if the port takes it so. Otherwise puts it in, unless
    /// there is no room anyway.
    pub(super) fn start_lent(&mut self, out: &mut crate::link::Out) -> Result<(), Error> {
        let link = self.client.link();
        let State::Encoded {
            request, gap, ticket, ..
        } = &mut self.state
        else {
            return Ok(());
        };
        let (Some(Gap { at, length }), Some(parcel)) = (*gap, &mut self.parcel) else {
            return Ok(());
        };
        let waited = ticket.is_some();
        let rest = length + parcel.body.len() - at;
        let mark = Mark::new(link, out);
        let started = out.start_lent(link, request, &parcel.body[..at], rest);
        self.trace.sent_since(&mark, link, out);
        match started {
            Ok(StartLent::Begun(call, number)) => {
                leave_line(link, out, ticket);
                if let Some(parcel) = self.parcel.take() {
                    self.state = State::Lending(Lending {
                        call,
                        number,
                        gap: Gap { at, length },
                        parcel,
                        sent: 0,
                    });
                }
                Ok(())
            }
            Ok(StartLent::Wait) => Ok(()),
            Ok(StartLent::Whole) => {
                *gap = None;
                fill_gap(&self.method, &mut parcel.body, at)
            }
            Err(error) => {
                leave_line(link, out, ticket);
                Err(if error.kind() == ErrorKind::Deadline {
                    self.too_late(waited)
                } else {
                    error
                })
            }
        }
    }

    /// Hands on what there is room for, up to a few pieces.
    pub(super) fn push_lent(
        &mut self,
        out: &mut crate::link::Out,
        waker: &std::task::Waker,
        how: How,
    ) -> Result<(), Error> {
        let link = self.client.link();
        let mark = Mark::new(link, out);
        let Self {
            state, method, trace, ..
        } = self;
        let State::Lending(lending) = state else {
            return Ok(());
        };
        let mut full = false;
        for _ in 0..AT_A_TIME {
            if full || lending.sent == lending.total() {
                break;
            }
            let mut pushed = Ok(0);
            method.encode(Encode(Purpose::Longest(&mut |lent| {
                pushed = out.push_lent(lending.number, lending.rest(lent));
            })))?;
            let taken = pushed?;
            lending.sent += taken;
            full = taken == 0;
        }
        trace.sent_since(&mark, link, out);
        if lending.sent == lending.total() {
            out.end_lent(lending.number, None);
            let call = lending.call;
            if let State::Lending(lending) = std::mem::replace(state, State::Sent(call)) {
                out.calls.keep(call, lending.parcel);
            }
            return Ok(());
        }
        match how {
            How::Blocking => out.wait_to_lend(waker),
            #[cfg(feature = "tokio")]
            How::InPlace => {}
            #[cfg(feature = "tokio")]
            How::Async if full => {
                out.push(self.client.link());
                out.wait_to_lend(waker);
            }
            #[cfg(feature = "tokio")]
            How::Async => give_way(&mut std::task::Context::from_waker(waker)),
        }
        Ok(())
    }

    /// Hands all that is left to the port: the other side counts on it.
    pub(super) fn stop_lending(&mut self, out: &mut crate::link::Out) {
        let State::Lending(mut lending) = std::mem::replace(&mut self.state, State::Done) else {
            return;
        };
        // The port may have done with it already.
        let mut taken = 0;
        let asked = self.method.encode(Encode(Purpose::Longest(&mut |lent| {
            taken = out.push_lent(lending.number, lending.rest(lent)).unwrap_or(0);
        })));
        debug_assert!(asked.is_ok(), "nothing is encoded");
        lending.sent += taken;
        if lending.sent == lending.total() {
            out.end_lent(lending.number, None);
            self.client.link().recycle(lending.parcel);
            return;
        }
        let mut rest = Vec::new();
        let encoded = self.method.encode(Encode(Purpose::Longest(&mut |lent| {
            let [of_lent, of_tail] = lending.rest(lent);
            // Without memory, what follows says so.
            let _ = buffers::reserve(&mut rest, of_lent.len() + of_tail.len());
            rest.extend_from_slice(of_lent);
            rest.extend_from_slice(of_tail);
        })));
        debug_assert!(encoded.is_ok(), "nothing is encoded");
        out.end_lent(lending.number, Some(rest));
        self.client.link().recycle(lending.parcel);
    }
}

/// Puts what was left out of a body where it belongs.
pub(super) fn fill_gap<M: Method>(method: &M, body: &mut Vec<u8>, at: usize) -> Result<(), Error> {
    let tail = body.split_off(at);
    method.encode(Encode(Purpose::Longest(&mut |lent| {
        // Without memory, what follows says so.
        let _ = buffers::reserve(body, lent.len() + tail.len());
        body.extend_from_slice(lent);
    })))?;
    body.extend_from_slice(&tail);
    Ok(())
}
