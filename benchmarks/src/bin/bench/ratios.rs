//! What the run says about ipc-rpc: each of its figures against a floor or a peer measured next to it.

use bench_harness::{Case, Mode, Placement};

use crate::row::Row;
use crate::statistics::spread;
use crate::table::markdown;

/// Two systems, and what their ratio should be.
struct Comparison {
    case: Case,
    size: usize,
    in_flight: usize,
    connections: usize,
    transport: &'static str,
    against: &'static str,
    /// The better of these modes counts, on either side by itself.
    modes: &'static [Mode],
    figure: Figure,
    wanted: Wanted,
}

#[derive(Clone, Copy)]
enum Figure {
    /// Median time; less is better.
    Median,
    /// Calls a second; more is better.
    Rate,
}

/// The goal of a comparison.
#[derive(Clone, Copy)]
enum Wanted {
    AtMost(f64),
    AtLeast(f64),
    /// For orientation.
    Open,
}

const OURS: &str = "ipc-rpc";
const ALONE: [&[Mode]; 3] = [&[Mode::BLOCKING], &[Mode::CURRENT], &[Mode::MULTI]];
const ASYNC: [&[Mode]; 3] = [&[Mode::CURRENT], &[Mode::MULTI], &[Mode::CURRENT, Mode::MULTI]];

/// Prints a line for each comparison that the run has both sides of.
pub(crate) fn print(rows: &[Row]) {
    let head = [
        "case",
        "transport",
        "mode",
        "placed",
        "against",
        "figure",
        "ratio [least–most]",
        "wanted",
        "",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for comparison in comparisons() {
        for placement in [Placement::Same, Placement::Split, Placement::Free] {
            lines.extend(line(&comparison, placement, rows));
        }
    }
    if lines.len() > 1 {
        println!("\n### {OURS} against floors and peers: medians of the ratios within each run\n");
        print!("{}", markdown(&lines));
    }
}

fn comparisons() -> Vec<Comparison> {
    let mut all = Vec::new();
    let small = Comparison {
        case: Case::Echo,
        size: 32,
        in_flight: 1,
        connections: 1,
        transport: "unix",
        against: "raw",
        modes: &[],
        figure: Figure::Median,
        wanted: Wanted::AtMost(1.3),
    };
    all.extend(ALONE.map(|modes| Comparison { modes, ..small }));
    for in_flight in [1, 8, 64, 512] {
        let wanted = if in_flight == 64 {
            Wanted::AtLeast(2.0)
        } else {
            Wanted::Open
        };
        let many = Comparison {
            in_flight,
            against: "tarpc",
            figure: Figure::Rate,
            wanted,
            ..small
        };
        all.extend(ASYNC.map(|modes| Comparison { modes, ..many }));
    }
    let connections = Comparison {
        connections: 8,
        against: "tarpc",
        figure: Figure::Rate,
        wanted: Wanted::Open,
        ..small
    };
    all.extend(ASYNC.map(|modes| Comparison { modes, ..connections }));
    for size in [4 << 10, 64 << 10] {
        all.extend(ALONE.map(|modes| Comparison {
            size,
            modes,
            wanted: Wanted::Open,
            ..small
        }));
    }
    for case in [Case::Echo, Case::EchoBytes] {
        let large = Comparison {
            case,
            size: 1 << 20,
            wanted: Wanted::AtMost(1.5),
            ..small
        };
        all.extend(ALONE.map(|modes| Comparison { modes, ..large }));
    }
    let post = Comparison {
        case: Case::Post,
        figure: Figure::Rate,
        wanted: Wanted::Open,
        ..small
    };
    all.extend(ALONE.map(|modes| Comparison { modes, ..post }));
    all.extend(ALONE.map(|modes| Comparison {
        transport: "tcp",
        modes,
        wanted: Wanted::Open,
        ..small
    }));
    all
}

fn line(comparison: &Comparison, placement: Placement, rows: &[Row]) -> Option<Vec<String>> {
    let runs = rows.iter().map(|row| row.run).max()? + 1;
    let ratios = (0..runs).filter_map(|run| {
        let ours = best(comparison, OURS, placement, run, rows)?;
        Some(ours / best(comparison, comparison.against, placement, run, rows)?)
    });
    let ratio = spread(ratios)?;
    let figure = match comparison.figure {
        Figure::Median => "time",
        Figure::Rate => "calls/s",
    };
    let (wanted, verdict) = match comparison.wanted {
        Wanted::Open => (String::new(), ""),
        Wanted::AtMost(most) => (
            format!("≤ {most}"),
            if ratio.median <= most { "met" } else { "MISSED" },
        ),
        Wanted::AtLeast(least) => (
            format!("≥ {least}"),
            if ratio.median >= least { "met" } else { "MISSED" },
        ),
    };
    let mode = match comparison.modes {
        [mode] => mode.to_string(),
        _ => "best of each".to_owned(),
    };
    let size = if comparison.size < 1 << 10 {
        format!("{} B", comparison.size)
    } else {
        format!("{} KiB", comparison.size >> 10)
    };
    let case = match (comparison.in_flight, comparison.connections) {
        (1, 1) => format!("{} {size}", comparison.case),
        (in_flight, connections) => format!("{} {size}, {in_flight} × {connections}", comparison.case),
    };
    Some(vec![
        case,
        comparison.transport.to_owned(),
        mode,
        placement.to_string(),
        comparison.against.to_owned(),
        figure.to_owned(),
        format!("{:.2} [{:.2}–{:.2}]", ratio.median, ratio.least, ratio.most),
        wanted,
        verdict.to_owned(),
    ])
}

/// A system's figure in one run, in the better of the comparison's modes.
fn best(
    comparison: &Comparison,
    system: &str,
    placement: Placement,
    run: usize,
    rows: &[Row],
) -> Option<f64> {
    let figures = rows
        .iter()
        .filter(|row| {
            row.run == run
                && row.system == system
                && row.placement == placement
                && row.transport == comparison.transport
                && row.case == comparison.case
                && row.size == comparison.size
                && row.in_flight == comparison.in_flight
                && row.connections == comparison.connections
                && comparison.modes.contains(&row.mode)
        })
        .filter_map(|row| match comparison.figure {
            Figure::Median => row.p50_ns.map(|ns| ns as f64),
            Figure::Rate => row.calls_per_s,
        });
    match comparison.figure {
        Figure::Median => figures.min_by(f64::total_cmp),
        Figure::Rate => figures.max_by(f64::total_cmp),
    }
}
