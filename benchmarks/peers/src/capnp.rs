//! capnp-rpc 0.27 over a Unix socket, on one thread as it demands. What its compiler would write stands here by hand:
//! the bytes are the whole of a call's parameters and results, without a struct around them, which costs it nothing.

use std::ops::Deref;
use std::rc::Rc;

use ::capnp::any_pointer;
use ::capnp::capability::{
    Client as Untyped, DispatchCallResult, FromClientHook, FromServer, Params, Promise, Response, Results,
    Server,
};
use ::capnp::data;
use ::capnp::message::ReaderOptions;
use ::capnp::private::capability::ClientHook;
use bench_harness::{Answer, Error, Job, Load, Measured, Mode, Ready, System, Variant, drive, runtime, sum};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, new_client, twoparty};
use futures::io::{BufReader, BufWriter};
use send_wrapper::SendWrapper;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::client::{Caller, Client as Calls, everything};

/// capnp-rpc.
pub(crate) struct Capnp;

/// The interface and its methods, as they are numbered on the wire.
const BENCH: u64 = 0xb2e5_3d0a_91c4_7f16;
const ECHO: u16 = 0;
const SUM: u16 = 1;
const NULL: u16 = 2;
const ADD: u16 = 3;
const TAKE: u16 = 4;

#[derive(Clone)]
struct Client(Untyped);

impl FromClientHook for Client {
    fn new(hook: Box<dyn ClientHook>) -> Self {
        Self(Untyped::new(hook))
    }

    fn into_client_hook(self) -> Box<dyn ClientHook> {
        self.0.hook
    }

    fn as_client_hook(&self) -> &dyn ClientHook {
        &*self.0.hook
    }
}

struct Bench;

#[derive(Clone)]
struct Dispatch(Rc<Bench>);

impl Deref for Dispatch {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.0
    }
}

impl FromServer<Bench> for Client {
    type Dispatch = Dispatch;

    fn from_server(server: Rc<Bench>) -> Dispatch {
        Dispatch(server)
    }
}

impl Server for Dispatch {
    fn dispatch_call(
        self,
        interface: u64,
        method: u16,
        params: Params<any_pointer::Owned>,
        mut results: Results<any_pointer::Owned>,
    ) -> DispatchCallResult {
        let promise = match answer(interface, method, &params, &mut results) {
            Ok(()) => Promise::ok(()),
            Err(error) => Promise::err(error),
        };
        DispatchCallResult::new(promise, false)
    }

    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
}

fn answer(
    interface: u64,
    method: u16,
    params: &Params<any_pointer::Owned>,
    results: &mut Results<any_pointer::Owned>,
) -> ::capnp::Result<()> {
    let data: data::Reader = params.get()?.get_as()?;
    let mut reply = results.get();
    match (interface, method) {
        (BENCH, ECHO) => reply.set_as::<data::Owned>(data),
        (BENCH, SUM) => reply.set_as::<data::Owned>(&sum(data).to_le_bytes()[..]),
        (BENCH, NULL | TAKE) => Ok(()),
        (BENCH, ADD) => {
            let word = |at: usize| {
                let word = data.get(at..).and_then(|rest| rest.first_chunk());
                word.map_or(0, |word| u64::from_le_bytes(*word))
            };
            reply.set_as::<data::Owned>(&word(0).wrapping_add(word(8)).to_le_bytes()[..])
        }
        _ => Err(::capnp::Error::unimplemented("no such method".to_owned())),
    }
}

fn system(stream: UnixStream, side: Side, bootstrap: Option<Untyped>) -> RpcSystem<Side> {
    let (incoming, out) = stream.into_split();
    // By default it refuses to read more than 64 MiB of a message.
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(None);
    let network = twoparty::VatNetwork::new(
        BufReader::new(incoming.compat()),
        BufWriter::new(out.compat_write()),
        side,
        options,
    );
    RpcSystem::new(Box::new(network), bootstrap)
}

impl System for Capnp {
    fn variants(&self) -> Vec<Variant> {
        vec![Variant {
            system: "capnp-rpc".to_owned(),
            transport: "unix".to_owned(),
            mode: Mode::CURRENT,
            in_process: false,
        }]
    }

    fn offers(&self, _: &Variant, load: &Load) -> Answer {
        everything(load, false)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let path = job.directory.join("capnp.sock");
        runtime(job.variant.mode.server)?.block_on(async {
            let listener = UnixListener::bind(&path)?;
            ready.announce(&path.to_string_lossy())?;
            let bench: Client = new_client(Bench);
            loop {
                let (stream, _) = listener.accept().await?;
                // On a current-thread runtime a task stays on its thread.
                tokio::spawn(SendWrapper::new(system(
                    stream,
                    Side::Server,
                    Some(bench.0.clone()),
                )));
            }
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let (load, path) = (job.load, job.address.clone());
        let connect = async move {
            let mut callers = Vec::new();
            for _ in 0..load.connections {
                let stream = UnixStream::connect(&path).await?;
                let mut system = system(stream, Side::Client, None);
                let client: Client = system.bootstrap(Side::Server);
                tokio::spawn(SendWrapper::new(system));
                callers.extend(Caller::all(Connection(SendWrapper::new(client)), load));
            }
            Ok(callers)
        };
        drive(job, SendWrapper::new(connect))
    }
}

#[derive(Clone)]
struct Connection(SendWrapper<Client>);

/// A reply, which keeps its message.
struct Reply(SendWrapper<Response<any_pointer::Owned>>);

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        let data = self.0.get().and_then(|reply| reply.get_as::<data::Reader>());
        // Empty is not what was sent, so a broken reply is noticed.
        data.unwrap_or_default()
    }
}

impl Connection {
    fn call(&self, method: u16, bytes: &[u8]) -> impl Future<Output = Result<Reply, Error>> + Send + use<> {
        let mut request = self
            .0
            .0
            .new_call::<any_pointer::Owned, any_pointer::Owned>(BENCH, method, None);
        let filled = request.get().set_as::<data::Owned>(bytes);
        SendWrapper::new(async move {
            filled?;
            Ok(Reply(SendWrapper::new(request.send().promise.await?)))
        })
    }
}

fn number(reply: &Reply) -> Result<u64, Error> {
    let word = reply.as_ref().first_chunk().ok_or("no number came")?;
    Ok(u64::from_le_bytes(*word))
}

impl Calls for Connection {
    type Bytes = Reply;

    async fn echo(&mut self, data: &[u8]) -> Result<Reply, Error> {
        self.call(ECHO, data).await
    }

    async fn sum(&mut self, data: &[u8]) -> Result<u64, Error> {
        number(&self.call(SUM, data).await?)
    }

    async fn null(&mut self) -> Result<(), Error> {
        self.call(NULL, &[]).await?;
        Ok(())
    }

    async fn add(&mut self, a: u64, b: u64) -> Result<u64, Error> {
        let mut pair = [0; 16];
        pair[..8].copy_from_slice(&a.to_le_bytes());
        pair[8..].copy_from_slice(&b.to_le_bytes());
        number(&self.call(ADD, &pair).await?)
    }

    async fn take(&mut self, data: &[u8]) -> Result<(), Error> {
        self.call(TAKE, data).await?;
        Ok(())
    }
}
