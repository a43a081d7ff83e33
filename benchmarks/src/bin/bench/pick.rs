//! Picking figures out of the rows of a run.

use std::collections::BTreeSet;

use crate::plan::matches;
use crate::row::Row;
use crate::statistics::spread;

/// One of a row's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Median time of a call, in nanoseconds.
    Median,
    /// The 99th percentile.
    Tail,
    /// Calls a second.
    Rate,
    /// What the slowest connection did for each call of the fastest.
    Share,
    /// Large bodies a second, beside the calls.
    Beside,
    /// Processor time of a call, in nanoseconds.
    Processor,
    /// Processor time of five seconds, in nanoseconds.
    Idle,
    /// Resident memory of both processes, in KiB.
    Memory,
    /// Resident memory of the server, in KiB.
    ServerMemory,
}

impl Figure {
    /// The figure of a row, if it has one.
    pub(crate) fn of(self, row: &Row) -> Option<f64> {
        match self {
            Self::Median => row.p50_ns.map(|ns| ns as f64),
            Self::Tail => row.p99_ns.map(|ns| ns as f64),
            Self::Rate => row.calls_per_s,
            Self::Share => row.share,
            Self::Beside => row.beside_per_s,
            Self::Processor => row.cpu_ns_per_call,
            Self::Idle => row.processors.map(|processors| processors * 5e9),
            Self::Memory => row.rss_kb.map(|kb| kb as f64),
            Self::ServerMemory => row.server_rss_kb.map(|kb| kb as f64),
        }
    }

    /// Whether more of it is better.
    fn grows(self) -> bool {
        matches!(self, Self::Rate | Self::Share | Self::Beside)
    }

    /// The better of two values.
    pub(crate) fn better(self, a: f64, b: f64) -> f64 {
        if self.grows() { a.max(b) } else { a.min(b) }
    }

    /// How much better `a` is than `b`, as a factor.
    pub(crate) fn advantage(self, a: f64, b: f64) -> f64 {
        if self.grows() { a / b } else { b / a }
    }
}

/// The figure of the rows that have the pattern's words (see [`matches()`]), in one run; of several rows, the best.
pub(crate) fn in_run(rows: &[Row], run: usize, pattern: &str, figure: Figure) -> Option<f64> {
    rows.iter()
        .filter(|row| row.run == run && matches(pattern, row.words()))
        .filter_map(|row| figure.of(row))
        .reduce(|a, b| figure.better(a, b))
}

/// The median over the runs of what has the pattern's words; of several variants, that of the best by `by`, so that
/// all of a line's figures are of one variant if `by` is the same.
pub(crate) fn best(rows: &[Row], pattern: &str, by: Figure, figure: Figure) -> Option<f64> {
    let chosen = best_variant(rows, pattern, by)?;
    spread(
        rows.iter()
            .filter(|row| row.words() == chosen)
            .filter_map(|row| figure.of(row)),
    )
    .map(|spread| spread.median)
}

/// The words of the variant that is best by a figure's median.
pub(crate) fn best_variant<'a>(rows: &'a [Row], pattern: &str, by: Figure) -> Option<&'a str> {
    let variants: BTreeSet<&str> = rows
        .iter()
        .map(Row::words)
        .filter(|words| matches(pattern, words))
        .collect();
    let median = |words: &str| {
        spread(
            rows.iter()
                .filter(|row| row.words() == words)
                .filter_map(|row| by.of(row)),
        )
        .map(|spread| spread.median)
    };
    variants
        .into_iter()
        .filter_map(|words| Some((median(words)?, words)))
        .reduce(|a, b| if by.better(a.0, b.0) == a.0 { a } else { b })
        .map(|(_, words)| words)
}

/// How many runs there are.
pub(crate) fn runs(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.run + 1).max().unwrap_or(0)
}
