//! How a call travelled, for the program's log: see [`Call`](super::Call). Without the feature `tracing` there is nothing of it.

use super::Ended;
use crate::MethodInfo;
use crate::link::{Link, Out};

#[cfg(feature = "tracing")]
pub(super) use on::{Mark, Trace};

#[cfg(not(feature = "tracing"))]
pub(super) use off::{Mark, Trace};

#[cfg(feature = "tracing")]
mod on {
    use transports::Lease;

    use super::{Ended, Link, MethodInfo, Out};
    use crate::Tiers;
    use crate::connection::ReplyStatus;

    /// What the calls of a program that wants to know are told under.
    const TARGET: &str = "ipc_rpc::call";

    /// What the connection had sent at one time; `None` if nobody wants to know.
    pub(in crate::call) struct Mark(Option<(Tiers, u64)>);

    /// What one call has sent.
    #[derive(Default)]
    pub(in crate::call) struct Trace {
        /// What is lent counts here, too: to those above the port, it is in the body.
        inline: u64,
        sections: u64,
        direct: u64,
    }

    impl Mark {
        /// Before a call is given to the port.
        pub(in crate::call) fn new(link: &Link, out: &Out) -> Self {
            let wanted = tracing::enabled!(target: TARGET, tracing::Level::TRACE);
            Self(wanted.then(|| (out.sent(), lent(link))))
        }
    }

    fn lent(link: &Link) -> u64 {
        link.carrier.direct().map_or(0, |usage| usage.lent_bytes)
    }

    impl Trace {
        pub(in crate::call) fn new() -> Self {
            Self::default()
        }

        /// It was, while nobody else could give it anything.
        pub(in crate::call) fn sent_since(&mut self, mark: &Mark, link: &Link, out: &Out) {
            let Mark(Some((before, lent_before))) = mark else {
                return;
            };
            let after = out.sent();
            self.direct += lent(link) - lent_before;
            self.inline += after.inline_bytes - before.inline_bytes;
            self.sections += after.section_bytes - before.section_bytes;
        }

        /// It has ended.
        pub(in crate::call) fn end(&self, info: &MethodInfo, link: &Link, ended: Option<&Ended>) {
            let (outcome, inline, sections) = match ended {
                None => ("posted", 0, 0),
                Some(Ended::Reply(reply)) => {
                    let outcome = match reply.status {
                        ReplyStatus::Ok => "ok",
                        ReplyStatus::Failed(_) | ReplyStatus::Refused(_) => "failed",
                    };
                    let sections = reply.sections.iter().map(Lease::len).sum();
                    (outcome, reply.body.len(), sections)
                }
                Some(Ended::Expired) => ("expired", 0, 0),
                Some(Ended::Pong | Ended::Lost { .. }) => ("lost", 0, 0),
            };
            tracing::trace!(
                target: TARGET,
                method = info.name,
                transport = link.carrier.scheme().as_str(),
                outcome,
                sent_inline = self.inline.saturating_sub(self.direct),
                sent_sections = self.sections,
                sent_direct = self.direct,
                received_inline = inline as u64,
                received_sections = sections as u64,
            );
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use super::{Ended, Link, MethodInfo, Out};

    pub(in crate::call) struct Mark;

    pub(in crate::call) struct Trace;

    impl Mark {
        #[inline]
        pub(in crate::call) fn new(_: &Link, _: &Out) -> Self {
            Self
        }
    }

    impl Trace {
        #[inline]
        pub(in crate::call) fn new() -> Self {
            Self
        }

        #[inline]
        pub(in crate::call) fn sent_since(&mut self, _: &Mark, _: &Link, _: &Out) {}

        #[inline]
        #[expect(clippy::unused_self, reason = "there is nothing to tell")]
        pub(in crate::call) fn end(&self, _: &MethodInfo, _: &Link, _: Option<&Ended>) {}
    }
}
