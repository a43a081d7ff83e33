//! One measurement: starts the two processes and collects what the client prints.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bench_harness::{Error, Job, Measured, child};

/// What a measurement may take beyond its own time, before it counts as hung.
const GRACE: Duration = Duration::from_secs(15);

/// Runs `job` in fresh processes of `binary`.
pub(crate) fn measure(binary: &Path, mut job: Job) -> Result<Measured, Error> {
    // Kept until the end: dropping it ends the server.
    let mut server = None;
    if !job.variant.in_process {
        let mut process = Process::start(binary, child::SERVER, &job)?;
        job.address = process.line("ready ", GRACE)?;
        job.server = Some(process.child.id());
        server = Some(process);
    }
    let limit = GRACE + job.warm_up * 2 + job.measure;
    let measured = Process::start(binary, child::CLIENT, &job)?.line("measured ", limit);
    drop(server);
    Ok(serde_json::from_str(&measured?)?)
}

/// A child that is killed and reaped when it goes out of scope.
struct Process {
    child: Child,
    lines: mpsc::Receiver<std::io::Result<String>>,
}

impl Process {
    fn start(binary: &Path, word: &str, job: &Job) -> Result<Self, Error> {
        let mut child = Command::new(binary)
            .args([word, &serde_json::to_string(job)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = lines_of(child.stdout.take());
        Ok(Self { child, lines })
    }

    /// The rest of the next line, which must begin with `word`.
    fn line(&mut self, word: &str, limit: Duration) -> Result<String, Error> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => {
                let line = line?;
                match line.strip_prefix(word) {
                    Some(rest) => Ok(rest.to_owned()),
                    None => Err(line.strip_prefix("failed ").unwrap_or(&line).to_owned().into()),
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("hung for {} s", limit.as_secs()).into()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(format!("ended early: {}", self.child.wait()?).into())
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill or nothing left to reap.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read by a thread so that waiting for one can end.
fn lines_of(pipe: Option<ChildStdout>) -> mpsc::Receiver<std::io::Result<String>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            BufReader::new(pipe)
                .lines()
                .try_for_each(|line| sender.send(line))
        });
    }
    receiver
}
