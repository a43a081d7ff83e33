//! Ends a test that hangs, with its name.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Far above what any test takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Runs `body` on a thread of its own and panics if it panics or has not ended after [`PATIENCE`].
///
/// # Panics
/// As said.
pub fn guard<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    guard_for(PATIENCE, name, body)
}

/// As [`guard`], for what may take longer.
///
/// # Panics
/// As said.
pub fn guard_for<T: Send + 'static>(
    patience: Duration,
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, end) = mpsc::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let result = body();
        // Nobody listens any more if the time is up.
        let _ = done.send(());
        result
    });
    let thread = thread.expect("the system has a thread to spare");
    match end.recv_timeout(patience) {
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        Err(RecvTimeoutError::Timeout) => panic!("{name} hangs: it has not ended after {patience:?}"),
    }
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
