//! The tables of BENCHMARKS.md: each stands between two marks, and is written anew from the rows of a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use bench_harness::{Error, Placement};

use crate::goals;
use crate::pick::{Figure, best, best_variant, runs};
use crate::plan::{IN_FLIGHT, MANY, SIZES, matches};
use crate::row::Row;
use crate::statistics::{number, time};
use crate::table::{markdown, size, title};

const BEGIN: &str = "<!-- figures: ";
const END: &str = "<!-- end of figures -->";

/// What is measured by, not measured: no peer can be as fast as a floor.
pub(crate) const FLOORS: [&str; 5] = ["ring", "conveyor", "vm-readv", "memcpy", "raw"];

/// A column: its heading, what it shows, of which rows.
struct Column {
    heading: String,
    pattern: String,
    figure: Figure,
    /// By which figure the best of a system's variants is chosen.
    by: Figure,
}

/// Writes the tables of `file` anew; the description of the machine, too, if the rows are `of_this_machine`.
pub(crate) fn rewrite(file: &Path, rows: &[Row], of_this_machine: bool) -> Result<(), Error> {
    let old = fs::read_to_string(file)?;
    let mut new = String::new();
    let mut rest = old.as_str();
    while let Some(begin) = rest.find(BEGIN) {
        let after = &rest[begin + BEGIN.len()..];
        let name = after.split(" -->").next().unwrap_or_default();
        let end = after
            .find(END)
            .ok_or_else(|| format!("{}: the figures {name:?} have no end", file.display()))?;
        let body = &after[name.len() + " -->".len()..end];
        let kept = name == "machine" && !of_this_machine;
        let body = if kept {
            body.trim().to_owned()
        } else {
            table(name, rows).ok_or_else(|| format!("{}: no figures are called {name:?}", file.display()))?
        };
        new.push_str(&rest[..begin]);
        new.push_str(&format!("{BEGIN}{name} -->\n{}\n{END}", body.trim_end()));
        rest = &after[end + END.len()..];
    }
    new.push_str(rest);
    Ok(fs::write(file, new)?)
}

fn table(name: &str, rows: &[Row]) -> Option<String> {
    Some(match name {
        "machine" => machine(rows),
        "goals" => goals::table(rows),
        "small" => pivot(rows, &small(Placement::Free)),
        "small-same" => pivot(rows, &small(Placement::Same)),
        "small-split" => pivot(rows, &small(Placement::Split)),
        "lrpc" => pivot(rows, &lrpc()),
        "echo" => pivot(rows, &sizes("echo")),
        "sum" => pivot(rows, &sizes("sum")),
        "in-flight" => pivot(rows, &in_flight()),
        "connections" => pivot(rows, &connections()),
        "one-way" => pivot(rows, &one_way()),
        "silence" => pivot(rows, &silence()),
        "beside" => pivot(rows, &beside()),
        "idle" => pivot(rows, &idle()),
        "losses" => losses(rows),
        _ => return None,
    })
}

fn column(heading: impl Into<String>, pattern: impl Into<String>, figure: Figure, by: Figure) -> Column {
    Column {
        heading: heading.into(),
        pattern: pattern.into(),
        figure,
        by,
    }
}

fn small(placement: Placement) -> Vec<Column> {
    let pattern = format!("case=echo size=32 in_flight=1 connections=1 placement={placement}");
    [
        ("p50", Figure::Median),
        ("p99", Figure::Tail),
        ("processor time of a call", Figure::Processor),
        ("memory of both", Figure::Memory),
    ]
    .map(|(heading, figure)| column(heading, pattern.clone(), figure, Figure::Median))
    .into()
}

fn lrpc() -> Vec<Column> {
    ["null", "add", "big_in", "big_in_out"]
        .map(|case| {
            column(
                case,
                format!("case={case} placement=free"),
                Figure::Median,
                Figure::Median,
            )
        })
        .into()
}

