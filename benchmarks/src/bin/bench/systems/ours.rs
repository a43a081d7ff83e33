//! ipc-rpc.

use std::path::Path;
use std::sync::mpsc;

use bench_harness::{
    Answer, Call, Case, Error, Job, Load, Measured, Mode, Payload, Ready, SMALL, System, Variant, Waiting,
    Worker, check_echo, drive, runtime, sum,
};
use ipc_rpc::{Context, Endpoint, Section, Server, View};

/// A transport as the benchmarks use it. A new one is a line in [`TRANSPORTS`].
struct Transport {
    /// What the tables call it.
    name: &'static str,
    /// Where the server listens; the directory is the measurement's own, and the clients connect to what it becomes.
    endpoint: fn(&Path) -> String,
    /// Settings of both sides beyond the default.
    settings: fn(Endpoint) -> Endpoint,
    /// Both sides live in one process.
    in_process: bool,
    /// How what is sent gets there.
    bodies: Bodies,
}

/// How the bytes of a call get to the server, and back. Of all but the first only sums are measured, of the last two only what comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bodies {
    /// In the message, or as the transport thinks best.
    Passed,
    /// In memory of the connection's pool, filled in place.
    Lent,
    /// In memory that is made, filled in place and sealed for this call.
    Sealed,
    /// In sealed memory that was sent before. Nothing is written into it any more.
    SealedBefore,
    /// In memory of the pool; the server reads them there, and writes what they become into memory of its own pool.
    AnsweredBeside,
    /// In memory of the pool; the server writes what they become over them.
    AnsweredInPlace,
}

const TRANSPORTS: &[Transport] = &[
    Transport {
        name: "shm",
        endpoint: |directory| format!("shm:{}", directory.join("bench.sock").display()),
        settings: |endpoint| endpoint,
        in_process: false,
        bodies: Bodies::Passed,
    },
    Transport {
        name: "shm-direct",
        endpoint: |directory| format!("shm:{}", directory.join("bench.sock").display()),
        settings: |endpoint| endpoint.direct(true),
        in_process: false,
        bodies: Bodies::Passed,
    },
    Transport {
        name: "shm-view",
        endpoint: |directory| format!("shm:{}", directory.join("bench.sock").display()),
        // SAFETY: the other side is this very program, which writes to no section that it has sent.
        settings: |endpoint| unsafe { endpoint.trust_peer() },
        in_process: false,
        bodies: Bodies::Lent,
    },
    Transport {
        name: "shm-sealed",
        endpoint: |directory| format!("shm:{}", directory.join("bench.sock").display()),
        settings: |endpoint| endpoint,
        in_process: false,
        bodies: Bodies::Sealed,
    },
    Transport {
        name: "shm-again",
        endpoint: |directory| format!("shm:{}", directory.join("bench.sock").display()),
        settings: |endpoint| endpoint,
        in_process: false,
        bodies: Bodies::SealedBefore,
    },
    Transport {
        name: "shm-beside",
        endpoint: |directory| format!("shm:{}", directory.join("bench.sock").display()),
        // SAFETY: as above.
        settings: |endpoint| unsafe { endpoint.trust_peer() },
        in_process: false,
        bodies: Bodies::AnsweredBeside,
    },
    Transport {
        name: "shm-in-place",
        endpoint: |directory| format!("shm:{}", directory.join("bench.sock").display()),
        // SAFETY: as above; what it has lent whole it does not look at.
        settings: |endpoint| unsafe { endpoint.trust_peer() },
        in_process: false,
        bodies: Bodies::AnsweredInPlace,
    },
    Transport {
        name: "unix",
        endpoint: |directory| format!("unix:{}", directory.join("bench.sock").display()),
        settings: |endpoint| endpoint,
        in_process: false,
        bodies: Bodies::Passed,
    },
    Transport {
        name: "pipe",
        // Pipes have names, in the user's own directory.
        endpoint: |directory| format!("pipe:{}", name_of(directory)),
        settings: |endpoint| endpoint,
        in_process: false,
        bodies: Bodies::Passed,
    },
    Transport {
        name: "tcp",
        endpoint: |_| "tcp:127.0.0.1:0".to_owned(),
        settings: |endpoint| endpoint,
        in_process: false,
        bodies: Bodies::Passed,
    },
    Transport {
        name: "mem",
        endpoint: |_| "mem:bench".to_owned(),
        settings: |endpoint| endpoint,
        in_process: true,
        bodies: Bodies::Passed,
    },
];

