//! How a side of a ring waits for the other.
//!
//! Each side has a line: a word that says that it sleeps, and the processor it last ran on. Who publishes a message
//! looks at the other's line, and makes a system call only if that one sleeps.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::thread::{futex, sched_getcpu};

use super::memory::Memory;
use super::ring::LINE;

/// How long a side looks before it sleeps, where the other side is on another processor: about what it costs to wake
/// one that has halted.
const BUDGET: Duration = Duration::from_micros(50);
/// Looks between two pauses; a pause takes as long as several looks.
const LOOKS: usize = 8;
/// Pauses between two looks at the clock.
const PAUSES: usize = 16;

/// What a side does while there is nothing.
pub(crate) enum Waiting {
    /// It looks, for ever.
    Spin,
    /// It looks for [`BUDGET`] if the other side is on another processor, and then sleeps.
    Aware,
    /// It sleeps at once, in a futex.
    Futex,
    /// It sleeps at once, in epoll, until the eventfd is written that is registered there.
    Epoll { epoll: OwnedFd },
}

/// How the other side is woken.
pub(crate) enum Bell {
    /// It sleeps in a futex, or never.
    Futex,
    /// It sleeps in epoll, on this eventfd.
    Eventfd(OwnedFd),
}

/// One side's line, and the other's.
pub(crate) struct Lines {
    memory: Arc<Memory>,
    own: usize,
    other: usize,
    waiting: Waiting,
    bell: Bell,
}

const ASLEEP: u32 = 1;
const AWAKE: u32 = 0;
/// Where in its line a side says on which processor it is, counted from 1.
const PROCESSOR: usize = 4;
/// Where in its line a side says that it is gone, so that nobody looks for its messages for ever.
const GONE: usize = 8;
/// Bytes of both lines together.
pub(crate) const LINES: usize = 2 * LINE;

impl Lines {
    /// Of the two lines that begin at 0, the server's is the second.
    pub(crate) fn new(memory: Arc<Memory>, is_server: bool, waiting: Waiting, bell: Bell) -> Self {
        let (own, other) = if is_server { (LINE, 0) } else { (0, LINE) };
        Self {
            memory,
            own,
            other,
            waiting,
            bell,
        }
    }

    /// Returns once `ready` is true.
    pub(crate) fn wait(&self, ready: impl Fn() -> bool) -> io::Result<()> {
        match &self.waiting {
            Waiting::Spin => {
                while !look(&ready, PAUSES) {
                    if self.memory.word32(self.other + GONE).load(Ordering::Relaxed) != 0 {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                }
                Ok(())
            }
            Waiting::Aware => {
                if ready() {
                    return Ok(());
                }
                if self.other_is_elsewhere() {
                    let begin = Instant::now();
                    while begin.elapsed() < BUDGET {
                        if look(&ready, PAUSES) {
                            return Ok(());
                        }
                    }
                }
                self.sleep(ready, || self.in_futex())
            }
            Waiting::Futex => self.sleep(ready, || self.in_futex()),
            Waiting::Epoll { epoll } => self.sleep(ready, || {
                let mut events = Vec::with_capacity(1);
                // The eventfd is registered for its edge, so nobody has to read it.
                match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }),
        }
    }

    /// Wakes the other side if it sleeps. After publishing.
    pub(crate) fn ring(&self) -> io::Result<()> {
        match self.waiting {
            Waiting::Spin => return Ok(()),
            Waiting::Aware => self.say_where(),
            Waiting::Futex | Waiting::Epoll { .. } => {}
        }
        // Publish, then look whether they sleep; they say that they sleep, then look whether something was published.
        // With both fences, at least one of us sees the other.
        fence(Ordering::SeqCst);
        let word = self.memory.word32(self.other);
        if word.load(Ordering::Relaxed) == ASLEEP && word.swap(AWAKE, Ordering::AcqRel) == ASLEEP {
            match &self.bell {
                Bell::Futex => {
                    futex::wake(word, futex::Flags::empty(), 1)?;
                }
                Bell::Eventfd(eventfd) => {
                    rustix::io::write(eventfd, &1_u64.to_ne_bytes())?;
                }
            }
        }
        Ok(())
    }

    fn sleep(&self, ready: impl Fn() -> bool, block: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let word = self.memory.word32(self.own);
        while !ready() {
            word.store(ASLEEP, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if ready() {
                word.store(AWAKE, Ordering::Relaxed);
                break;
            }
            block()?;
        }
        Ok(())
    }

    /// Blocks as long as the word says so that this side sleeps.
    fn in_futex(&self) -> io::Result<()> {
        let word = self.memory.word32(self.own);
        match futex::wait(word, futex::Flags::empty(), ASLEEP, None) {
            // Woken, or the word changed before the kernel looked at it, or a signal.
            Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn say_where(&self) {
        let here = sched_getcpu() as u32 + 1;
        let word = self.memory.word32(self.own + PROCESSOR);
        // A store that changes nothing would still take the line away from the other side.
        if word.load(Ordering::Relaxed) != here {
            word.store(here, Ordering::Relaxed);
        }
    }

    fn other_is_elsewhere(&self) -> bool {
        let there = self.memory.word32(self.other + PROCESSOR).load(Ordering::Relaxed);
        there != 0 && there != sched_getcpu() as u32 + 1
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.memory.word32(self.own + GONE).store(1, Ordering::Relaxed);
    }
}

/// Looks for a while.
fn look(ready: &impl Fn() -> bool, pauses: usize) -> bool {
    for _ in 0..pauses {
        for _ in 0..LOOKS {
            if ready() {
                return true;
            }
        }
        std::hint::spin_loop();
    }
    false
}
