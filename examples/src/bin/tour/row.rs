//! A row of the table: a client over one transport, and what came of its calls.

use std::fmt;
use std::time::{Duration, Instant};

use examples::text::{Counts, TextClient};
use ipc_rpc::Connect;

use crate::Failure;

pub(crate) struct Row {
    transport: &'static str,
    client: TextClient,
    /// How long each call took.
    times: Vec<Duration>,
    /// Bytes of text, of both directions.
    bytes: u64,
    /// What all texts come to.
    pub(crate) counts: Counts,
    /// Lines with the pattern.
    pub(crate) found: u64,
    /// Of all results.
    pub(crate) checksum: Checksum,
}

impl Row {
    pub(crate) const HEADING: &str =
        "transport     calls       bytes         p50         p99          checksum";

    pub(crate) fn new(transport: &'static str, connect: Connect<TextClient>) -> Result<Self, Failure> {
        let client = connect.wait()?;
        // The first call of a connection pays for things that the others do not.
        client.count("").wait()?;
        Ok(Self {
            transport,
            client,
            times: Vec::new(),
            bytes: 0,
            counts: Counts::default(),
            found: 0,
            checksum: Checksum::default(),
        })
    }

    /// Makes the three calls about one text.
    pub(crate) fn ask(&mut self, text: &str, pattern: &str) -> Result<(), Failure> {
        let counts = timed(&mut self.times, || self.client.count(text).wait())?;
        self.counts.lines += counts.lines;
        self.counts.words += counts.words;
        self.counts.bytes += counts.bytes;
        for count in [counts.lines, counts.words, counts.bytes] {
            self.checksum.add(&count.to_le_bytes());
        }

        let found = timed(&mut self.times, || self.client.search(text, pattern).wait())?;
        self.found += found.total;
        self.checksum.add(&found.total.to_le_bytes());
        for at in &found.matches {
            self.checksum.add(&at.line.to_le_bytes());
            self.checksum.add(&at.offset.to_le_bytes());
            self.checksum.add(at.text.as_bytes());
        }

        let tidied = timed(&mut self.times, || self.client.tidy(text.as_bytes()).wait())?;
        self.checksum.add(&tidied);
        let answered = found.matches.iter().map(|at| at.text.len()).sum::<usize>() + tidied.len();
        self.bytes += (3 * text.len() + answered) as u64;
        Ok(())
    }
}

fn timed<T>(times: &mut Vec<Duration>, call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let value = call();
    times.push(started.elapsed());
    value
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = Columns {
            name: self.transport,
            times: &self.times,
            bytes: self.bytes,
        };
        write!(formatter, "{columns}  {}", self.checksum)
    }
}

/// What all rows begin with.
pub(crate) struct Columns<'a> {
    pub(crate) name: &'a str,
    pub(crate) times: &'a [Duration],
    pub(crate) bytes: u64,
}

impl fmt::Display for Columns<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = self.times.to_vec();
        times.sort_unstable();
        let percentile = |percent: usize| times.get(times.len().saturating_sub(1) * percent / 100);
        let micros = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64) * 1e6;
        write!(
            formatter,
            "{:<9} {:>9} {:>11} {:>8.1} µs {:>8.1} µs",
            self.name,
            times.len(),
            self.bytes,
            micros(percentile(50)),
            micros(percentile(99)),
        )
    }
}

/// Mebibytes in a second, in words as wide as a checksum.
pub(crate) fn rate(mebibytes: f64) -> String {
    format!("{mebibytes:>10.1} MiB/s")
}

/// Counts in words.
pub(crate) fn lines(counts: &Counts) -> String {
    format!(
        "{} lines, {} words, {} bytes",
        counts.lines, counts.words, counts.bytes
    )
}

/// FNV-1a of 64 bits, as in <http://www.isthe.com/chongo/tech/comp/fnv/>. It shows that results agree; it is no defence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Adds a part, with its length, so that where one ends counts, too.
    fn add(&mut self, part: &[u8]) {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}
