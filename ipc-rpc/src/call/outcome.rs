//! What the end of a call is to its caller: a value, or an error in a sentence.

use std::mem;
use std::time::Duration;

use super::method::{Decode, Method};
use super::{Call, State};
use crate::connection::{ReplyStatus, sentence_from_peer};
use crate::link::Ended;
use crate::{Codec, Error, ErrorKind, MethodInfo, Outcome};

impl<M: Method> Call<'_, M> {
    /// Turns the end of the call into its result, outside of every lock: this runs the user's code.
    pub(super) fn conclude(&mut self) -> Result<M::Returns, Error> {
        let State::Ended(ended) = mem::replace(&mut self.state, State::Done) else {
            return Err(already_given());
        };
        let info = M::INFO;
        let link = self.client.link();
        self.trace.end(info, link, ended.as_ref());
        match ended {
            // A one-way call: its value is `()`, which every codec reads from its own unit.
            None => M::decode(Decode {
                codec: Codec::Bincode,
                limits: &link.limits,
                info,
                body: &mut Vec::new(),
                sections: Vec::new(),
                origin: link.id,
            }),
            Some(Ended::Reply(mut reply)) => {
                let result = match reply.status {
                    ReplyStatus::Ok => M::decode(Decode {
                        codec: self.client.codec(),
                        limits: &link.limits,
                        info,
                        sections: mem::take(&mut reply.sections),
                        body: &mut reply.body,
                        origin: link.id,
                    }),
                    ReplyStatus::Failed(ErrorKind::Deadline) => {
                        Err(self.timed_out(Some(Duration::from_nanos(reply.extra))))
                    }
                    ReplyStatus::Failed(kind) => {
                        Err(reported(kind, info, &reply.body).with_outcome(Outcome::Unknown))
                    }
                    ReplyStatus::Refused(kind) => {
                        Err(reported(kind, info, &reply.body).with_outcome(Outcome::RejectedByPeer))
                    }
                };
                link.recycle(reply);
                result
            }
            Some(Ended::Expired) => Err(self.timed_out(None)),
            Some(Ended::Lost { may_have_run: false }) => {
                let error = link.out().closed_error(link, Outcome::RejectedByPeer);
                let sentence = format!("{}: {error}, before it had read this call", info.name);
                Err(Error::new(error.kind(), sentence)
                    .with_outcome(Outcome::RejectedByPeer)
                    .with_source(error))
            }
            Some(Ended::Lost { .. } | Ended::Pong) => {
                let error = link.out().closed_error(link, Outcome::Unknown);
                let sentence = match link.child() {
                    Some(_) if error.kind() == ErrorKind::PeerDied => {
                        format!("{}: {error} while handling this call", info.name)
                    }
                    _ => format!("{}: {error}, while this call was in progress", info.name),
                };
                Err(Error::new(error.kind(), sentence)
                    .with_outcome(Outcome::Unknown)
                    .with_source(error))
            }
        }
    }

    pub(super) fn timed_out(&self, in_handler: Option<Duration>) -> Error {
        let name = M::INFO.name;
        let after = shown(self.timeout.unwrap_or_default());
        let (sentence, outcome) = match (in_handler, &self.state) {
            (Some(time), _) => (
                format!(
                    "{name} timed out after {after} ({} of it inside the server's handler)",
                    shown(time)
                ),
                Outcome::Unknown,
            ),
            (None, State::Encoded { .. }) => return self.too_late(true),
            (None, _) => (format!("{name} timed out after {after}"), Outcome::Unknown),
        };
        Error::new(ErrorKind::Deadline, sentence).with_outcome(outcome)
    }

    /// Timed out before it was sent; `waited` for room until then.
    pub(super) fn too_late(&self, waited: bool) -> Error {
        let name = M::INFO.name;
        let after = shown(self.timeout.unwrap_or_default());
        let why = if waited { ": too much is in flight" } else { "" };
        let sentence = format!("{name} timed out after {after}, before it could be sent{why}");
        Error::new(ErrorKind::Deadline, sentence).with_outcome(Outcome::NotSent)
    }
}

/// The error of who asks once more.
pub(super) fn already_given() -> Error {
    Error::new(ErrorKind::Closed, "this call has already given its result")
}

/// An error that the peer reported instead of a value.
fn reported(kind: ErrorKind, info: &'static MethodInfo, sentence: &[u8]) -> Error {
    Error::new(kind, format!("{}: {}", info.name, sentence_from_peer(sentence)))
}

/// A time as people read it: `50 ms`.
fn shown(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{} µs", nanoseconds / 1_000),
        1_000_000..10_000_000_000 => format!("{} ms", nanoseconds / 1_000_000),
        _ => format!("{} s", nanoseconds / 1_000_000_000),
    }
}
