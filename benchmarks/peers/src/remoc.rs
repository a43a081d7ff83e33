//! remoc 0.20, a remotely called trait over a Unix socket. Bytes are `serde_bytes`'s; its default codec.

use std::sync::Arc;

use ::remoc::prelude::*;
use ::remoc::rtc::CallError;
use bench_harness::{Answer, Error, Job, Load, Measured, Mode, Ready, System, Variant, drive, runtime};
use serde_bytes::ByteBuf;
use tokio::net::{UnixListener, UnixStream};

use crate::client::{Caller, Client as Calls, everything};

/// remoc.
pub(crate) struct Remoc;

/// Its requests and responses are of at most 16 MiB by default.
const LARGEST: usize = 65 << 20;

#[rtc::remote]
trait Bench {
    async fn echo(&self, data: ByteBuf) -> Result<ByteBuf, CallError>;
    async fn sum(&self, data: ByteBuf) -> Result<u64, CallError>;
    async fn null(&self) -> Result<(), CallError>;
    async fn add(&self, a: u64, b: u64) -> Result<u64, CallError>;
    async fn take(&self, data: ByteBuf) -> Result<(), CallError>;
}

struct Served;

impl Bench for Served {
    async fn echo(&self, data: ByteBuf) -> Result<ByteBuf, CallError> {
        Ok(data)
    }

    async fn sum(&self, data: ByteBuf) -> Result<u64, CallError> {
        Ok(bench_harness::sum(&data))
    }

    async fn null(&self) -> Result<(), CallError> {
        Ok(())
    }

    async fn add(&self, a: u64, b: u64) -> Result<u64, CallError> {
        Ok(a.wrapping_add(b))
    }

    async fn take(&self, _: ByteBuf) -> Result<(), CallError> {
        Ok(())
    }
}

impl System for Remoc {
    fn variants(&self) -> Vec<Variant> {
        [Mode::CURRENT, Mode::MULTI]
            .map(|mode| Variant {
                system: "remoc".to_owned(),
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
        let path = job.directory.join("remoc.sock");
        runtime(job.variant.mode.server)?.block_on(async {
            let listener = UnixListener::bind(&path)?;
            ready.announce(&path.to_string_lossy())?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(async move {
                    let (incoming, out) = stream.into_split();
                    let (server, mut client) =
                        BenchServerShared::<_, ::remoc::codec::Default>::new(Arc::new(Served));
                    client.set_max_request_size(LARGEST);
                    client.set_max_response_size(LARGEST);
                    ::remoc::Connect::io(::remoc::Cfg::default(), incoming, out)
                        .provide(client)
                        .await?;
                    server.serve().await.map_err(|error| error.to_string())?;
                    Ok::<_, Error>(())
                });
            }
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let (load, path) = (job.load, job.address.clone());
        drive(job, async move {
            let mut callers = Vec::new();
            for _ in 0..load.connections {
                let (incoming, out) = UnixStream::connect(&path).await?.into_split();
                let client: BenchClient = ::remoc::Connect::io(::remoc::Cfg::default(), incoming, out)
                    .consume()
                    .await?;
                callers.extend(Caller::all(Connection(client), load));
            }
            Ok(callers)
        })
    }
}

#[derive(Clone)]
struct Connection(BenchClient);

impl Calls for Connection {
    type Bytes = Vec<u8>;

    async fn echo(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.echo(ByteBuf::from(data)).await?.into_vec())
    }

    async fn sum(&mut self, data: &[u8]) -> Result<u64, Error> {
        Ok(self.0.sum(ByteBuf::from(data)).await?)
    }

    async fn null(&mut self) -> Result<(), Error> {
        Ok(self.0.null().await?)
    }

    async fn add(&mut self, a: u64, b: u64) -> Result<u64, Error> {
        Ok(self.0.add(a, b).await?)
    }

    async fn take(&mut self, data: &[u8]) -> Result<(), Error> {
        Ok(self.0.take(ByteBuf::from(data)).await?)
    }
}
