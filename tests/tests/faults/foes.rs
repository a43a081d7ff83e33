//! Hostile sides of both kinds under one roof: a test tells its victim of memory and sends it sections, whether that is a server or
//! a client, in a process of its own. A connection of the same process on which everything is honest, the canary, is used between
//! any two steps, and what the process holds comes back to what it was.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use ipc_rpc::Endpoint;
use tests::caller::Caller;
use tests::errand::comes_back;
use tests::fixture::Transport;
use tests::meter::Holdings;
use tests::mode::Mode;
use tests::process::Helper;
use tests::subject::Plan;
use tests::watchdog;

use crate::hostile::settle;
use crate::impostors::welcome;
use crate::raw::{self, Frame, Stranger, id, ordinal};
use crate::sections::{ANNOUNCE, MIB, announce, connected, entry, honest};
use crate::shared::send;
use crate::{PROGRAM, serve};

/// A process that others do something to.
pub(crate) struct Victim {
    process: Helper,
    kind: Kind,
    /// Connections that were made to it, or by it.
    connections: usize,
    canary: Option<Foe>,
}

enum Kind {
    Server(Endpoint),
    Client(UnixListener, String),
}

/// A connection to a victim.
pub(crate) struct Foe {
    stranger: Stranger,
    socket: UnixStream,
    /// Which of the victim's it is.
    number: usize,
    /// Calls so far.
    calls: u64,
}

/// Does it to a server, and to a client of either mode.
pub(crate) fn to_both_ends(name: &'static str, test: fn(&mut Victim)) {
    let victims: [fn() -> Victim; 3] = [
        Victim::server,
        || Victim::client(Mode::Async),
        || Victim::client(Mode::Blocking),
    ];
    for victim in victims {
        watchdog::guard(name, move || {
            let mut victim = victim();
            let mut canary = victim.meets();
            canary.tell(&announce(ANNOUNCE, 0, 1, MIB), &honest());
            victim.canary = Some(canary);
            victim.hears_its_canary();
            // What is made once, for whatever stranger, is not counted.
            let clean = Holdings::of(victim.pid());
            let mut stranger = victim.meets();
            stranger.tell(&announce(ANNOUNCE, 64, 1, MIB), &honest());
            let refused = victim.takes(&mut stranger, &[], &[]);
            assert!(refused.is_err(), "{refused:?}");
            victim.is_left_by(stranger);
            comes_back("the first stranger", &clean, || Holdings::of(victim.pid()));
            let before = Holdings::of(victim.pid());
            test(&mut victim);
            victim.hears_its_canary();
            settle(&mut victim.process, &before);
        });
    }
}

impl Victim {
    fn server() -> Self {
        let server = serve(&Plan::at(Transport::UnixName.endpoint()));
        let kind = Kind::Server(server.endpoint().clone());
        Self::new(server, kind)
    }

    fn client(mode: Mode) -> Self {
        let endpoint = Transport::UnixPath.endpoint();
        let path = endpoint.strip_prefix("unix:").unwrap().to_owned();
        let listener = UnixListener::bind(&path).unwrap();
        let caller = serde_json::to_string(&Caller { mode, endpoint }).unwrap();
        let client = Helper::start(PROGRAM, "caller", &caller, |_| {});
        Self::new(client, Kind::Client(listener, path))
    }

