//! The texts: files, and what is below directories.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The longest text that is sent in one message, in bytes. A message of the default size has room for twice as much,
/// since `tidy` may answer with more than it got, and `search` with the whole text and where its lines are.
const MAX_TEXT: u64 = 32 << 20;

/// The sources of this project, or the current directory where the program has been taken away from them.
pub(crate) fn own_sources() -> PathBuf {
    match Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        Some(project) if project.is_dir() => project.to_owned(),
        _ => ".".into(),
    }
}

/// The files that paths name, and those below directories, in order. Names that begin with a dot and directories
/// called `target` are passed over, unless they are named themselves; links below directories are not followed.
pub(crate) struct Files {
    /// What is still to be visited, the next one last.
    ahead: Vec<PathBuf>,
}

impl Files {
    pub(crate) fn below(paths: &[PathBuf]) -> Self {
        Self {
            ahead: paths.iter().rev().cloned().collect(),
        }
    }

    /// Goes one step: into a directory, or to a text.
    fn visit(&mut self, path: &Path) -> Result<Option<String>, Reason> {
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            self.enter(path)?;
            return Ok(None);
        }
        if !metadata.is_file() {
            return Err(Reason::NotAFile);
        }
        if metadata.len() > MAX_TEXT {
            return Err(Reason::TooLong);
        }
        String::from_utf8(fs::read(path)?)
            .map(Some)
            .map_err(|_| Reason::NotText)
    }

    fn enter(&mut self, directory: &Path) -> io::Result<()> {
        let mut inside = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            let passed_over = name.as_encoded_bytes().starts_with(b".") || kind.is_dir() && name == "target";
            if !passed_over && (kind.is_dir() || kind.is_file()) {
                inside.push(entry.path());
            }
        }
        inside.sort_unstable_by(|a, b| b.cmp(a));
        self.ahead.extend(inside);
        Ok(())
    }
}

impl Iterator for Files {
    type Item = Result<String, Skipped>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let path = self.ahead.pop()?;
            match self.visit(&path) {
                Ok(None) => {}
                Ok(Some(text)) => return Some(Ok(text)),
                Err(reason) => return Some(Err(Skipped { path, reason })),
            }
        }
    }
}

/// A path that gave no text.
pub(crate) struct Skipped {
    path: PathBuf,
    reason: Reason,
}

enum Reason {
    Unreadable(io::Error),
    NotAFile,
    TooLong,
    NotText,
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.path.display())?;
        match &self.reason {
            Reason::Unreadable(error) => error.fmt(formatter),
            Reason::NotAFile => formatter.write_str("it is neither a file nor a directory"),
            Reason::TooLong => write!(formatter, "it is longer than {} MiB", MAX_TEXT >> 20),
            Reason::NotText => formatter.write_str("it is not UTF-8 text"),
        }
    }
}
