//! A daemon that has a name, and the command that looks after it: one program.
//!
//! Shows what a name is good for: a second daemon is told who has it already, a client is told when nobody has, one that
//! starts the daemon waits for it without looking again and again (`retry`), and anybody of the same user can list
//! what is being served. A client notices a daemon that hangs (`keepalive`), and anybody else can be kept out (`allow`).
//!
//! ```console
//! $ cargo run --bin daemon -- status      # not running yet
//! $ cargo run --bin daemon -- start       # in the background
//! $ cargo run --bin daemon -- status
//! $ cargo run --bin daemon -- list        # all that this user serves
//! $ cargo run --bin daemon -- stop
//! ```
//!
//! `run` is the daemon itself, in the foreground, as a service manager starts it. A manager may also open the socket
//! and start the daemon for its first client, which notices nothing of that but a short delay (`activated`). For systemd:
//!
//! ```ini
//! # ~/.config/systemd/user/daemon.socket
//! [Socket]
//! ListenStream=%t/ipc-rpc/daemon.sock
//! SocketMode=0600
//! DirectoryMode=0700
//!
//! # ~/.config/systemd/user/daemon.service
//! [Service]
//! ExecStart=%h/bin/daemon run
//! ```

use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ipc_rpc::{Context, Error, ErrorKind, Peer, Server, ServerHandle};
use serde::{Deserialize, Serialize};

const NAME: &str = "daemon";
const USAGE: &str = "usage: daemon run | start | status | list | stop";

/// How long `start` waits for the daemon to be there.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a daemon may take to give a sign of life while somebody waits for it.
const HANGS: Duration = Duration::from_secs(5);

/// What the daemon can be asked.
#[ipc_rpc::service]
trait Daemon {
    /// Tells how it is.
    async fn status(&self) -> Status;
    /// Ends it, once the calls in progress are answered.
    async fn stop(&self, context: &Context);
}

#[derive(Debug, Serialize, Deserialize)]
struct Status {
    pid: u32,
    up: Duration,
}

struct Running {
    since: Instant,
    handle: ServerHandle,
}

impl Daemon for Running {
    async fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            up: self.since.elapsed(),
        }
    }

    async fn stop(&self, context: &Context) {
        println!("daemon: {} tells me to stop", context.peer());
        self.handle.shutdown();
    }
}

/// What goes wrong, with the code that the program ends with.
struct Failure(String, u8);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            // The sentence says which socket it was, for those who expected a daemon there.
            ErrorKind::NotConnected => Self(format!("not running ({error})\nstart it with: daemon start"), 3),
            _ => Self(error.to_string(), 1),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string(), 1)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [verb] if verb == "run" => run(),
        [verb] if verb == "start" => start(),
        [verb] if verb == "status" => status(),
        [verb] if verb == "list" => list(),
        [verb] if verb == "stop" => stop(),
        _ => Err(Failure(USAGE.to_owned(), 2)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(sentence, code)) => {
            eprintln!("daemon: {sentence}");
            ExitCode::from(code)
        }
    }
}

/// The daemon.
fn run() -> Result<(), Failure> {
    let server = match ipc_rpc::activated()?.into_iter().next() {
        // The manager has the socket, and keeps it when this daemon ends.
        Some((endpoint, _)) => Server::bind(endpoint),
        None => Server::bind(NAME),
    };
    let running = Running {
        since: Instant::now(),
        handle: server.handle(),
    };
    let listening = server
        .service(DaemonServer::new(running))
        // As it is anyway; `|peer| peer.in_group(27)` is how one would say otherwise.
        .allow(Peer::same_user)
        .keepalive(HANGS)
        .until_signal()
        .listen()?;
    for endpoint in listening.endpoints() {
        println!("daemon: serving at {}", endpoint.detail());
    }
    listening.run().wait()?;
    println!("daemon: done");
    Ok(())
}

fn start() -> Result<(), Failure> {
    match connect(Duration::ZERO) {
        Err(error) if error.kind() == ErrorKind::NotConnected => {}
        connected => return tell(&connected?),
    }
    let mut command = Command::new(std::env::current_exe()?);
    // Whoever reads what this command says would else wait for the end of the daemon, which has its outputs, too.
    command
        .arg("run")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // What ends this command at the terminal shall not end the daemon.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut daemon = command.spawn()?;
    // Of two that are started at once one wins, and either command finds that one.
    match connect(PATIENCE) {
        Ok(client) => tell(&client),
        Err(error) => match daemon.try_wait()? {
            Some(status) => {
                let sentence = format!("it ended at once ({status})\nsee why with: daemon run");
                Err(Failure(sentence, 1))
            }
            None => Err(error.into()),
        },
    }
}

fn status() -> Result<(), Failure> {
    tell(&connect(Duration::ZERO)?)
}

fn stop() -> Result<(), Failure> {
    connect(Duration::ZERO)?.stop().wait()?;
    println!("daemon: stopping");
    Ok(())
}

fn list() -> Result<(), Failure> {
    for server in ipc_rpc::servers()? {
        let pid = server.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        let program = server
            .executable
            .map_or_else(String::new, |path| format!(" ({})", path.display()));
        match server.stale {
            false => println!("{}\tpid {pid}{program}", server.name),
            true => println!("{}\tgone: pid {pid} left its socket behind", server.name),
        }
    }
    Ok(())
}

fn connect(retry: Duration) -> Result<DaemonClient, Error> {
    DaemonClient::connect(NAME).retry(retry).keepalive(HANGS).wait()
}

fn tell(client: &DaemonClient) -> Result<(), Failure> {
    let Status { pid, up } = client.status().wait()?;
    println!("daemon: running as pid {pid} for {} s", up.as_secs());
    Ok(())
}
