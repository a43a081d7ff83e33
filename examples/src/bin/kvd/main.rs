//! A key-value daemon: keys, values and versions in memory, for every program of the same user.
//!
//! Shows a service with its own errors (`KvError`), a server that says where it listens before it answers, and an orderly end: on
//! SIGTERM or Ctrl-C it takes no new calls, answers those that it has, and only then writes its file. So a change that
//! a client was told of is in the file.
//!
//! ```console
//! $ cargo run --bin kvd -- --file store.json      # without --file, what it holds ends with it
//! $ cargo run --bin kv -- put greeting hello
//! ```
//!
//! `--at ENDPOINT` serves elsewhere than at `kv`: `unix:./kv.sock`, `tcp:7000`.

mod store;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use examples::kv::{self, KvServer};
use ipc_rpc::Server;
use store::Store;

const USAGE: &str = "usage: kvd [--at ENDPOINT] [--file PATH]";

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("kvd: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvd: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    // The name first, the file second: of two daemons that start at once, only one may read and later write it.
    let store = std::sync::Arc::new(Store::default());
    let server = Server::bind(options.at)
        .service(KvServer::from_arc(store.clone()))
        .until_signal()
        .drain(Duration::from_secs(5))
        .listen()?;
    if let Some(file) = &options.file {
        store
            .load(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    }
    for endpoint in server.endpoints() {
        println!("kvd: serving at {}", endpoint.detail());
    }
    server.run().await?;
    if let Some(file) = &options.file {
        store
            .save(file)
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(())
}

struct Options {
    at: String,
    file: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            at: kv::ENDPOINT.to_owned(),
            file: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--at" => options.at = value()?,
                "--file" => options.file = Some(value()?.into()),
                _ => return Err(format!("unknown argument {argument:?}")),
            }
        }
        Ok(options)
    }
}
