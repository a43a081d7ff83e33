//! Floors: sockets with messages of ipc-rpc's size and shape, and nothing else.
//!
//! A message is a header of 32 bytes (length of the body in the first four, one-way or not in the fifth) and a body
//! that starts with eight bytes of length, as bincode writes a `&[u8]` argument. Both sides read whole messages into
//! a buffer that is reused; the server writes back what it read, or a short message where a call has a short reply.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream as BlockingUnix;
use std::path::Path;

use bench_harness::{
    Answer, Call, Case, Error, Job, Load, Measured, Mode, Payload, Ready, System, Variant, Waiting, Worker,
    check_echo, drive, runtime, sum,
};
use rustix::fs::{CWD, mkfifoat};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::floors::shape;

/// Raw sockets and pipes.
pub(crate) struct Raw;

/// What precedes a payload: the header, and the length that bincode writes before bytes.
const OVERHEAD: usize = HEADER + 8;
const HEADER: usize = 32;
/// In the header's fifth byte: no reply is wanted.
const ONE_WAY: u8 = 1;
/// What is read at once where messages are small, tokio's and std's own buffers being smaller.
const CHUNK: usize = 64 * 1024;

impl System for Raw {
    fn variants(&self) -> Vec<Variant> {
        let blocking_pair = Mode {
            client: Waiting::Blocking,
            server: Waiting::Blocking,
        };
        [
            ("unix", Mode::BLOCKING),
            ("unix", Mode::CURRENT),
            ("unix", Mode::MULTI),
            ("unix", blocking_pair),
            ("tcp", Mode::BLOCKING),
            ("tcp", Mode::CURRENT),
            ("tcp", Mode::MULTI),
            ("pipe", blocking_pair),
        ]
        .map(|(transport, mode)| Variant {
            system: "raw".to_owned(),
            transport: transport.to_owned(),
            mode,
            in_process: false,
        })
        .into()
    }

