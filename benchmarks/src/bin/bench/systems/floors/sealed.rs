//! Memory that is made for one message, filled, sealed against all writing, passed on as a descriptor, mapped, read and given up.
//! A spinning ring says when it is there.

use std::os::fd::AsFd;

use bench_harness::{
    Answer, Case, Error, Job, Load, Measured, Mode, Payload, Ready, System, Variant, Waiting, Worker, drive,
};
use rustix::fs::{SealFlags, fcntl_add_seals};

use super::check;
use super::memory::Memory;
use super::share::{End, Policy, Slots, connect, receive_fds, send_fds, serve};

/// Bodies in memory that is sealed for each.
pub(crate) struct Sealed;

/// A length, or a sum.
const SLOTS: Slots = Slots {
    request: 8,
    reply: 8,
    count: 8,
};

impl System for Sealed {
    fn variants(&self) -> Vec<Variant> {
        vec![Variant {
            system: "sealed".to_owned(),
            transport: "memfd".to_owned(),
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
            Case::Sum if alone && load.size >= 4096 => Answer::Yes("made for each call"),
            _ => Answer::Pointless,
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        serve(job, ready, Policy::Spin, SLOTS, |mut end| {
            loop {
                let length = end.receive(|memory, at, _| {
                    let mut word = [0; 8];
                    memory.read(at, &mut word);
                    u64::from_ne_bytes(word)
                })?;
                let file = receive_fds(&end.socket)?.pop().ok_or("no memory came")?;
                let sum = {
                    let memory = Memory::map_sealed(&file)?;
                    memory.sum(0, usize::try_from(length)?)
                };
                end.out.push(8, |memory, at| memory.write(at, &sum.to_le_bytes()));
            }
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let client = Client {
            end: connect(&job.address, Policy::Spin, SLOTS)?,
            load: job.load,
            payload: Payload::new(job.load.size),
        };
        drive(job, async move { Ok(vec![client]) })
    }
}

struct Client {
    end: End,
    load: Load,
    payload: Payload,
}

impl Worker for Client {
    async fn turn(&mut self) -> Result<u32, Error> {
        let size = self.load.size;
        let (memory, file) = Memory::sealable(size)?;
        memory.touch(0, size, self.payload.next_value());
        // The system refuses the seal as long as anybody could write.
        drop(memory);
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(&file, seals)?;
        send_fds(&self.end.socket, &[file.as_fd()])?;
        let length = (size as u64).to_ne_bytes();
        self.end.out.push(8, |memory, at| memory.write(at, &length));
        let sum = self.end.receive(|memory, at, _| {
            let mut word = [0; 8];
            memory.read(at, &mut word);
            word
        })?;
        check(self.load.call(), &self.payload, &sum)?;
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
