//! What models of the ring replace by loom's.

#[cfg(all(test, loom))]
pub(super) use loom::sync::atomic::fence;
#[cfg(not(all(test, loom)))]
pub(super) use std::sync::atomic::fence;
