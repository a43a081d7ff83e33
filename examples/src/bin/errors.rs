//! Every kind of failure that a user meets, provoked one by one.
//!
//! Shows what a program can ask of an error: its `kind`, which says what went wrong; its `outcome`, which says whether the call may
//! have had an effect; `is_retryable`, which puts the two together; and the sentence for the person at the screen.
//!
//! Run it with `cargo run --bin errors`. It starts its own server, which is this program again; that one panics and aborts
//! on request, and what it says meanwhile on the standard error is part of the show.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use ipc_rpc::{CallError, Endpoint, Error, Reject, Server, ServiceClient};
use serde::{Deserialize, Serialize};

/// A service that can fail in every way.
#[ipc_rpc::service]
pub trait Fragile {
    /// Fails as the service's author meant it to.
    async fn divide(&self, a: i64, b: i64) -> Result<i64, DivisionByZero>;
    /// Never returns.
    async fn hang(&self);
    /// Panics.
    async fn panic(&self);
    /// Ends the server's process.
    async fn abort(&self);
    /// Gives back what it gets.
    async fn echo(&self, bytes: &[u8]) -> Vec<u8>;
    /// Takes a value that not every value of its type can be sent as.
    async fn remind(&self, at: SystemTime);
    /// Returns a struct; see `newer`.
    async fn settings(&self) -> Settings;
}

/// The divisor was zero.
#[derive(Debug, Serialize, Deserialize)]
pub struct DivisionByZero;

/// What `settings` returns.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settings {
    /// A setting.
    pub colour: String,
}

/// The same service as a newer program knows it, whose author forgot to raise `version`.
mod newer {
    use serde::{Deserialize, Serialize};

    /// The newer interface.
    #[ipc_rpc::service]
    pub(crate) trait Fragile {
        /// A method that the older server does not have.
        async fn repair(&self);
        /// A method whose argument has another type now.
        async fn echo(&self, text: &str) -> Vec<u8>;
        /// A method whose signature is the same, while the struct in it is not.
        async fn settings(&self) -> Settings;
    }

    /// It has one field more than the server's.
    #[derive(Debug, Serialize, Deserialize)]
    pub(crate) struct Settings {
        /// A setting.
        pub(crate) colour: String,
        /// A new one.
        pub(crate) size: u32,
    }
}

/// A service that nobody serves here.
#[ipc_rpc::service]
pub trait Missing {
    /// Is never called.
    async fn method(&self);
}

struct Vase;

impl Fragile for Vase {
    async fn divide(&self, a: i64, b: i64) -> Result<i64, DivisionByZero> {
        a.checked_div(b).ok_or(DivisionByZero)
    }

    async fn hang(&self) {
        std::future::pending().await
    }

    async fn panic(&self) {
        panic!("the vase is broken");
    }

    async fn abort(&self) {
        std::process::abort();
    }

    async fn echo(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_owned()
    }

    async fn remind(&self, _at: SystemTime) {}

