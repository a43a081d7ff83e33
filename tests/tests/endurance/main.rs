//! What happens often, or to many at once: processes that are killed or stopped under load, servers that start together,
//! crowds of clients, bodies of all sizes. Each case says what it measured (`--nocapture` shows it).
//!
//! By default each runs a few times. The full numbers take minutes:
//! `cargo test --release -p tests --test endurance -- --ignored --nocapture --test-threads=1`
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bodies;
mod crowds;
mod kills;
mod starts;
mod stops;

use std::time::{Duration, Instant};

use tests::meter::Holdings;

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

/// How soon a death has to be noticed. The aim is 50 ms; the machine may be busy.
const WATCHDOG: Duration = Duration::from_secs(1);

/// An endpoint that nobody else uses.
fn name(what: &str) -> String {
    format!("test-{what}-{}", std::process::id())
}

/// Durations, to be told of.
#[derive(Default)]
struct Distribution(Vec<Duration>);

impl Distribution {
    fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// Prints the distribution, and gives the longest.
    fn tell(mut self, what: &str) -> Duration {
        self.0.sort();
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize];
        let above = self.0.iter().filter(|took| **took > Duration::from_millis(50));
        println!(
            "{what}: {} of them; p50 {:?}, p90 {:?}, p99 {:?}, max {:?}; above 50 ms: {}",
            self.0.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
            above.count()
        );
        at(1.0)
    }
}

/// Waits until a process holds so few descriptors. What a peer closed is released when its task has run, of which
/// nobody is told.
fn until_descriptors(pid: u32, at_most: usize) {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let held = Holdings::of(pid).descriptors;
        if held <= at_most {
            return;
        }
        assert!(
            Instant::now() < patience,
            "{held} descriptors, and {at_most} at first"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same for this process, where looking takes one.
fn until_own_descriptors(at_most: usize) {
    until_descriptors(std::process::id(), at_most + 1);
}
