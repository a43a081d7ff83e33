//! zeromq over its Unix transport: DEALER and ROUTER, so that many requests may be in flight; PUSH and PULL one way.

use bench_harness::{
    Answer, Call, Case, Error, Job, Load, Measured, Mode, Payload, Ready, System, Variant, Waiting, Worker,
    drive, sum,
};
use zmq::{Context, Message, Socket};

/// zeromq.
pub(crate) struct Zeromq;

impl System for Zeromq {
    fn variants(&self) -> Vec<Variant> {
        vec![Variant {
            system: "zeromq".to_owned(),
            transport: "unix".to_owned(),
            mode: Mode {
                client: Waiting::Blocking,
                server: Waiting::Blocking,
            },
            in_process: false,
        }]
    }

    fn offers(&self, _: &Variant, load: &Load) -> Answer {
        match load.case {
            Case::EchoBytes => Answer::Pointless,
            Case::Beside => Answer::No("a socket belongs to one thread: nothing passes beside its call"),
            Case::Post => Answer::Yes("PUSH and PULL"),
            _ if load.in_flight > 1 => Answer::Yes("times of a batch: all requests, then all replies"),
            _ => Answer::Yes(""),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let call = job.load.call();
        let context = Context::new();
        let address = format!("ipc://{}", job.directory.join("zeromq.sock").display());
        if call == Call::Post {
            let incoming = context.socket(zmq::PULL)?;
            let settled = context.socket(zmq::PUSH)?;
            incoming.bind(&address)?;
            settled.bind(&format!("{address}.settled"))?;
            ready.announce(&address)?;
            let mut message = Message::new();
            loop {
                incoming.recv(&mut message, 0)?;
                if message.is_empty() {
                    settled.send(&b""[..], 0)?;
                }
            }
        }
        let socket = context.socket(zmq::ROUTER)?;
        socket.bind(&address)?;
        ready.announce(&address)?;
        loop {
            let client = socket.recv_msg(0)?;
            let request = socket.recv_msg(0)?;
            socket.send(client, zmq::SNDMORE)?;
            match call {
                // The very message goes back: no copy.
                Call::Echo | Call::EchoBytes => socket.send(request, 0)?,
                Call::Sum => socket.send(&sum(&request).to_le_bytes()[..], 0)?,
                Call::Add => {
                    let word = |at: usize| {
                        request[at..]
                            .first_chunk()
                            .map_or(0, |word| u64::from_le_bytes(*word))
                    };
                    socket.send(&word(0).wrapping_add(word(8)).to_le_bytes()[..], 0)?;
                }
                Call::Null | Call::Take | Call::Post => socket.send(&b""[..], 0)?,
            }
        }
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let load = job.load;
        let context = Context::new();
        let connect = |kind, address: &str| -> Result<Socket, Error> {
            let socket = context.socket(kind)?;
            socket.connect(address)?;
            Ok(socket)
        };
        let mut workers = Vec::new();
        for _ in 0..load.connections {
            let one_way = load.call() == Call::Post;
            workers.push(Requester {
                socket: connect(if one_way { zmq::PUSH } else { zmq::DEALER }, &job.address)?,
                settled: match one_way {
                    true => Some(connect(zmq::PULL, &format!("{}.settled", job.address))?),
                    false => None,
                },
                call: load.call(),
                payload: Payload::new(load.size),
                batch: load.in_flight as u32,
            });
        }
        drive(job, async move { Ok(workers) })
    }
}

struct Requester {
    socket: Socket,
    settled: Option<Socket>,
    call: Call,
    payload: Payload,
    batch: u32,
}

impl Worker for Requester {
    async fn turn(&mut self) -> Result<u32, Error> {
        let Self {
            socket,
            call,
            payload,
            batch,
            ..
        } = self;
        let mut pair = [0; 16];
        pair[..8].copy_from_slice(&2_u64.to_le_bytes());
        pair[8..].copy_from_slice(&3_u64.to_le_bytes());
        for _ in 0..*batch {
            socket.send(
                if *call == Call::Add {
                    &pair
                } else {
                    payload.next(*call)
                },
                0,
            )?;
        }
        if *call == Call::Post {
            return Ok(*batch);
        }
        for _ in 0..*batch {
            let reply = socket.recv_msg(0)?;
            match call {
                Call::Echo | Call::EchoBytes => payload.check_echo(&reply)?,
                Call::Sum => {
                    let sum = reply.first_chunk().ok_or("no sum came")?;
                    payload.check_sum(u64::from_le_bytes(*sum))?;
                }
                Call::Null | Call::Add | Call::Take | Call::Post => {}
            }
        }
        Ok(*batch)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        if let Some(settled) = &self.settled {
            self.socket.send(&b""[..], 0)?;
            settled.recv_msg(0)?;
        }
        Ok(())
    }
}
