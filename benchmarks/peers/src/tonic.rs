//! tonic 0.14 over a Unix socket. Messages and dispatch are what its generator would write, by hand, so that no
//! protobuf compiler is needed; bytes are `Bytes`, which it neither copies out of nor into what it received.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::tonic::body::Body;
use ::tonic::server::{Grpc, NamedService, UnaryService};
use ::tonic::transport::{Channel, Endpoint, Server as Transport};
use ::tonic::{Request, Response, Status, client};
use bench_harness::{Answer, Error, Job, Load, Measured, Mode, Ready, System, Variant, drive, runtime};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use prost::bytes::Bytes;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::client::{Caller, Client, everything};

/// tonic.
pub(crate) struct Tonic;

/// Its messages are of at most 4 MiB by default.
const LARGEST: usize = 65 << 20;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Data {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pair {
    #[prost(uint64, tag = "1")]
    pub(crate) a: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) b: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Number {
    #[prost(uint64, tag = "1")]
    pub(crate) value: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

/// The service, as its generator writes one.
#[derive(Clone)]
struct Bench;

impl NamedService for Bench {
    const NAME: &'static str = "bench.Bench";
}

type Answered<T> = Pin<Box<dyn Future<Output = Result<T, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Bench {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answered<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            "/bench.Bench/Echo" => unary(request, |data: Data| data),
            "/bench.Bench/Sum" => unary(request, |data: Data| Number {
                value: bench_harness::sum(&data.data),
            }),
            "/bench.Bench/Null" => unary(request, |_: Empty| Empty {}),
            "/bench.Bench/Add" => unary(request, |pair: Pair| Number {
                value: pair.a.wrapping_add(pair.b),
            }),
            "/bench.Bench/Take" => unary(request, |_: Data| Empty {}),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

fn unary<I, O>(request: http::Request<Body>, method: fn(I) -> O) -> Answered<http::Response<Body>>
where
    I: Message + Default + 'static,
    O: Message + Default + 'static,
{
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<O, I>::default())
            .max_decoding_message_size(LARGEST)
            .max_encoding_message_size(LARGEST);
        Ok(grpc.unary(Method(method), request).await)
    })
}

struct Method<I, O>(fn(I) -> O);

impl<I: 'static, O: 'static> UnaryService<I> for Method<I, O> {
    type Response = O;
    type Future = std::future::Ready<Result<Response<O>, Status>>;

    fn call(&mut self, request: Request<I>) -> Self::Future {
        std::future::ready(Ok(Response::new((self.0)(request.into_inner()))))
    }
}

impl System for Tonic {
    fn variants(&self) -> Vec<Variant> {
        [Mode::CURRENT, Mode::MULTI]
            .map(|mode| Variant {
                system: "tonic".to_owned(),
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
        let path = job.directory.join("tonic.sock");
        runtime(job.variant.mode.server)?.block_on(async {
            let listener = UnixListener::bind(&path)?;
            ready.announce(&path.to_string_lossy())?;
            Transport::builder()
                .add_service(Bench)
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await?;
            Ok(())
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let (load, path) = (job.load, job.address.clone());
        drive(job, async move {
            let mut callers = Vec::new();
            for _ in 0..load.connections {
                let path = path.clone();
                let connector = service_fn(move |_| {
                    let path = path.clone();
                    async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
                });
                // The name is of no use to a socket's connector, but it must be one.
                let channel = Endpoint::from_static("http://[::]:1")
                    .connect_with_connector(connector)
                    .await?;
                let grpc = client::Grpc::new(channel)
                    .max_decoding_message_size(LARGEST)
                    .max_encoding_message_size(LARGEST);
                callers.extend(Caller::all(Connection(grpc), load));
            }
            Ok(callers)
        })
    }
}

#[derive(Clone)]
struct Connection(client::Grpc<Channel>);

impl Connection {
    async fn call<I, O>(&mut self, path: &'static str, message: I) -> Result<O, Error>
    where
        I: Message + Default + 'static,
        O: Message + Default + 'static,
    {
        self.0.ready().await?;
        let codec = ProstCodec::<I, O>::default();
        let path = PathAndQuery::from_static(path);
        Ok(self
            .0
            .unary(Request::new(message), path, codec)
            .await?
            .into_inner())
    }
}

fn data(data: &[u8]) -> Data {
    Data {
        data: Bytes::copy_from_slice(data),
    }
}

impl Client for Connection {
    type Bytes = Bytes;

    async fn echo(&mut self, bytes: &[u8]) -> Result<Bytes, Error> {
        let reply: Data = self.call("/bench.Bench/Echo", data(bytes)).await?;
        Ok(reply.data)
    }

    async fn sum(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let reply: Number = self.call("/bench.Bench/Sum", data(bytes)).await?;
        Ok(reply.value)
    }

    async fn null(&mut self) -> Result<(), Error> {
        let Empty {} = self.call("/bench.Bench/Null", Empty {}).await?;
        Ok(())
    }

    async fn add(&mut self, a: u64, b: u64) -> Result<u64, Error> {
        let reply: Number = self.call("/bench.Bench/Add", Pair { a, b }).await?;
        Ok(reply.value)
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Empty {} = self.call("/bench.Bench/Take", data(bytes)).await?;
        Ok(())
    }
}
