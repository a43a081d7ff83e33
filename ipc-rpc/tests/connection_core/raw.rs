//! Messages written by hand, as a hostile peer or one of another build would: the numbers are those of the
//! wire, on purpose not taken from the core.

use transports::Header;

use crate::pair::Sent;

pub(crate) const MAGIC: u64 = 0x0063_7072_2d63_7069; // "ipc-rpc\0", read as little-endian

pub(crate) const HELLO: u8 = 1;
pub(crate) const WELCOME: u8 = 2;
pub(crate) const REJECT: u8 = 3;
pub(crate) const REQUEST: u8 = 4;
pub(crate) const REPLY: u8 = 5;
pub(crate) const CANCEL: u8 = 6;
pub(crate) const PING: u8 = 7;
pub(crate) const PONG: u8 = 8;
pub(crate) const DRAIN: u8 = 9;
pub(crate) const CLOSE: u8 = 10;

pub(crate) const ONE_WAY: u8 = 1;
pub(crate) const FAILED: u8 = 1;
pub(crate) const REFUSED: u8 = 2;
pub(crate) const ACKNOWLEDGED: u8 = 1;

pub(crate) fn bare(kind: u8) -> Header {
    Header {
        kind,
        ..Header::default()
    }
}

/// A message without a body.
pub(crate) fn message(header: Header) -> Sent {
    (header, Vec::new())
}

pub(crate) fn request(id: u64) -> Sent {
    message(Header { id, ..bare(REQUEST) })
}

pub(crate) fn reply(id: u64) -> Sent {
    message(Header { id, ..bare(REPLY) })
}

pub(crate) fn cancel(id: u64) -> Sent {
    message(Header { id, ..bare(CANCEL) })
}

pub(crate) fn ping(token: u64) -> Sent {
    message(Header {
        extra: token,
        ..bare(PING)
    })
}

pub(crate) fn pong(token: u64) -> Sent {
    message(Header {
        extra: token,
        ..bare(PONG)
    })
}

/// A handshake message with this body.
pub(crate) fn handshake(kind: u8, body: Vec<u8>) -> Sent {
    (
        Header {
            id: MAGIC,
            ..bare(kind)
        },
        body,
    )
}

/// A service as it is listed in a handshake.
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    pub(crate) version: u32,
    pub(crate) methods: Vec<(u64, u64, Vec<u8>)>,
}

impl Listed {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            version: 1,
            methods: Vec::new(),
        }
    }
}

/// What a Hello says, by hand.
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    pub(crate) codecs: Vec<u8>,
    pub(crate) max_body: u32,
    pub(crate) max_in_flight: u32,
    pub(crate) blob: Vec<u8>,
    pub(crate) services: Vec<Listed>,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            versions: (1, 1),
            codecs: vec![1],
            max_body: 1 << 20,
            max_in_flight: 4,
            blob: Vec::new(),
            services: Vec::new(),
        }
    }
}

impl Hello {
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.versions.0.to_le_bytes());
        body.extend(self.versions.1.to_le_bytes());
        body.push(self.codecs.len() as u8);
        body.extend(&self.codecs);
        body.extend(self.max_body.to_le_bytes());
        body.extend(self.max_in_flight.to_le_bytes());
        body.extend((self.blob.len() as u16).to_le_bytes());
        body.extend(&self.blob);
        body.extend(services(&self.services));
        body
    }

    pub(crate) fn message(&self) -> Sent {
        handshake(HELLO, self.body())
    }
}

/// The body of a Welcome, by hand.
pub(crate) fn welcome(version: u16, codec: u8, listed: &[Listed]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(version.to_le_bytes());
    body.push(codec);
    body.extend((1u32 << 20).to_le_bytes());
    body.extend(4u32.to_le_bytes());
    body.extend(services(listed));
    body
}

fn services(listed: &[Listed]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((listed.len() as u16).to_le_bytes());
    for service in listed {
        body.extend((service.name.len() as u16).to_le_bytes());
        body.extend(&service.name);
        body.extend(service.version.to_le_bytes());
        body.extend((service.methods.len() as u16).to_le_bytes());
        for (ordinal, fingerprint, signature) in &service.methods {
            body.extend(ordinal.to_le_bytes());
            body.extend(fingerprint.to_le_bytes());
            body.extend((signature.len() as u16).to_le_bytes());
            body.extend(signature);
        }
    }
    body
}
