//! Other processes, and the places where they serve.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::watchdog;
use transports::{Endpoint, Error, connect, listen};

/// What a test asks of another process: this very program, told by the environment.
const TASK: &str = "TRANSPORTS_TEST_TASK";
const ENDPOINT: &str = "TRANSPORTS_TEST_ENDPOINT";

/// Not a test: what the other process runs.
#[test]
fn other_process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let endpoint: Endpoint = std::env::var(ENDPOINT).unwrap().parse().unwrap();
    if let Some(umask) = std::env::var("TRANSPORTS_TEST_UMASK")
        .ok()
        .map(|umask| u32::from_str_radix(&umask, 8))
    {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(
            umask.unwrap() as rustix::fs::RawMode
        ));
    }
    // From here on, and not from its start, for which that user would have to reach the program.
    #[cfg(target_os = "linux")]
    if let Some(uid) = std::env::var("TRANSPORTS_TEST_UID")
        .ok()
        .map(|uid| uid.parse().unwrap())
    {
        let uid = rustix::process::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    }
    let say = |result: Result<(), Error>| match result {
        Ok(()) => println!("\nsaid: ok"),
        Err(error) => println!("\nsaid: {:?}: {error}", error.kind()),
    };
    match task.as_str() {
        "listen" => {
            let listener = listen(&endpoint);
            say(listener
                .as_ref()
                .map(|_| ())
                .map_err(|error| Error::new(error.kind(), error.to_string())));
            // Until told to end, or killed.
            std::io::stdin().read_line(&mut String::new()).unwrap();
            drop(listener);
            println!("\nsaid: ended");
        }
        "connect" => say(connect(&endpoint, watchdog()).map(drop)),
        "who" => say(connect(&endpoint, watchdog()).map(|port| println!("{}", port.peer))),
        other => panic!("no task {other}"),
    }
}

pub(crate) struct Other {
    pub(crate) child: Child,
    pub(crate) output: BufReader<std::process::ChildStdout>,
}

impl Other {
    pub(crate) fn run(task: &str, endpoint: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "other::other_process",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ]);
        command
            .env(TASK, task)
            .env(ENDPOINT, endpoint)
            .envs(environment.iter().copied());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next thing it says.
    pub(crate) fn said(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.output.read_line(&mut line).unwrap(),
                0,
                "it ended without a word"
            );
            if let Some(said) = line.trim_end().strip_prefix("said: ") {
                return said.to_owned();
            }
        }
    }

    pub(crate) fn end(mut self) {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(self.said(), "ended");
        self.child.wait().unwrap();
    }

    pub(crate) fn kill(mut self) -> u32 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child.id()
    }
}

/// What another process says to one task with its own runtime directory.
pub(crate) fn ask(task: &str, endpoint: &str, environment: &[(&str, &str)]) -> String {
    let mut other = Other::run(task, endpoint, environment);
    let said = other.said();
    drop(other.child.stdin.take());
    other.output.read_to_end(&mut Vec::new()).unwrap();
    other.child.wait().unwrap();
    said
}

pub(crate) struct Runtime(tempfile::TempDir);

/// A directory that other users can reach, wherever `TMPDIR` is, but not enter yet.
pub(crate) fn reachable() -> tempfile::TempDir {
    let may_enter = |directory: &Path| fs::metadata(directory).is_ok_and(|there| there.mode() & 0o001 != 0);
    let temporary = std::env::temp_dir();
    let is_open = temporary.ancestors().all(may_enter);
    tempfile::tempdir_in(if is_open { temporary } else { "/tmp".into() }).unwrap()
}

impl Runtime {
    pub(crate) fn new() -> Self {
        let runtime = Self(reachable());
        fs::set_permissions(runtime.path(), Permissions::from_mode(0o700)).unwrap();
        runtime
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn environment(&self) -> [(&'static str, &str); 1] {
        [("XDG_RUNTIME_DIR", self.path().to_str().unwrap())]
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.path().join("ipc-rpc")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory().join("store.sock")
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        let mut entries: Vec<String> = fs::read_dir(self.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        entries.sort();
        entries
    }
}

pub(crate) fn at(path: &Path) -> Endpoint {
    Endpoint::try_from(path).unwrap()
}

pub(crate) fn refusal(endpoint: &Endpoint) -> Error {
    listen(endpoint).err().expect("it listens")
}
