//! A whole run: everything planned, in turn, as often as asked; then the tables.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench_harness::{Error, Job, Measured, Offer, Placement, busy, offers, processors};

use crate::arguments::Arguments;
use crate::measure::measure;
use crate::row::Row;
use crate::{charts, goals, peers, plan, ratios, report, systems, table};

/// Processors that may be busy with something else before a measurement counts as disturbed. A compiler takes a whole
/// one; the ticks in which the kernel counts are off by up to a tenth.
pub(crate) const DISTURBED: f64 = 0.15;

/// Something to measure, and the binary that can.
struct Entry {
    offer: Offer,
    placement: Placement,
    binary: PathBuf,
}

/// Does what the arguments ask.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Error> {
    if cfg!(debug_assertions) {
        eprintln!("bench: built without --release, so the figures mean nothing");
    }
    let rows = match &arguments.from {
        Some(file) => read(file)?,
        None => {
            let entries = entries(arguments)?;
            if arguments.list {
                entries
                    .iter()
                    .for_each(|entry| println!("{}", plan::words(&entry.offer, entry.placement)));
                return Ok(());
            }
            measured(arguments, &entries)?
        }
    };
    table::print(&rows);
    ratios::print(&rows);
    if arguments.goals {
        println!("\n### {}\n\n{}", goals::title(&rows), goals::table(&rows));
    }
    if let Some(file) = &arguments.report {
        report::rewrite(file, &rows, arguments.from.is_none())?;
    }
    if let Some(directory) = &arguments.charts {
        charts::draw(directory, &rows)?;
    }
    Ok(())
}

/// The rows of an earlier run.
fn read(file: &Path) -> Result<Vec<Row>, Error> {
    let lines = std::fs::read_to_string(file)?;
    let rows: Result<Vec<Row>, _> = lines.lines().map(serde_json::from_str).collect();
    Ok(rows.map_err(|error| format!("{}: {error}", file.display()))?)
}

/// Measures everything, run by run.
fn measured(arguments: &Arguments, entries: &[Entry]) -> Result<Vec<Row>, Error> {
    let mut json = match &arguments.json {
        Some(path) => Some(BufWriter::new(File::create(path)?)),
        None => None,
    };
    let mut rows = Vec::new();
    for run in 0..arguments.runs {
        for (done, entry) in interleaved(entries, run).enumerate() {
            progress(run, arguments.runs, done, entries.len());
            let row = row(arguments, entry, run)?;
            if let Some(json) = &mut json {
                serde_json::to_writer(&mut *json, &row)?;
                writeln!(json)?;
                // A run takes long: what is measured is kept if it ends early.
                json.flush()?;
            }
            rows.push(row);
        }
    }
    let disturbed = rows
        .iter()
        .filter(|row| row.others.is_some_and(|others| others > DISTURBED))
        .count();
    if disturbed > 0 {
        println!(
            "{disturbed} of {} measurements were disturbed: other programs kept over {DISTURBED} of a processor busy.",
            rows.len()
        );
    }
    Ok(rows)
}

fn entries(arguments: &Arguments) -> Result<Vec<Entry>, Error> {
    let loads = plan::loads();
    let own = std::env::current_exe()?;
    let mut offered: Vec<_> = offers(systems::ALL, &loads)
        .into_iter()
        .map(|offer| (offer, own.clone()))
        .collect();
    if arguments.peers {
        let binary = peers::build()?;
        let theirs = peers::offers(&binary, &loads)?;
        offered.extend(theirs.into_iter().map(|offer| (offer, binary.clone())));
    } else {
        eprintln!("bench: without the peers (--peers builds and measures them)");
    }
    let processors = processors()?.len();
    if processors < 2 {
        eprintln!("bench: only one processor is allowed, so nothing is measured across two");
    }
    let mut entries = Vec::new();
    // By load and placement, so that what is compared is measured within a second or two of each other.
    for load in &loads {
        for placement in [Placement::Same, Placement::Split, Placement::Free] {
            for (offer, binary) in offered.iter().filter(|(offer, _)| offer.load == *load) {
                if plan::placements(offer, processors, arguments.quick).contains(&placement)
                    && arguments.wants(&plan::words(offer, placement))
                {
                    entries.push(Entry {
                        offer: offer.clone(),
                        placement,
                        binary: binary.clone(),
                    });
                }
            }
        }
    }
    if entries.is_empty() {
        return Err("nothing to measure matches --only; --list shows what there is".into());
    }
    Ok(entries)
}

/// The order of a run. Within a load and placement, every second run goes backwards: whatever a measurement leaves
/// behind (warm caches, a clock that has sped up) does not always meet the same successor.
fn interleaved(entries: &[Entry], run: usize) -> impl Iterator<Item = &Entry> {
    entries
        .chunk_by(|a, b| a.offer.load == b.offer.load && a.placement == b.placement)
        .flat_map(move |group| {
            let last = group.len() - 1;
            (0..group.len()).map(move |at| &group[if run % 2 == 1 { last - at } else { at }])
        })
}

/// Measures, again and again if other processes disturb it and patience lasts; the least disturbed attempt counts.
fn row(arguments: &Arguments, entry: &Entry, run: usize) -> Result<Row, Error> {
    let key = (entry.offer.load, entry.offer.variant.clone(), entry.placement);
    if !entry.offer.able {
        return Ok(Row::unable(&key, run, &entry.offer.note));
    }
    let patient_until = Instant::now() + arguments.patience;
    let mut best: Option<Row> = None;
    loop {
        while Instant::now() < patient_until && busy(Duration::from_millis(100))? > DISTURBED {}
        let measured = attempt(arguments, entry)?;
        let row = Row::new(&key, run, &entry.offer.note, measured);
        let quiet = row.others.is_none_or(|others| others <= DISTURBED);
        if best
            .as_ref()
            .is_none_or(|best| row.failed || row.others < best.others)
        {
            best = Some(row);
        }
        match best {
            Some(row) if quiet || Instant::now() >= patient_until => return Ok(row),
            _ => {}
        }
    }
}

fn attempt(arguments: &Arguments, entry: &Entry) -> Result<Result<Measured, String>, Error> {
    let Offer { variant, load, .. } = &entry.offer;
    let directory = tempfile::Builder::new().prefix("bench-").tempdir()?;
    let job = Job {
        variant: variant.clone(),
        load: *load,
        placement: entry.placement,
        warm_up: arguments.warm_up,
        measure: arguments.measure(load),
        directory: directory.path().to_owned(),
        address: String::new(),
        server: None,
    };
    Ok(measure(&entry.binary, job).map_err(|error| {
        eprintln!("bench: {}: {error}", plan::words(&entry.offer, entry.placement));
        error.to_string()
    }))
}

fn progress(run: usize, runs: usize, done: usize, all: usize) {
    if std::io::stderr().is_terminal() {
        eprint!("\rrun {} of {runs}: {done} of {all} \x1b[K", run + 1);
    }
}
