//! The systems linked into this binary. A new one is a file here (or in peers/) and a line in [`ALL`].

mod floors;
mod ours;
mod raw;

use bench_harness::System;

/// Every system of this binary.
pub(crate) const ALL: &[&dyn System] = &[
    &ours::Ours,
    &raw::Raw,
    &floors::Rings,
    &floors::Conveyor,
    &floors::VmReadv,
    &floors::Sealed,
    &floors::Memcpy,
];
