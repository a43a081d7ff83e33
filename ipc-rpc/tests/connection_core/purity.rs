//! The core touches nothing of the world, as its sources show.

use std::fs;
use std::path::Path;

/// What would be a clock, I/O, a runtime, a lock, a thread, or a hash table whose order differs from run to
/// run.
const FORBIDDEN: [&str; 20] = [
    "Instant::now",
    "SystemTime",
    ".elapsed(",
    "std::net",
    "std::io",
    "std::fs",
    "std::thread",
    "std::sync::Mutex",
    "RwLock",
    "Condvar",
    "Atomic",
    "mpsc",
    "thread_local",
    "static mut",
    "tokio",
    "async ",
    "Future",
    "rustix",
    "HashMap",
    "println!",
];

/// What the core may use of the crate and of other crates: messages, errors, the tables of a service.
const ALLOWED: [&str; 8] = [
    "std::collections::VecDeque",
    "std::fmt",
    "std::ops::",
    "std::sync::Arc",
    "std::time::",
    "transports::Header",
    "super::",
    "crate::",
];

fn sources() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/connection");
    let mut sources = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        sources.push((path.file_name().unwrap().to_string_lossy().into_owned(), text));
    }
    sources
}

/// The text without comments, which may speak of anything, and without tests, which may do anything.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(""));
    lines.enumerate().map(|(number, line)| (number + 1, line))
}

#[test]
fn nothing_of_the_world_is_used() {
    let sources = sources();
    assert!(
        sources.iter().any(|(name, _)| name == "mod.rs"),
        "the sources are where this test looks"
    );
    for (name, text) in &sources {
        for (number, line) in code(text) {
            for forbidden in FORBIDDEN {
                assert!(
                    !line.contains(forbidden),
                    "{name}:{number} uses {forbidden}: {line}"
                );
            }
        }
    }
}

#[test]
fn nothing_but_messages_errors_and_tables_is_imported() {
    for (name, text) in &sources() {
        for (number, line) in code(text) {
            let Some(path) = line.trim().strip_prefix("use ") else {
                continue;
            };
            let own = !path.contains("::") || name == "mod.rs" && !path.starts_with("std");
            let good = own || ALLOWED.iter().any(|allowed| path.starts_with(allowed));
            assert!(good, "{name}:{number} imports {path}");
            if let Some(names) = path.strip_prefix("crate::") {
                let names = names.trim_matches(['{', '}', ';', ' ']);
                for item in names
                    .split(',')
                    .map(|item| item.trim_matches(['{', '}', ';', ' ']))
                {
                    let known = ["Error", "ErrorKind", "Outcome", "ServiceInfo", "MethodInfo"];
                    assert!(known.contains(&item), "{name}:{number} imports crate::{item}");
                }
            }
        }
    }
}

#[test]
fn no_file_is_long() {
    for (name, text) in &sources() {
        let lines = text.lines().count();
        assert!(
            lines <= 600,
            "{name} has {lines} lines: it holds more than one idea"
        );
    }
}