/// The largest body is 64 MiB and what the codec writes before it.
const LARGEST: usize = 65 << 20;

/// A name that no other measurement has: that of its directory.
fn name_of(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    name.trim_start_matches('.').to_owned()
}

fn transport(job: &Job) -> Result<&'static Transport, Error> {
    let named = |transport: &&Transport| transport.name == job.variant.transport;
    Ok(TRANSPORTS.iter().find(named).ok_or("no such transport")?)
}

/// ipc-rpc, over each of its transports.
pub(crate) struct Ours;

/// What the benchmarks call.
#[ipc_rpc::service]
pub(crate) trait Bench {
    /// Gives the bytes back.
    async fn echo(&self, data: &[u8]) -> Vec<u8>;
    /// Gives the bytes back, as the type that users take who share buffers.
    async fn echo_bytes(&self, data: &[u8]) -> bytes::Bytes;
    /// Adds one byte of each page.
    async fn sum(&self, data: &[u8]) -> u64;
    /// The same of bytes that are read where they are.
    async fn sum_of(&self, data: View<u8>) -> u64;
    /// Turns each bit around, in other memory.
    async fn flip_beside(&self, context: &Context, data: View<u8>) -> Section<u8>;
    /// The same where they are.
    async fn flip_in_place(&self, data: Section<u8>) -> Section<u8>;
    /// Adds two numbers.
    async fn add(&self, a: u64, b: u64) -> u64;
    /// Does nothing.
    async fn null(&self);
    /// Takes bytes.
    async fn take(&self, data: &[u8]);
    /// Takes bytes and says nothing.
    #[rpc(oneway)]
    async fn post(&self, data: &[u8]);
}

struct Echo;

impl Bench for Echo {
    async fn echo(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    async fn echo_bytes(&self, data: &[u8]) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(data)
    }

    async fn sum(&self, data: &[u8]) -> u64 {
        sum(data)
    }

    async fn sum_of(&self, data: View<u8>) -> u64 {
        sum(&data)
    }

    async fn flip_beside(&self, context: &Context, data: View<u8>) -> Section<u8> {
        let mut flipped = context
            .alloc(data.len())
            .unwrap_or_else(|_| vec![0; data.len()].into());
        for (to, from) in flipped.iter_mut().zip(data.iter()) {
            *to = !from;
        }
        flipped
    }

    async fn flip_in_place(&self, mut data: Section<u8>) -> Section<u8> {
        for byte in data.iter_mut() {
            *byte = !*byte;
        }
        data
    }

    async fn add(&self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    async fn null(&self) {}

    async fn take(&self, data: &[u8]) {
        std::hint::black_box(data);
    }

    async fn post(&self, data: &[u8]) {
        std::hint::black_box(data);
    }
}

impl System for Ours {
    fn variants(&self) -> Vec<Variant> {
        TRANSPORTS
            .iter()
            .flat_map(|transport| {
                [Mode::BLOCKING, Mode::BLOCKING_CURRENT, Mode::CURRENT, Mode::MULTI].map(|mode| Variant {
                    system: "ipc-rpc".to_owned(),
                    transport: transport.name.to_owned(),
                    mode,
                    in_process: transport.in_process,
                })
            })
            .collect()
    }

