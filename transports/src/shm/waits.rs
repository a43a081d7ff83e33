//! Waiting for the other side: whether to look again or to sleep, and waking whoever sleeps there.
//!
//! A wake-up across processors takes some 50 µs and an answer some 0.1 µs, while looking is free as long as the other side
//! runs on another processor; on one's own it keeps the other side from answering. So one looks for about as long as a
//! wake-up takes, if the other side last ran elsewhere and is awake, and sleeps at once otherwise. Each side writes down
//! which processor it runs on when it begins to look.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Bell, EVENT, FUTEX, SPACE};
use crate::sys::{self, Event};
use crate::{Spun, Wait};

/// How long one looks before one sleeps: about as long as a wake-up takes.
const BUDGET: Duration = Duration::from_micros(50);

/// Traffic is dense if whoever sleeps is woken before this much time has passed: a few wake-ups.
const DENSE: Duration = Duration::from_micros(250);

/// Two sides that share a processor stay there, since each sleeps while the other works, and the system sees one that is
/// busy and none that waits. After so many waits, one of them looks for so long without giving way: with two that want to run,
/// the system's next tick, each 4 ms or less, moves one to a processor that is idle. A process does that once, and then after a
/// pause that doubles up to the longest, since it is in vain where no processor is idle. Staying awake is not enough: as long
/// as the other gets to run and to sleep in between, the system still sees one.
const TOGETHER: u32 = 500;
const SHOVE: Duration = Duration::from_millis(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// When some connection of this process last did that, and how long none does it then.
static SHOVED: Mutex<Option<(Instant, Duration)>> = Mutex::new(None);

/// Looks before the first look at the clock: a few microseconds.
const QUICK: u32 = 1500;

/// Looks between two looks at the clock, which takes as long as a `pause` or two.
const LOOKS: u32 = 16;

/// The most waits that are let pass without looking, after looking was in vain.
const MOST_SKIPPED: u32 = 64;

/// Connections that look, or that will again in a moment, since that has paid.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// What both halves of a port need to sleep and to wake.
pub(crate) struct Waits {
    bell: Bell,
    event: Event,
    peer_bell: Bell,
    peer_event: Event,
    wait: Wait,
    /// The other side was asleep when it was last sent something: the answer will take a while.
    roused: AtomicBool,
    /// Somebody wants the thread that blocks to return.
    interrupted: AtomicBool,
    /// The socket may tell of the end.
    control_news: AtomicBool,
    /// Up to where the other side had consumed when this one found no room; or [`ROOM`].
    full_at: AtomicU64,
}

/// There is room, as far as one knows. Real positions are multiples of a line.
const ROOM: u64 = 1;

impl Waits {
    pub(super) fn new(bell: Bell, event: Event, peer_bell: Bell, peer_event: Event, wait: Wait) -> Self {
        Self {
            bell,
            event,
            peer_bell,
            peer_event,
            wait,
            roused: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            control_news: AtomicBool::new(false),
            full_at: AtomicU64::new(ROOM),
        }
    }

    /// Notes that the socket may tell of the end.
    pub(crate) fn note_control_news(&self) {
        self.control_news.store(true, Ordering::Release);
    }

    #[inline]
    pub(super) fn has_control_news(&self) -> bool {
        self.control_news.load(Ordering::Relaxed)
    }

    pub(super) fn take_control_news(&self) -> bool {
        self.has_control_news() && self.control_news.swap(false, Ordering::AcqRel)
    }

    /// The half that sends found no room, when the other side had consumed up to there.
    pub(super) fn note_full(&self, consumed: u64) {
        self.full_at.store(consumed, Ordering::Relaxed);
    }

    /// The half that sends has more to send, and there is room.
    pub(super) fn note_space(&self) {
        self.full_at.store(ROOM, Ordering::Relaxed);
    }

    /// Whether the half that sends found no room when it last looked, so that the other side tells of it.
    #[cfg(feature = "tokio")]
    pub(super) fn is_full(&self) -> bool {
        self.full_at.load(Ordering::Relaxed) != ROOM
    }

    /// Whether there may be room where there was none. `consumed` looks up to where the other side has consumed.
    #[inline]
    pub(super) fn has_space(&self, consumed: impl FnOnce() -> u64) -> bool {
        let full_at = self.full_at.load(Ordering::Relaxed);
        full_at == ROOM || consumed() != full_at
    }

    /// Wakes the other side, if it sleeps. What was published before is seen by whoever is awake.
    #[inline]
    pub(super) fn wake_peer(&self) {
        let taken = self.peer_bell.ring();
        if taken != 0 {
            self.rouse(taken);
        }
    }

    #[cold]
    fn rouse(&self, taken: u32) {
        self.roused.store(true, Ordering::Relaxed);
        if taken & (EVENT | SPACE) != 0 {
            self.peer_event.raise();
        }
    }

    /// Ends the present [`Waits::sleep`] of this side, or the next.
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        if self.bell.ring() & (EVENT | SPACE) != 0 {
            self.event.raise();
        }
    }

    /// Has a task of this side woken by what comes next. To be followed by a look.
    pub(super) fn arm(&self) {
        self.bell.arm(EVENT);
    }

    pub(super) fn disarm(&self) {
        if self.bell.is_armed(EVENT) {
            self.bell.disarm(EVENT);
        }
    }

    /// Whether a task would be woken by what comes next, and has looked since it said so.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_armed(&self) -> bool {
        self.bell.is_armed(EVENT)
    }

    /// Has a task of this side woken by room to send. To be followed by a look.
    #[cfg(feature = "tokio")]
    pub(crate) fn arm_for_space(&self) {
        self.bell.arm(SPACE);
    }

    /// What a task of this side sleeps on.
    #[cfg(feature = "tokio")]
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// Blocks until the other side wakes this one, or an interrupt comes, or the time has passed. `anything` looks
    /// once more. True: it was an interrupt.
    pub(super) fn sleep(&self, limit: Duration, anything: impl FnOnce() -> bool) -> bool {
        self.bell.arm(FUTEX);
        if !anything() && !self.interrupted.load(Ordering::SeqCst) {
            self.bell.sleep(limit);
        }
        self.bell.disarm(FUTEX);
        self.interrupted.swap(false, Ordering::SeqCst)
    }
}

