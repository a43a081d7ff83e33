//! The last row: all texts at once, in memory that travels with the call and is not copied into a message.

use std::fmt;
use std::time::{Duration, Instant};

use examples::text::{Counts, TextClient};

use crate::Failure;
use crate::row::{self, Columns};

/// How often the texts are counted.
const TIMES: u32 = 10;
/// As much as they may come to. A message takes 64 MiB, and so does the memory of a connection.
const MOST: usize = 32 << 20;

/// Texts behind one another, and what they come to.
#[derive(Default)]
pub(crate) struct Texts {
    all: String,
    counts: Counts,
    full: bool,
}

impl Texts {
    /// Appends a text, after which all of them come to `counts`. From the first on that does not fit, none is taken.
    pub(crate) fn push(&mut self, text: &str, counts: &Counts) {
        self.full |= self.all.len() + text.len() >= MOST;
        if self.full {
            return;
        }
        self.all.push_str(text);
        if !text.is_empty() && !text.ends_with('\n') {
            self.all.push('\n');
        }
        self.counts = *counts;
    }

    /// Has them counted again and again.
    pub(crate) fn count(&self, client: &TextClient) -> Result<Large, Failure> {
        let mut times = Vec::new();
        for _ in 0..=TIMES {
            let started = Instant::now();
            let mut text = client.alloc(self.all.len())?;
            text.copy_from_slice(self.all.as_bytes());
            let counts = client.count_all(text).wait()?;
            times.push(started.elapsed());
            let expected = Counts {
                bytes: self.all.len() as u64,
                ..self.counts
            };
            if counts != expected {
                return Err("all texts at once come to something else than one by one".into());
            }
        }
        // The first pays for fresh memory.
        times.remove(0);
        Ok(Large {
            bytes: self.all.len() as u64 * times.len() as u64,
            times,
        })
    }
}

pub(crate) struct Large {
    times: Vec<Duration>,
    bytes: u64,
}

impl fmt::Display for Large {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = Columns {
            name: "large",
            times: &self.times,
            bytes: self.bytes,
        };
        let seconds = self.times.iter().sum::<Duration>().as_secs_f64();
        let rate = self.bytes as f64 / f64::from(1 << 20) / seconds;
        write!(formatter, "{columns}  {}", row::rate(rate))
    }
}
