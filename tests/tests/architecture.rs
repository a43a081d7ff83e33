//! The invariants that ARCHITECTURE.md states, held against the sources.
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, and clippy knows only functions marked as tests"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// The crates that others may use.
const PUBLIC: [&str; 3] = ["ipc-rpc", "ipc-rpc-derive", "transports"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is in the workspace")
}

/// All files below a directory with this ending, but what tools have put there, as paths from the root.
fn files(below: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root().join(below)];
    while let Some(directory) = left.pop() {
        for entry in
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        {
            let path = entry.unwrap().path();
            let name = path
                .file_name()
                .unwrap()
                .to_str()
                .expect("our names are text")
                .to_owned();
            if path.is_dir() {
                if !name.starts_with("target") && !name.starts_with('.') {
                    left.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    assert!(!found.is_empty(), "there is no {ending} below {below:?}");
    found.sort();
    found
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Source code without its comments and what is between quotes.
fn code(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = rest.strip_prefix('r').filter(|_| is_raw(&code, rest)) {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &raw[hashes + 1..];
            1 + hashes + 1 + body.find(&end).map_or(body.len(), |at| at + end.len())
        } else if next == '"' {
            quoted(rest, '"')
        } else if let Some(character) = character(rest) {
            character
        } else {
            code.push(next);
            next.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

/// Whether a raw string begins here, rather than a name that begins or ends with an r.
fn is_raw(before: &str, rest: &str) -> bool {
    let in_word =
        before.ends_with(|last: char| last.is_alphanumeric() || last == '_') && !before.ends_with('b');
    !in_word && rest[1..].trim_start_matches('#').starts_with('"')
}

/// The length of what is quoted.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            end if end == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal, if this is one and no lifetime.
fn character(text: &str) -> Option<usize> {
    let mut characters = text.chars();
    let (quote, first, second) = (characters.next()?, characters.next()?, characters.next()?);
    (quote == '\'' && (first == '\\' || second == '\'')).then(|| quoted(text, '\''))
}

/// Whether a word stands in code.
fn has_word(code: &str, word: &str) -> bool {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|found| found == word)
}

/// The code of a library's file without its unit tests, which stand at its end.
fn shipped(path: &Path) -> String {
    let code = code(&read(path));
    code.split("#[cfg(test)]")
        .next()
        .expect("a split has a first part")
        .to_owned()
}

/// The packages that a manifest's section of this name lists.
fn listed(manifest: &str, section: &str) -> Vec<String> {
    let mut inside = false;
    let mut listed = Vec::new();
    for line in manifest.lines() {
        if let Some(header) = line
            .trim()
            .strip_prefix('[')
            .and_then(|header| header.strip_suffix(']'))
        {
            inside = header == section || header.ends_with(&format!(".{section}"));
        } else if let Some((name, _)) = line
            .split_once(['.', '=', ' '])
            .filter(|_| inside && !line.starts_with('#'))
        {
            listed.push(name.trim().to_owned());
        }
    }
    listed
}

#[test]
fn the_reader_of_code_is_not_misled() {
    let source = r##"a // unsafe
        "unsafe \" unsafe" b r#"unsafe " unsafe"# 'c' '\'' '"' <'a> /* unsafe */ rr"x" unsafe_code d"##;
    let code = code(source);
    assert!(!has_word(&code, "unsafe"), "{code}");
    for word in ["a", "b", "d", "unsafe_code"] {
        assert!(has_word(&code, word), "{word}: {code}");
    }
    assert!(has_word("pub unsafe fn", "unsafe"));
}

#[test]
fn dependencies_go_one_way() {
    for (package, forbidden) in [
        ("transports", &["ipc-rpc", "ipc-rpc-derive"][..]),
        ("ipc-rpc-derive", &["ipc-rpc", "transports"]),
    ] {
        let listed = listed(&read(format!("{package}/Cargo.toml")), "dependencies");
        assert!(!listed.is_empty(), "{package} has dependencies");
        let found: Vec<_> = listed
            .iter()
            .filter(|name| forbidden.contains(&name.as_str()))
            .collect();
        assert!(found.is_empty(), "{package} depends on {found:?}");
    }
    let listed = listed(&read("ipc-rpc/Cargo.toml"), "dependencies");
    for needed in ["transports", "ipc-rpc-derive"] {
        assert!(
            listed.iter().any(|name| name == needed),
            "ipc-rpc does not depend on {needed}: {listed:?}"
        );
    }
    for path in files("transports/src", ".rs") {
        assert!(
            !has_word(&code(&read(&path)), "ipc_rpc"),
            "{} speaks of ipc_rpc",
            path.display()
        );
    }
}

#[test]
fn the_core_does_nothing_else() {
    /// Everything that would make the protocol depend on more than its arguments.
    const FORBIDDEN: [&str; 23] = [
        "std::io",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "std::task",
        "std::future",
        "Instant::now",
        "SystemTime",
        ".elapsed()",
        "Mutex",
        "RwLock",
        "Condvar",
        "Atomic",
        "mpsc",
        "tokio",
        "async",
        "await",
        "rustix",
        "libc",
        "Sender",
        "Receiver",
    ];
    /// What the core takes from the rest of its crate.
    const USED: [&str; 5] = ["Error", "ErrorKind", "MethodInfo", "Outcome", "ServiceInfo"];
    for path in files("ipc-rpc/src/connection", ".rs") {
        let code = shipped(&path);
        let path = path.display();
        for forbidden in FORBIDDEN {
            let is_word = forbidden.chars().all(char::is_alphanumeric) && forbidden != "Atomic";
            let found = if is_word {
                has_word(&code, forbidden)
            } else {
                code.contains(forbidden)
            };
            assert!(!found, "{path} uses {forbidden}");
        }
        for (crate_name, allowed) in [("transports::", &["Header"][..]), ("crate::", &USED)] {
            for (at, _) in code.match_indices(crate_name) {
                let used = &code[at + crate_name.len()..];
                let used = used.split([';', ')', ',', ' ']).next().unwrap_or_default();
                let group = code[at + crate_name.len()..]
                    .strip_prefix('{')
                    .and_then(|group| group.split('}').next());
                let names: Vec<_> =
                    group.map_or(vec![used], |group| group.split(',').map(str::trim).collect());
                for name in names.into_iter().filter(|name| !name.is_empty()) {
                    let first = name.split([':', '(', '<', '\n', '.']).next().unwrap_or_default();
                    let inside = first == "connection";
                    assert!(
                        inside || allowed.contains(&first),
                        "{path} uses {crate_name}{name}"
                    );
                }
            }
        }
    }
}

#[test]
fn unsafe_code_has_its_places() {
    let library = ["transports/src/sys/", "transports/src/shm/"];
    for path in files("", ".rs") {
        let text = path.to_str().expect("our paths are text").replace('\\', "/");
        // A promise that the caller makes is declared there, and used elsewhere.
        let promise = match &*text {
            "transports/src/endpoint/mod.rs" => "pub unsafe fn trust_peer(mut self) -> Self {",
            _ => "",
        };
        // Programs that are not to compile, and the macro's input and output.
        if text.starts_with("tests/ui/")
            || text.starts_with("tests/golden/")
            || !has_word(&code(&read(&path)).replacen(promise, "", 1), "unsafe")
        {
            continue;
        }
        let is_library = PUBLIC
            .iter()
            .any(|package| text.starts_with(&format!("{package}/src/")));
        let allowed = if is_library {
            library.iter().any(|place| text.starts_with(place))
        } else {
            // A counting allocator, the floor that a benchmark compares with, or the fork that a test is about.
            read(&path).contains("impl GlobalAlloc for")
                || text.starts_with("benchmarks/")
                || text == "tests/src/fork.rs"
                // They give the promise that is mentioned above.
                || text == "tests/src/trust.rs"
                || text == "examples/src/bin/tensor.rs"
        };
        assert!(allowed, "{text} has unsafe code");
    }
    for package in ["ipc-rpc", "ipc-rpc-derive"] {
        let lib = code(&read(format!("{package}/src/lib.rs")));
        assert!(
            lib.contains("#![forbid(unsafe_code)]"),
            "{package} does not forbid unsafe code"
        );
    }
}

/// The lines of a file on which an unsafe block or implementation begins, without those of its unit tests, and the other
/// lines above each of them, the nearest first.
fn unsafe_places(source: &str) -> Vec<(usize, Vec<&str>)> {
    let shipped = source
        .split("#[cfg(test)]\nmod ")
        .next()
        .expect("a split has a first part");
    let lines: Vec<_> = shipped.lines().map(str::trim).collect();
    let begins = |line: &str| {
        let code = line.split("//").next().expect("a split has a first part");
        code.contains("unsafe {") || code.starts_with("unsafe impl")
    };
    (0..lines.len())
        .filter(|&at| begins(lines[at]))
        .map(|at| (at + 1, lines[..at].iter().rev().copied().collect()))
        .collect()
}

/// Whether the comment right above says why a block is sound: above its statement, of which lines may stand in between.
fn is_explained(above: &[&str]) -> bool {
    let comment = above.iter().skip_while(|line| {
        let goes_on = !line.is_empty() && !line.starts_with("//") && !line.ends_with([';', '}']);
        goes_on || line.starts_with("#[")
    });
    comment
        .take_while(|line| line.starts_with("//"))
        .any(|line| line.starts_with("// SAFETY: "))
}

#[test]
fn unsafe_blocks_are_counted_and_explained() {
    let mut counts = std::collections::BTreeMap::new();
    for path in files("transports/src", ".rs") {
        let text = path.to_str().expect("our paths are text").replace('\\', "/");
        let (below, source) = (text.trim_start_matches("transports/src/"), read(&path));
        // What tests do for themselves.
        if below.starts_with("shm/tests/") || below.starts_with("shm/models") {
            continue;
        }
        let folder = ["sys/unix", "sys/windows", "shm"]
            .into_iter()
            .find(|folder| below.starts_with(&format!("{folder}/")));
        for (line, above) in unsafe_places(&source) {
            let folder = folder.unwrap_or_else(|| panic!("{text}:{line} has no place for unsafe code"));
            *counts.entry(folder).or_insert(0) += 1;
            assert!(
                is_explained(&above),
                "{text}:{line}: no SAFETY comment right above"
            );
        }
    }
    for (folder, count) in &counts {
        println!("transports/src/{folder}: {count} unsafe blocks and implementations");
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
}

#[test]
fn unexplained_blocks_would_be_found() {
    let judged = |source: &str| -> Vec<bool> {
        let places = unsafe_places(source);
        places.iter().map(|(_, above)| is_explained(above)).collect()
    };
    let explained = [
        "// SAFETY: so it is.\nlet a = unsafe { call() };",
        "// SAFETY: so it is,\n// for two reasons.\n#[attribute]\nlet a =\n    unsafe { call() };",
        "// SAFETY: so it is.\nunsafe impl Send for This {}",
    ];
    for source in explained {
        assert_eq!(judged(source), [true], "{source}");
    }
    let unexplained = [
        "let a = unsafe { call() };",
        "// So it is.\nlet a = unsafe { call() };",
        "// SAFETY: so it is.\n\nlet a = unsafe { call() };",
        "// SAFETY: so it is.\nlet b = 1;\nlet a = unsafe { call() };",
        "unsafe impl Send for This {}",
    ];
    for source in unexplained {
        assert_eq!(judged(source), [false], "{source}");
    }
    let two = "// SAFETY: so it is.\nlet a = unsafe { call() };\nlet b = unsafe { call() };";
    assert_eq!(judged(two), [true, false]);
    assert!(judged("// unsafe { }\nunsafe fn f() {}").is_empty());
}

#[test]
fn platforms_differ_in_one_place() {
    for package in PUBLIC {
        for path in files(&format!("{package}/src"), ".rs") {
            let is_test = path.ends_with("tests.rs") || path.iter().any(|part| part == "tests");
            if is_test || path.ends_with("transports/src/sys/mod.rs") {
                continue;
            }
            let code = shipped(&path);
            for condition in [
                "cfg(unix",
                "cfg(windows",
                "cfg(not(unix",
                "cfg(not(windows",
                "cfg!(unix",
                "cfg!(windows",
            ] {
                assert!(!code.contains(condition), "{} has {condition})", path.display());
            }
            let inside = path.starts_with("transports/src/sys");
            assert!(
                inside || !code.contains("target_os"),
                "{} asks for the operating system",
                path.display()
            );
        }
    }
    let sys = code(&read("transports/src/sys/mod.rs"));
    assert!(sys.contains("cfg(unix)") && sys.contains("cfg(windows)"));
}

#[test]
fn what_architecture_names_is_there() {
    let text = read("ARCHITECTURE.md");
    let named: Vec<_> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| is_path(name))
        .collect();
    assert!(named.len() > 20, "only {} paths are named", named.len());
    for name in named {
        assert!(
            root().join(name).exists(),
            "ARCHITECTURE.md names {name}, which is not there"
        );
    }
}

/// Whether something between backticks is a path of ours.
fn is_path(name: &str) -> bool {
    let first = name.split('/').next().expect("a split has a first part");
    name.ends_with(".rs") && name.contains('/') || PUBLIC.contains(&first) && !name.contains([' ', ':'])
}

#[test]
fn nothing_is_published() {
    let workspace = read("Cargo.toml");
    assert!(
        workspace.lines().any(|line| line == "publish = false"),
        "the workspace says nothing of publishing"
    );
    for path in files("", "Cargo.toml") {
        let manifest = read(&path);
        if !manifest.contains("[package]") {
            continue;
        }
        let says = |what: &str| manifest.lines().any(|line| line.trim() == what);
        let private = says("publish = false") || says("publish.workspace = true");
        assert!(private, "{} could be published", path.display());
    }
}
