//! Methods that exist only sometimes, and attributes of all kinds.

/// Changes with the platform.
#[ipc_rpc::service(name = "cond", version = 7, codec = "json")]
#[allow(clippy::too_many_arguments, reason = "it is there to be copied")]
pub trait Conditional {
    /// One of two versions.
    #[cfg(unix)]
    async fn open(&self, path: &str) -> u32;
    /// The other version.
    #[cfg(not(unix))]
    async fn open(&self, path: &str, share: bool) -> u32;
    /// Never there.
    #[cfg(any())]
    async fn never(&self, missing: &Missing) -> Missing;
    /// Old.
    #[deprecated = "use open"]
    async fn old(&self) -> u8;
    /// Its result matters.
    #[must_use]
    #[rpc(blocking)]
    fn weigh(&self) -> u8;
    /// Its result matters, too.
    #[must_use = "for a reason"]
    async fn measure(&self) -> u8;
    /// Nor is this one.
    #[cfg_attr(all(), cfg(any()), doc = "It is not even documented.")]
    async fn neither(&self, missing: &Missing) -> Missing;
    /// Takes many.
    async fn matrix(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8;
}