fn sizes(case: &str) -> Vec<Column> {
    SIZES
        .map(|bytes| {
            let pattern = format!("case={case} size={bytes} in_flight=1 connections=1 placement=free");
            column(size(bytes), pattern, Figure::Median, Figure::Median)
        })
        .into()
}

fn in_flight() -> Vec<Column> {
    IN_FLIGHT
        .map(|many| {
            let pattern = format!("case=echo size=32 in_flight={many} connections=1 placement=free");
            column(many.to_string(), pattern, Figure::Rate, Figure::Rate)
        })
        .into()
}

fn connections() -> Vec<Column> {
    let pattern = "case=echo size=32 in_flight=1 connections=8 placement=free";
    [
        ("calls/s", Figure::Rate),
        ("p99", Figure::Tail),
        ("slowest of fastest", Figure::Share),
    ]
    .map(|(heading, figure)| column(heading, pattern, figure, Figure::Rate))
    .into()
}

fn one_way() -> Vec<Column> {
    let pattern = "case=post placement=free";
    vec![
        column("messages/s", pattern, Figure::Rate, Figure::Rate),
        column("processor time of one", pattern, Figure::Processor, Figure::Rate),
    ]
}

fn silence() -> Vec<Column> {
    let mut all = Vec::new();
    for (case, silence) in [("after_1ms", "1 ms"), ("after_10ms", "10 ms")] {
        let placements = [("free", "free"), ("same", "one processor"), ("split", "two")];
        // The shorter silence is measured in one placement.
        for (placement, placed) in placements.into_iter().take(if silence == "1 ms" { 1 } else { 3 }) {
            let pattern = format!("case={case} placement={placement}");
            all.push(column(
                format!("{silence}, {placed}"),
                pattern,
                Figure::Median,
                Figure::Median,
            ));
        }
    }
    all
}

fn beside() -> Vec<Column> {
    let alone = "case=echo size=32 in_flight=1 connections=1 placement=free";
    let mut all = vec![column("alone: p99", alone, Figure::Tail, Figure::Tail)];
    for bytes in [1 << 20, 64 << 20] {
        let pattern = format!("case=beside size={bytes} placement=free");
        let size = size(bytes);
        all.push(column(
            format!("beside {size}: p99"),
            pattern.clone(),
            Figure::Tail,
            Figure::Tail,
        ));
        all.push(column(
            format!("{size} bodies/s"),
            pattern,
            Figure::Beside,
            Figure::Tail,
        ));
    }
    all
}

fn idle() -> Vec<Column> {
    let pattern = |connections| format!("case=idle connections={connections}");
    vec![
        column("1 connection", pattern(1), Figure::Idle, Figure::Idle),
        column(
            format!("{MANY} connections"),
            pattern(MANY),
            Figure::Idle,
            Figure::Idle,
        ),
        column(
            "server's memory, 1",
            pattern(1),
            Figure::ServerMemory,
            Figure::ServerMemory,
        ),
        column(
            format!("server's memory, {MANY}"),
            pattern(MANY),
            Figure::ServerMemory,
            Figure::ServerMemory,
        ),
    ]
}

