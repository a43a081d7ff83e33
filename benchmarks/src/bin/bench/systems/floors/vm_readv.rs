//! The direct copy: the receiver takes the body out of the sender's address space, `process_vm_readv`. A spinning ring
//! says where it is.

use std::io;

use bench_harness::{
    Answer, Call, Case, Error, Job, Load, Measured, Mode, Payload, Ready, System, Variant, Waiting, Worker,
    drive,
};
use rustix::process::{PTracer, set_ptracer};

use super::share::{End, Policy, Slots, connect, serve};
use super::{check, shape};

/// Bodies by `process_vm_readv`.
pub(crate) struct VmReadv;

/// Process, address and length: three words.
const SLOTS: Slots = Slots {
    request: 24,
    reply: 24,
    count: 8,
};

impl System for VmReadv {
    fn variants(&self) -> Vec<Variant> {
        vec![Variant {
            system: "vm-readv".to_owned(),
            transport: "direct".to_owned(),
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
            Case::Echo | Case::Sum if alone && load.size >= 4096 => Answer::Yes(""),
            _ => Answer::Pointless,
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let load = job.load;
        allow_siblings();
        serve(job, ready, Policy::Spin, SLOTS, move |mut end| {
            let (request, _) = shape(&load);
            let mut body = vec![0; request];
            loop {
                fetch(&mut end, &mut body)?;
                match load.call() {
                    Call::Sum => {
                        let sum = bench_harness::sum(&body).to_le_bytes();
                        end.out.push(sum.len(), |memory, at| memory.write(at, &sum));
                    }
                    // The client fetches it before it sends the next, so it may lie here until then.
                    _ => offer(&mut end, &body),
                }
            }
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let load = job.load;
        let (request, reply) = shape(&load);
        allow_siblings();
        let client = Client {
            end: connect(&job.address, Policy::Spin, SLOTS)?,
            call: load.call(),
            payload: Payload::new(request),
            reply: vec![0; reply],
        };
        drive(job, async move { Ok(vec![client]) })
    }
}

/// Where the kernel lets only ancestors look into a process (Yama), it lets any of the user's from now on. Where there
/// is no such rule the call fails, and nothing has to be allowed.
fn allow_siblings() {
    let _ = set_ptracer(PTracer::Any);
}

fn offer(end: &mut End, body: &[u8]) {
    let words = [
        u64::from(std::process::id()),
        body.as_ptr() as u64,
        body.len() as u64,
    ];
    end.out.push(24, |memory, at| {
        for (index, word) in words.iter().enumerate() {
            memory.write(at + index * 8, &word.to_ne_bytes());
        }
    });
}

fn fetch(end: &mut End, body: &mut [u8]) -> Result<(), Error> {
    let [process, address, length] = end.receive(|memory, at, _| {
        [0, 8, 16].map(|offset| {
            let mut word = [0; 8];
            memory.read(at + offset, &mut word);
            u64::from_ne_bytes(word)
        })
    })?;
    let mut done = 0;
    while done < body.len().min(length as usize) {
        let rest = &mut body[done..];
        let local = libc::iovec {
            iov_base: rest.as_mut_ptr().cast(),
            iov_len: rest.len(),
        };
        let remote = libc::iovec {
            iov_base: (address as usize + done) as *mut _,
            iov_len: rest.len(),
        };
        // SAFETY: `local` is all of `rest`, which nobody else has a reference to; the kernel checks `remote` against
        // the other process.
        let count = unsafe { libc::process_vm_readv(process as libc::pid_t, &local, 1, &remote, 1, 0) };
        match usize::try_from(count) {
            Ok(0) => return Err("the other process gave nothing".into()),
            Ok(count) => done += count,
            Err(_) => return Err(io::Error::last_os_error().into()),
        }
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
        offer(&mut self.end, self.payload.next(self.call));
        if self.call == Call::Sum {
            let reply = &mut self.reply;
            self.end.receive(|memory, at, _| memory.read(at, reply))?;
        } else {
            fetch(&mut self.end, &mut self.reply)?;
        }
        check(self.call, &self.payload, &self.reply)?;
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
