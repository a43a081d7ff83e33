//! The rings as they are: one copy in, one from ring to ring, one out.

use bench_harness::{
    Answer, Call, Case, Error, Job, Load, Measured, Mode, Payload, Ready, System, Variant, Waiting, Worker,
    drive,
};

use super::share::{End, Policy, Slots, connect, serve};
use super::{check, shape};

/// A pair of rings, waited for in four ways.
pub(crate) struct Rings;

/// The ways, and what the tables call them.
const POLICIES: [(&str, Policy); 4] = [
    ("spin", Policy::Spin),
    ("aware", Policy::Aware),
    ("futex", Policy::Futex),
    ("futex-epoll", Policy::FutexEpoll),
];

impl System for Rings {
    fn variants(&self) -> Vec<Variant> {
        POLICIES
            .map(|(name, _)| Variant {
                system: "ring".to_owned(),
                transport: name.to_owned(),
                mode: Mode {
                    client: Waiting::Blocking,
                    server: Waiting::Blocking,
                },
                in_process: false,
            })
            .into()
    }

    fn offers(&self, variant: &Variant, load: &Load) -> Answer {
        let spins = variant.transport == "spin";
        match load.case {
            // A thread has one connection, and looks at nothing else.
            _ if load.connections > 1 => Answer::Pointless,
            Case::Beside | Case::EchoBytes => Answer::Pointless,
            Case::Idle | Case::After1Ms | Case::After10Ms if spins => {
                Answer::Yes("burns two processors for ever")
            }
            // Who finds the ring full spins, whatever the way of waiting.
            Case::Post if !spins => Answer::Pointless,
            _ if load.in_flight > 1 => Answer::Yes("times of a batch: all requests, then all replies"),
            Case::Sum => Answer::Yes("in place, not copied"),
            _ => Answer::Yes(""),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let load = job.load;
        serve(job, ready, policy(job)?, slots(&load), move |end| {
            answer(end, load)
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let load = job.load;
        let end = connect(&job.address, policy(job)?, slots(&load))?;
        let (request, reply) = shape(&load);
        let client = Client {
            end,
            call: load.call(),
            payload: Payload::new(request),
            reply: vec![0; reply],
            batch: load.in_flight as u32,
        };
        drive(job, async move { Ok(vec![client]) })
    }
}

fn policy(job: &Job) -> Result<Policy, Error> {
    let named = |&&(name, _): &&(&str, Policy)| name == job.variant.transport;
    let (_, policy) = POLICIES.iter().find(named).ok_or("no such way to wait")?;
    Ok(*policy)
}

fn slots(load: &Load) -> Slots {
    let (request, reply) = shape(load);
    let count = match load.call() {
        // As many as a socket's buffer would hold.
        Call::Post => 1024,
        // Two rings of 64 MiB slots are enough memory.
        _ if request.max(reply) >= 1 << 20 => 2,
        _ => (2 * load.in_flight).next_power_of_two().max(8) as u64,
    };
    Slots {
        request,
        // The settling message after one-way ones wants an answer, of no bytes.
        reply,
        count,
    }
}

/// What stands for a settling call among one-way messages: a message of no bytes.
const SETTLE: usize = 0;

fn answer(mut end: End, load: Load) -> Result<(), Error> {
    let call = load.call();
    loop {
        end.lines.wait(|| end.incoming.is_ready())?;
        while end.incoming.is_ready() {
            let out = &mut end.out;
            end.incoming.pop(|memory, at, length| match call {
                Call::Post if length != SETTLE => {}
                Call::Post | Call::Null | Call::Take => out.push(0, |_, _| {}),
                Call::Echo | Call::EchoBytes => out.push(length, |memory, to| memory.copy(at, to, length)),
                Call::Sum => {
                    let sum = memory.sum(at, length).to_le_bytes();
                    out.push(sum.len(), |memory, to| memory.write(to, &sum));
                }
                Call::Add => out.push(8, |memory, to| memory.copy(at, to, 8)),
            });
        }
        end.lines.ring()?;
    }
}

struct Client {
    end: End,
    call: Call,
    payload: Payload,
    reply: Vec<u8>,
    /// Messages of a turn.
    batch: u32,
}

impl Client {
    fn send(&mut self) -> Result<(), Error> {
        let Self {
            end, call, payload, ..
        } = self;
        let length = payload.bytes().len();
        match call {
            Call::Sum => {
                let value = payload.next_value();
                end.out.push(length, |memory, at| memory.touch(at, length, value));
            }
            _ => end
                .out
                .push(length, |memory, at| memory.write(at, payload.bytes())),
        }
        Ok(())
    }
}

impl Worker for Client {
    async fn turn(&mut self) -> Result<u32, Error> {
        for _ in 0..self.batch {
            self.send()?;
        }
        self.end.lines.ring()?;
        if self.call != Call::Post {
            for _ in 0..self.batch {
                let reply = &mut self.reply;
                self.end
                    .receive(|memory, at, length| memory.read(at, &mut reply[..length]))?;
                check(self.call, &self.payload, &self.reply)?;
            }
        }
        Ok(self.batch)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        self.end.out.push(SETTLE, |_, _| {});
        self.end.lines.ring()?;
        Ok(self.end.receive(|_, _, _| ())?)
    }
}
