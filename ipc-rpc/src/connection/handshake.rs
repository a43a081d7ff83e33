//! Hello and Welcome: their bodies, written and read by hand. All integers are little-endian.
//!
//! ```text
//! Hello    u16 oldest version, u16 newest version
//!          u8 count, that many u8: codecs, the one liked best first
//!          u32 max_body, u32 max_in_flight
//!          u16 length, that many bytes: blob for the accepting side's on_connect
//!          services
//!          u32 wishes, 0 if it is not there
//! Welcome  u16 version, u8 codec (both chosen from the Hello)
//!          u32 max_body, u32 max_in_flight
//!          services
//!          u32 wishes, 0 if it is not there
//! services u16 count, for each:
//!              u16 length, that many bytes: name
//!              u32 interface version
//!              u16 count, for each method:
//!                  u64 ordinal, u64 fingerprint
//!                  u16 length, that many bytes: signature
//! ```
//!
//! # How these may grow
//! A reader ignores what follows the last field that it knows, and a writer only ever appends. A field that
//! is not there, because the body ends before it, has the default that is documented with it. What is to be
//! said of each service or method goes into a further table at the end, in the order of `services`. This
//! needs no new protocol version; a new version is for what an older reader must not ignore. The four bytes
//! of versions at the beginning of a Hello stay as they are in every version, so that each can refuse each
//! with a sentence.

use std::sync::Arc;

use super::limits::{Limits, MAX_BLOB, MAX_CODECS, MAX_NAME, MAX_SERVICES, MAX_SIGNATURE};
use super::services::{PeerServices, PeerServicesBuilder};
use super::{close, wire};
use crate::{Error, ErrorKind, ServiceInfo};

/// The longest body of a Welcome: 1 MiB, which is more than 10,000 methods.
pub(crate) const MAX_WELCOME: u32 = 1 << 20;
/// The longest body of a Hello: 128 KiB, which is more than 1,000 methods. It is less, because a server has
/// many clients and keeps what each of them says.
pub(crate) const MAX_HELLO: u32 = 128 << 10;

/// Among the wishes: large bodies are to be read out of their sender's memory, if the other side wishes it, too. What comes
/// of it is for the two ports to find out.
pub(crate) const DIRECT: u32 = 1;

/// Among the wishes: large bodies may be sent in pieces through memory that both sides share, or over `pipe:` through a file,
/// which is wished only where this side's port can do that.
pub(crate) const PIECES_IN_MEMORY: u32 = 2;

/// Among the wishes: large bodies may be sent in pieces through a stream.
pub(crate) const PIECES: u32 = 4;

/// What a Hello says.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) codecs: Vec<u8>,
    pub(super) limits: Limits,
    pub(super) blob: Vec<u8>,
    pub(super) services: PeerServices,
    pub(super) wishes: u32,
}

/// What a Welcome says.
#[derive(Debug)]
pub(super) struct Welcome {
    pub(super) version: u16,
    pub(super) codec: u8,
    pub(super) limits: Limits,
    pub(super) services: PeerServices,
    pub(super) wishes: u32,
}

/// Why a Hello is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HelloError {
    /// The peer speaks these versions, none of which is ours.
    Versions(u16, u16),
    Malformed(Malformed),
}

