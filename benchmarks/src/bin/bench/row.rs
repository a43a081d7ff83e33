//! One measurement, as it is written to the JSON file.

use bench_harness::{Case, Load, Measured, Mode, Placement, Variant};
use serde::Serialize;

/// A line of the JSON file. Missing figures are `null`: the case has none, or the measurement failed and `note` says
/// why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) system: String,
    pub(crate) transport: String,
    #[serde(serialize_with = "as_text")]
    pub(crate) mode: Mode,
    pub(crate) case: Case,
    pub(crate) size: usize,
    pub(crate) in_flight: usize,
    pub(crate) connections: usize,
    pub(crate) placement: Placement,
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    pub(crate) calls_per_s: Option<f64>,
    /// Processor time of both processes for a call.
    pub(crate) cpu_ns_per_call: Option<f64>,
    /// Processors that both processes kept busy, 0.0 to as many as there are.
    pub(crate) processors: Option<f64>,
    /// Processors that everything else on the machine kept busy meanwhile: what disturbed the measurement.
    pub(crate) others: Option<f64>,
    pub(crate) rss_kb: Option<u64>,
    /// Which of the interleaved runs.
    pub(crate) run: usize,
    pub(crate) failed: bool,
    pub(crate) note: String,
}

/// What rows of different runs have in common, and rows of different measurements have not.
pub(crate) type Key = (Load, Variant, Placement);

impl Row {
    /// A row with the figures of a measurement, or with the reason why there are none.
    pub(crate) fn new(
        (load, variant, placement): &Key,
        run: usize,
        note: &str,
        measured: Result<Measured, String>,
    ) -> Self {
        let figures = measured.as_ref().ok();
        let of_calls = figures.filter(|measured| measured.calls > 0);
        Self {
            system: variant.system.clone(),
            transport: variant.transport.clone(),
            mode: variant.mode,
            case: load.case,
            size: load.size,
            in_flight: load.in_flight,
            connections: load.connections,
            placement: *placement,
            p50_ns: figures.and_then(|measured| measured.p50_ns),
            p99_ns: figures.and_then(|measured| measured.p99_ns),
            calls_per_s: of_calls.map(|measured| measured.calls as f64 * 1e9 / measured.wall_ns as f64),
            cpu_ns_per_call: of_calls.map(|measured| measured.cpu_ns as f64 / measured.calls as f64),
            processors: figures.map(|measured| measured.cpu_ns as f64 / measured.wall_ns as f64),
            others: figures.map(|measured| measured.others_ns as f64 / measured.wall_ns as f64),
            rss_kb: figures.map(|measured| measured.rss_kb),
            run,
            failed: measured.is_err(),
            note: measured.as_ref().err().map_or(note, String::as_str).to_owned(),
        }
    }
}

fn as_text<S: serde::Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(mode)
}
