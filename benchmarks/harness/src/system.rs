//! What a benchmarked system implements.

use std::io::Write;
use std::sync::mpsc;

use serde::{Deserialize, Serialize};

use crate::job::{Job, Load, Measured, Variant};

/// What went wrong in a measurement; it ends that measurement, and its row says so.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A system to measure. One file each, registered in a binary's list.
pub trait System: Sync {
    /// The ways to run it. The name in each is the system's own, the same in all.
    fn variants(&self) -> Vec<Variant>;

    /// Whether `variant` can carry `load`.
    fn offers(&self, variant: &Variant, load: &Load) -> Answer;

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

/// Whether a variant can carry a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It can; with a remark for its rows, empty for none.
    Yes(&'static str),
    /// It cannot, for this reason: what a table says in place of a figure.
    No(&'static str),
    /// The question does not arise, and there is no row: a floor that is none for this load, say.
    Pointless,
}

/// An answer that makes a row: figures, or the reason why there are none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// How the system runs.
    pub variant: Variant,
    /// What it carries.
    pub load: Load,
    /// Whether it can.
    pub able: bool,
    /// A remark for its rows, or why it cannot.
    pub note: String,
}

/// Tells the coordinator where the server listens.
#[derive(Debug)]
pub struct Ready(Option<mpsc::Sender<String>>);

impl Ready {
    pub(crate) fn on_standard_output() -> Self {
        Self(None)
    }

    /// For a server in this process: the address comes out of the receiver.
    #[must_use]
    pub fn here() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel();
        (Self(Some(sender)), receiver)
    }

    /// Clients may connect to `address` from now on; it reaches them as `job.address`.
    ///
    /// # Errors
    /// If the coordinator is gone.
    pub fn announce(self, address: &str) -> Result<(), Error> {
        if let Some(here) = self.0 {
            return Ok(here.send(address.to_owned())?);
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "ready {address}")?;
        out.flush()?;
        Ok(())
    }
}

/// Everything that `systems` say to `loads`.
#[must_use]
pub fn offers(systems: &[&dyn System], loads: &[Load]) -> Vec<Offer> {
    let mut all = Vec::new();
    for load in loads {
        for system in systems {
            for variant in system.variants() {
                let (able, note) = match system.offers(&variant, load) {
                    Answer::Yes(note) => (true, note),
                    Answer::No(reason) => (false, reason),
                    Answer::Pointless => continue,
                };
                all.push(Offer {
                    variant,
                    load: *load,
                    able,
                    note: note.to_owned(),
                });
            }
        }
    }
    all
}