/// The first thing that is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl From<Malformed> for HelloError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Checks what this side will say against the limits of the wire; `longest` is that of the message.
pub(super) fn check_offer(
    codecs: &[u8],
    services: &[&ServiceInfo],
    blob: &[u8],
    wishes: u32,
    longest: u32,
) -> Result<(), Error> {
    let too_large = |sentence: String| Err(Error::new(ErrorKind::TooLarge, sentence));
    if codecs.is_empty() || codecs.len() > MAX_CODECS {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "a connection offers {} codecs; it must be 1 to {MAX_CODECS}",
                codecs.len()
            ),
        ));
    }
    if blob.len() > MAX_BLOB {
        return too_large(format!(
            "the data sent on connect has {} bytes; the limit is {MAX_BLOB}",
            blob.len()
        ));
    }
    if services.len() > MAX_SERVICES {
        return too_large(format!(
            "{} services on one endpoint; the limit is {MAX_SERVICES}",
            services.len()
        ));
    }
    for service in services {
        if service.name.is_empty() || service.name.len() > MAX_NAME {
            return too_large(format!(
                "the service name {:?} does not have 1 to {MAX_NAME} bytes",
                service.name
            ));
        }
        let signatures = service.methods.iter().map(|method| method.signature);
        if signatures
            .chain([service.name])
            .any(|text| text.chars().any(char::is_control))
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the service {:?} has a control character in its name or in a signature",
                    service.name
                ),
            ));
        }
    }
    let size = size(codecs, services, blob, wishes);
    if size > longest as usize {
        return too_large(format!(
            "the services on this side of the connection take {size} bytes to describe; \
             the limit is {longest}"
        ));
    }
    Ok(())
}

