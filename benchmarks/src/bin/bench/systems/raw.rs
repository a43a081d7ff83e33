//! Floors: sockets with messages of ipc-rpc's size and shape, and nothing else.
//!
//! A message is a header of 32 bytes (length of the body in the first four, one-way or not in the fifth) and a body
//! that starts with eight bytes of length, as bincode writes a `&[u8]` argument. Both sides read whole messages into
//! a buffer that is reused; the server writes back what it read.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream as BlockingUnix;
use std::path::Path;

use bench_harness::{
    Case, Error, Job, Load, Measured, Mode, Ready, System, Variant, Waiting, Worker, body, check_echo, drive,
    runtime,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Raw sockets.
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
        ]
        .map(|(transport, mode)| Variant {
            system: "raw".to_owned(),
            transport: transport.to_owned(),
            mode,
            in_process: false,
        })
        .into()
    }

    fn offers(&self, variant: &Variant, load: &Load) -> Option<&'static str> {
        let blocking = variant.mode.client == Waiting::Blocking;
        match load.case {
            Case::Echo | Case::EchoBytes if load.in_flight == 1 => Some(""),
            // One thread that blocks has one call in flight on its connection.
            Case::Echo | Case::EchoBytes if blocking => None,
            Case::Echo | Case::EchoBytes => Some("times of a batch: all requests in one write"),
            Case::Post => Some("a write a message"),
            Case::Idle => Some(""),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let path = job.directory.join("raw.sock");
        let address = path.to_string_lossy().into_owned();
        if job.variant.mode.server == Waiting::Blocking {
            let listener = std::os::unix::net::UnixListener::bind(&path)?;
            ready.announce(&address)?;
            for stream in listener.incoming() {
                let stream = stream?;
                std::thread::spawn(move || serve_blocking(stream));
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
                    tokio::spawn(serve_connection(stream));
                }
            }
            let listener = UnixListener::bind(&path)?;
            ready.announce(&address)?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(serve_connection(stream));
            }
        })
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let (load, address) = (job.load, job.address.clone());
        match (job.variant.transport.as_str(), job.variant.mode.client) {
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

/// One connection and what a client sends on it.
struct Client<S> {
    stream: S,
    /// Requests of a turn, one after another.
    requests: Vec<u8>,
    /// One message that asks for a reply, after one-way ones.
    last: Vec<u8>,
    replies: Vec<u8>,
    one_way: bool,
    count: u32,
}

struct Async<S>(Client<S>);
struct Blocking<S>(Client<S>);

impl<S> Client<S> {
    fn new(stream: S, load: Load) -> Self {
        let payload = body(load.size);
        let one_way = load.case == Case::Post;
        let requests = message(&payload, if one_way { ONE_WAY } else { 0 }).repeat(load.in_flight);
        let replies = vec![0; requests.len()];
        let count = load.in_flight as u32;
        Self {
            stream,
            requests,
            last: message(&payload, 0),
            replies,
            one_way,
            count,
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_echo(&self.requests, &self.replies)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Worker for Async<S> {
    async fn turn(&mut self) -> Result<u32, Error> {
        let Self(client) = self;
        client.stream.write_all(&client.requests).await?;
        if !client.one_way {
            client.stream.read_exact(&mut client.replies).await?;
            client.check()?;
        }
        Ok(client.count)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let Self(client) = self;
        client.stream.write_all(&client.last).await?;
        client
            .stream
            .read_exact(&mut client.replies[..client.last.len()])
            .await?;
        Ok(())
    }
}

impl<S: Read + Write + Send + 'static> Worker for Blocking<S> {
    async fn turn(&mut self) -> Result<u32, Error> {
        let Self(client) = self;
        client.stream.write_all(&client.requests)?;
        if !client.one_way {
            client.stream.read_exact(&mut client.replies)?;
            client.check()?;
        }
        Ok(client.count)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let Self(client) = self;
        client.stream.write_all(&client.last)?;
        client
            .stream
            .read_exact(&mut client.replies[..client.last.len()])?;
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

    /// The next whole messages that want a reply and follow each other; `from` is where to look, and then where to
    /// look next. Empty at the end.
    fn answer(&self, from: &mut usize) -> &[u8] {
        let mut begin = *from;
        while *from < self.whole {
            let Some(length) = self.length_at(*from) else {
                break;
            };
            if self.bytes[*from + 4] != ONE_WAY {
                *from += length;
            } else if begin < *from {
                break;
            } else {
                *from += length;
                begin = *from;
            }
        }
        &self.bytes[begin..*from]
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

async fn serve_connection(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut unread = Unread::new();
    loop {
        let count = stream.read(unread.space()).await?;
        if count == 0 {
            return Ok(());
        }
        if unread.read(count) {
            let mut from = 0;
            while let answer @ [_, ..] = unread.answer(&mut from) {
                stream.write_all(answer).await?;
            }
            unread.answered();
        }
    }
}

fn serve_blocking(mut stream: impl Read + Write) -> io::Result<()> {
    let mut unread = Unread::new();
    loop {
        let count = stream.read(unread.space())?;
        if count == 0 {
            return Ok(());
        }
        if unread.read(count) {
            let mut from = 0;
            while let answer @ [_, ..] = unread.answer(&mut from) {
                stream.write_all(answer)?;
            }
            unread.answered();
        }
    }
}
