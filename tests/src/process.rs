//! Processes of our own helper program.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use ipc_rpc::Endpoint;

use crate::subject::Plan;

/// A running helper. It is killed when this is dropped, and ends by itself if this process does.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    /// Its end tells the helper to go.
    stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
    endpoint: Option<Endpoint>,
}

impl Helper {
    /// Starts `program` in a role of `src/bin/subject.rs`, with what `adjust` changes of the command.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(program: &str, role: &str, argument: &str, adjust: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(program);
        command
            .args([role, argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        adjust(&mut command);
        let mut child = command.spawn().expect("the helper program starts");
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self {
            child,
            stdin,
            lines,
            endpoint: None,
        }
    }

    /// Starts a server and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    pub fn serve(program: &str, plan: &Plan, adjust: impl FnOnce(&mut Command)) -> Self {
        let plan = serde_json::to_string(plan).expect("a plan is JSON");
        let mut server = Self::start(program, "serve", &plan, adjust);
        let line = server.line();
        let endpoint = line
            .strip_prefix("ready ")
            .unwrap_or_else(|| panic!("the server does not serve: {line:?}"));
        server.endpoint = Some(endpoint.parse().expect("the server prints its endpoint"));
        server
    }

    /// Where the server listens.
    ///
    /// # Panics
    /// If it is no server.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.endpoint.as_ref().expect("it is a server")
    }

    /// The next line that it prints; empty at the end.
    ///
    /// # Panics
    /// If it is not text.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the helper prints text");
        line.truncate(line.trim_end().len());
        line
    }

    /// Prints a line to its standard input.
    ///
    /// # Panics
    /// If it does not listen any more.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the helper listens");
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    ///
    /// # Panics
    /// If that fails.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Forgets that it was a server, so that what it left behind stays for the next one to find.
    pub fn leave_behind(&mut self) {
        self.endpoint = None;
    }

    /// Processor time that it has used so far, in and out of the kernel.
    ///
    /// # Panics
    /// If there is no `/proc`.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the process lives");
        // The program's name, in parentheses, may hold anything; 11 fields later comes the time, in hundredths.
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("a number of ticks"))
            .sum();
        Duration::from_millis(10 * ticks)
    }

    /// Stops it as Ctrl-Z does, and returns when all its threads have stopped.
    ///
    /// # Panics
    /// If that fails.
    pub fn stop(&self) {
        self.signal("STOP");
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
            let stat = stat.expect("the process lives");
            let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
            fields.starts_with('T')
        };
        // The signal has to reach each thread where it runs, of which nobody is told.
        while !std::fs::read_dir(format!("/proc/{}/task", self.pid()))
            .expect("the process lives")
            .all(is_stopped)
        {
            std::thread::yield_now();
        }
    }

    /// Sends it a signal by name, as `STOP`.
    ///
    /// # Panics
    /// If that fails.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(status.expect("kill(1) runs").success(), "kill -s {name} failed");
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the system does not tell.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked for").is_none()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A killed server leaves its socket and its lock behind, as it should; a test leaves nothing.
        if let Some(endpoint) = &self.endpoint {
            let detail = endpoint.detail().to_string();
            if let Some(path) = detail.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
                let _ = std::fs::remove_file(path);
                let _ = std::fs::remove_file(format!("{path}.lock"));
                let _ = std::fs::remove_file(std::path::Path::new(path).with_extension("lock"));
            }
        }
    }
}
