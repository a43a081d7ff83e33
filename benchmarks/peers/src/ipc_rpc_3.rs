//! ipc-rpc 3.0 of the public registry, another project of the same name, built on ipc-channel. Bytes are
//! `serde_bytes`'s; the check of the messages' schema is off, as it runs once.
//!
//! Its client loses a reply that comes before it has taken note of the request, and its caller waits until the time for the
//! call is over. So a call has little time here, and is made again; that is part of what it takes.

use std::time::Duration;

use bench_harness::{Answer, Error, Job, Load, Measured, Mode, Ready, System, Variant, drive, runtime, sum};
use ipc_rpc_3::{ConnectionKey, IpcRpcClient, IpcRpcError, IpcRpcServer};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::client::{Caller, Client, everything};

/// ipc-rpc 3.
pub(crate) struct IpcRpc3;

/// Bytes that take long enough that no reply comes too early, and too long for little time.
const LARGE: usize = 1 << 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Message {
    Echo(ByteBuf),
    Sum(ByteBuf),
    Null,
    Add(u64, u64),
    Take(ByteBuf),
    Number(u64),
}

async fn answer(message: Message) -> Option<Message> {
    Some(match message {
        Message::Sum(data) => Message::Number(sum(&data)),
        Message::Add(a, b) => Message::Number(a.wrapping_add(b)),
        Message::Take(_) => Message::Null,
        echo => echo,
    })
}

impl System for IpcRpc3 {
    fn variants(&self) -> Vec<Variant> {
        [Mode::CURRENT, Mode::MULTI]
            .map(|mode| Variant {
                system: "ipc-rpc-3".to_owned(),
                transport: "unix".to_owned(),
                mode,
                in_process: false,
            })
            .into()
    }

    fn offers(&self, _: &Variant, load: &Load) -> Answer {
        match everything(load, false) {
            _ if load.connections > 500 => Answer::No(
                "each connection keeps one of the runtime's threads for blocking work, of which there are 512",
            ),
            Answer::Yes(_) => Answer::Yes("a call whose reply it lost is made again after 50 ms"),
            other => other,
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        runtime(job.variant.mode.server)?.block_on(async {
            let (mut keys, mut servers) = (Vec::new(), Vec::new());
            // A server is for one client.
            for _ in 0..job.load.connections {
                let (key, server) = IpcRpcServer::initialize_server(answer).await?;
                keys.push(key.to_string());
                servers.push(server);
            }
            ready.announce(&keys.join(","))?;
            // They serve in tasks of their own, until the process is killed.
            std::future::pending().await
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let (load, keys) = (job.load, job.address.clone());
        drive(job, async move {
            let mut callers = Vec::new();
            for key in keys.split(',') {
                let key = ConnectionKey::from(key.to_owned());
                let client = IpcRpcClient::initialize_client(key, |_| async { None }).await?;
                callers.extend(Caller::all(Connection(client), load));
            }
            Ok(callers)
        })
    }
}

#[derive(Clone)]
struct Connection(IpcRpcClient<Message>);

impl Connection {
    async fn call(&self, message: Message) -> Result<Message, Error> {
        let time = match &message {
            Message::Echo(data) | Message::Sum(data) | Message::Take(data) if data.len() > LARGE => {
                return Ok(self.0.send(message).await?);
            }
            _ => Duration::from_millis(50),
        };
        loop {
            match self.0.send_timeout(message.clone(), time).await {
                Err(IpcRpcError::ReplyTimeout) => {}
                reply => return Ok(reply?),
            }
        }
    }

    async fn number(&self, message: Message) -> Result<u64, Error> {
        match self.call(message).await? {
            Message::Number(number) => Ok(number),
            _ => Err("no number came".into()),
        }
    }

    async fn nothing(&self, message: Message) -> Result<(), Error> {
        match self.call(message).await? {
            Message::Null => Ok(()),
            _ => Err("something came".into()),
        }
    }
}

impl Client for Connection {
    type Bytes = Vec<u8>;

    async fn echo(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        match self.call(Message::Echo(ByteBuf::from(data))).await? {
            Message::Echo(data) => Ok(data.into_vec()),
            _ => Err("no bytes came".into()),
        }
    }

    async fn sum(&mut self, data: &[u8]) -> Result<u64, Error> {
        self.number(Message::Sum(ByteBuf::from(data))).await
    }

    async fn null(&mut self) -> Result<(), Error> {
        self.nothing(Message::Null).await
    }

    async fn add(&mut self, a: u64, b: u64) -> Result<u64, Error> {
        self.number(Message::Add(a, b)).await
    }

    async fn take(&mut self, data: &[u8]) -> Result<(), Error> {
        self.nothing(Message::Take(ByteBuf::from(data))).await
    }
}
