//! What a service is called and what it offers: the tables that the attribute macro writes.

use crate::Codec;

/// A service as the macro found it in the trait.
#[derive(Debug)]
pub struct ServiceInfo {
    /// Its name on the wire: the trait's, or `name = ".."` of the attribute.
    pub name: &'static str,
    /// Its interface version, `version = ..` of the attribute; 1 if not given.
    pub version: u32,
    /// The codec that its clients ask for, `codec = ".."` of the attribute.
    pub codec: Codec,
    /// The trait's doc comment.
    pub docs: &'static str,
    /// The methods, in the order of the trait.
    pub methods: &'static [&'static MethodInfo],
}

/// A method as the macro found it in the trait.
#[derive(Debug)]
pub struct MethodInfo {
    /// Its name, with the service's in front: `Store.get`.
    pub name: &'static str,
    /// Its number on the wire: FNV-1a, 64 bits, of `name`.
    pub ordinal: u64,
    /// FNV-1a, 64 bits, of the normalised signature: see ARCHITECTURE.md.
    pub fingerprint: u64,
    /// The signature as a person reads it: `put(&str, &[u8]) -> Result<Version, StoreError>`.
    pub signature: &'static str,
    /// The arguments' names, without `&Context`.
    pub arguments: &'static [&'static str],
    /// Nobody waits for an answer.
    pub one_way: bool,
    /// The method's doc comment.
    pub docs: &'static str,
}
