//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use bench_harness::Error;
use lexopt::prelude::{Long, Short, ValueExt};

const USAGE: &str = "\
usage: bench [--only PATTERN]... [--quick] [--runs N] [--json FILE] [--peers] [--patience SECONDS]

  --only PATTERN  measure only what has each word of PATTERN (with `=`: that very word; without: anywhere in it);
                  repeated: any of the patterns. What is matched:
                  \"case=echo size=32 in_flight=64 connections=1 placement=same system=raw transport=unix mode=ct/ct\"
  --list          print what would be measured, in the same words, and stop
  --quick         shorter windows; 3 runs unless --runs says otherwise
  --runs N        how often everything is measured, in turn (default 5)
  --json FILE     one line for each measurement
  --patience SECONDS
                  wait so long, for each measurement, until nothing else uses the machine, and measure again what was
                  disturbed all the same (default 0); the least disturbed measurement counts
  --peers         build benchmarks/peers first (without it, they are measured if they were built before)";

/// What is asked for.
pub(crate) struct Arguments {
    /// Patterns of words; empty: everything.
    pub(crate) only: Vec<String>,
    /// Print the plan instead of measuring.
    pub(crate) list: bool,
    /// Interleaved repetitions.
    pub(crate) runs: usize,
    /// Where rows go.
    pub(crate) json: Option<PathBuf>,
    /// Build the peers' binary.
    pub(crate) peers: bool,
    /// How long to try for an undisturbed measurement.
    pub(crate) patience: Duration,
    /// How long calls are made before they count.
    pub(crate) warm_up: Duration,
    /// How long they count.
    pub(crate) measure: Duration,
    /// How long an idle connection is watched.
    pub(crate) idle: Duration,
}

impl Arguments {
    /// Reads the process's own command line; prints the usage and ends the process if asked to.
    pub(crate) fn parse() -> Result<Self, Error> {
        let mut parser = lexopt::Parser::from_env();
        let (mut only, mut runs, mut json) = (Vec::new(), None, None);
        let (mut list, mut quick, mut peers, mut patience) = (false, false, false, 0);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("only") => only.push(parser.value()?.string()?),
                Long("list") => list = true,
                Long("quick") => quick = true,
                Long("runs") => runs = Some(parser.value()?.parse()?),
                Long("json") => json = Some(PathBuf::from(parser.value()?)),
                Long("patience") => patience = parser.value()?.parse()?,
                Long("peers") => peers = true,
                Long("help") | Short('h') => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
            }
        }
        let runs = runs.unwrap_or(if quick { 3 } else { 5 });
        if runs == 0 {
            return Err("--runs must be at least 1".into());
        }
        Ok(Self {
            only,
            list,
            runs,
            json,
            peers,
            patience: Duration::from_secs(patience),
            warm_up: Duration::from_millis(200),
            measure: Duration::from_millis(if quick { 150 } else { 400 }),
            idle: Duration::from_secs(if quick { 1 } else { 5 }),
        })
    }

    /// Whether `words` (see the usage) are asked for.
    pub(crate) fn wants(&self, words: &str) -> bool {
        // "case=echo" does not mean "case=echo_bytes", but "echo" means both.
        let has = |word: &str| match word.contains('=') {
            true => words.split(' ').any(|other| other == word),
            false => words.contains(word),
        };
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|pattern| pattern.split_whitespace().all(has))
    }
}