    fn new(process: Helper, kind: Kind) -> Self {
        Self {
            process,
            kind,
            connections: 0,
            canary: None,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// One more connection.
    pub(crate) fn meets(&mut self) -> Foe {
        let socket = match &self.kind {
            Kind::Server(endpoint) => connected(endpoint),
            Kind::Client(listener, _) => {
                self.process.tell(Caller::CONNECT);
                listener.accept().unwrap().0
            }
        };
        let patience = Some(watchdog::PATIENCE);
        socket.set_read_timeout(patience).unwrap();
        socket.set_write_timeout(patience).unwrap();
        let mut stranger = Stranger(Box::new(socket.try_clone().unwrap()));
        match &self.kind {
            Kind::Server(_) => {
                stranger.say(&Frame::hello());
                assert_eq!(stranger.hear().map(|frame| frame.kind), Some(raw::WELCOME));
            }
            Kind::Client(..) => {
                assert_eq!(stranger.hear().map(|frame| frame.kind), Some(raw::HELLO));
                stranger.say(&welcome());
                assert_eq!(self.process.line(), "connected");
            }
        }
        self.connections += 1;
        Foe {
            stranger,
            socket,
            number: self.connections - 1,
            calls: 0,
        }
    }

    /// Sends a message with these sections beside it: as many values as `values` says, each with its length and the index of its
    /// section. What the victim saw of each, at two looks, or what it said of that.
    pub(crate) fn takes(
        &mut self,
        foe: &mut Foe,
        sections: &[[u32; 4]],
        values: &[(u64, u32)],
    ) -> Result<Vec<(u64, u64)>, String> {
        let taken = match &self.kind {
            Kind::Server(_) => foe.asks(sections, values),
            Kind::Client(..) => {
                self.process.tell(&Caller::call(foe.number));
                foe.answers(sections, values);
                let said = self.process.line();
                serde_json::from_str(&said).map_err(|_| said)
            }
        };
        self.hears_its_canary();
        taken
    }

    /// The other connection is as it was.
    pub(crate) fn hears_its_canary(&mut self) {
        // Not while it is used.
        if let Some(mut canary) = self.canary.take() {
            let one = [entry(0, 1, 0, 100)];
            let looks = self.takes(&mut canary, &one, &[(100, 0)]);
            assert_eq!(looks, Ok(vec![(0, 0)]), "the canary sings");
            self.canary = Some(canary);
        }
    }

    /// Ends a connection, if the victim has not.
    pub(crate) fn is_left_by(&mut self, foe: Foe) {
        let number = foe.number;
        drop(foe);
        if let Kind::Client(..) = &self.kind {
            self.process.tell(&Caller::leave(number));
            assert_eq!(self.process.line(), "left");
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Kind::Client(_, path) = &self.kind {
            let _ = std::fs::remove_file(Path::new(path));
        }
    }
}

/// As a message says it: the table of its sections, and then a sequence of values that are attached.
fn message(kind: u8, sections: &[[u32; 4]], values: &[(u64, u32)]) -> Frame {
    let words = sections.iter().flatten();
    let mut body: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    body.extend((values.len() as u64).to_le_bytes());
    for (length, index) in values {
        body.extend(1_u32.to_le_bytes());
        body.extend(length.to_le_bytes());
        body.extend(index.to_le_bytes());
    }
    Frame {
        sections: sections.len() as u8,
        body,
        ..Frame::new(kind)
    }
}

impl Foe {
    /// Says something of a memory.
    pub(crate) fn tell(&mut self, frame: &Frame, descriptors: &[OwnedFd]) {
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        send(&self.socket, &frame.bytes(), &descriptors);
    }

    /// Asks a server.
    fn asks(&mut self, sections: &[[u32; 4]], values: &[(u64, u32)]) -> Result<Vec<(u64, u64)>, String> {
        self.calls += 1;
        let call = Frame {
            id: id(self.calls),
            ordinal: ordinal("Samples.looks"),
            ..message(raw::REQUEST, sections, values)
        };
        // The server may have hung up, but it has said why.
        let _ = self.stranger.write(&call.bytes());
        let answer = self.stranger.hear().expect("the server says something");
        if answer.kind == raw::CLOSE {
            assert_eq!(answer.extra, raw::PROTOCOL, "{answer:?}");
            return Err(answer.sentence().to_owned());
        }
        assert_eq!((answer.kind, answer.id), (raw::REPLY, call.id), "{answer:?}");
        if answer.flags != 0 {
            return Err(answer.sentence().to_owned());
        }
        let words: Vec<u64> = answer
            .body
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let (count, looks) = words.split_first().expect("a number of values");
        assert_eq!(*count as usize, looks.len() / 2);
        Ok(looks.chunks_exact(2).map(|looks| (looks[0], looks[1])).collect())
    }

    /// Answers a client that asks, if it does: it may have given up this connection for what it was told.
    fn answers(&mut self, sections: &[[u32; 4]], values: &[(u64, u32)]) {
        let Some(call) = self.stranger.hear().filter(|frame| frame.kind == raw::REQUEST) else {
            return;
        };
        let reply = Frame {
            id: call.id,
            ..message(raw::REPLY, sections, values)
        };
        let _ = self.stranger.write(&reply.bytes());
    }
}
