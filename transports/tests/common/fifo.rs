//! The files of `pipe:` on Unix, and a client that is written by hand.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use transports::{Endpoint, Header, Listener, Message, Port, connect};

use super::{accept, header, receive, receive_into, send, watchdog};

/// A name of our own in the user's runtime directory.
pub(crate) struct Name {
    pub(crate) endpoint: Endpoint,
    pub(crate) rendezvous: PathBuf,
}

impl Name {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let text = format!("pipe:fifo-test.{}-{number}", std::process::id());
        Self::of(text.parse().unwrap())
    }

    pub(crate) fn of(endpoint: Endpoint) -> Self {
        let detail = endpoint.detail().to_string();
        let rendezvous = PathBuf::from(detail.strip_prefix("pipe:").unwrap());
        Self { endpoint, rendezvous }
    }

    /// The files that begin with the name.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let stem = self.rendezvous.file_stem().unwrap().to_str().unwrap();
        let is_ours = |path: &PathBuf| {
            let file = path.file_name().and_then(OsStr::to_str).unwrap();
            file.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.'))
        };
        let entries = fs::read_dir(self.rendezvous.parent().unwrap()).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(is_ours)
            .collect();
        files.sort();
        files
    }

    /// Those of clients.
    pub(crate) fn pairs(&self) -> Vec<PathBuf> {
        let is_of_client = |path: &PathBuf| {
            let end = path.extension().unwrap();
            end == "up" || end == "down"
        };
        self.files().into_iter().filter(is_of_client).collect()
    }

    pub(crate) fn pair(&self, token: [u8; 16]) -> [PathBuf; 2] {
        let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        ["up", "down"].map(|end| self.rendezvous.with_extension(format!("{token}.{end}")))
    }

    /// The files in which the large bodies of a connection lie, those of its client first.
    pub(crate) fn spools(&self, token: [u8; 16]) -> [PathBuf; 2] {
        let [up, down] = self.pair(token);
        [up.with_extension("up-spool"), down.with_extension("down-spool")]
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        let written = OpenOptions::new()
            .write(true)
            .open(&self.rendezvous)
            .unwrap()
            .write(bytes);
        assert_eq!(written.unwrap(), bytes.len());
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        for file in self.files() {
            let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
        }
    }
}

pub(crate) fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

pub(crate) fn record(token: [u8; 16], tag: [u8; 16]) -> Vec<u8> {
    [&b"ipc-rpc\x01"[..], &token, &tag].concat()
}

/// A client that is written by hand.
pub(crate) struct Raw {
    pub(crate) up: File,
    pub(crate) down: File,
    pub(crate) tag: [u8; 16],
}

impl Raw {
    pub(crate) fn connect(name: &Name, listener: &mut dyn Listener, seed: u8) -> (Self, Port) {
        let (token, tag) = ([seed; 16], [seed ^ 0x55; 16]);
        let pair = name.pair(token);
        pair.iter().for_each(|path| make_fifo(path));
        // Opened for both ways, neither waits for the other side.
        let open = |path: &PathBuf| OpenOptions::new().read(true).write(true).open(path).unwrap();
        let both = pair.each_ref().map(open);
        let up = OpenOptions::new().write(true).open(&pair[0]).unwrap();
        let down = File::open(&pair[1]).unwrap();
        name.write(&record(token, tag));
        let port = accept(listener);
        drop(both);
        (Self { up, down, tag }, port)
    }

    /// Writes something as one of the two sides would.
    pub(crate) fn say(&mut self, header: &Header, behind: &[u8]) {
        let header = Header {
            length: behind.len() as u32,
            ..*header
        };
        self.up
            .write_all(&[&self.tag[..], &header.to_bytes(), behind].concat())
            .unwrap();
    }

    /// Waits for the greeting.
    pub(crate) fn greeted(&mut self) {
        let mut greeting = [0; 16];
        self.down.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, self.tag);
    }

    /// Waits for the next message or frame.
    pub(crate) fn hear(&mut self) -> (Header, Vec<u8>) {
        let mut head = [0; 16 + Header::SIZE];
        self.down.read_exact(&mut head).unwrap();
        assert_eq!(head[..16], self.tag);
        let header = Header::from_bytes(head[16..].first_chunk().unwrap());
        let mut behind = vec![0; header.length as usize];
        self.down.read_exact(&mut behind).unwrap();
        (header, behind)
    }

    pub(crate) fn send(&mut self, tag: [u8; 16], id: u64, body: &[u8]) {
        let header = Header {
            length: body.len() as u32,
            ..header(id)
        };
        self.up
            .write_all(&[&tag[..], &header.to_bytes(), body].concat())
            .unwrap();
    }
}

pub(crate) fn failure(port: &mut Port) -> transports::Error {
    receive_into(port, &mut Message::default()).unwrap_err()
}

/// One client after the other gets in and is understood.
pub(crate) fn works(name: &Name, listener: &mut dyn Listener) {
    let mut client = connect(&name.endpoint, watchdog()).unwrap();
    send(&mut client, header(1), b"to");
    let mut server = accept(listener);
    assert_eq!(receive(&mut server).body, b"to");
    send(&mut server, header(2), b"fro");
    assert_eq!(receive(&mut client).body, b"fro");
}
