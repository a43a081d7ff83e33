//! After warm-up, a call allocates nothing on either side.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Event, Incoming, ReplyStatus};
use crate::pair::{Pair, client_config, server_config};

thread_local! {
    // Per thread, since tests run side by side.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every request is passed on to the system's allocator unchanged; counting touches a
// constant-initialised thread-local without a destructor, which neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` or `realloc` above, so from the system's allocator with this
        // layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as for `dealloc`; the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Moves messages between the two without a queue of its own, which would be counted too.
struct Ends {
    client: Connection,
    server: Connection,
    now: Instant,
    body: Vec<u8>,
}

impl Ends {
    fn open() -> Self {
        let pair = Pair::open_with(client_config(), server_config());
        Self {
            client: pair.client.core,
            server: pair.server.core,
            now: pair.now,
            body: Vec::with_capacity(2048),
        }
    }

    /// `depth` calls at once, every third with a deadline; replies come in another order.
    fn calls(&mut self, depth: u64, ids: &mut Vec<u64>) {
        ids.clear();
        for n in 0..depth {
            let deadline = (n % 3 == 0).then_some(self.now + Duration::from_millis(50 + n * 7 % 13));
            let (_, header) = self.client.start_call(self.now, n, deadline).unwrap();
            let Incoming::Request { id, .. } = self.server.handle_message(self.now, &header, &[]).unwrap()
            else {
                panic!("no request");
            };
            ids.push(id);
        }
        ids.reverse();
        for id in &*ids {
            let header = self.server.finish(*id, ReplyStatus::Ok, 0).unwrap();
            let reply = self.client.handle_message(self.now, &header, &[]).unwrap();
            assert!(matches!(reply, Incoming::Reply { .. }));
        }
    }

    /// A call that is cancelled, and one whose deadline passes.
    fn abandoned(&mut self) {
        let (key, header) = self.client.start_call(self.now, 1, None).unwrap();
        assert_ne!(
            self.server.handle_message(self.now, &header, &[]).unwrap(),
            Incoming::Nothing
        );
        self.client.cancel_call(key);
        let cancel = self.client.poll_transmit(&mut self.body).unwrap();
        let cancelled = self.server.handle_message(self.now, &cancel, &[]).unwrap();
        assert_eq!(cancelled, Incoming::Cancel { id: key.id() });
        assert_eq!(self.server.finish(key.id(), ReplyStatus::Ok, 0), None);
        let answer = self.server.poll_transmit(&mut self.body).unwrap();
        assert_eq!(
            self.client.handle_message(self.now, &answer, &[]).unwrap(),
            Incoming::Nothing
        );

        let deadline = Some(self.now + Duration::from_millis(1));
        let (key, header) = self.client.start_call(self.now, 1, deadline).unwrap();
        assert_ne!(
            self.server.handle_message(self.now, &header, &[]).unwrap(),
            Incoming::Nothing
        );
        self.now += Duration::from_millis(1);
        self.server.handle_timeout(self.now);
        assert!(matches!(
            self.server.poll_event(),
            Some(Event::CancelServing { .. })
        ));
        assert_eq!(self.server.finish(key.id(), ReplyStatus::Ok, 0), None);
        let answer = self.server.poll_transmit(&mut self.body).unwrap();
        assert_ne!(
            self.client.handle_message(self.now, &answer, &[]).unwrap(),
            Incoming::Nothing
        );
    }
}

#[test]
fn a_call_allocates_nothing_after_warm_up() {
    let mut ends = Ends::open();
    let mut ids = Vec::with_capacity(1024);
    let round = |ends: &mut Ends, ids: &mut Vec<u64>| {
        for depth in [1, 64, 1000] {
            ends.calls(depth, ids);
        }
        ends.abandoned();
    };
    round(&mut ends, &mut ids);
    let before = ALLOCATIONS.get();
    assert!(before > 0, "the counter counts");
    for _ in 0..20 {
        round(&mut ends, &mut ids);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

/// A long call must not make the books of the short ones grow.
#[test]
fn a_call_that_lasts_costs_the_others_no_memory() {
    let mut ends = Ends::open();
    let mut ids = Vec::with_capacity(1024);
    let (_, header) = ends.client.start_call(ends.now, 1, None).unwrap();
    assert_ne!(
        ends.server.handle_message(ends.now, &header, &[]).unwrap(),
        Incoming::Nothing
    );
    for _ in 0..100 {
        ends.calls(8, &mut ids);
    }
    let before = ALLOCATIONS.get();
    for _ in 0..10_000 {
        ends.calls(8, &mut ids);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
