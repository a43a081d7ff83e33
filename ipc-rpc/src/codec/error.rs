//! What a codec complains about: which rule was broken, and where.

use std::fmt::{self, Write as _};

use super::path::Path;

/// The longest text that an error takes over from a value or a message, in bytes. A sentence fits; a body does not.
const BRIEF: usize = 200;

/// What kind of failure of a codec it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecErrorKind {
    /// The value cannot be written, or would be read back as another one.
    Encode,
    /// The bytes are not such a value, or are above the decoder's budget.
    Decode,
    /// The value takes more bytes than the limit.
    TooLarge {
        /// What it takes, in bytes; where that is above 16 times the limit, a lower bound.
        needed: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Why a value could not be encoded or decoded. The text says where, as `key: ` or `items[3].name: `, and which rule was
/// broken; what it takes over from the peer's bytes is cut to a bounded length.
#[derive(Debug)]
pub struct CodecError {
    /// What kind of failure it was.
    pub kind: CodecErrorKind,
    /// Where it was, and which rule was broken.
    pub message: String,
}

impl CodecError {
    pub(super) fn encode(path: &Path, rule: &str) -> Self {
        Self {
            kind: CodecErrorKind::Encode,
            message: located(path, rule),
        }
    }

    pub(super) fn decode(path: &Path, rule: &str) -> Self {
        Self {
            kind: CodecErrorKind::Decode,
            message: located(path, rule),
        }
    }

    pub(super) fn too_large(needed: usize, limit: usize) -> Self {
        let message = format!("{} encoded, the limit is {}", Size(needed), Size(limit));
        Self {
            kind: CodecErrorKind::TooLarge { needed, limit },
            message,
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for CodecError {}

fn located(path: &Path, rule: &str) -> String {
    if path.is_empty() {
        brief(rule).into_owned()
    } else {
        format!("{path}: {}", brief(rule))
    }
}

/// The text, or as much of its beginning as an error may take over.
pub(super) fn brief(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= BRIEF {
        return text.into();
    }
    let mut end = BRIEF;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end]).into()
}

/// A number of bytes as people read it: `12.4 MiB`.
pub(crate) struct Size(pub(crate) usize);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let Some((unit, shift)) = UNITS.into_iter().find(|(_, shift)| self.0 >= 1 << shift) else {
            return write!(formatter, "{} bytes", self.0);
        };
        // Tenths, rounded up: a value just above a limit must not be printed as the limit.
        let tenths = (self.0 as u128 * 10).div_ceil(1 << shift);
        match tenths % 10 {
            0 => write!(formatter, "{} {unit}", tenths / 10),
            tenth => write!(formatter, "{}.{tenth} {unit}", tenths / 10),
        }
    }
}

/// An error that never holds more than a sentence, for values that put what they were given into their complaint:
/// serde's own "invalid type: string .." would otherwise build a text several times as long as the body.
#[derive(Debug)]
pub(super) struct Brief(String);

impl serde::de::Error for Brief {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let mut text = Clipped(String::new());
        // An error from `Clipped` says that it is full, which is what it is for.
        let _ = write!(text, "{message}");
        Self(text.0)
    }
}

impl fmt::Display for Brief {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Brief {}

struct Clipped(String);

impl fmt::Write for Clipped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() <= BRIEF {
            self.0.push_str(text);
            return Ok(());
        }
        let mut end = BRIEF - self.0.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&text[..end]);
        self.0.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::Error as _;

    #[test]
    fn sizes_are_rounded_up_to_tenths() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1025, "1.1 KiB"),
            (8 << 20, "8 MiB"),
            ((8 << 20) + 1, "8.1 MiB"),
            (13_002_342, "12.4 MiB"),
            (1 << 30, "1 GiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "ä".repeat(1 << 20);
        for offset in 0..2 {
            let text = format!("{}{long}", "x".repeat(offset));
            let brief = brief(&text);
            assert!(brief.len() <= BRIEF + '…'.len_utf8() && brief.ends_with('…'));
            let custom = Brief::custom(format_args!("{text}")).to_string();
            assert_eq!(custom, brief);
            let debug = Brief::custom(format_args!("got {text:?}")).to_string();
            assert!(debug.len() <= BRIEF + '…'.len_utf8(), "{}", debug.len());
        }
    }
}
