//! One measurement, as it is written to the JSON file.

use std::sync::OnceLock;

use bench_harness::{Case, Load, Measured, Mode, Offer, Placement, Variant};
use serde::{Deserialize, Serialize};

use crate::plan::words;

/// A line of the JSON file. Missing figures are `null`: the case has none, or the measurement failed and `note` says
/// why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) system: String,
    pub(crate) transport: String,
    #[serde(serialize_with = "mode_to_text", deserialize_with = "mode_of_text")]
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
    /// The server's part of it.
    pub(crate) server_rss_kb: Option<u64>,
    /// Of several connections, what the slowest did for each call of the fastest.
    pub(crate) share: Option<f64>,
    /// Large bodies that passed beside the calls, each second.
    pub(crate) beside_per_s: Option<f64>,
    /// Which of the interleaved runs.
    pub(crate) run: usize,
    /// Something went wrong; a row without figures that did not fail is of a system that cannot do this.
    pub(crate) failed: bool,
    pub(crate) note: String,
    /// Made when they are first asked for: tables look for their rows by them, again and again.
    #[serde(skip)]
    words: OnceLock<String>,
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
            server_rss_kb: figures.map(|measured| measured.server_rss_kb),
            share: figures.and_then(|measured| measured.share),
            beside_per_s: figures
                .and_then(|measured| Some(measured.beside? as f64 * 1e9 / measured.wall_ns as f64)),
            run,
            failed: measured.is_err(),
            note: measured.as_ref().err().map_or(note, String::as_str).to_owned(),
            words: OnceLock::new(),
        }
    }

    /// A row that says why a system does not do this.
    pub(crate) fn unable((load, variant, placement): &Key, run: usize, reason: &str) -> Self {
        let row = Self::new(
            &(*load, variant.clone(), *placement),
            run,
            "",
            Err(reason.to_owned()),
        );
        Self { failed: false, ..row }
    }

    /// The row in the words of `--only`.
    pub(crate) fn words(&self) -> &str {
        self.words.get_or_init(|| {
            let offer = Offer {
                variant: Variant {
                    system: self.system.clone(),
                    transport: self.transport.clone(),
                    mode: self.mode,
                    in_process: false,
                },
                load: self.load(),
                able: true,
                note: String::new(),
            };
            words(&offer, self.placement)
        })
    }

    /// What was measured.
    pub(crate) fn load(&self) -> Load {
        Load {
            case: self.case,
            size: self.size,
            in_flight: self.in_flight,
            connections: self.connections,
        }
    }
}

fn mode_to_text<S: serde::Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(mode)
}

fn mode_of_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
    let text = String::deserialize(deserializer)?;
    Mode::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("no mode: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let load = Load {
            case: Case::After10Ms,
            size: 32,
            in_flight: 1,
            connections: 1,
        };
        let variant = Variant {
            system: "ring".to_owned(),
            transport: "spin".to_owned(),
            mode: Mode::BLOCKING_CURRENT,
            in_process: false,
        };
        let row = Row::new(&(load, variant, Placement::Free), 3, "", Err("why".to_owned()));
        let json = serde_json::to_string(&row).unwrap();
        let again: Row = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), json);
        assert!(json.contains("\"after_10ms\"") && json.contains("\"blocking/ct\""));
    }
}