/// Writes the body of a Hello.
pub(super) fn write_hello(
    body: &mut Vec<u8>,
    codecs: &[u8],
    limits: &Limits,
    blob: &[u8],
    services: &Arc<[&'static ServiceInfo]>,
    wishes: u32,
) {
    body.extend(wire::VERSIONS.start().to_le_bytes());
    body.extend(wire::VERSIONS.end().to_le_bytes());
    // `check_offer` has seen that none of the counts and lengths below is cut.
    body.push(codecs.len() as u8);
    body.extend(codecs);
    write_limits(body, limits);
    body.extend((blob.len() as u16).to_le_bytes());
    body.extend(blob);
    write_services(body, services);
    write_wishes(body, wishes);
}

/// Writes the body of a Welcome.
pub(super) fn write_welcome(
    body: &mut Vec<u8>,
    version: u16,
    codec: u8,
    limits: &Limits,
    services: &Arc<[&'static ServiceInfo]>,
    wishes: u32,
) {
    body.extend(version.to_le_bytes());
    body.push(codec);
    write_limits(body, limits);
    write_services(body, services);
    write_wishes(body, wishes);
}

/// Reads the body of a Hello and chooses the version.
pub(super) fn read_hello(body: &[u8]) -> Result<(u16, Hello), HelloError> {
    let mut reader = Reader { rest: body };
    let (oldest, newest) = (reader.u16("versions")?, reader.u16("versions")?);
    let version = newest.min(*wire::VERSIONS.end());
    if oldest > newest || version < oldest.max(*wire::VERSIONS.start()) {
        return Err(HelloError::Versions(oldest, newest));
    }
    let count = usize::from(reader.u8("codecs")?);
    if count == 0 || count > MAX_CODECS {
        return Err(Malformed("codecs").into());
    }
    let codecs = reader.bytes(count, "codecs")?.to_vec();
    let limits = read_limits(&mut reader)?;
    let length = usize::from(reader.u16("blob")?);
    if length > MAX_BLOB {
        return Err(Malformed("blob").into());
    }
    let blob = reader.bytes(length, "blob")?.to_vec();
    let services = read_services(&mut reader)?;
    let wishes = reader.u32("wishes").unwrap_or_default();
    Ok((
        version,
        Hello {
            codecs,
            limits,
            blob,
            services,
            wishes,
        },
    ))
}

/// Reads the body of a Welcome.
pub(super) fn read_welcome(body: &[u8]) -> Result<Welcome, Malformed> {
    let mut reader = Reader { rest: body };
    let (version, codec) = (reader.u16("version")?, reader.u8("codec")?);
    let limits = read_limits(&mut reader)?;
    let services = read_services(&mut reader)?;
    let wishes = reader.u32("wishes").unwrap_or_default();
    Ok(Welcome {
        version,
        codec,
        limits,
        services,
        wishes,
    })
}

/// Bytes of the Hello, which are more than those of the Welcome.
fn size(codecs: &[u8], services: &[&ServiceInfo], blob: &[u8], wishes: u32) -> usize {
    let methods = services.iter().flat_map(|service| service.methods);
    let signatures: usize = methods
        .map(|method| 18 + travelling_signature(method.signature).len())
        .sum();
    let names: usize = services.iter().map(|service| 8 + service.name.len()).sum();
    17 + size_of_wishes(wishes) + codecs.len() + blob.len() + names + signatures
}

fn travelling_signature(signature: &str) -> &str {
    close::clipped(signature, MAX_SIGNATURE)
}

fn write_limits(body: &mut Vec<u8>, limits: &Limits) {
    body.extend(limits.max_body.to_le_bytes());
    body.extend(limits.max_in_flight.to_le_bytes());
}

fn write_services(body: &mut Vec<u8>, services: &[&ServiceInfo]) {
    body.extend((services.len() as u16).to_le_bytes());
    for service in services {
        body.extend((service.name.len() as u16).to_le_bytes());
        body.extend(service.name.as_bytes());
        body.extend(service.version.to_le_bytes());
        // A service with more methods than that is above `MAX_HANDSHAKE`.
        body.extend((service.methods.len() as u16).to_le_bytes());
        for method in service.methods {
            let signature = travelling_signature(method.signature);
            body.extend(method.ordinal.to_le_bytes());
            body.extend(method.fingerprint.to_le_bytes());
            body.extend((signature.len() as u16).to_le_bytes());
            body.extend(signature.as_bytes());
        }
    }
}

fn write_wishes(body: &mut Vec<u8>, wishes: u32) {
    if size_of_wishes(wishes) > 0 {
        body.extend(wishes.to_le_bytes());
    }
}

/// Who wishes nothing says nothing.
fn size_of_wishes(wishes: u32) -> usize {
    if wishes == 0 { 0 } else { size_of::<u32>() }
}

/// A peer may allow less than is useful, but not so little that no call could be made or no failure reported.
fn read_limits(reader: &mut Reader<'_>) -> Result<Limits, Malformed> {
    let (max_body, max_in_flight) = (reader.u32("limits")?, reader.u32("limits")?);
    if max_body < Limits::LEAST_MAX_BODY || max_in_flight == 0 {
        return Err(Malformed("limits"));
    }
    Ok(Limits {
        max_body,
        max_in_flight,
        ..Limits::default()
    }
    .bounded())
}

fn read_services(reader: &mut Reader<'_>) -> Result<PeerServices, Malformed> {
    let count = usize::from(reader.u16("services")?);
    if count > MAX_SERVICES {
        return Err(Malformed("services"));
    }
    let mut services = PeerServicesBuilder::default();
    for _ in 0..count {
        let name = reader.text(MAX_NAME, "service name")?;
        if name.is_empty() {
            return Err(Malformed("service name"));
        }
        services.service(name, reader.u32("service version")?);
        for _ in 0..reader.u16("methods")? {
            let (ordinal, fingerprint) = (reader.u64("method")?, reader.u64("method")?);
            services.method(ordinal, fingerprint, reader.text(MAX_SIGNATURE, "signature")?);
        }
    }
    services
        .build()
        .ok_or(Malformed("services: a name or an ordinal twice"))
}

/// Reads from bytes that a peer wrote: takes nothing that is not there, allocates nothing.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed(what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array(what).map(u8::from_le_bytes)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(u16::from_le_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, longest: usize, what: &'static str) -> Result<&'a str, Malformed> {
        let length = usize::from(self.u16(what)?);
        if length > longest {
            return Err(Malformed(what));
        }
        let text = std::str::from_utf8(self.bytes(length, what)?).map_err(|_| Malformed(what))?;
        if text.chars().any(char::is_control) {
            Err(Malformed(what))
        } else {
            Ok(text)
        }
    }
}
