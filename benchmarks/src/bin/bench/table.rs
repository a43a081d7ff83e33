//! The table of medians, as Markdown that also reads well on a terminal.

use bench_harness::{Case, Load, SMALL};

use crate::row::Row;
use crate::statistics::{number, spread, time};

/// Prints a table for each load, a line for each variant and placement.
pub(crate) fn print(rows: &[Row]) {
    let mut loads: Vec<Load> = Vec::new();
    for row in rows {
        if !loads.contains(&row.load()) {
            loads.push(row.load());
        }
    }
    for wanted in loads {
        let mut lines = vec![head(wanted.case)];
        let mut seen = Vec::new();
        for row in rows.iter().filter(|row| row.load() == wanted) {
            if !seen.contains(&key(row)) {
                seen.push(key(row));
                let same: Vec<&Row> = rows
                    .iter()
                    .filter(|other| other.load() == wanted && key(other) == key(row))
                    .collect();
                lines.push(line(wanted.case, &same));
            }
        }
        println!("\n### {}\n", title(wanted));
        print!("{}", markdown(&lines));
    }
}

/// Pads the cells, so that columns stand under each other; the first line is the head.
pub(crate) fn markdown(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        })
        .collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("| {cell:<width$} "));
        }
        text.push_str("|\n");
        if at == 0 {
            widths
                .iter()
                .for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

/// A size as people write it.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

/// A load as people call it.
pub(crate) fn title(load: Load) -> String {
    let size = size(load.size);
    match load.case {
        Case::Null => "null".to_owned(),
        Case::Add => "add".to_owned(),
        Case::Idle => format!("idle, {} connection(s)", load.connections),
        Case::Post => format!("post {size}, one way"),
        Case::After1Ms => format!("echo {size} after 1 ms of silence"),
        Case::After10Ms => format!("echo {size} after 10 ms of silence"),
        Case::Beside => format!("echo {} beside echoes of {size}", self::size(SMALL)),
        case => match (load.in_flight, load.connections) {
            (1, 1) => format!("{case} {size}"),
            (in_flight, 1) => format!("{case} {size}, {in_flight} in flight"),
            (in_flight, connections) => format!("{case} {size}, {connections} connections × {in_flight}"),
        },
    }
}

fn head(case: Case) -> Vec<String> {
    let figures: &[&str] = match case {
        Case::Idle => &["processors busy"],
        Case::Post => &["messages/s [least–most]", "cpu/message"],
        Case::Beside => &["p50 [least–most]", "p99", "calls/s", "large/s", "cpu/call"],
        _ => &["p50 [least–most]", "p99", "calls/s", "cpu/call"],
    };
    let first = ["system", "transport", "mode", "placed"];
    first
        .iter()
        .chain(figures)
        .chain(&["memory", "note"])
        .map(|&cell| cell.to_owned())
        .collect()
}

/// The medians of rows that differ in their run only.
fn line(case: Case, rows: &[&Row]) -> Vec<String> {
    let first = rows[0];
    let mut cells = vec![
        first.system.clone(),
        first.transport.clone(),
        first.mode.to_string(),
        first.placement.to_string(),
    ];
    let of = |figure: fn(&Row) -> Option<f64>| spread(rows.iter().filter_map(|row| figure(row)));
    let median = |figure: fn(&Row) -> Option<f64>, write: fn(f64) -> String| {
        of(figure).map_or_else(String::new, |spread| write(spread.median))
    };
    let with_extremes = |figure: fn(&Row) -> Option<f64>, write: fn(f64) -> String| {
        of(figure).map_or_else(String::new, |spread| {
            format!(
                "{} [{}–{}]",
                write(spread.median),
                write(spread.least),
                write(spread.most)
            )
        })
    };
    match case {
        Case::Idle => cells.push(median(
            |row| row.processors,
            |share| format!("{:.4} %", share * 100.0),
        )),
        Case::Post => {
            cells.push(with_extremes(|row| row.calls_per_s, number));
            cells.push(median(|row| row.cpu_ns_per_call, time));
        }
        case => {
            cells.push(with_extremes(|row| row.p50_ns.map(|ns| ns as f64), time));
            cells.push(median(|row| row.p99_ns.map(|ns| ns as f64), time));
            cells.push(median(|row| row.calls_per_s, number));
            if case == Case::Beside {
                cells.push(median(|row| row.beside_per_s, number));
            }
            cells.push(median(|row| row.cpu_ns_per_call, time));
        }
    }
    cells.push(median(
        |row| row.rss_kb.map(|kb| kb as f64),
        |kb| format!("{:.1} MiB", kb / 1024.0),
    ));
    // A failure in any run is said, even if the others worked.
    let note = rows
        .iter()
        .find(|row| row.failed)
        .map_or(first.note.clone(), |row| format!("FAILED: {}", row.note));
    cells.push(note);
    cells
}

fn key(row: &Row) -> (&str, &str, bench_harness::Mode, bench_harness::Placement) {
    (&row.system, &row.transport, row.mode, row.placement)
}
