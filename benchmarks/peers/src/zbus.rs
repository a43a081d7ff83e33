//! zbus 6, peer to peer over a Unix socket, without a bus. Bytes are `serde_bytes`'s.

use ::zbus::{Connection, Guid, connection, interface, proxy};
use bench_harness::{Answer, Error, Job, Load, Measured, Mode, Ready, System, Variant, drive, runtime};
use serde_bytes::{ByteBuf, Bytes};
use tokio::net::{UnixListener, UnixStream};

use crate::client::{Caller, Client, everything};

/// zbus.
pub(crate) struct Zbus;

struct Bench;

#[interface(name = "bench.Bench")]
impl Bench {
    async fn echo(&self, data: ByteBuf) -> ByteBuf {
        data
    }

    async fn sum(&self, data: ByteBuf) -> u64 {
        bench_harness::sum(&data)
    }

    async fn null(&self) {}

    async fn add(&self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    async fn take(&self, _data: ByteBuf) {}

    async fn post(&self, _data: ByteBuf) {}
}

// Peer to peer, the service's name says nothing, but a proxy must have one.
#[proxy(
    interface = "bench.Bench",
    default_service = "bench.Bench",
    default_path = "/bench"
)]
trait Bench {
    fn echo(&self, data: &Bytes) -> ::zbus::Result<ByteBuf>;
    fn sum(&self, data: &Bytes) -> ::zbus::Result<u64>;
    fn null(&self) -> ::zbus::Result<()>;
    fn add(&self, a: u64, b: u64) -> ::zbus::Result<u64>;
    fn take(&self, data: &Bytes) -> ::zbus::Result<()>;
    #[zbus(no_reply)]
    fn post(&self, data: &Bytes) -> ::zbus::Result<()>;
}

impl System for Zbus {
    fn variants(&self) -> Vec<Variant> {
        [Mode::CURRENT, Mode::MULTI]
            .map(|mode| Variant {
                system: "zbus".to_owned(),
                transport: "unix".to_owned(),
                mode,
                in_process: false,
            })
            .into()
    }

    fn offers(&self, _: &Variant, load: &Load) -> Answer {
        everything(load, true)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let path = job.directory.join("zbus.sock");
        runtime(job.variant.mode.server)?.block_on(async {
            let listener = UnixListener::bind(&path)?;
            ready.announce(&path.to_string_lossy())?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(async move {
                    let connection = connection::Builder::unix_stream(stream.into_std()?)
                        .server(Guid::generate())
                        .p2p()
                        .serve_at("/bench", Bench)
                        .build()
                        .await?;
                    // It serves as long as someone has it.
                    connection.closed().await;
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
                let stream = UnixStream::connect(&path).await?;
                let connection: Connection = connection::Builder::unix_stream(stream.into_std()?)
                    .p2p()
                    .build()
                    .await?;
                let proxy = BenchProxy::builder(&connection)
                    .cache_properties(::zbus::proxy::CacheProperties::No)
                    .build()
                    .await?;
                callers.extend(Caller::all(Proxied(proxy), load));
            }
            Ok(callers)
        })
    }
}

#[derive(Clone)]
struct Proxied(BenchProxy<'static>);

impl Client for Proxied {
    type Bytes = Vec<u8>;

    async fn echo(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.echo(Bytes::new(data)).await?.into_vec())
    }

    async fn sum(&mut self, data: &[u8]) -> Result<u64, Error> {
        Ok(self.0.sum(Bytes::new(data)).await?)
    }

    async fn null(&mut self) -> Result<(), Error> {
        Ok(self.0.null().await?)
    }

    async fn add(&mut self, a: u64, b: u64) -> Result<u64, Error> {
        Ok(self.0.add(a, b).await?)
    }

    async fn take(&mut self, data: &[u8]) -> Result<(), Error> {
        Ok(self.0.take(Bytes::new(data)).await?)
    }

    async fn post(&mut self, data: &[u8]) -> Result<(), Error> {
        Ok(self.0.post(Bytes::new(data)).await?)
    }
}
