//! Closing descriptors that nobody asked for.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::sys::{is_process_mark, process_mark};

/// Where such descriptors are handed over, and the process in which that leads somewhere: a fork has no thread.
struct Closer {
    queue: Sender<Vec<OwnedFd>>,
    process: u64,
}

/// Closes descriptors that came from the other side without having been asked for, on a thread that has nothing else to do:
/// the last close of a file can block for as long as whoever serves its file system likes.
///
/// What waits to be closed is bounded as open descriptors are.
pub(crate) fn close_elsewhere(descriptors: Vec<OwnedFd>) {
    static CLOSER: OnceLock<Option<Closer>> = OnceLock::new();
    if descriptors.is_empty() {
        return;
    }
    let closer = CLOSER.get_or_init(start).as_ref();
    match closer.filter(|closer| is_process_mark(closer.process)) {
        // The thread takes until this process ends.
        Some(closer) => drop(closer.queue.send(descriptors)),
        None => drop(descriptors),
    }
}

fn start() -> Option<Closer> {
    let (queue, taken) = channel::<Vec<OwnedFd>>();
    let thread = thread::Builder::new().name("transports-close".to_owned());
    thread
        .spawn(move || taken.into_iter().for_each(drop))
        .ok()
        .map(|_| Closer {
            queue,
            process: process_mark(),
        })
}
