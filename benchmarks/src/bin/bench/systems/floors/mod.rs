//! Floors: what the machine allows, with nothing on top. Each moves messages of the same sizes as the systems do, and
//! checks, encodes and dispatches nothing.
//!
//! `ring` is the floor under small messages, in four ways of waiting; `conveyor`, `vm-readv`, `sealed` and `memcpy` are
//! floors under large ones. Sockets and pipes are in [`raw`](super::raw).

mod conveyor;
mod memcpy;
mod memory;
mod ring;
mod rings;
mod sealed;
mod share;
mod vm_readv;
mod waiting;

pub(crate) use conveyor::Conveyor;
pub(crate) use memcpy::Memcpy;
pub(crate) use rings::Rings;
pub(crate) use sealed::Sealed;
pub(crate) use vm_readv::VmReadv;

use bench_harness::{Call, Error, Load, Payload};

/// Bytes of payload in a call's request and in its reply.
pub(crate) fn shape(load: &Load) -> (usize, usize) {
    match load.call() {
        Call::Echo | Call::EchoBytes => (load.size, load.size),
        Call::Sum => (load.size, size_of::<u64>()),
        Call::Null => (0, 0),
        Call::Add => (2 * size_of::<u64>(), size_of::<u64>()),
        Call::Take | Call::Post => (load.size, 0),
    }
}

/// Checks what came back, where that says something: a floor adds nothing up but pages.
pub(crate) fn check(call: Call, payload: &Payload, reply: &[u8]) -> Result<(), Error> {
    match call {
        Call::Echo | Call::EchoBytes => payload.check_echo(reply),
        Call::Sum => {
            let sum = reply.first_chunk().ok_or("the sum is cut off")?;
            payload.check_sum(u64::from_le_bytes(*sum))
        }
        Call::Null | Call::Add | Call::Take | Call::Post => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bench_harness::{Answer, Job, Load, Measured, Placement, System, Variant};

    use super::*;
    use crate::systems::raw::Raw;

    /// Every floor that answers calls answers them rightly: its own client checks each reply.
    #[test]
    fn floors_answer_rightly() {
        use bench_harness::Case::{Add, After1Ms, BigIn, BigInOut, Echo, Null, Post, Sum};
        let systems: [&'static dyn System; 6] = [&Rings, &Conveyor, &VmReadv, &Sealed, &Memcpy, &Raw];
        let mut answered = 0;
        for system in systems {
            for variant in system.variants() {
                for (case, size, in_flight) in [
                    (Echo, 32, 1),
                    (Echo, 32, 64),
                    (Echo, 300_000, 1),
                    (Sum, 300_000, 1),
                    (Null, 0, 1),
                    (Add, 0, 1),
                    (BigIn, 200, 1),
                    (BigInOut, 200, 1),
                    (Post, 32, 1),
                    (After1Ms, 32, 1),
                ] {
                    let load = Load {
                        case,
                        size,
                        in_flight,
                        connections: 1,
                    };
                    if matches!(system.offers(&variant, &load), Answer::Yes(_)) {
                        // At least one call is made, however busy the machine is.
                        measure(system, &variant, load)
                            .unwrap_or_else(|error| panic!("{variant:?} {load:?}: {error}"));
                        answered += 1;
                    }
                }
            }
        }
        assert!(answered > 60, "only {answered} combinations were tried");
    }

    /// Both sides in this process.
    fn measure(system: &'static dyn System, variant: &Variant, load: Load) -> Result<Measured, Error> {
        let directory = tempfile::tempdir()?;
        let mut job = Job {
            variant: variant.clone(),
            load,
            placement: Placement::Free,
            warm_up: Duration::from_millis(1),
            measure: Duration::from_millis(2),
            directory: directory.path().to_owned(),
            address: String::new(),
            server: None,
        };
        if !variant.in_process {
            let (ready, address) = bench_harness::Ready::here();
            let serving = job.clone();
            // It ends with the test's process.
            std::thread::spawn(move || system.serve(&serving, ready));
            job.address = address.recv_timeout(Duration::from_secs(10))?;
        }
        system.drive(&job)
    }
}
