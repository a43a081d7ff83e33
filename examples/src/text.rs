//! The service of `tour`: questions about a text that the caller sends along.

use std::fmt;

use ipc_rpc::View;
use serde::{Deserialize, Serialize};

/// The most matches that one `search` returns; it counts them all.
pub const MAX_MATCHES: usize = 10_000;

/// Answers questions about texts.
#[ipc_rpc::service]
pub trait Text {
    /// Counts lines, words and bytes.
    async fn count(&self, text: &str) -> Counts;

    /// The same of a large text, in memory that travels with the call.
    async fn count_all(&self, text: View<u8>) -> Result<Counts, NotText>;

    /// Finds the lines that contain `pattern`.
    async fn search(&self, text: &str, pattern: &str) -> Result<Found, EmptyPattern>;

    /// The text with the blanks at the ends of its lines removed, and each line ended by a line feed alone.
    async fn tidy(&self, text: &[u8]) -> Vec<u8>;
}

/// What a text comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines; the last one counts with or without its line feed.
    pub lines: u64,
    /// Words: what white space separates.
    pub words: u64,
    /// Bytes of UTF-8.
    pub bytes: u64,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How many lines contain the pattern.
    pub total: u64,
    /// The first [`MAX_MATCHES`] of them, so that the answer stays within a message.
    pub matches: Vec<Match>,
}

/// A line that contains the pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The line's number, from 1.
    pub line: u64,
    /// How many bytes of the line come before the pattern's first place.
    pub offset: u64,
    /// The line.
    pub text: String,
}

/// The bytes are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotText;

impl fmt::Display for NotText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("it is not UTF-8 text")
    }
}

impl std::error::Error for NotText {}

/// The pattern is empty: every line would contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyPattern;

impl fmt::Display for EmptyPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the pattern is empty")
    }
}

impl std::error::Error for EmptyPattern {}