    fn offers(&self, variant: &Variant, load: &Load) -> Answer {
        let blocking = variant.mode.client == Waiting::Blocking;
        match load.case {
            // A pair of pipes is one connection.
            _ if variant.transport == "pipe" && load.connections > 1 => Answer::Pointless,
            // Nothing takes turns here.
            Case::Beside => Answer::Pointless,
            Case::Post => Answer::Yes("a write a message"),
            _ if load.in_flight == 1 => Answer::Yes(""),
            // One thread that blocks has one call in flight on its connection.
            _ if blocking => Answer::Pointless,
            _ => Answer::Yes("times of a batch: all requests in one write"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let path = job.directory.join("raw.sock");
        let address = path.to_string_lossy().into_owned();
        let load = job.load;
        if job.variant.transport == "pipe" {
            return serve_pipes(&path, load, ready);
        }
        if job.variant.mode.server == Waiting::Blocking {
            let listener = std::os::unix::net::UnixListener::bind(&path)?;
            ready.announce(&address)?;
            for stream in listener.incoming() {
                let stream = stream?;
                std::thread::spawn(move || serve_blocking(stream, load));
            }
            return Ok(());
        }
        runtime(job.variant.mode.server)?.block_on(async {
            if job.variant.transport == "tcp" {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
                ready.announce(&listener.local_addr()?.to_string())?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    tokio::spawn(serve_connection(stream, load));
                }
            }
            let listener = UnixListener::bind(&path)?;
            ready.announce(&address)?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(serve_connection(stream, load));
            }
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let (load, address) = (job.load, job.address.clone());
        match (job.variant.transport.as_str(), job.variant.mode.client) {
            ("pipe", _) => drive(job, async move { connect_all(load, || Pipes::connect(&address)) }),
            ("tcp", Waiting::Blocking) => drive(job, async move {
                connect_all(load, || {
                    let stream = std::net::TcpStream::connect(&address)?;
                    stream.set_nodelay(true)?;
                    Ok(stream)
                })
            }),
            (_, Waiting::Blocking) => drive(job, async move {
                connect_all(load, || BlockingUnix::connect(&address))
            }),
            ("tcp", _) => drive(job, async move {
                let mut workers = Vec::new();
                for _ in 0..load.connections {
                    let stream = TcpStream::connect(&address).await?;
                    stream.set_nodelay(true)?;
                    workers.push(Async(Client::new(stream, load)));
                }
                Ok(workers)
            }),
            _ => drive(job, async move {
                let mut workers = Vec::new();
                for _ in 0..load.connections {
                    workers.push(Async(Client::new(
                        UnixStream::connect(Path::new(&address)).await?,
                        load,
                    )));
                }
                Ok(workers)
            }),
        }
    }
}

/// A pipe for each direction.
struct Pipes {
    incoming: File,
    out: File,
}

impl Pipes {
    fn names(path: &Path) -> [std::path::PathBuf; 2] {
        ["requests", "replies"].map(|name| path.with_extension(name))
    }

    fn connect(address: &str) -> io::Result<Self> {
        let [requests, replies] = Self::names(Path::new(address));
        // In the server's order: opening a pipe waits for the other side.
        let out = File::options().write(true).open(requests)?;
        let incoming = File::open(replies)?;
        Ok(Self { incoming, out })
    }
}

impl Read for Pipes {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(to)
    }
}

impl Write for Pipes {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.out.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn serve_pipes(path: &Path, load: Load, ready: Ready) -> Result<(), Error> {
    let [requests, replies] = Pipes::names(path);
    mkfifoat(CWD, &requests, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    mkfifoat(CWD, &replies, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    ready.announce(&path.to_string_lossy())?;
    let incoming = File::open(requests)?;
    let out = File::options().write(true).open(replies)?;
    Ok(serve_blocking(Pipes { incoming, out }, load)?)
}

/// One connection and what a client sends on it.
struct Client<S> {
    stream: S,
    call: Call,
    payload: Payload,
    /// Requests of a turn, one after another.
    requests: Vec<u8>,
    /// One message that asks for a reply, after one-way ones.
    last: Vec<u8>,
    replies: Vec<u8>,
    count: u32,
}

struct Async<S>(Client<S>);
struct Blocking<S>(Client<S>);

impl<S> Client<S> {
    fn new(stream: S, load: Load) -> Self {
        let call = load.call();
        let (request, reply) = shape(&load);
        let payload = Payload::new(request);
        let flag = if call == Call::Post { ONE_WAY } else { 0 };
        Self {
            stream,
            call,
            requests: message(payload.bytes(), flag).repeat(load.in_flight),
            last: message(payload.bytes(), 0),
            payload,
            replies: vec![0; (OVERHEAD + reply) * load.in_flight],
            count: load.in_flight as u32,
        }
    }

    /// Prepares a turn: of the bytes to be added up, one in each page is new.
    fn renew(&mut self) {
        if self.call == Call::Sum {
            self.payload.fill(&mut self.requests[OVERHEAD..]);
        }
    }

    fn check(&self) -> Result<(), Error> {
        match self.call {
            Call::Echo | Call::EchoBytes => check_echo(&self.requests, &self.replies),
            Call::Sum => {
                let sum = self.replies[OVERHEAD..].first_chunk().ok_or("no sum came")?;
                self.payload.check_sum(u64::from_le_bytes(*sum))
            }
            Call::Null | Call::Add | Call::Take | Call::Post => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Worker for Async<S> {
    async fn turn(&mut self) -> Result<u32, Error> {
        let Self(client) = self;
        client.renew();
        client.stream.write_all(&client.requests).await?;
        if client.call != Call::Post {
            client.stream.read_exact(&mut client.replies).await?;
            client.check()?;
        }
        Ok(client.count)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let Self(client) = self;
        client.stream.write_all(&client.last).await?;
        client.stream.read_exact(&mut client.replies[..OVERHEAD]).await?;
        Ok(())
    }
}

impl<S: Read + Write + Send + 'static> Worker for Blocking<S> {
    async fn turn(&mut self) -> Result<u32, Error> {
        let Self(client) = self;
        client.renew();
        client.stream.write_all(&client.requests)?;
        if client.call != Call::Post {
            client.stream.read_exact(&mut client.replies)?;
            client.check()?;
        }
        Ok(client.count)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let Self(client) = self;
        client.stream.write_all(&client.last)?;
        client.stream.read_exact(&mut client.replies[..OVERHEAD])?;
        Ok(())
    }
}

fn connect_all<S>(load: Load, connect: impl Fn() -> io::Result<S>) -> Result<Vec<Blocking<S>>, Error> {
    (0..load.connections)
        .map(|_| Ok(Blocking(Client::new(connect()?, load))))
        .collect()
}

fn message(payload: &[u8], flag: u8) -> Vec<u8> {
    let mut message = vec![0; OVERHEAD + payload.len()];
    message[..4].copy_from_slice(&(payload.len() as u32 + 8).to_le_bytes());
    message[4] = flag;
    message[HEADER..OVERHEAD].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    message[OVERHEAD..].copy_from_slice(payload);
    message
}

/// What the server has read and not yet answered.
struct Unread {
    bytes: Vec<u8>,
    /// Bytes read.
    filled: usize,
    /// Of these, the messages up to here are whole.
    whole: usize,
}

impl Unread {
    fn new() -> Self {
        Self {
            bytes: vec![0; CHUNK],
            filled: 0,
            whole: 0,
        }
    }

    /// Where to read to: room for a chunk, or for the rest of the message that has begun.
    fn space(&mut self) -> &mut [u8] {
        let length = self.length_at(0).unwrap_or(0);
        if length > self.bytes.len() {
            self.bytes.resize(length, 0);
        }
        &mut self.bytes[self.filled..]
    }

    /// Takes note of bytes read; true if there are whole messages now.
    fn read(&mut self, count: usize) -> bool {
        self.filled += count;
        while let Some(length) = self.length_at(self.whole) {
            if self.whole + length > self.filled {
                break;
            }
            self.whole += length;
        }
        self.whole > 0
    }

    /// The whole messages.
    fn whole(&self) -> &[u8] {
        &self.bytes[..self.whole]
    }

    /// Answers to the whole messages, where these are not echoes: short ones, and only to those that want one.
    fn short(&self, call: Call) -> Vec<u8> {
        let (mut at, mut replies) = (0, Vec::new());
        while at < self.whole {
            let Some(length) = self.length_at(at) else {
                break;
            };
            let body = &self.bytes[at + OVERHEAD..at + length];
            match call {
                Call::Sum => replies.extend(message(&sum(body).to_le_bytes(), 0)),
                Call::Add => replies.extend(message(&body[..size_of::<u64>()], 0)),
                _ if self.bytes[at + 4] == ONE_WAY => {}
                _ => replies.extend(message(&[], 0)),
            }
            at += length;
        }
        replies
    }

    /// Forgets the whole messages.
    fn answered(&mut self) {
        self.bytes.copy_within(self.whole..self.filled, 0);
        self.filled -= self.whole;
        self.whole = 0;
    }

    /// The length of the message that begins at `at`, once its header was read.
    fn length_at(&self, at: usize) -> Option<usize> {
        let header = self.bytes[..self.filled].get(at..at + HEADER)?;
        let length = header.first_chunk::<4>()?;
        Some(HEADER + u32::from_le_bytes(*length) as usize)
    }
}

fn is_echo(call: Call) -> bool {
    matches!(call, Call::Echo | Call::EchoBytes)
}

async fn serve_connection(mut stream: impl AsyncRead + AsyncWrite + Unpin, load: Load) -> io::Result<()> {
    let mut unread = Unread::new();
    loop {
        let count = stream.read(unread.space()).await?;
        if count == 0 {
            return Ok(());
        }
        if unread.read(count) {
            if is_echo(load.call()) {
                stream.write_all(unread.whole()).await?;
            } else {
                stream.write_all(&unread.short(load.call())).await?;
            }
            unread.answered();
        }
    }
}

fn serve_blocking(mut stream: impl Read + Write, load: Load) -> io::Result<()> {
    let mut unread = Unread::new();
    loop {
        let count = stream.read(unread.space())?;
        if count == 0 {
            return Ok(());
        }
        if unread.read(count) {
            if is_echo(load.call()) {
                stream.write_all(unread.whole())?;
            } else {
                stream.write_all(&unread.short(load.call()))?;
            }
            unread.answered();
        }
    }
}