/// A line for each system and transport, the best of its modes in each cell; under it, why cells are empty.
fn pivot(rows: &[Row], columns: &[Column]) -> String {
    let wanted = |row: &Row| {
        let words = row.words();
        columns.iter().any(|column| matches(&column.pattern, words))
    };
    let mut systems: Vec<(&str, &str)> = Vec::new();
    for row in rows.iter().filter(|row| wanted(row)) {
        let system = (row.system.as_str(), row.transport.as_str());
        if !systems.contains(&system) {
            systems.push(system);
        }
    }
    // Ours, then the peers, then the floors; each in the order of the run.
    systems.sort_by_key(|(system, _)| match *system {
        "ipc-rpc" => 0,
        system if FLOORS.contains(&system) => 2,
        _ => 1,
    });
    let headings = ["system"].into_iter().map(str::to_owned);
    let mut lines = vec![
        headings
            .chain(columns.iter().map(|column| column.heading.clone()))
            .collect::<Vec<_>>(),
    ];
    let mut notes: BTreeMap<(usize, String), Vec<&str>> = BTreeMap::new();
    for (place, (system, transport)) in systems.into_iter().enumerate() {
        let mut line = vec![called(system, transport)];
        for column in columns {
            let pattern = format!("{} system={system} transport={transport}", column.pattern);
            let cell = match best(rows, &pattern, column.by, column.figure) {
                Some(value) => write(column.figure, value),
                None => {
                    if let Some(row) = rows
                        .iter()
                        .find(|row| matches(&pattern, row.words()) && !row.note.is_empty())
                    {
                        let reason = format!("{}: {}", called(system, transport), row.note);
                        let headings = notes.entry((place, reason)).or_default();
                        if !headings.contains(&column.heading.as_str()) {
                            headings.push(&column.heading);
                        }
                    }
                    "–".to_owned()
                }
            };
            line.push(cell);
        }
        lines.push(line);
    }
    if lines.len() == 1 {
        return "(not measured)".to_owned();
    }
    let mut text = markdown(&lines);
    for ((_, reason), headings) in notes {
        text.push_str(&format!("\n– {reason} ({})\n", headings.join("; ")));
    }
    text
}

/// What the tables call a system over a transport.
pub(crate) fn called(system: &str, transport: &str) -> String {
    let floor = if FLOORS.contains(&system) { "floor: " } else { "" };
    match (system, transport) {
        ("ipc-rpc", _) => format!("**ipc-rpc**, {transport}:"),
        ("memcpy" | "vm-readv" | "conveyor", _) | (_, "unix") if system != "raw" => {
            format!("{floor}{system}")
        }
        _ => format!("{floor}{system}, {transport}"),
    }
}

fn write(figure: Figure, value: f64) -> String {
    match figure {
        Figure::Median | Figure::Tail | Figure::Processor | Figure::Idle => time(value),
        Figure::Rate | Figure::Beside => number(value),
        Figure::Share => format!("{value:.2}"),
        Figure::Memory | Figure::ServerMemory => format!("{:.1} MiB", value / 1024.0),
    }
}

/// Every cell in which a peer does better than our best transport between processes.
fn losses(rows: &[Row]) -> String {
    let mut seen = Vec::new();
    let mut lost = Vec::new();
    for row in rows {
        let key = (row.load(), row.placement);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let figure = match row.load().call() {
            _ if row.case == bench_harness::Case::Idle => Figure::Idle,
            bench_harness::Call::Post => Figure::Rate,
            _ if row.in_flight > 1 || row.connections > 1 => Figure::Rate,
            _ => Figure::Median,
        };
        let words = format!(
            "case={} size={} in_flight={} connections={} placement={}",
            row.case, row.size, row.in_flight, row.connections, row.placement
        );
        let here: Vec<Row> = rows
            .iter()
            .filter(|row| matches(&words, row.words()) && row.transport != "mem")
            .cloned()
            .collect();
        let (ours, peers): (Vec<Row>, Vec<Row>) = here
            .into_iter()
            .filter(|row| !FLOORS.contains(&row.system.as_str()))
            .partition(|row| row.system == "ipc-rpc");
        let (Some(own), Some(theirs)) = (best(&ours, "", figure, figure), best(&peers, "", figure, figure))
        else {
            continue;
        };
        let advantage = figure.advantage(own, theirs);
        if advantage < 1.0 {
            lost.push((
                advantage,
                vec![
                    title(row.load()),
                    row.placement.to_string(),
                    format!("{} ({})", write(figure, own), of(&ours, figure)),
                    format!("{} ({})", write(figure, theirs), of(&peers, figure)),
                    format!("{:.2}", 1.0 / advantage),
                ],
            ));
        }
    }
    if lost.is_empty() {
        return "(none in this run)".to_owned();
    }
    lost.sort_by(|a, b| a.0.total_cmp(&b.0));
    let head = ["case", "placed", "ipc-rpc", "the best peer", "better by"].map(str::to_owned);
    let lines: Vec<_> = [head.to_vec()]
        .into_iter()
        .chain(lost.into_iter().map(|(_, line)| line))
        .collect();
    markdown(&lines)
}

