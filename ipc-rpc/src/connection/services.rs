//! What the peer serves, as it said in the handshake, and whether a call of ours would fit.

use std::ops::Range;

use crate::{MethodInfo, ServiceInfo};

/// The services of the peer. One that serves none has an empty table.
#[derive(Debug, Default)]
pub(crate) struct PeerServices {
    /// All names and signatures one after the other: thousands of methods are not thousands of allocations.
    text: String,
    /// In the order of names.
    services: Vec<Service>,
    /// In the order of ordinals.
    methods: Vec<Method>,
}

#[derive(Debug)]
struct Service {
    name: Range<u32>,
    version: u32,
}

#[derive(Debug)]
struct Method {
    ordinal: u64,
    fingerprint: u64,
    signature: Range<u32>,
}

/// A method of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerMethod<'a> {
    /// The hash of its normalised signature.
    pub(crate) fingerprint: u64,
    /// The signature as a person reads it.
    pub(crate) signature: &'a str,
}

/// Whether a call would be understood by the peer, known before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit<'a> {
    /// Both sides mean the same.
    Fits,
    /// The peer has no service of that name.
    UnknownService,
    /// The peer's service has another interface version, this one.
    OtherVersion(u32),
    /// The peer's service has no such method.
    UnknownMethod,
    /// The peer's method has another signature, this one.
    OtherSignature(&'a str),
}

impl PeerServices {
    /// The interface version of the service of that name.
    pub(crate) fn version(&self, name: &str) -> Option<u32> {
        let at = self
            .services
            .binary_search_by(|service| self.text(&service.name).cmp(name))
            .ok()?;
        Some(self.services[at].version)
    }

    /// The method with that number.
    pub(crate) fn method(&self, ordinal: u64) -> Option<PeerMethod<'_>> {
        let at = self
            .methods
            .binary_search_by_key(&ordinal, |method| method.ordinal)
            .ok()?;
        let method = &self.methods[at];
        Some(PeerMethod {
            fingerprint: method.fingerprint,
            signature: self.text(&method.signature),
        })
    }

    /// Whether a call of `method` of `service`, as this side knows them, would be understood.
    pub(crate) fn fit(&self, service: &ServiceInfo, method: &MethodInfo) -> Fit<'_> {
        match self.version(service.name) {
            None => return Fit::UnknownService,
            Some(version) if version != service.version => return Fit::OtherVersion(version),
            Some(_) => {}
        }
        match self.method(method.ordinal) {
            None => Fit::UnknownMethod,
            Some(theirs) if theirs.fingerprint != method.fingerprint => Fit::OtherSignature(theirs.signature),
            Some(_) => Fit::Fits,
        }
    }

    fn text(&self, range: &Range<u32>) -> &str {
        &self.text[range.start as usize..range.end as usize]
    }
}

/// Collects what a handshake message lists.
#[derive(Debug, Default)]
pub(super) struct PeerServicesBuilder(PeerServices);

impl PeerServicesBuilder {
    pub(super) fn service(&mut self, name: &str, version: u32) {
        let name = self.keep(name);
        self.0.services.push(Service { name, version });
    }

    pub(super) fn method(&mut self, ordinal: u64, fingerprint: u64, signature: &str) {
        let signature = self.keep(signature);
        self.0.methods.push(Method {
            ordinal,
            fingerprint,
            signature,
        });
    }

    /// The table; `None` if a name or an ordinal is there twice.
    pub(super) fn build(self) -> Option<PeerServices> {
        let PeerServices {
            text,
            mut services,
            mut methods,
        } = self.0;
        let name = |service: &Service| &text[service.name.start as usize..service.name.end as usize];
        services.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        methods.sort_unstable_by_key(|method| method.ordinal);
        let unique = services.windows(2).all(|pair| name(&pair[0]) != name(&pair[1]))
            && methods.windows(2).all(|pair| pair[0].ordinal != pair[1].ordinal);
        unique.then_some(PeerServices {
            text,
            services,
            methods,
        })
    }

    /// Offsets fit into 32 bits: all text comes from one message of at most 1 MiB.
    fn keep(&mut self, text: &str) -> Range<u32> {
        let start = self.0.text.len() as u32;
        self.0.text.push_str(text);
        start..self.0.text.len() as u32
    }
}
