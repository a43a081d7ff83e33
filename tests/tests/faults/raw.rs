//! Frames written by hand from the tables of the wire format, with nothing of the library in between.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ipc_rpc::Endpoint;
use tests::fixture::MOMENT;

pub(crate) const HELLO: u8 = 1;
pub(crate) const WELCOME: u8 = 2;
pub(crate) const REJECT: u8 = 3;
pub(crate) const REQUEST: u8 = 4;
pub(crate) const REPLY: u8 = 5;
pub(crate) const CANCEL: u8 = 6;
pub(crate) const PING: u8 = 7;
pub(crate) const PONG: u8 = 8;
pub(crate) const DRAIN: u8 = 9;
pub(crate) const CLOSE: u8 = 10;

pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"ipc-rpc\0");

/// Codes of error kinds.
pub(crate) const INCOMPATIBLE: u64 = 10;
pub(crate) const UNKNOWN_METHOD: u64 = 9;
pub(crate) const BUSY: u64 = 13;
pub(crate) const DECODE: u64 = 16;
pub(crate) const PROTOCOL: u64 = 18;

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) sections: u8,
    pub(crate) handles: u8,
    pub(crate) id: u64,
    pub(crate) ordinal: u64,
    pub(crate) extra: u64,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    /// A call of `Subject.number`.
    pub(crate) fn number(id: u64, value: u64) -> Self {
        Self {
            id,
            ordinal: ordinal("Subject.number"),
            body: value.to_le_bytes().to_vec(),
            ..Self::new(REQUEST)
        }
    }

    /// A call of `Subject.hold`.
    pub(crate) fn hold(id: u64, token: u64) -> Self {
        Self {
            ordinal: ordinal("Subject.hold"),
            ..Self::number(id, token)
        }
    }

    pub(crate) fn cancel(id: u64) -> Self {
        Self {
            id,
            ..Self::new(CANCEL)
        }
    }

    /// What a client says first: version 1, bincode, 64 MiB, 1,024 calls, no blob, no services.
    pub(crate) fn hello() -> Self {
        let mut body = vec![1, 0, 1, 0, 1, 1];
        body.extend((64_u32 << 20).to_le_bytes());
        body.extend(1024_u32.to_le_bytes());
        body.extend([0, 0, 0, 0]);
        Self {
            id: MAGIC,
            body,
            ..Self::new(HELLO)
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_claiming(self.body.len() as u32)
    }

    /// With a length that need not be that of the body.
    pub(crate) fn bytes_claiming(&self, length: u32) -> Vec<u8> {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend([self.kind, self.flags, self.sections, self.handles]);
        for word in [self.id, self.ordinal, self.extra] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&self.body);
        bytes
    }

    /// The sentence in its body.
    pub(crate) fn sentence(&self) -> &str {
        std::str::from_utf8(&self.body).expect("sentences are UTF-8")
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn ordinal(method: &str) -> u64 {
    method.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The ids that a client gives: a sequence number above 16 bits of slot.
pub(crate) fn id(sequence: u64) -> u64 {
    sequence << 16
}

pub(crate) trait Stream: Read + Write + Send {
    fn end_writing(&self) -> io::Result<()>;
    fn wait_at_most(&self, patience: Duration) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn wait_at_most(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

impl Stream for TcpStream {
    fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn wait_at_most(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

/// A connection without manners.
pub(crate) struct Stranger(pub(crate) Box<dyn Stream>);

/// Far more than a server may take for anything here.
const PATIENCE: Duration = Duration::from_secs(20);

impl Stranger {
    pub(crate) fn connect(endpoint: &Endpoint) -> Self {
        let detail = endpoint.detail().to_string();
        if let Some(address) = detail.strip_prefix("tcp:") {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            return Self(Box::new(stream));
        }
        let stream = UnixStream::connect(detail.strip_prefix("unix:").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(Box::new(stream))
    }

    /// One that has been let in.
    pub(crate) fn introduced(endpoint: &Endpoint) -> Self {
        let mut stranger = Self::connect(endpoint);
        stranger.say(&Frame::hello());
        let welcome = stranger.hear().expect("the server answers");
        assert_eq!((welcome.kind, welcome.id), (WELCOME, MAGIC), "{welcome:?}");
        stranger
    }

    pub(crate) fn say(&mut self, frame: &Frame) {
        self.write(&frame.bytes()).expect("the server is there");
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The next message; none at the end, of whatever kind.
    pub(crate) fn hear(&mut self) -> Option<Frame> {
        let mut header = [0; 32];
        match self.0.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the server says nothing"),
            Err(_) => return None,
        }
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
        let length = u32::from_le_bytes(header[..4].try_into().unwrap());
        assert!(length <= 64 << 20, "the server claims {length} bytes");
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body).ok()?;
        let [kind, flags, sections, handles] = header[4..8].try_into().unwrap();
        Some(Frame {
            kind,
            flags,
            sections,
            handles,
            id: word(8),
            ordinal: word(16),
            extra: word(24),
            body,
        })
    }

    /// Whether the server says nothing more, and has not hung up a moment later.
    pub(crate) fn is_connected(&mut self) -> bool {
        self.0.wait_at_most(MOMENT).unwrap();
        matches!(self.0.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// All that is still to come.
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.hear()).collect()
    }
}