/// Which variant is best by a figure: `tarpc unix ct/ct`.
fn of(rows: &[Row], by: Figure) -> String {
    let words = best_variant(rows, "", by).unwrap_or_default();
    let value = |name: &str| {
        let word = words.split(' ').find_map(|word| word.strip_prefix(name));
        word.unwrap_or_default().to_owned()
    };
    match value("system=").as_str() {
        "ipc-rpc" => format!("{} {}", value("transport="), value("mode=")),
        system => format!("{system} {} {}", value("transport="), value("mode=")),
    }
}

/// The machine and the program, as the system tells.
fn machine(rows: &[Row]) -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("a processor without a name", |(_, name)| name.trim());
    let processors = bench_harness::processors().map_or(0, |all| all.len());
    let virtual_ones = if processor.contains(" hypervisor") {
        "virtual "
    } else {
        ""
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kib| kib.div_ceil(1 << 20));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let disturbed = rows
        .iter()
        .filter(|row| row.others.is_some_and(|others| others > crate::run::DISTURBED))
        .count();
    format!(
        "{model}, {processors} {virtual_ones}processors, {gib} GiB, Linux {}, {}; {} run(s), {} measurements, {disturbed} of them \
         while something else kept the machine busy.",
        kernel.trim(),
        said("rustc", "--version"),
        runs(rows),
        rows.len(),
    )
}

fn said(program: &str, word: &str) -> String {
    let output = Command::new(program).arg(word).output();
    output.map_or_else(
        |_| format!("an unknown {program}"),
        |output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.split(" (").next().unwrap_or_default().trim().to_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use bench_harness::{Case, Load, Mode, Variant};

    use super::*;

    fn row(system: &str, transport: &str, p50_ns: u64) -> Row {
        let load = Load {
            case: Case::Echo,
            size: 32,
            in_flight: 1,
            connections: 1,
        };
        let variant = Variant {
            system: system.to_owned(),
            transport: transport.to_owned(),
            mode: Mode::BLOCKING,
            in_process: false,
        };
        let mut row = Row::unable(&(load, variant, Placement::Free), 0, "");
        row.p50_ns = Some(p50_ns);
        row.p99_ns = Some(2 * p50_ns);
        row
    }

    #[test]
    fn the_document_keeps_its_text_and_gets_its_tables() {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../BENCHMARKS.md");
        let old = fs::read_to_string(document).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy.md");
        fs::write(&copy, &old).unwrap();
        let rows = [
            row("ipc-rpc", "shm", 400),
            row("tarpc", "unix", 300),
            row("ring", "spin", 100),
        ];
        rewrite(&copy, &rows, false).unwrap();
        let new = fs::read_to_string(&copy).unwrap();
        let outside = |text: &str| {
            text.split(BEGIN)
                .map(|part| part.rsplit(END).next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(outside(&new), outside(&old));
        assert!(new.contains("| **ipc-rpc**, shm: | 400 ns | 800 ns |"), "{new}");
        // Ours less the ring's.
        let goal = new
            .lines()
            .find(|line| line.contains("32 B, blocking: p50 above the ring's"));
        assert!(
            goal.is_some_and(|line| line.contains("| 300 ns [300 ns–300 ns]")),
            "{goal:?}"
        );
        // The peer that is faster is named, and by how much.
        assert!(
            new.contains("400 ns (shm blocking/mt) | 300 ns (tarpc unix blocking/mt) | 1.33"),
            "{new}"
        );
        // What is written once more is the same.
        rewrite(&copy, &rows, false).unwrap();
        assert_eq!(fs::read_to_string(&copy).unwrap(), new);
    }

    #[test]
    fn a_mark_that_nobody_knows_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file.md");
        fs::write(&file, format!("{BEGIN}nothing -->\n{END}\n")).unwrap();
        rewrite(&file, &[], false).unwrap_err();
    }
}
