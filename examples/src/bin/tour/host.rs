//! Where the service runs: in this process, or in another one that is this program again.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use examples::text::TextServer;
use ipc_rpc::{Endpoint, Error, Listening, Server, ServerHandle};

use crate::Failure;
use crate::service::Reader;

/// A running service. It ends when this is dropped.
pub(crate) struct Host {
    endpoints: Vec<Endpoint>,
    running: Running,
}

enum Running {
    Here(ServerHandle, Option<JoinHandle<Result<(), Error>>>),
    There(Child),
}

impl Host {
    /// Serves at `endpoints` from threads of this process.
    pub(crate) fn in_this_process(endpoints: &[Endpoint]) -> Result<Self, Failure> {
        let server = listen(endpoints)?;
        let endpoints = server.endpoints().cloned().collect();
        let handle = server.handle();
        let thread = std::thread::spawn(|| server.run().wait());
        Ok(Self {
            endpoints,
            running: Running::Here(handle, Some(thread)),
        })
    }

    /// Starts this program again to serve at `endpoints`, and waits until it does.
    pub(crate) fn in_another_process(endpoints: &[Endpoint]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--serve")
            .args(endpoints.iter().map(ToString::to_string));
        // The server reads its input to know when we are gone, and says on its output where it listens.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take();
        let mut host = Self {
            endpoints: Vec::new(),
            running: Running::There(child),
        };
        let lines = BufReader::new(output.ok_or("the server has no output")?).lines();
        for line in lines.take(endpoints.len()) {
            host.endpoints.push(line?.parse()?);
        }
        match host.endpoints.len() == endpoints.len() {
            true => Ok(host),
            false => Err("the server did not start".into()),
        }
    }

    /// Where it listens; a port number that was left open is filled in.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The process that it runs in.
    pub(crate) fn process(&self) -> u32 {
        match &self.running {
            Running::Here(..) => std::process::id(),
            Running::There(child) => child.id(),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Here(handle, thread) => {
                handle.shutdown();
                if let Some(Ok(Err(error))) = thread.take().map(JoinHandle::join) {
                    eprintln!("tour: the service in this process: {error}");
                }
            }
            Running::There(child) => {
                // Closes its input, then waits.
                if let Err(error) = child.wait() {
                    eprintln!("tour: the service's process: {error}");
                }
            }
        }
    }
}

/// What the other process does: serves until its input ends, which happens also if this program is killed.
pub(crate) fn serve(endpoints: &[String]) -> Result<(), Failure> {
    let endpoints: Vec<Endpoint> = endpoints
        .iter()
        .map(Endpoint::try_from)
        .collect::<Result<_, _>>()?;
    let server = listen(&endpoints)?;
    for endpoint in server.endpoints() {
        println!("{endpoint}");
    }
    let handle = server.handle();
    std::thread::spawn(move || {
        // Whether it ends or fails: there is nobody left to serve.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        handle.shutdown();
    });
    Ok(server.run().wait()?)
}

/// What a child does: serves the tour that started it, until that has ended.
pub(crate) fn serve_parent() -> Result<(), Failure> {
    Ok(ipc_rpc::serve_inherited(TextServer::new(Reader)).wait()?)
}

fn listen(endpoints: &[Endpoint]) -> Result<Listening, Failure> {
    let (first, others) = endpoints.split_first().ok_or("there is nowhere to serve")?;
    let server = others
        .iter()
        .fold(Server::bind(first), |server, other| server.and_bind(other));
    Ok(server.service(TextServer::new(Reader)).listen()?)
}
