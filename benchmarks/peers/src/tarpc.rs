//! tarpc 0.38 over its own Unix transport with bincode, written as its documentation shows. Bytes are `serde_bytes`'s,
//! without which bincode writes them one by one.

use std::time::Duration;

use bench_harness::{Answer, Error, Job, Load, Measured, Mode, Ready, System, Variant, drive, runtime};
use futures::StreamExt;
use serde_bytes::ByteBuf;
use tarpc::serde_transport::unix;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context};

use crate::client::{Caller, Client, everything};

/// tarpc.
pub(crate) struct Tarpc;

/// Its frames are of at most 8 MiB by default.
const LARGEST: usize = 65 << 20;

#[tarpc::service]
trait Bench {
    async fn echo(data: ByteBuf) -> ByteBuf;
    async fn sum(data: ByteBuf) -> u64;
    async fn null();
    async fn add(a: u64, b: u64) -> u64;
    async fn take(data: ByteBuf);
}

#[derive(Clone)]
struct Server;

impl Bench for Server {
    async fn echo(self, _: context::Context, data: ByteBuf) -> ByteBuf {
        data
    }

    async fn sum(self, _: context::Context, data: ByteBuf) -> u64 {
        bench_harness::sum(&data)
    }

    async fn null(self, _: context::Context) {}

    async fn add(self, _: context::Context, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    async fn take(self, _: context::Context, _: ByteBuf) {}
}

impl System for Tarpc {
    fn variants(&self) -> Vec<Variant> {
        [Mode::CURRENT, Mode::MULTI]
            .map(|mode| Variant {
                system: "tarpc".to_owned(),
                transport: "unix".to_owned(),
                mode,
                in_process: false,
            })
            .into()
    }

    fn offers(&self, _: &Variant, load: &Load) -> Answer {
        everything(load, false)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let path = job.directory.join("tarpc.sock");
        runtime(job.variant.mode.server)?.block_on(async {
            let mut connections = unix::listen(&path, Bincode::default).await?;
            connections.config_mut().max_frame_length(LARGEST);
            ready.announce(&path.to_string_lossy())?;
            while let Some(connection) = connections.next().await {
                let calls = BaseChannel::with_defaults(connection?).execute(Server.serve());
                tokio::spawn(calls.for_each(|call| async move {
                    tokio::spawn(call);
                }));
            }
            Ok(())
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let (load, address) = (job.load, job.address.clone());
        drive(job, async move {
            let mut callers = Vec::new();
            for _ in 0..load.connections {
                let mut connecting = unix::connect(&address, Bincode::default);
                connecting.config_mut().max_frame_length(LARGEST);
                let mut settings = client::Config::default();
                // As many as are to be in flight; 100 by default.
                settings.max_in_flight_requests = settings.max_in_flight_requests.max(load.in_flight);
                let client = BenchClient::new(settings, connecting.await?).spawn();
                callers.extend(Caller::all(Connection(client), load));
            }
            Ok(callers)
        })
    }
}

/// With more time than any call takes: by default 10 s, and 64 MiB on a busy machine can take longer.
fn context() -> context::Context {
    let mut context = context::current();
    context.deadline += Duration::from_secs(60);
    context
}

#[derive(Clone)]
struct Connection(BenchClient);

impl Client for Connection {
    type Bytes = Reply;

    async fn echo(&mut self, data: &[u8]) -> Result<Reply, Error> {
        // Arguments are owned in tarpc, so the caller's bytes are copied for each call.
        Ok(Reply(self.0.echo(context(), ByteBuf::from(data)).await?))
    }

    async fn sum(&mut self, data: &[u8]) -> Result<u64, Error> {
        Ok(self.0.sum(context(), ByteBuf::from(data)).await?)
    }

    async fn null(&mut self) -> Result<(), Error> {
        Ok(self.0.null(context()).await?)
    }

    async fn add(&mut self, a: u64, b: u64) -> Result<u64, Error> {
        Ok(self.0.add(context(), a, b).await?)
    }

    async fn take(&mut self, data: &[u8]) -> Result<(), Error> {
        Ok(self.0.take(context(), ByteBuf::from(data)).await?)
    }
}

struct Reply(ByteBuf);

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
