//! Copies in one process: what moving the bytes costs if nobody has to be told.

use std::hint::black_box;

use bench_harness::{
    Answer, Case, Error, Job, Load, Measured, Mode, Payload, Ready, System, Variant, Waiting, Worker, drive,
};

/// memcpy between two buffers.
pub(crate) struct Memcpy;

impl System for Memcpy {
    fn variants(&self) -> Vec<Variant> {
        vec![Variant {
            system: "memcpy".to_owned(),
            transport: "memory".to_owned(),
            mode: Mode {
                client: Waiting::Blocking,
                server: Waiting::Blocking,
            },
            in_process: true,
        }]
    }

    fn offers(&self, _: &Variant, load: &Load) -> Answer {
        let alone = load.in_flight == 1 && load.connections == 1;
        match load.case {
            Case::Echo if alone => Answer::Yes("one copy there, one back"),
            Case::Sum if alone => Answer::Yes("one copy"),
            _ => Answer::Pointless,
        }
    }

    fn serve(&self, _: &Job, _: Ready) -> Result<(), Error> {
        Err("it has no server".into())
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let load = job.load;
        let client = Client {
            payload: Payload::new(load.size),
            there: vec![0; load.size],
            back: vec![0; load.size],
            case: load.case,
        };
        drive(job, async move { Ok(vec![client]) })
    }
}

struct Client {
    payload: Payload,
    there: Vec<u8>,
    back: Vec<u8>,
    case: Case,
}

impl Worker for Client {
    async fn turn(&mut self) -> Result<u32, Error> {
        self.there.copy_from_slice(black_box(self.payload.bytes()));
        if self.case == Case::Echo {
            self.back.copy_from_slice(black_box(&self.there));
            self.payload.check_echo(black_box(&self.back))?;
        }
        black_box(&mut self.there);
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
