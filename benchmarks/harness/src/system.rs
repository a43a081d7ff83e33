//! What a benchmarked system implements.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::job::{Job, Load, Measured, Variant};

/// What went wrong in a measurement; it ends that measurement, and its row says so.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A system to measure. One file each, registered in a binary's list.
pub trait System: Sync {
    /// The ways to run it. The name in each is the system's own, the same in all.
    fn variants(&self) -> Vec<Variant>;

    /// Whether `variant` can carry `load`, and a remark for its rows (empty for none).
    fn offers(&self, variant: &Variant, load: &Load) -> Option<&'static str>;

    /// Serves until the process is killed; says through `ready` where, as soon as clients may connect.
    ///
    /// # Errors
    /// If it cannot listen.
    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error>;

    /// Connects to `job.address` and measures, by [`drive`](crate::drive).
    ///
    /// # Errors
    /// If a call fails or answers wrongly.
    fn drive(&self, job: &Job) -> Result<Measured, Error>;
}

/// A variant that can carry a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// How the system runs.
    pub variant: Variant,
    /// What it carries.
    pub load: Load,
    /// A remark for its rows.
    pub note: String,
}

/// Tells the coordinator where the server listens.
#[derive(Debug)]
pub struct Ready(pub(crate) ());

impl Ready {
    /// Clients may connect to `address` from now on; it reaches them as `job.address`.
    ///
    /// # Errors
    /// If the coordinator is gone.
    pub fn announce(self, address: &str) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "ready {address}")?;
        out.flush()?;
        Ok(())
    }
}

/// Everything that `systems` offer for `loads`.
#[must_use]
pub fn offers(systems: &[&dyn System], loads: &[Load]) -> Vec<Offer> {
    let mut all = Vec::new();
    for load in loads {
        for system in systems {
            for variant in system.variants() {
                if let Some(note) = system.offers(&variant, load) {
                    all.push(Offer {
                        variant,
                        load: *load,
                        note: note.to_owned(),
                    });
                }
            }
        }
    }
    all
}
