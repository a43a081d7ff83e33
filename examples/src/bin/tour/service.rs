//! The service: what is asked about a text. It is the same code in both processes.

use examples::text::{Counts, EmptyPattern, Found, MAX_MATCHES, Match, NotText, Text};
use ipc_rpc::View;

pub(crate) struct Reader;

fn count(text: &str) -> Counts {
    Counts {
        lines: text.lines().count() as u64,
        words: text.split_whitespace().count() as u64,
        bytes: text.len() as u64,
    }
}

impl Text for Reader {
    async fn count(&self, text: &str) -> Counts {
        count(text)
    }

    async fn count_all(&self, text: View<u8>) -> Result<Counts, NotText> {
        std::str::from_utf8(&text).map(count).map_err(|_| NotText)
    }

    async fn search(&self, text: &str, pattern: &str) -> Result<Found, EmptyPattern> {
        if pattern.is_empty() {
            return Err(EmptyPattern);
        }
        let mut found = Found::default();
        for (index, line) in text.lines().enumerate() {
            let Some(offset) = line.find(pattern) else {
                continue;
            };
            found.total += 1;
            if found.matches.len() < MAX_MATCHES {
                let at = Match {
                    line: index as u64 + 1,
                    offset: offset as u64,
                    text: line.to_owned(),
                };
                found.matches.push(at);
            }
        }
        Ok(found)
    }

    async fn tidy(&self, text: &[u8]) -> Vec<u8> {
        let mut tidied = Vec::with_capacity(text.len() + 1);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            tidied.extend_from_slice(line.trim_ascii_end());
            tidied.push(b'\n');
        }
        tidied
    }
}
