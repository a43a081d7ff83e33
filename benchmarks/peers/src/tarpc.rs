//! tarpc 0.38 over its own Unix transport with bincode, written as its documentation shows.

use std::sync::Arc;

use bench_harness::{
    Case, Error, Job, Load, Measured, Mode, Ready, System, Variant, Worker, body, check_echo, drive, runtime,
};
use futures::StreamExt;
use serde_bytes::ByteBuf;
use tarpc::serde_transport::unix;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context};

/// tarpc.
pub(crate) struct Tarpc;

#[tarpc::service]
trait Bench {
    async fn echo(data: Vec<u8>) -> Vec<u8>;
    async fn echo_bytes(data: ByteBuf) -> ByteBuf;
}

#[derive(Clone)]
struct Server;

impl Bench for Server {
    async fn echo(self, _: context::Context, data: Vec<u8>) -> Vec<u8> {
        data
    }

    async fn echo_bytes(self, _: context::Context, data: ByteBuf) -> ByteBuf {
        data
    }
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

    fn offers(&self, _: &Variant, load: &Load) -> Option<&'static str> {
        match load.case {
            Case::Echo => Some("Vec<u8> both ways"),
            Case::EchoBytes => Some("serde_bytes::ByteBuf both ways"),
            Case::Idle => Some(""),
            // It has no one-way calls.
            Case::Post => None,
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let path = job.directory.join("tarpc.sock");
        runtime(job.variant.mode.server)?.block_on(async {
            let mut connections = unix::listen(&path, Bincode::default).await?;
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
            let payload: Arc<[u8]> = body(load.size).into();
            let mut callers = Vec::new();
            for _ in 0..load.connections {
                let connection = unix::connect(&address, Bincode::default).await?;
                let client = BenchClient::new(client::Config::default(), connection).spawn();
                for _ in 0..load.in_flight {
                    callers.push(Caller {
                        client: client.clone(),
                        payload: payload.clone(),
                        case: load.case,
                    });
                }
            }
            Ok(callers)
        })
    }
}

struct Caller {
    client: BenchClient,
    payload: Arc<[u8]>,
    case: Case,
}

impl Worker for Caller {
    async fn turn(&mut self) -> Result<u32, Error> {
        // Arguments are owned in tarpc, so the caller's bytes are copied for each call.
        let data = self.payload.to_vec();
        if self.case == Case::EchoBytes {
            let reply = self
                .client
                .echo_bytes(context::current(), ByteBuf::from(data))
                .await?;
            check_echo(&self.payload, &reply)?;
        } else {
            let reply = self.client.echo(context::current(), data).await?;
            check_echo(&self.payload, &reply)?;
        }
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
