//! ttrpc 0.10, its async form, over a Unix socket. Messages are those of [`tonic`](super::tonic); its dispatch is
//! written by hand, as its generator would, so that no protobuf compiler is needed.

use std::collections::HashMap;

use ::ttrpc::asynchronous::{Client as Connector, MethodHandler, Server, Service, TtrpcContext};
use ::ttrpc::proto::{Code, Request, Response};
use async_trait::async_trait;
use bench_harness::{Answer, Error, Job, Load, Measured, Mode, Ready, System, Variant, drive, runtime};
use prost::Message;
use prost::bytes::Bytes;

use crate::client::{Caller, Client, everything};
use crate::tonic::{Data, Empty, Number, Pair};

/// ttrpc.
pub(crate) struct Ttrpc;

/// Bytes in a message, with what surrounds a body: a constant of its own.
const LARGEST: usize = (4 << 20) - 1024;

struct Method(fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>);

#[async_trait]
impl MethodHandler for Method {
    async fn handler(&self, _: TtrpcContext, request: Request) -> ::ttrpc::Result<Response> {
        let payload =
            (self.0)(&request.payload).map_err(|error| ::ttrpc::Error::Others(error.to_string()))?;
        let mut response = Response::new();
        response.set_status(::ttrpc::get_status(Code::OK, ""));
        response.payload = payload;
        Ok(response)
    }
}

fn method<I: Message + Default, O: Message>(
    payload: &[u8],
    answer: impl Fn(I) -> O,
) -> Result<Vec<u8>, prost::DecodeError> {
    Ok(answer(I::decode(payload)?).encode_to_vec())
}

fn service() -> Service {
    let methods: [(&str, Method); 5] = [
        ("Echo", Method(|payload| method(payload, |data: Data| data))),
        (
            "Sum",
            Method(|payload| {
                method(payload, |data: Data| Number {
                    value: bench_harness::sum(&data.data),
                })
            }),
        ),
        ("Null", Method(|payload| method(payload, |_: Empty| Empty {}))),
        (
            "Add",
            Method(|payload| {
                method(payload, |pair: Pair| Number {
                    value: pair.a.wrapping_add(pair.b),
                })
            }),
        ),
        ("Take", Method(|payload| method(payload, |_: Data| Empty {}))),
    ];
    Service {
        methods: methods
            .into_iter()
            .map(|(name, method)| (name.to_owned(), Box::new(method) as Box<_>))
            .collect(),
        streams: HashMap::new(),
    }
}

impl System for Ttrpc {
    fn variants(&self) -> Vec<Variant> {
        [Mode::CURRENT, Mode::MULTI]
            .map(|mode| Variant {
                system: "ttrpc".to_owned(),
                transport: "unix".to_owned(),
                mode,
                in_process: false,
            })
            .into()
    }

    fn offers(&self, _: &Variant, load: &Load) -> Answer {
        if load.largest() > LARGEST {
            return Answer::No("it refuses messages of 4 MiB and more");
        }
        everything(load, false)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let address = format!("unix://{}", job.directory.join("ttrpc.sock").display());
        runtime(job.variant.mode.server)?.block_on(async {
            let services = HashMap::from([("bench.Bench".to_owned(), service())]);
            let mut server = Server::new().bind(&address)?.register_service(services);
            server.start().await?;
            ready.announce(&address)?;
            // It serves in tasks of its own, until the process is killed.
            std::future::pending().await
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let (load, address) = (job.load, job.address.clone());
        drive(job, async move {
            let mut callers = Vec::new();
            for _ in 0..load.connections {
                let client = Connector::connect(&address).await?;
                callers.extend(Caller::all(Connection(client), load));
            }
            Ok(callers)
        })
    }
}

#[derive(Clone)]
struct Connection(Connector);

impl Connection {
    async fn call<O: Message + Default>(&mut self, method: &str, message: impl Message) -> Result<O, Error> {
        let mut request = Request::new();
        request.service = "bench.Bench".to_owned();
        request.method = method.to_owned();
        request.payload = message.encode_to_vec();
        let response = self.0.request(request).await?;
        // Shared from here on, so that bytes inside are not copied again.
        Ok(O::decode(Bytes::from(response.payload))?)
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
        let reply: Data = self.call("Echo", data(bytes)).await?;
        Ok(reply.data)
    }

    async fn sum(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let reply: Number = self.call("Sum", data(bytes)).await?;
        Ok(reply.value)
    }

    async fn null(&mut self) -> Result<(), Error> {
        let Empty {} = self.call("Null", Empty {}).await?;
        Ok(())
    }

    async fn add(&mut self, a: u64, b: u64) -> Result<u64, Error> {
        let reply: Number = self.call("Add", Pair { a, b }).await?;
        Ok(reply.value)
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Empty {} = self.call("Take", data(bytes)).await?;
        Ok(())
    }
}
