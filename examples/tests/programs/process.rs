//! Processes under test: started, listened to, and never waited for in vain.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tempfile::TempDir;

/// How long anything may take before the test fails. Nothing is expected to: it is for machines that hang.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A runtime directory that no other test and no real server uses.
pub(crate) struct Sandbox(TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory can be made"))
    }

    /// Where the processes run.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("XDG_RUNTIME_DIR", self.path())
            .env_remove("RUST_BACKTRACE")
            .current_dir(self.path());
        command
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        finish(self.command(program).args(arguments))
    }

    /// Starts a program that goes on running.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Running {
        Running::start(self.command(program).args(arguments))
    }
}

/// Runs a command to its end; what it writes is the result.
pub(crate) fn finish(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let id = child.id();
    let (send, receive) = channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    match receive.recv_timeout(WATCHDOG) {
        Ok(output) => output.expect("the process can be waited for"),
        Err(_) => {
            signal("KILL", id);
            panic!("{command:?} did not end");
        }
    }
}

/// A process that goes on running; it is killed with its test.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        Self::start_as_is(command.stdin(Stdio::piped()))
    }

    /// Starts a command with the input that it has.
    pub(crate) fn start_as_is(command: &mut Command) -> Self {
        command.stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("the output is a pipe"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Self { child, lines }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output.
    pub(crate) fn line(&self) -> String {
        match self.lines.recv_timeout(WATCHDOG) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("process {} says nothing", self.child.id()),
            Err(RecvTimeoutError::Disconnected) => panic!("process {} has ended", self.child.id()),
        }
    }

    /// Its input; it ends when this is dropped.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("the input is a pipe")
    }

    /// Tells it to end.
    pub(crate) fn terminate(&self) {
        signal("TERM", self.child.id());
    }

    /// Waits until it has ended.
    pub(crate) fn end(mut self) -> ExitStatus {
        // Its output ends with it.
        while match self.lines.recv_timeout(WATCHDOG) {
            Ok(_) => true,
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => panic!("process {} did not end", self.child.id()),
        } {}
        self.child.wait().expect("the process can be waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a child that nobody has waited for yet, so that its number is still its own.
fn signal(name: &str, id: u32) {
    // A shell has `kill` built in; the program of that name is not on every machine.
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} {id}")])
        .status();
    assert!(
        sent.is_ok_and(|status| status.success()),
        "process {id} cannot be signalled"
    );
}

/// What a program wrote to its standard output.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("the output is UTF-8")
}

/// What a program wrote to its standard error.
pub(crate) fn complained(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("the output is UTF-8")
}
