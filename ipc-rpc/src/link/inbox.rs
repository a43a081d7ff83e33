//! The receiving half of a connection.

use std::ops::ControlFlow;
use std::time::Instant;

use transports::{Lease, Message, Received, Receiver};

use super::Link;
use crate::{Error, ErrorKind};

/// The receiving half, with the buffer that it fills.
pub(crate) struct Inbox {
    pub(crate) receiver: Box<dyn Receiver>,
    pub(crate) message: Message,
    /// Since when a message is there in part.
    begun: Option<Instant>,
    /// Messages whose first pieces have come, and not all of them.
    announced: usize,
    /// The last look stopped before it had seen all there was.
    cut_short: bool,
    /// Nothing more will come.
    pub(crate) ended: bool,
}

impl Inbox {
    pub(super) fn new(receiver: Box<dyn Receiver>) -> Self {
        Self {
            receiver,
            message: Message::default(),
            begun: None,
            announced: 0,
            cut_short: false,
            ended: false,
        }
    }

    /// Takes in what is there, one message after the other; `now` may be some messages ago: what says how much time there is gets the clock's.
    /// `each` is told of what the link cannot settle by itself, and stops it by breaking. True: that was all, until there is news from the port.
    pub(crate) fn receive(
        &mut self,
        link: &Link,
        now: Instant,
        mut each: impl FnMut(Arrived, &mut Vec<u8>) -> ControlFlow<()>,
    ) -> bool {
        loop {
            match self.receiver.try_recv(&mut self.message) {
                Ok(Received::Message) => {
                    self.announced -= usize::from(self.message.begun);
                    // Small messages between the pieces of a large one do not make up for it.
                    if self.message.begun || self.announced == 0 {
                        self.begun = None;
                    }
                }
                Ok(Received::Begun) => {
                    self.announced += 1;
                    link.take_in_begun(&self.message, Instant::now());
                    continue;
                }
                Ok(Received::Empty) => {
                    self.cut_short = false;
                    if self.receiver.in_progress() {
                        self.begun.get_or_insert(now);
                    }
                    return self.receiver.drained();
                }
                Ok(Received::Closed) => {
                    self.ended = true;
                    let name = link.peer_name();
                    let sentence = format!("{name} has ended, or closed the connection without a word");
                    link.handle_end(&link.why_ended(Error::new(ErrorKind::PeerDied, sentence)));
                    return true;
                }
                Err(error) if error.kind() == transports::ErrorKind::Protocol => {
                    self.ended = true;
                    link.handle_unreadable(&error.into());
                    return true;
                }
                Err(error) => {
                    self.ended = true;
                    link.handle_end(&link.why_ended(error.into()));
                    return true;
                }
            }
            let now = if self.message.header.extra == 0 {
                now
            } else {
                Instant::now()
            };
            let arrived = link.take_in(&mut self.message, now);
            if each(arrived, &mut self.message.body).is_break() {
                self.cut_short = true;
                return false;
            }
            // What the port saw in an earlier look says nothing of what has arrived, and was announced, since.
            let seen = self.receiver.drained() && !self.receiver.ready();
            if seen && !std::mem::take(&mut self.cut_short) {
                if self.receiver.in_progress() {
                    self.begun.get_or_insert(now);
                }
                return true;
            }
        }
    }

    /// Until when the rest of a message must have arrived.
    pub(crate) fn late(&self, link: &Link) -> Option<Instant> {
        self.begun
            .and_then(|begun| begun.checked_add(link.limits.message))
    }
}

/// What came in and is not dealt with yet.
pub(crate) enum Arrived {
    /// Nothing that concerns the reader.
    Nothing,
    /// A reply, and no other is awaited: whoever reads only for replies need not look further.
    LastReply,
    /// A call of the peer; its body is still in the message.
    #[cfg_attr(
        not(feature = "tokio"),
        expect(dead_code, reason = "only a server reads them")
    )]
    Request {
        id: u64,
        ordinal: u64,
        deadline: Option<Instant>,
        one_way: bool,
        sections: Vec<Lease>,
    },
    /// A client asks to be let in.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "only servers are asked"))]
    Connect { blob: Vec<u8> },
}