    fn offers(&self, variant: &Variant, load: &Load) -> Answer {
        let is = |transport: &&Transport| transport.name == variant.transport;
        let bodies = TRANSPORTS.iter().find(is).map(|transport| transport.bodies);
        let is_shown = match bodies {
            Some(Bodies::Passed) => true,
            Some(Bodies::AnsweredBeside | Bodies::AnsweredInPlace) => {
                load.case == Case::Echo && load.size >= Endpoint::SECTIONS_THRESHOLD
            }
            _ => load.case == Case::Sum,
        };
        if !is_shown {
            return Answer::Pointless;
        }
        match variant.mode {
            // Threads that share a client take turns as its reader; what that costs is no more than orientation.
            mode if mode.client == Waiting::Blocking && load.in_flight > 8 => Answer::Pointless,
            mode if mode.client == Waiting::Blocking && load.in_flight > 1 => Answer::Yes("a thread a call"),
            // A smaller server under a blocking client: where it matters, it shows in a small call.
            Mode::BLOCKING_CURRENT if load.case != Case::Echo || load.size > SMALL => Answer::Pointless,
            _ => Answer::Yes(""),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        serve(job, |address| ready.announce(address))
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let mut job = job.clone();
        if job.variant.in_process {
            let (told, listening) = mpsc::channel();
            let serving = job.clone();
            std::thread::spawn(move || serve(&serving, |address| Ok(told.send(address.to_owned())?)));
            job.address = listening
                .recv()
                .map_err(|_| "the server in this process did not start")?;
        }
        let (load, endpoint) = (job.load, endpoint(&job, &job.address)?);
        let bodies = transport(&job)?.bodies;
        if job.variant.mode.client == Waiting::Blocking {
            return drive(&job, async move {
                let mut callers = Vec::new();
                for _ in 0..load.connections {
                    let client = BenchClient::connect(endpoint.clone()).wait()?;
                    for caller in Caller::all(&client, load, bodies) {
                        callers.push(Blocking(caller?));
                    }
                }
                Ok(callers)
            });
        }
        drive(&job, async move {
            let mut callers = Vec::new();
            for _ in 0..load.connections {
                let client = BenchClient::connect(endpoint.clone()).await?;
                for caller in Caller::all(&client, load, bodies) {
                    callers.push(Async(caller?));
                }
            }
            Ok(callers)
        })
    }
}

fn endpoint(job: &Job, address: &str) -> Result<Endpoint, Error> {
    let endpoint: Endpoint = address.parse()?;
    Ok((transport(job)?.settings)(endpoint.max_message(LARGEST)))
}

fn serve(job: &Job, ready: impl FnOnce(&str) -> Result<(), Error>) -> Result<(), Error> {
    let endpoint = endpoint(job, &(transport(job)?.endpoint)(&job.directory))?;
    let server = Server::bind(endpoint).service(BenchServer::new(Echo)).listen()?;
    let address = server
        .endpoints()
        .next()
        .ok_or("the server has no endpoint")?
        .to_string();
    ready(&address)?;
    runtime(job.variant.mode.server)?.block_on(server.run())?;
    Ok(())
}

/// A client, and what it sends.
struct Caller {
    client: BenchClient,
    call: Call,
    payload: Payload,
    memory: Lent,
}

/// Where a caller takes what it sends from.
enum Lent {
    /// A buffer of its own.
    Nowhere,
    Pool,
    Sealed,
    Kept(View<u8>),
    /// The pool, for what comes back: in the same memory, or in other.
    Flipped {
        in_place: bool,
    },
}

struct Async(Caller);
struct Blocking(Caller);

impl Caller {
    /// All the callers of one connection.
    fn all(client: &BenchClient, load: Load, bodies: Bodies) -> impl Iterator<Item = Result<Self, Error>> {
        load.workers().into_iter().map(move |size| {
            let mut payload = Payload::new(size);
            let memory = match bodies {
                Bodies::Passed => Lent::Nowhere,
                Bodies::Lent => Lent::Pool,
                Bodies::Sealed => Lent::Sealed,
                Bodies::SealedBefore => {
                    let mut section = client.alloc_sealed(size)?;
                    payload.fill(&mut section);
                    Lent::Kept(section.freeze()?)
                }
                Bodies::AnsweredBeside => Lent::Flipped { in_place: false },
                Bodies::AnsweredInPlace => Lent::Flipped { in_place: true },
            };
            Ok(Self {
                client: client.clone(),
                call: load.call(),
                payload,
                memory,
            })
        })
    }

