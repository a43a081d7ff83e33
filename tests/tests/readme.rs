//! The README's first program is what a newcomer copies: it is copied from there, built in a package of its own and run
//! in two processes; and its size is what the README may boast of.
//!
//! What it takes to build, beside a program that has nothing but tokio, takes a minute to measure and is therefore asked for:
//! `cargo test -p tests --test readme -- --ignored --nocapture`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use tempfile::TempDir;

const README: &str = include_str!("../../README.md");
/// Lines that are not blank, as rustfmt leaves them.
const MOST_LINES: usize = 22;
/// Crates in the program's tree, itself and ours included, with default features.
const MOST_CRATES: usize = 38;

#[test]
fn the_first_program_is_short() {
    let program = first("rust");
    let formatted = formatted(&program);
    assert_eq!(
        program, formatted,
        "the README's program is not as rustfmt leaves it"
    );
    let lines = formatted.lines().filter(|line| !line.trim().is_empty()).count();
    println!("the first program has {lines} lines");
    assert!(lines <= MOST_LINES, "{lines} lines are more than {MOST_LINES}");
}

#[test]
fn the_first_program_runs_in_two_processes() {
    let package = Package::new("first", &dependencies(), &first("rust"));
    // Kept between runs, so that only the first one builds everything.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let built = output(
        package
            .cargo(&["build", "--offline"])
            .env("CARGO_TARGET_DIR", &target),
    );
    assert!(built.status.success(), "{}", text(&built.stderr));
    let program = target
        .join("debug")
        .join(format!("first{}", std::env::consts::EXE_SUFFIX));
    tests::watchdog::guard("the first program", move || talk(&program));
}

/// Starts the program as a server, and asks it as a client.
fn talk(program: &Path) {
    let runtime = TempDir::new().expect("a temporary directory can be made");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("XDG_RUNTIME_DIR", runtime.path());
        command
    };
    let mut server = Server(run(&["serve"]).spawn().expect("the server starts"));
    // The program says nothing when it listens, and its client does not wait for it: ask until it is there.
    let greeted = loop {
        let greeted = output(&mut run(&[]));
        let complaint = text(&greeted.stderr);
        if greeted.status.success() {
            break greeted;
        }
        assert!(complaint.contains("no server is listening"), "{complaint}");
        assert!(
            server
                .0
                .try_wait()
                .expect("the server can be asked for")
                .is_none(),
            "the server has ended"
        );
    };
    assert_eq!(text(&greeted.stdout), "Hello, world!\n");
    server.terminate();
    assert!(
        server.0.wait().expect("the server can be waited for").success(),
        "SIGTERM is an orderly end"
    );
}

#[test]
fn the_first_program_has_few_crates() {
    let package = Package::new("crates", &dependencies(), "fn main() {}");
    let tree = output(&mut package.cargo(&["tree", "--offline", "-e", "normal", "--prefix", "none"]));
    assert!(tree.status.success(), "{}", text(&tree.stderr));
    let tree = text(&tree.stdout);
    // `name v1.2.3`, then where it comes from and whether it was seen before.
    let crates: BTreeSet<String> = tree
        .lines()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    println!("the first program has {} crates", crates.len());
    assert!(crates.iter().any(|name| name.starts_with("ipc-rpc v")), "{tree}");
    assert!(
        crates.len() <= MOST_CRATES,
        "{} crates are more than {MOST_CRATES}:\n{tree}",
        crates.len()
    );
}

#[test]
fn its_links_lead_somewhere() {
    let root = root();
    let links = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link);
    let mut seen = 0;
    for link in links.filter(|link| !link.starts_with("https://")) {
        seen += 1;
        assert!(
            root.join(link).exists(),
            "the README links to {link}, which does not exist"
        );
    }
    assert!(seen >= 6, "only {seen} links to files were found");
}

#[test]
#[ignore = "builds two programs from nothing, which takes a minute"]
fn clean_debug_build_times() {
    let features = r#"["macros", "net", "rt-multi-thread", "signal", "sync", "time"]"#;
    let tokio = format!("tokio = {{ version = \"1\", features = {features} }}");
    let ours = clean_build(&Package::new("ours", &dependencies(), &first("rust")));
    let alone = clean_build(&Package::new(
        "alone",
        &tokio,
        "#[tokio::main]\nasync fn main() {}\n",
    ));
    println!("clean debug build: {ours:.1} s for the first program, {alone:.1} s for one with tokio alone");
}

/// Builds a package in an empty directory and returns the seconds that it took.
fn clean_build(package: &Package) -> f64 {
    let target = TempDir::new().expect("a temporary directory can be made");
    let started = Instant::now();
    let built = output(
        package
            .cargo(&["build", "--offline"])
            .env("CARGO_TARGET_DIR", target.path()),
    );
    assert!(built.status.success(), "{}", text(&built.stderr));
    started.elapsed().as_secs_f64()
}

/// The first code block of a language, without the fences.
fn first(language: &str) -> String {
    let fenced = README.split("\n```").skip(1).step_by(2);
    let mut blocks = fenced.filter_map(|block| {
        let (info, body) = block.split_once('\n')?;
        (info.split(',').next() == Some(language)).then(|| format!("{body}\n"))
    });
    blocks
        .next()
        .unwrap_or_else(|| panic!("the README has a block of {language}"))
}

/// The README's dependency, with this project's path in place of the one that stands for it.
fn dependencies() -> String {
    let block = first("toml");
    let line = block
        .lines()
        .find(|line| line.starts_with("ipc-rpc = "))
        .expect("the README shows the dependency");
    let path = root().join("ipc-rpc").display().to_string();
    let line = line.replacen("../ipc-rpc/ipc-rpc", &path, 1);
    assert!(line.contains(&path), "the README's dependency is a path: {line}");
    line
}

fn formatted(program: &str) -> String {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024"])
        // Away from this project, whose lines are longer than a newcomer's.
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rustfmt is installed with Rust");
    rustfmt
        .stdin
        .take()
        .expect("a pipe")
        .write_all(program.as_bytes())
        .expect("rustfmt reads");
    let formatted = rustfmt.wait_with_output().expect("rustfmt ends");
    assert!(formatted.status.success(), "rustfmt refuses the program");
    text(&formatted.stdout)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the project has a directory")
}

/// A fresh package, outside of this workspace.
struct Package(TempDir);

impl Package {
    fn new(name: &str, dependencies: &str, program: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
             [dependencies]\n{dependencies}\n\n[workspace]\n"
        );
        let package = Self(directory);
        fs::create_dir(package.path("src")).expect("a directory can be made");
        fs::write(package.path("Cargo.toml"), manifest).expect("a file can be written");
        fs::write(package.path("src/main.rs"), program).expect("a file can be written");
        // The same versions as here, which are on this machine already: nothing is fetched.
        fs::copy(root().join("Cargo.lock"), package.path("Cargo.lock")).expect("the lock file can be copied");
        package
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments).current_dir(self.0.path());
        cargo
    }
}

/// The server; it is killed with its test.
struct Server(Child);

impl Server {
    fn terminate(&self) {
        // A shell has `kill` built in; the program of that name is not on every machine.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.0.id())])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "the server cannot be signalled"
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
