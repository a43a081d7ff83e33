//! `tour`: the table, and honesty about what is not in it.

use std::fs;
use std::process::Output;

use crate::process::{Sandbox, complained, said};

const TOUR: &str = env!("CARGO_BIN_EXE_tour");

/// The rows of the table, cut into words.
fn rows(output: &Output) -> Vec<Vec<String>> {
    let said = said(output);
    let table = said
        .lines()
        .skip_while(|line| !line.starts_with("transport"))
        .skip(1);
    table
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// Expects one row for each transport, alike in all that does not depend on time.
fn agree(output: &Output, calls: usize) {
    assert!(output.status.success(), "{}", complained(output));
    let mut rows = rows(output);
    let large = rows.pop().expect("there is a last row");
    let [_, called, bytes, p50, "µs", p99, "µs", rate, "MiB/s"] =
        large.iter().map(String::as_str).collect::<Vec<_>>()[..]
    else {
        panic!("{large:?}");
    };
    assert_eq!((large[0].as_str(), called), ("large", "10"));
    assert!(bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0), "{large:?}");
    for number in [p50, p99, rate] {
        assert!(
            number.parse::<f64>().is_ok_and(|number| number >= 0.0),
            "{large:?}"
        );
    }
    let transports: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(
        transports,
        ["mem", "shm", "unix", "pipe", "tcp", "spawn", "stdio"]
    );
    for row in &rows {
        let [_, called, bytes, p50, "µs", p99, "µs", checksum] =
            row.iter().map(String::as_str).collect::<Vec<_>>()[..]
        else {
            panic!("{row:?}");
        };
        assert_eq!(called.parse(), Ok(calls));
        let [p50, p99] = [p50, p99].map(|time| time.parse::<f64>().expect("a time is a number"));
        assert!(0.0 < p50 && p50 <= p99, "{row:?}");
        assert_eq!((bytes, checksum), (rows[0][2].as_str(), rows[0][7].as_str()));
    }
}

#[test]
fn tours_the_files_that_it_is_given() {
    let sandbox = Sandbox::new();
    let texts = sandbox.path().join("texts");
    fs::create_dir_all(texts.join("deep")).unwrap();
    fs::create_dir_all(texts.join("target")).unwrap();
    fs::write(texts.join("one"), "needle  \r\nhay hay\n  a needle").unwrap();
    fs::write(texts.join("deep/two"), "häy\n").unwrap();
    fs::write(texts.join("target/passed-over"), "needle").unwrap();
    fs::write(texts.join(".hidden"), "needle").unwrap();
    fs::write(texts.join("binary"), [0xff, 0xfe]).unwrap();
    let output = sandbox.run(TOUR, &["--pattern", "needle", "texts", "nowhere"]);
    agree(&output, 6);
    let said = said(&output);
    assert!(
        said.contains("\n2 files: 4 lines, 6 words, 33 bytes, 2 with \"needle\"\n"),
        "{said}"
    );
    assert!(
        said.contains("\nskipped texts/binary: it is not UTF-8 text\n"),
        "{said}"
    );
    assert!(said.contains("\nskipped nowhere: "), "{said}");
    // Three times each text, two matching lines without what ends them, and each text tidied.
    let bytes =
        3 * 33 + ("needle  ".len() + "  a needle".len()) + ("needle\nhay hay\n  a needle\n".len() + 5);
    assert_eq!(rows(&output)[0][2], bytes.to_string());
}

#[test]
fn tours_the_sources_of_the_project_unless_told_otherwise() {
    let output = Sandbox::new().run(TOUR, &[]);
    let said = said(&output);
    let files = said.lines().find_map(|line| line.split_once(" files: "));
    let files: usize = files.map(|(files, _)| files.parse().unwrap()).unwrap_or_default();
    assert!(files > 100, "{said}{}", complained(&output));
    agree(&output, 3 * files);
}

#[test]
fn says_when_there_is_nothing_to_read() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(TOUR, &["nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(complained(&output), "tour: there is no text to read\n");
    assert_eq!(sandbox.run(TOUR, &["--what"]).status.code(), Some(2));
}

/// Whoever started it may be killed: then its input ends, and so does it.
#[test]
fn leaves_no_server_behind() {
    let mut server = Sandbox::new().start(TOUR, &["--serve", "tcp:0"]);
    let endpoint = server.line();
    assert!(endpoint.starts_with("tcp:127.0.0.1:"), "{endpoint}");
    drop(server.input());
    assert!(server.end().success());
}
