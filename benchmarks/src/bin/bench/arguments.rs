//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use bench_harness::{Case, Error, Load};
use lexopt::prelude::{Long, Short, ValueExt};

use crate::plan::matches;

const USAGE: &str = "\
usage: bench [--only PATTERN]... [--quick] [--runs N] [--peers] [--patience SECONDS] [--json FILE] [--from FILE]
             [--goals] [--report FILE] [--charts DIRECTORY]

what is measured
  --only PATTERN  only what has each word of PATTERN (with `=`: that very word, or one of several with commas between;
                  without: anywhere in it); repeated: any of the patterns. What is matched:
                  \"case=echo size=32 in_flight=64 connections=1 placement=same system=raw transport=unix mode=ct/ct\"
  --goals         only what the goals speak of (see below), unless --only or --report says otherwise
  --quick         fewer cases, shorter windows; 1 run unless --runs says otherwise
  --runs N        how often everything is measured, in turn (default 5)
  --patience SECONDS
                  wait so long, for each measurement, until nothing else uses the machine, and measure again what was
                  disturbed all the same (default 0); the least disturbed measurement counts
  --peers         build benchmarks/peers and measure them, too
  --list          print what would be measured, in the words of --only, and stop

what becomes of it
  --json FILE     one line for each measurement
  --from FILE     measure nothing: take the lines that --json wrote
  --goals         a table of the ratios that ipc-rpc wants to reach, each with its goal
  --report FILE   rewrite the tables in FILE, between the lines `<!-- figures: NAME -->` and `<!-- end of figures -->`
  --charts DIRECTORY
                  write charts there, as SVG";

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
    /// Where they come from, if nothing is measured.
    pub(crate) from: Option<PathBuf>,
    /// Compare with the goals.
    pub(crate) goals: bool,
    /// The document whose tables are rewritten.
    pub(crate) report: Option<PathBuf>,
    /// Where charts go.
    pub(crate) charts: Option<PathBuf>,
    /// Fewer cases.
    pub(crate) quick: bool,
    /// Build the peers' binary, and measure them.
    pub(crate) peers: bool,
    /// How long to try for an undisturbed measurement.
    pub(crate) patience: Duration,
    /// How long calls are made before they count.
    pub(crate) warm_up: Duration,
    /// How long they count, at least.
    measure: Duration,
    /// How long an idle connection is watched.
    idle: Duration,
}

impl Arguments {
    /// Reads the process's own command line; prints the usage and ends the process if asked to.
    pub(crate) fn parse() -> Result<Self, Error> {
        let mut parser = lexopt::Parser::from_env();
        let (mut only, mut runs, mut json) = (Vec::new(), None, None);
        let (mut list, mut quick, mut peers, mut patience) = (false, false, false, 0);
        let (mut from, mut report, mut charts, mut goals) = (None, None, None, false);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("only") => only.push(parser.value()?.string()?),
                Long("list") => list = true,
                Long("quick") => quick = true,
                Long("runs") => runs = Some(parser.value()?.parse()?),
                Long("json") => json = Some(PathBuf::from(parser.value()?)),
                Long("from") => from = Some(PathBuf::from(parser.value()?)),
                Long("report") => report = Some(PathBuf::from(parser.value()?)),
                Long("charts") => charts = Some(PathBuf::from(parser.value()?)),
                Long("goals") => goals = true,
                Long("patience") => patience = parser.value()?.parse()?,
                Long("peers") => peers = true,
                Long("help") | Short('h') => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
            }
        }
        let runs = runs.unwrap_or(if quick { 1 } else { 5 });
        if runs == 0 {
            return Err("--runs must be at least 1".into());
        }
        if goals && report.is_none() && only.is_empty() {
            only = crate::goals::patterns();
        }
        Ok(Self {
            only,
            list,
            runs,
            json,
            from,
            goals,
            report,
            charts,
            quick,
            peers,
            patience: Duration::from_secs(patience),
            warm_up: Duration::from_millis(200),
            measure: Duration::from_millis(if quick { 80 } else { 300 }),
            idle: Duration::from_secs(if quick { 1 } else { 5 }),
        })
    }

    /// How long the calls of `load` count: long enough for a median of them.
    pub(crate) fn measure(&self, load: &Load) -> Duration {
        let least = |seconds: f64| Duration::from_secs_f64(if self.quick { seconds / 3.0 } else { seconds });
        match load.case {
            Case::Idle => self.idle,
            Case::After1Ms => self.measure.max(least(0.5)),
            Case::After10Ms => self.measure.max(least(1.5)),
            _ if load.size > 1 << 20 => self.measure.max(least(1.2)),
            _ => self.measure,
        }
    }

    /// Whether `words` (see the usage) are asked for.
    pub(crate) fn wants(&self, words: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| matches(pattern, words))
    }
}
