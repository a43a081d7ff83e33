//! Memory of pools that nobody uses goes back to the system by itself: a blocking client has nobody who would see to that
//! while it calls nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::thread;
use std::time::Duration;

use crate::Birthplace;

/// How long memory is left alone that nobody uses, and how often that is looked after.
const IDLE: Duration = Duration::from_secs(1);

/// A pool that can be looked after.
pub(crate) trait Kept: Send + Sync {
    /// See [`Pool::trim`](crate::Pool::trim).
    fn trim(&self) -> bool;

    /// Whether it has anything.
    fn holds_anything(&self) -> bool;

    fn watch(&self) -> &Watch;
}

/// What a pool knows of being looked after.
#[derive(Default)]
pub(crate) struct Watch {
    wanted: AtomicBool,
    /// It is on the list.
    listed: AtomicBool,
}

impl Watch {
    /// From now on, it is to be looked after.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }
}

/// The pools of this process that are looked after.
struct Pools {
    list: Vec<Weak<dyn Kept>>,
    /// The process with the thread that does it, if there is one.
    thread: Option<Birthplace>,
}

static POOLS: Mutex<Pools> = Mutex::new(Pools {
    list: Vec::new(),
    thread: None,
});

/// Sees to it that a pool is looked after which has just taken memory, if that is wanted. Nobody waits for that: what does not
/// go now is done when it next takes some.
pub(crate) fn note_taken<T: Kept + 'static>(pool: &Arc<T>) {
    let watch = pool.watch();
    if !watch.wanted.load(Ordering::Relaxed)
        || watch.listed.load(Ordering::Relaxed)
        || watch.listed.swap(true, Ordering::AcqRel)
    {
        return;
    }
    let pool: Arc<dyn Kept> = pool.clone();
    if !enter(&pool) {
        watch.listed.store(false, Ordering::Release);
    }
}

/// Puts a pool on the list.
fn enter(pool: &Arc<dyn Kept>) -> bool {
    let mut pools = match POOLS.try_lock() {
        Ok(pools) => pools,
        // In a fork, whoever has locked it may not exist.
        Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return false,
    };
    if !pools.thread.is_some_and(Birthplace::is_here) {
        // Those of the process that this one is a fork of are none of its business.
        pools.list.clear();
        let keeper = thread::Builder::new().name("ipc-rpc-pools".to_owned());
        pools.thread = keeper.spawn(keep).is_ok().then(Birthplace::here);
    }
    if pools.thread.is_none() {
        return false;
    }
    pools.list.push(Arc::downgrade(pool));
    true
}

/// Looks after all that are on the list, until none is.
fn keep() {
    loop {
        thread::sleep(IDLE);
        // This thread may wait: it holds up nobody. Giving memory back takes long, so the list is free meanwhile.
        let Ok(mut pools) = POOLS.lock() else { return };
        let mut list = std::mem::take(&mut pools.list);
        drop(pools);
        list.retain(|pool| pool.upgrade().is_some_and(|pool| is_to_stay(&*pool)));
        let Ok(mut pools) = POOLS.lock() else { return };
        pools.list.append(&mut list);
        if pools.list.is_empty() {
            pools.list = Vec::new();
            pools.thread = None;
            return;
        }
    }
}

/// Takes back what a pool does not use. Whether it stays on the list.
fn is_to_stay(pool: &dyn Kept) -> bool {
    if pool.trim() {
        return true;
    }
    // Whoever takes memory from now on puts it on the list again; who took some before that is seen here.
    let listed = &pool.watch().listed;
    listed.store(false, Ordering::Release);
    pool.holds_anything() && !listed.swap(true, Ordering::AcqRel)
}
