//! Threads that copy out of other processes' memory, so that nobody else has to.
//!
//! The other process decides how long such a copy takes. Where the memory is served by a program of its own (userfaultfd,
//! FUSE), the system waits for that program in the middle of the copy, and neither a signal nor a deadline ends that: only
//! the death of one of the two processes does. There is no way to ask for what is there and no more. So a copy is made by a
//! thread of these, of which there are few in the whole process. Whoever finds none that is free does without, and has the
//! body sent to it: a thread that is stuck costs others nothing but this tier, and while all of them are stuck nobody in
//! this process uses it.
//!
//! A thread ends when it has had nothing to do for a while. Waking one takes some 50 µs, as waking any thread does.

use std::sync::mpsc::{self, SyncSender};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::sys::process_mark;

/// What a thread is to do.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// Threads at most. A few copies at the same time use up what a machine's memory can do; the others are for those that are
/// stuck.
pub(super) const MOST: usize = 8;

/// How long a thread waits for more to do.
const IDLE: Duration = Duration::from_secs(1);

/// Looks for the lock, which is held for less than a microsecond: in a fork, whoever holds it may not exist.
/// A test of what threads do is not to depend on how busy the machine is.
const LOOKS: u32 = if cfg!(test) { 1_000_000 } else { 1000 };

static CREW: Mutex<Crew> = Mutex::new(Crew {
    process: 0,
    threads: 0,
    idle: Vec::new(),
});

struct Crew {
    /// Whose threads they are: a fork has none of them.
    process: u64,
    threads: usize,
    /// How those are reached that have nothing to do.
    idle: Vec<(ThreadId, SyncSender<Work>)>,
}

/// Has a thread do it. False: none is free, and the work is dropped.
pub(super) fn run(work: Work) -> bool {
    let Some(mut crew) = crew() else { return false };
    if let Some((_, idle)) = crew.idle.pop() {
        drop(crew);
        // It takes what is sent to it: see `serve`.
        return idle.send(work).is_ok();
    }
    if crew.threads >= MOST {
        return false;
    }
    crew.threads += 1;
    drop(crew);
    let member = Member;
    thread::Builder::new()
        .name("ipc-rpc-direct".to_owned())
        .spawn(move || serve(work, member))
        .is_ok()
}

/// One thread, as it is counted.
struct Member;

impl Drop for Member {
    fn drop(&mut self) {
        // If the lock is not to be had, there is one thread less from now on.
        if let Some(mut crew) = crew() {
            crew.threads = crew.threads.saturating_sub(1);
        }
    }
}

fn serve(first: Work, _member: Member) {
    let own = thread::current().id();
    let mut work = first;
    loop {
        work();
        let (sender, sent) = mpsc::sync_channel(1);
        match crew() {
            Some(mut crew) => crew.idle.push((own, sender)),
            None => return,
        }
        work = match sent.recv_timeout(IDLE) {
            Ok(work) => work,
            Err(_) => {
                let was_idle = crew().is_some_and(|mut crew| {
                    let before = crew.idle.len();
                    crew.idle.retain(|(idle, _)| *idle != own);
                    crew.idle.len() < before
                });
                if was_idle {
                    return;
                }
                // Somebody has taken it from the list, and sends just now.
                match sent.recv() {
                    Ok(work) => work,
                    Err(_) => return,
                }
            }
        };
    }
}

/// Whether each of them waits for something to do.
#[cfg(all(test, not(loom)))]
#[allow(dead_code, reason = "only where this tier is there to be tested")]
pub(super) fn are_idle() -> bool {
    crew().is_some_and(|crew| crew.idle.len() == crew.threads)
}

fn crew() -> Option<MutexGuard<'static, Crew>> {
    for _ in 0..LOOKS {
        match CREW.try_lock() {
            Ok(mut crew) => {
                let here = process_mark();
                if crew.process != here {
                    *crew = Crew {
                        process: here,
                        threads: 0,
                        idle: Vec::new(),
                    };
                }
                return Some(crew);
            }
            Err(TryLockError::WouldBlock) => thread::yield_now(),
            Err(TryLockError::Poisoned(_)) => return None,
        }
    }
    None
}
