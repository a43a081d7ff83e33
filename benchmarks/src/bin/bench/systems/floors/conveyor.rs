//! A conveyor: a large body goes through a ring of a few pieces that stay in the cache, one process filling while the
//! other empties, from a private buffer into a private buffer.

use bench_harness::{
    Answer, Call, Case, Error, Job, Load, Measured, Mode, Payload, Ready, System, Variant, Waiting, Worker,
    drive,
};

use super::share::{End, Policy, Slots, connect, serve};
use super::{check, shape};

/// Bodies in pieces through a ring, both sides spinning.
pub(crate) struct Conveyor;

/// Bytes in a piece, and pieces in flight: what measured best where two processors share little but the last cache.
const PIECE: usize = 64 << 10;
const PIECES: u64 = 4;
const SLOTS: Slots = Slots {
    request: PIECE,
    reply: PIECE,
    count: PIECES,
};

impl System for Conveyor {
    fn variants(&self) -> Vec<Variant> {
        vec![Variant {
            system: "conveyor".to_owned(),
            transport: "4x64KiB".to_owned(),
            mode: Mode {
                client: Waiting::Blocking,
                server: Waiting::Blocking,
            },
            in_process: false,
        }]
    }

    fn offers(&self, _: &Variant, load: &Load) -> Answer {
        let alone = load.in_flight == 1 && load.connections == 1;
        match load.case {
            Case::Echo if alone && load.size >= PIECE => Answer::Yes("whole there, then whole back"),
            Case::Sum if alone && load.size >= PIECE => Answer::Yes("one way"),
            _ => Answer::Pointless,
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let load = job.load;
        serve(job, ready, Policy::Spin, SLOTS, move |mut end| {
            let (request, _) = shape(&load);
            let mut body = vec![0; request];
            loop {
                receive(&mut end, &mut body)?;
                match load.call() {
                    Call::Sum => send(&mut end, &bench_harness::sum(&body).to_le_bytes()),
                    _ => send(&mut end, &body),
                }
            }
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let load = job.load;
        let (request, reply) = shape(&load);
        let client = Client {
            end: connect(&job.address, Policy::Spin, SLOTS)?,
            call: load.call(),
            payload: Payload::new(request),
            reply: vec![0; reply],
        };
        drive(job, async move { Ok(vec![client]) })
    }
}

fn send(end: &mut End, body: &[u8]) {
    for piece in body.chunks(PIECE) {
        end.out.push(piece.len(), |memory, at| memory.write(at, piece));
    }
}

fn receive(end: &mut End, body: &mut [u8]) -> Result<(), Error> {
    for piece in body.chunks_mut(PIECE) {
        end.receive(|memory, at, _| memory.read(at, piece))?;
    }
    Ok(())
}

struct Client {
    end: End,
    call: Call,
    payload: Payload,
    reply: Vec<u8>,
}

impl Worker for Client {
    async fn turn(&mut self) -> Result<u32, Error> {
        send(&mut self.end, self.payload.next(self.call));
        receive(&mut self.end, &mut self.reply)?;
        check(self.call, &self.payload, &self.reply)?;
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
