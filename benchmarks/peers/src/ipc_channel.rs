//! ipc-channel 0.23: a channel each way, its bytes in the message itself (`bytes`), or in shared memory that is made
//! for it (`shared`).

use std::thread;

use ::ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory};
use bench_harness::{
    Answer, Call, Case, Error, Job, Load, Measured, Mode, Payload, Ready, System, Variant, Waiting, Worker,
    drive, sum,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// ipc-channel.
pub(crate) struct IpcChannel;

#[derive(Serialize, Deserialize)]
enum Message {
    /// The first message: where replies go.
    Hello(IpcSender<Message>),
    Bytes(ByteBuf),
    Shared(IpcSharedMemory),
    Numbers(u64, u64),
    Nothing,
}

impl System for IpcChannel {
    fn variants(&self) -> Vec<Variant> {
        ["bytes", "shared"]
            .map(|transport| Variant {
                system: "ipc-channel".to_owned(),
                transport: transport.to_owned(),
                mode: Mode {
                    client: Waiting::Blocking,
                    server: Waiting::Blocking,
                },
                in_process: false,
            })
            .into()
    }

    fn offers(&self, variant: &Variant, load: &Load) -> Answer {
        match load.case {
            Case::EchoBytes => Answer::Pointless,
            // What is small goes with the message in any case.
            Case::Null
            | Case::Add
            | Case::BigIn
            | Case::BigInOut
            | Case::Post
            | Case::Idle
            | Case::After1Ms
            | Case::After10Ms
                if variant.transport == "shared" =>
            {
                Answer::Pointless
            }
            Case::Beside => {
                Answer::No("replies come in the order of the requests: nothing passes beside a body")
            }
            // The client would have to read replies on another thread.
            _ if load.in_flight > 64 => {
                Answer::No("client and server would both wait for room in their sockets")
            }
            _ if load.in_flight > 1 => Answer::Yes("times of a batch: all requests, then all replies"),
            _ => Answer::Yes(""),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let call = job.load.call();
        let mut names = Vec::new();
        for _ in 0..job.load.connections {
            let (server, name) = IpcOneShotServer::<Message>::new()?;
            names.push(name);
            thread::spawn(move || {
                let (requests, hello) = server.accept()?;
                match hello {
                    Message::Hello(replies) => answer(call, &requests, &replies),
                    _ => Err("no greeting came".into()),
                }
            });
        }
        ready.announce(&names.join(","))?;
        loop {
            thread::park();
        }
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let load = job.load;
        let mut workers = Vec::new();
        for name in job.address.split(',') {
            let requests = IpcSender::connect(name.to_owned())?;
            let (sender, replies) = ipc::channel()?;
            requests.send(Message::Hello(sender))?;
            workers.push(Requester {
                requests,
                replies,
                call: load.call(),
                shared: job.variant.transport == "shared",
                payload: Payload::new(load.size),
                batch: load.in_flight as u32,
            });
        }
        drive(job, async move { Ok(workers) })
    }
}

fn answer(call: Call, requests: &IpcReceiver<Message>, replies: &IpcSender<Message>) -> Result<(), Error> {
    loop {
        match requests.recv()? {
            _ if call == Call::Take => replies.send(Message::Nothing)?,
            Message::Bytes(_) if call == Call::Post => {}
            Message::Bytes(data) if call == Call::Sum => replies.send(Message::Numbers(sum(&data), 0))?,
            Message::Shared(data) if call == Call::Sum => replies.send(Message::Numbers(sum(&data), 0))?,
            Message::Numbers(a, b) => replies.send(Message::Numbers(a.wrapping_add(b), 0))?,
            // Bytes go back as they are, and shared memory without a copy.
            echo => replies.send(echo)?,
        }
    }
}

struct Requester {
    requests: IpcSender<Message>,
    replies: IpcReceiver<Message>,
    call: Call,
    shared: bool,
    payload: Payload,
    batch: u32,
}

impl Worker for Requester {
    async fn turn(&mut self) -> Result<u32, Error> {
        for _ in 0..self.batch {
            self.requests.send(match self.call {
                Call::Null => Message::Nothing,
                Call::Add => Message::Numbers(2, 3),
                call if self.shared => Message::Shared(IpcSharedMemory::from_bytes(self.payload.next(call))),
                call => Message::Bytes(ByteBuf::from(self.payload.next(call))),
            })?;
        }
        if self.call == Call::Post {
            return Ok(self.batch);
        }
        for _ in 0..self.batch {
            match (self.call, self.replies.recv()?) {
                (Call::Echo | Call::EchoBytes, Message::Bytes(data)) => self.payload.check_echo(&data)?,
                (Call::Echo | Call::EchoBytes, Message::Shared(data)) => self.payload.check_echo(&data)?,
                (Call::Sum, Message::Numbers(sum, _)) => self.payload.check_sum(sum)?,
                (Call::Add, Message::Numbers(5, _)) => {}
                (Call::Null | Call::Take, Message::Nothing) => {}
                _ => return Err("another reply came".into()),
            }
        }
        Ok(self.batch)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        self.requests.send(Message::Nothing)?;
        self.replies.recv()?;
        Ok(())
    }
}