    async fn settings(&self) -> Settings {
        Settings {
            colour: "blue".to_owned(),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--serve"), Some(name)) => serve(&name).await.map_err(Into::into),
        (None, None) => show_all().await,
        _ => Err("usage: errors".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("errors: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The server's process: four endpoints, each with a reason of its own to refuse somebody.
async fn serve(name: &str) -> Result<(), Error> {
    let open = Server::bind(name).service(FragileServer::new(Vase)).listen()?;
    let secret = Server::bind(format!("{name}-secret"))
        .on_connect(|request| match request.greeting() {
            b"sesame" => Ok(()),
            _ => Err(Reject::new("the greeting is not the one that we agreed on")),
        })
        .listen()?;
    let closed = Server::bind(format!("{name}-closed"))
        .allow(|_peer| false)
        .listen()?;
    let full = Server::bind(format!("{name}-full")).max_connections(1).listen()?;
    println!("ready");
    tokio::try_join!(open.run(), secret.run(), closed.run(), full.run()).map(drop)
}

async fn show_all() -> Result<(), Box<dyn std::error::Error>> {
    let name = format!("errors-{}", std::process::id());
    let server = ServerProcess::start(&name)?;
    connecting(&name).await?;
    let client = FragileClient::connect(&name).await?;
    calling(&name, &client).await?;
    skew(&client).await;
    ending(client, server).await
}

async fn connecting(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    heading("connecting");
    show(
        "no server",
        FragileClient::connect(format!("{name}-nobody")).await,
    );
    show("not an endpoint", FragileClient::connect("pigeon:home").await);
    show(
        "refused by on_connect",
        FragileClient::connect(format!("{name}-secret"))
            .greeting("abracadabra")
            .await,
    );
    show(
        "refused by allow",
        FragileClient::connect(format!("{name}-closed")).await,
    );
    let full = format!("{name}-full");
    let _guest = FragileClient::connect(&full).await?;
    show("no place left", FragileClient::connect(&full).await);
    show(
        "name in use",
        Server::bind(name).service(FragileServer::new(Vase)).run().await,
    );

    let web = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("tcp:{}", web.local_addr()?);
    let answering = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut visitor, _) = web.accept()?;
        visitor.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
        // Reads until the visitor leaves: a close with something unread would cut the answer off.
        std::io::copy(&mut visitor, &mut std::io::sink()).map(drop)
    });
    show("another protocol", FragileClient::connect(address).await);
    answering.join().map_err(|_| "the web server panicked")??;

    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("tcp:{}", silent.local_addr()?);
    show(
        "no answer",
        FragileClient::connect(address)
            .timeout(Duration::from_millis(50))
            .await,
    );
    Ok(())
}

async fn calling(name: &str, client: &FragileClient) -> Result<(), Box<dyn std::error::Error>> {
    heading("calling");
    show_call("service error", client.divide(1, 0).await);
    show("deadline", client.hang().timeout(Duration::from_millis(50)).await);
    show("panic", client.panic().await);
    let small: Endpoint = name.parse()?;
    let careful = FragileClient::connect(small.max_message(1 << 10)).await?;
    show("too large to send", careful.echo(&[0; 4 << 10]).await);
    let past = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    show("cannot be encoded", client.remind(past).await);
    let on_worker = client.clone();
    show(
        "wait() in async code",
        tokio::spawn(async move { on_worker.hang().wait() }).await?,
    );
    Ok(())
}

/// Client and server were not built from the same source. What they have in common goes on working.
async fn skew(client: &FragileClient) {
    heading("version skew");
    let newer: newer::FragileClient = client.service();
    show("unknown method", newer.repair().await);
    show("another signature", newer.echo("text").await);
    show("another struct", newer.settings().await);
    show(
        "unknown service",
        client.service::<MissingClient>().method().await,
    );
}

async fn ending(client: FragileClient, server: ServerProcess) -> Result<(), Box<dyn std::error::Error>> {
    heading("ending");
    let here = Server::bind("mem:errors")
        .service(FragileServer::new(Vase))
        .listen()?;
    let handle = here.handle();
    let running = tokio::spawn(here.run());
    let guest = FragileClient::connect("mem:errors").await?;
    handle.shutdown();
    running.await??;
    show("server shut down", guest.echo(b"").await);

    show("server died in the call", client.abort().await);
    show("server died before the call", client.echo(b"").await);
    drop(server);
    Ok(())
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn show<T>(situation: &str, result: Result<T, Error>) {
    match result {
        Ok(_) => println!("  {situation}: did not fail"),
        Err(error) => {
            let advice = if error.is_retryable() {
                "retry"
            } else {
                "do not retry"
            };
            println!(
                "  {situation}: {:?}, {:?}, {advice}\n      {error}",
                error.kind(),
                error.outcome()
            );
        }
    }
}

/// A method that returns `Result` has two sorts of error.
fn show_call<T>(situation: &str, result: Result<T, CallError<DivisionByZero>>) {
    match result {
        Err(CallError::Service(error)) => println!("  {situation}: the handler returned {error:?}"),
        Err(CallError::Rpc(error)) => show::<T>(situation, Err(error)),
        Ok(value) => show(situation, Ok(value)),
    }
}

/// This program again, as a server.
struct ServerProcess(Child);

impl ServerProcess {
    /// Starts it and waits until it says that it listens.
    fn start(name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.args(["--serve", name]).stdout(Stdio::piped()).spawn()?;
        let mut server = Self(child);
        let said = server.0.stdout.take().ok_or("the server has no output")?;
        let mut line = String::new();
        BufReader::new(said.take(64)).read_line(&mut line)?;
        match line.as_str() {
            "ready\n" => Ok(server),
            _ => Err("the server did not start".into()),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It aborts at the end of the show; this is for the case that the show does not get so far.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
