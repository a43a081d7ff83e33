//! ipc-rpc.

use std::sync::Arc;
use std::sync::mpsc;

use bench_harness::{
    Case, Error, Job, Load, Measured, Mode, Ready, System, Variant, Waiting, Worker, body, check_echo, drive,
    runtime,
};
use ipc_rpc::Server;

/// ipc-rpc, over each of its transports.
pub(crate) struct Ours;

/// What the benchmarks call.
#[ipc_rpc::service]
pub(crate) trait Bench {
    /// Gives the bytes back.
    async fn echo(&self, data: &[u8]) -> Vec<u8>;
    /// Gives the bytes back, as the type that users take who share buffers.
    async fn echo_bytes(&self, data: &[u8]) -> bytes::Bytes;
    /// Adds all bytes.
    async fn sum(&self, data: &[u8]) -> u64;
    /// Adds two numbers.
    async fn add(&self, a: u64, b: u64) -> u64;
    /// Does nothing.
    async fn null(&self);
    /// Takes bytes and says nothing.
    #[rpc(oneway)]
    async fn post(&self, data: &[u8]);
}

struct Echo;

impl Bench for Echo {
    async fn echo(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    async fn echo_bytes(&self, data: &[u8]) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(data)
    }

    async fn sum(&self, data: &[u8]) -> u64 {
        data.iter().map(|&byte| u64::from(byte)).sum()
    }

    async fn add(&self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    async fn null(&self) {}

    async fn post(&self, data: &[u8]) {
        std::hint::black_box(data);
    }
}

impl System for Ours {
    fn variants(&self) -> Vec<Variant> {
        ["unix", "tcp", "mem"]
            .into_iter()
            .flat_map(|transport| {
                [Mode::BLOCKING, Mode::CURRENT, Mode::MULTI].map(|mode| Variant {
                    system: "ipc-rpc".to_owned(),
                    transport: transport.to_owned(),
                    mode,
                    in_process: transport == "mem",
                })
            })
            .collect()
    }

    fn offers(&self, variant: &Variant, load: &Load) -> Option<&'static str> {
        let many = load.in_flight > 1;
        match (load.case, variant.mode.client) {
            // Threads that share a client take turns as its reader; what that costs is no more than orientation.
            (Case::Echo | Case::EchoBytes, Waiting::Blocking) if many => {
                (load.in_flight <= 8).then_some("a thread a call")
            }
            _ => Some(""),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let endpoint = match job.variant.transport.as_str() {
            "tcp" => "tcp:127.0.0.1:0".to_owned(),
            _ => format!("unix:{}", job.directory.join("bench.sock").display()),
        };
        serve(&endpoint, job.variant.mode.server, |address| {
            ready.announce(address)
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let mut job = job.clone();
        if job.variant.in_process {
            let (told, listening) = mpsc::channel();
            let mode = job.variant.mode.server;
            std::thread::spawn(move || {
                serve("mem:bench", mode, |address| Ok(told.send(address.to_owned())?))
            });
            job.address = listening
                .recv()
                .map_err(|_| "the server in this process did not start")?;
        }
        let (load, address) = (job.load, job.address.clone());
        if job.variant.mode.client == Waiting::Blocking {
            return drive(&job, async move {
                let mut callers = Vec::new();
                for _ in 0..load.connections {
                    let client = BenchClient::connect(&*address).wait()?;
                    callers.extend(Caller::of(client, load).map(Blocking));
                }
                Ok(callers)
            });
        }
        drive(&job, async move {
            let mut callers = Vec::new();
            for _ in 0..load.connections {
                let client = BenchClient::connect(&*address).await?;
                callers.extend(Caller::of(client, load).map(Async));
            }
            Ok(callers)
        })
    }
}

fn serve(endpoint: &str, mode: Waiting, ready: impl FnOnce(&str) -> Result<(), Error>) -> Result<(), Error> {
    let server = Server::bind(endpoint).service(BenchServer::new(Echo)).listen()?;
    let address = server
        .endpoints()
        .next()
        .ok_or("the server has no endpoint")?
        .to_string();
    ready(&address)?;
    runtime(mode)?.block_on(server.run())?;
    Ok(())
}

/// A client, and what it sends.
struct Caller {
    client: BenchClient,
    payload: Arc<[u8]>,
    case: Case,
}

struct Async(Caller);
struct Blocking(Caller);

impl Caller {
    /// As many as are to be in flight on the client's connection.
    fn of(client: BenchClient, load: Load) -> impl Iterator<Item = Self> {
        let payload: Arc<[u8]> = body(load.size).into();
        (0..load.in_flight).map(move |_| Self {
            client: client.clone(),
            payload: payload.clone(),
            case: load.case,
        })
    }
}

impl Worker for Async {
    async fn turn(&mut self) -> Result<u32, Error> {
        let Self(Caller {
            client,
            payload,
            case,
        }) = self;
        match case {
            Case::Echo | Case::Idle => check_echo(payload, &client.echo(payload).await?)?,
            Case::EchoBytes => check_echo(payload, &client.echo_bytes(payload).await?)?,
            Case::Post => client.post(payload).await?,
        }
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(self.0.client.null().await?)
    }
}

impl Worker for Blocking {
    async fn turn(&mut self) -> Result<u32, Error> {
        let Self(Caller {
            client,
            payload,
            case,
        }) = self;
        match case {
            Case::Echo | Case::Idle => check_echo(payload, &client.echo(payload).wait()?)?,
            Case::EchoBytes => check_echo(payload, &client.echo_bytes(payload).wait()?)?,
            Case::Post => client.post(payload).wait()?,
        }
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(self.0.client.null().wait()?)
    }
}
