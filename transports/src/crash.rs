//! Being killed in the middle of something, for tests: what a process does not live to do must not hurt the other.

/// A point at which a test can have this process killed. Where neither tests nor the feature `crash-points` are compiled, it is
/// nothing.
macro_rules! crash_point {
    () => {
        #[cfg(all(any(test, feature = "crash-points"), not(all(test, loom))))]
        $crate::crash::pass();
    };
}
pub(crate) use crash_point;

/// The environment variable that says at the how manieth point this process kills itself, counted from one.
#[cfg(all(any(test, feature = "crash-points"), not(all(test, loom))))]
pub(crate) const VARIABLE: &str = "TRANSPORTS_CRASH_POINT";

/// Counts a point, and ends there if it is the one that was asked for.
#[cfg(all(any(test, feature = "crash-points"), not(all(test, loom))))]
pub(crate) fn pass() {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PASSED: AtomicU64 = AtomicU64::new(0);
    static LAST: OnceLock<Option<u64>> = OnceLock::new();
    let last = LAST.get_or_init(|| std::env::var(VARIABLE).ok()?.parse().ok());
    if last.is_some_and(|last| PASSED.fetch_add(1, Ordering::Relaxed) + 1 == last) {
        crate::sys::kill_self();
    }
}
