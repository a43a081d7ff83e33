//! Who may connect to a server: what its policy says of a peer, and what it says of one that has introduced itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use transports::{Endpoint, Peer};

use crate::catalogue::Catalogue;
use crate::context::Attachments;
use crate::{Error, ErrorKind, Limits};

/// What decides about connections.
pub(crate) struct Gate {
    pub(crate) allow: Option<Allow>,
    pub(crate) on_connect: Option<OnConnect>,
    pub(crate) limits: Limits,
    pub(crate) drain: Duration,
    pub(crate) keepalive: Option<Duration>,
}

pub(crate) type Allow = Box<dyn Fn(&Peer) -> bool + Send + Sync>;
pub(crate) type OnConnect = Box<dyn Fn(&mut ConnectRequest<'_>) -> Result<(), Reject> + Send + Sync>;

/// A client that asks to be let in, as [`Server::on_connect`](crate::Server::on_connect) sees it.
#[derive(Debug)]
pub struct ConnectRequest<'a> {
    peer: &'a Peer,
    greeting: &'a [u8],
    attachments: Attachments,
}

impl ConnectRequest<'_> {
    /// Who asks, as far as the transport vouches for it.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.peer
    }

    /// The bytes that the client sent along with `Connect::greeting`; empty if none.
    #[must_use]
    pub fn greeting(&self) -> &[u8] {
        self.greeting
    }

    /// Attaches a value to the connection for its handlers to find with `Context::attached`. It is dropped when the
    /// connection has ended, once, after the last handler.
    pub fn attach<T: Send + Sync + 'static>(&mut self, value: T) {
        self.attachments.attach(value);
    }
}

/// Why [`Server::on_connect`](crate::Server::on_connect) does not let a client in. The client sees the sentence.
#[derive(Clone, Debug)]
pub struct Reject(String);

impl Reject {
    /// A refusal with its reason; the client reads it behind "refused us: ".
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl Gate {
    /// Refuses an endpoint that cannot tell who calls, if anything depends on that.
    pub(crate) fn refuse_anonymous(&self, endpoint: &Endpoint, catalogue: &Catalogue) -> Result<(), Error> {
        let who = match catalogue.requiring_identity() {
            Some(service) => format!("{service} needs to know who calls"),
            None if self.allow.is_some() => "Server::allow needs to know who calls".to_owned(),
            None => return Ok(()),
        };
        let sentence = format!("{who}, which {endpoint} cannot tell; use unix:");
        Err(Error::new(ErrorKind::Unsupported, sentence))
    }

    /// Why `peer` may not connect, from what the system says of it alone.
    pub(crate) fn refuse(&self, peer: &Peer) -> Option<String> {
        match &self.allow {
            // A panic in it lets nobody in.
            Some(allow) if catch_unwind(AssertUnwindSafe(|| allow(peer))).unwrap_or(false) => None,
            Some(_) => Some(format!("it does not let {peer} in (Server::allow decides)")),
            None if peer.is_anonymous() || peer.same_user() => None,
            None => Some(format!(
                "it only accepts uid {}, we are uid {} (Server::allow changes this)",
                shown(Peer::own_uid()),
                shown(peer.uid()),
            )),
        }
    }

    /// Decides about a client that asks to be let in.
    pub(crate) fn decide(&self, peer: &Peer, greeting: &[u8]) -> Result<Attachments, String> {
        let mut request = ConnectRequest {
            peer,
            greeting,
            attachments: Attachments::default(),
        };
        if let Some(decide) = &self.on_connect {
            let decided = catch_unwind(AssertUnwindSafe(|| decide(&mut request)));
            match decided {
                Ok(Ok(())) => {}
                Ok(Err(Reject(sentence))) => return Err(sentence),
                Err(_) => return Err("its on_connect panicked".to_owned()),
            }
        }
        Ok(request.attachments)
    }
}

fn shown(uid: Option<u32>) -> String {
    uid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string())
}