    /// What is lent in this turn, filled for it where it is not sent again; `None` if nothing is lent.
    fn lent(&mut self) -> Result<Option<View<u8>>, Error> {
        let size = self.payload.bytes().len();
        let mut section = match &self.memory {
            Lent::Nowhere | Lent::Flipped { .. } => return Ok(None),
            Lent::Kept(view) => return Ok(Some(view.clone())),
            Lent::Pool => self.client.alloc::<u8>(size)?,
            Lent::Sealed => self.client.alloc_sealed::<u8>(size)?,
        };
        self.payload.fill(&mut section);
        Ok(Some(section.freeze()?))
    }

    /// What is to come back with each bit turned around: it, the byte that it has on each page, and whether it is to do so in the same memory.
    fn question(&mut self) -> Result<Option<(Section<u8>, u8, bool)>, Error> {
        let Lent::Flipped { in_place } = self.memory else {
            return Ok(None);
        };
        let mut section = self.client.alloc::<u8>(self.payload.bytes().len())?;
        self.payload.fill(&mut section);
        let value = section.first().copied().unwrap_or_default();
        Ok(Some((section, value, in_place)))
    }
}

/// Checks the first byte and the length of what came back.
fn check_flipped(value: u8, length: usize, reply: &[u8]) -> Result<(), Error> {
    match reply {
        [first, ..] if *first == !value && reply.len() == length => Ok(()),
        _ => Err(format!("{} bytes came back for {length}, or others", reply.len()).into()),
    }
}

impl Worker for Async {
    async fn turn(&mut self) -> Result<u32, Error> {
        if let Some(view) = self.0.lent()? {
            let sum = self.0.client.sum_of(view).await?;
            self.0.payload.check_sum(sum)?;
            return Ok(1);
        }
        if let Some((section, value, in_place)) = self.0.question()? {
            let (client, length) = (&self.0.client, section.len());
            let flipped = if in_place {
                client.flip_in_place(section).await?
            } else {
                client.flip_beside(section).await?
            };
            check_flipped(value, length, &flipped)?;
            return Ok(1);
        }
        let Self(Caller {
            client,
            call,
            payload,
            ..
        }) = self;
        let data = payload.next(*call);
        match call {
            Call::Echo => check_echo(data, &client.echo(data).await?)?,
            Call::EchoBytes => check_echo(data, &client.echo_bytes(data).await?)?,
            Call::Sum => {
                let sum = client.sum(data).await?;
                payload.check_sum(sum)?;
            }
            Call::Null => client.null().await?,
            Call::Add => check_sum(client.add(2, 3).await?)?,
            Call::Take => client.take(data).await?,
            Call::Post => client.post(data).await?,
        }
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(self.0.client.null().await?)
    }
}

impl Worker for Blocking {
    async fn turn(&mut self) -> Result<u32, Error> {
        if let Some(view) = self.0.lent()? {
            let sum = self.0.client.sum_of(view).wait()?;
            self.0.payload.check_sum(sum)?;
            return Ok(1);
        }
        if let Some((section, value, in_place)) = self.0.question()? {
            let (client, length) = (&self.0.client, section.len());
            let flipped = if in_place {
                client.flip_in_place(section).wait()?
            } else {
                client.flip_beside(section).wait()?
            };
            check_flipped(value, length, &flipped)?;
            return Ok(1);
        }
        let Self(Caller {
            client,
            call,
            payload,
            ..
        }) = self;
        let data = payload.next(*call);
        match call {
            Call::Echo => check_echo(data, &client.echo(data).wait()?)?,
            Call::EchoBytes => check_echo(data, &client.echo_bytes(data).wait()?)?,
            Call::Sum => {
                let sum = client.sum(data).wait()?;
                payload.check_sum(sum)?;
            }
            Call::Null => client.null().wait()?,
            Call::Add => check_sum(client.add(2, 3).wait()?)?,
            Call::Take => client.take(data).wait()?,
            Call::Post => client.post(data).wait()?,
        }
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(self.0.client.null().wait()?)
    }
}

fn check_sum(sum: u64) -> Result<(), Error> {
    match sum {
        5 => Ok(()),
        _ => Err(format!("2 and 3 are {sum}").into()),
    }
}