/// Decides between looking and sleeping, for one receiver.
pub(super) struct Patience {
    /// Since when there has been nothing, and for how long one looks.
    waiting: Option<(Instant, Duration)>,
    /// When one last decided to sleep.
    slept: Option<Instant>,
    /// Waits to be let pass without looking.
    skip: u32,
    /// How many the next time.
    penalty: u32,
    /// The last wait ended by looking.
    hot: bool,
    /// It is one of those in [`BUSY`].
    busy: bool,
    /// Waits in dense traffic, one after the other, beside the other side on one processor.
    together: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            waiting: None,
            slept: None,
            skip: 0,
            penalty: 0,
            hot: false,
            busy: false,
            together: 0,
        }
    }

    /// Looks with `anything` until it finds something, for as long as that pays; with `once`, a single time.
    /// `elsewhere`: the other side last ran on another processor.
    #[inline]
    pub(super) fn spin(
        &mut self,
        waits: &Waits,
        once: bool,
        elsewhere: impl Fn() -> bool,
        anything: impl Fn() -> bool,
    ) -> Spun {
        if self.hot && !once && !self.is_crowded() && elsewhere() {
            // Most answers come within this.
            for _ in 0..QUICK {
                if anything() {
                    return Spun::AtOnce;
                }
            }
        }
        self.spin_by_the_clock(waits, once, elsewhere, anything)
    }

    fn spin_by_the_clock(
        &mut self,
        waits: &Waits,
        once: bool,
        elsewhere: impl Fn() -> bool,
        anything: impl Fn() -> bool,
    ) -> Spun {
        if anything() {
            return self.found();
        }
        match waits.wait {
            Wait::Adaptive => {}
            Wait::Sleep => return Spun::Sleep,
            Wait::Spin if once => return Spun::Later,
            Wait::Spin => return look(BUDGET, &anything).map_or(Spun::Later, |()| Spun::News),
        }
        let roused = waits.roused.swap(false, Ordering::Relaxed);
        let now = Instant::now();
        if !elsewhere() {
            let shoves = !once && self.shoves(now);
            return match shoves.then(|| look(SHOVE, &anything)).flatten() {
                Some(()) => Spun::News,
                None => self.sleep(now),
            };
        }
        if self.waiting.is_none() && self.is_in_vain(now, roused) {
            return self.sleep(now);
        }
        // Waking the other side takes as long as looking for an answer pays.
        let fresh = (now, if roused { 2 * BUDGET } else { BUDGET });
        let (since, budget) = *self.waiting.get_or_insert(fresh);
        let left = budget.saturating_sub(now.saturating_duration_since(since));
        if left.is_zero() {
            return self.lose_patience(now);
        }
        if !self.busy {
            self.busy = true;
            BUSY.fetch_add(1, Ordering::Relaxed);
        }
        if once || self.is_crowded() {
            return Spun::Later;
        }
        match look(left, &anything) {
            Some(()) => self.found(),
            None => self.lose_patience(Instant::now()),
        }
    }

    /// Whether other connections of the process are busy, too: to look at one of them is to keep the others waiting.
    #[inline]
    fn is_crowded(&self) -> bool {
        BUSY.load(Ordering::Relaxed) > usize::from(self.busy)
    }

    /// Looking was in vain: the next times it is left out, twice as often as the last time.
    fn lose_patience(&mut self, now: Instant) -> Spun {
        self.penalty = (self.penalty * 2).clamp(1, MOST_SKIPPED);
        self.skip = self.penalty;
        self.sleep(now)
    }

    /// Counts waits in dense traffic beside the other side on one processor. True: it is time to have the two parted, see
    /// [`TOGETHER`].
    fn shoves(&mut self, now: Instant) -> bool {
        self.together = if self.is_dense(now) { self.together + 1 } else { 0 };
        if self.together < TOGETHER {
            return false;
        }
        self.together = 0;
        let mut shoved = SHOVED.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match *shoved {
            None => SHORTEST_PAUSE,
            Some((last, pause)) => match now.saturating_duration_since(last) {
                since if since < pause => return false,
                since if since < 2 * LONGEST_PAUSE => (2 * pause).min(LONGEST_PAUSE),
                _ => SHORTEST_PAUSE,
            },
        };
        if !sys::may_move() {
            return false;
        }
        *shoved = Some((now, pause));
        true
    }

    /// Whether one slept a short time ago.
    fn is_dense(&self, now: Instant) -> bool {
        let recently = |slept| now.saturating_duration_since(slept) < DENSE;
        self.slept.is_some_and(recently)
    }

    /// Whether looking would be in vain: the other side has to wake up first, and has had no reason to stay awake lately; or
    /// it was in vain before.
    fn is_in_vain(&mut self, now: Instant, roused: bool) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return true;
        }
        roused && !self.hot && !self.is_dense(now)
    }

    fn found(&mut self) -> Spun {
        self.note_news();
        Spun::News
    }

    /// Something has been received. If one was about to look again, looking has paid.
    #[inline]
    pub(super) fn note_news(&mut self) {
        if self.waiting.take().is_some() {
            self.penalty = 0;
            self.hot = true;
        }
    }

    fn sleep(&mut self, now: Instant) -> Spun {
        self.waiting = None;
        self.slept = Some(now);
        self.hot = false;
        self.rest();
        Spun::Sleep
    }

    /// Nobody looks for the time being, and nobody is kept waiting by that.
    #[inline]
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.busy) {
            BUSY.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.rest();
    }
}

/// Looks until it finds something, or the time is up.
fn look(time: Duration, anything: &impl Fn() -> bool) -> Option<()> {
    let start = Instant::now();
    loop {
        for _ in 0..LOOKS {
            // Several looks for each pause, which takes 20 ns and more.
            if anything() || anything() || anything() {
                return Some(());
            }
            std::hint::spin_loop();
        }
        if start.elapsed() >= time {
            return None;
        }
    }
}
