//! Two cores, two wires and a virtual clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use transports::Header;

use crate::connection::{
    ACCEPTING_HANDSHAKE, CONNECTING_HANDSHAKE, CallKey, Config, Connection, Event, Incoming, Limits,
    ReplyStatus, Role, StartError, State,
};
use crate::{Error, ErrorKind, MethodInfo, ServiceInfo};

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The one that connects.
    Client,
    /// The one that accepts.
    Server,
}
pub(crate) use End::{Client, Server};

impl End {
    pub(crate) const BOTH: [Self; 2] = [Client, Server];

    pub(crate) fn other(self) -> Self {
        if self == Client { Server } else { Client }
    }
}

/// A message on its way.
pub(crate) type Sent = (Header, Vec<u8>);

/// One end: the core, what it has sent, and what it has told.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) core: Connection,
    /// Sent and not delivered.
    pub(crate) wire: VecDeque<Sent>,
    /// What messages meant, apart from `Nothing`, with their bodies.
    pub(crate) incoming: Vec<(Incoming, Vec<u8>)>,
    pub(crate) events: Vec<Event>,
    /// What `handle_message` failed with.
    pub(crate) error: Option<Error>,
}

#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: Side,
    pub(crate) server: Side,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
}

pub(crate) static GET: MethodInfo = MethodInfo {
    name: "Store.get",
    ordinal: 0x1234_5678_9abc_def0,
    fingerprint: 11,
    signature: "get(&str) -> Option<Vec<u8>>",
    arguments: &["key"],
    one_way: false,
    docs: "",
};
pub(crate) static LOG: MethodInfo = MethodInfo {
    name: "Store.log",
    ordinal: 7,
    fingerprint: 12,
    signature: "log(&str)",
    arguments: &["line"],
    one_way: true,
    docs: "",
};
pub(crate) static STORE: ServiceInfo = ServiceInfo {
    name: "Store",
    version: 2,
    codec: ipc_rpc::Codec::Bincode,
    docs: "",
    methods: &[&GET, &LOG],
};

pub(crate) const BINCODE: u8 = 1;
pub(crate) const JSON: u8 = 2;

pub(crate) fn client_config() -> Config {
    Config {
        role: Role::Connecting {
            blob: b"let me in".to_vec(),
        },
        codecs: vec![BINCODE, JSON],
        limits: Limits::default(),
        services: Arc::new([]),
        handshake_timeout: CONNECTING_HANDSHAKE,
        keepalive: None,
        wishes: 0,
    }
}

pub(crate) fn server_config() -> Config {
    Config {
        role: Role::Accepting,
        codecs: vec![JSON, BINCODE],
        limits: Limits::default(),
        services: Arc::new([&STORE]),
        handshake_timeout: ACCEPTING_HANDSHAKE,
        keepalive: None,
        wishes: 0,
    }
}

impl Side {
    pub(crate) fn new(config: Config, now: Instant) -> Self {
        let core = Connection::new(config, now).unwrap();
        Self {
            core,
            wire: VecDeque::new(),
            incoming: Vec::new(),
            events: Vec::new(),
            error: None,
        }
    }

    /// Takes what the core has to say and do.
    pub(crate) fn poll(&mut self) {
        let mut body = vec![0xee; 3];
        while let Some(header) = self.core.poll_transmit(&mut body) {
            assert_eq!(header.length as usize, body.len());
            self.wire.push_back((header, body.clone()));
        }
        while let Some(event) = self.core.poll_event() {
            self.events.push(event);
        }
    }

    /// Hands the core a message, as if it had come from the peer.
    pub(crate) fn receive(&mut self, now: Instant, (mut header, body): Sent) -> Result<(), ErrorKind> {
        header.length = body.len() as u32;
        let header = Header::from_bytes(&header.to_bytes());
        let result = self.core.handle_message(now, &header, &body);
        self.poll();
        match result {
            Ok(Incoming::Nothing) => Ok(()),
            Ok(incoming) => {
                self.incoming.push((incoming, body));
                Ok(())
            }
            Err(error) => {
                let kind = error.kind();
                self.error = Some(error);
                Err(kind)
            }
        }
    }

    /// The requests received so far: their ids.
    pub(crate) fn requests(&self) -> Vec<u64> {
        self.incoming
            .iter()
            .filter_map(|(incoming, _)| match incoming {
                Incoming::Request { id, .. } => Some(*id),
                _ => None,
            })
            .collect()
    }

    /// The replies received so far.
    pub(crate) fn replies(&self) -> Vec<(CallKey, ReplyStatus, u64, &[u8])> {
        self.incoming
            .iter()
            .filter_map(|(incoming, body)| match incoming {
                Incoming::Reply { key, status, extra } => Some((*key, *status, *extra, body.as_slice())),
                _ => None,
            })
            .collect()
    }
}

impl Pair {
    /// Two ends that have not begun.
    pub(crate) fn new(client: Config, server: Config) -> Self {
        let now = Instant::now();
        Self {
            client: Side::new(client, now),
            server: Side::new(server, now),
            now,
            start: now,
        }
    }

    /// Two ends that are open to each other.
    pub(crate) fn open_with(client: Config, server: Config) -> Self {
        let mut pair = Self::new(client, server);
        pair.drive();
        assert_eq!(pair.server.core.state(), State::AwaitingDecision);
        pair.server.core.accept();
        pair.drive();
        for end in End::BOTH {
            assert_eq!(pair.side(end).core.state(), State::Open);
            pair.side(end).incoming.clear();
        }
        pair
    }

    pub(crate) fn open() -> Self {
        Self::open_with(client_config(), server_config())
    }

    pub(crate) fn side(&mut self, end: End) -> &mut Side {
        match end {
            Client => &mut self.client,
            Server => &mut self.server,
        }
    }

    pub(crate) fn core(&mut self, end: End) -> &mut Connection {
        &mut self.side(end).core
    }

    /// Each end does what is to be done, and what each has sent by then arrives. False if nothing was sent.
    pub(crate) fn step(&mut self) -> bool {
        let mut progress = false;
        for end in End::BOTH {
            self.side(end).poll();
        }
        let sent = End::BOTH.map(|end| std::mem::take(&mut self.side(end).wire));
        for (end, sent) in End::BOTH.into_iter().zip(sent) {
            for message in sent {
                progress = true;
                let now = self.now;
                // A failure is kept in `error`, for the test to look at.
                let _ = self.side(end.other()).receive(now, message);
            }
        }
        progress
    }

    /// Steps until nobody has anything to say.
    pub(crate) fn drive(&mut self) {
        assert!(self.drive_bounded(1000), "the two never come to rest");
    }

    /// Steps until nobody has anything to say, at most so often.
    pub(crate) fn drive_bounded(&mut self, steps: usize) -> bool {
        (0..steps).any(|_| !self.step())
    }

    /// Lets time pass; whoever asked to be woken is, at that time.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let next = End::BOTH
                .into_iter()
                .filter_map(|end| self.side(end).core.poll_timeout())
                .min();
            match next {
                Some(next) if next <= end => {
                    self.now = self.now.max(next);
                    let now = self.now;
                    for side in End::BOTH {
                        self.core(side).handle_timeout(now);
                        let again = self.core(side).poll_timeout();
                        assert!(again.is_none_or(|again| again > now), "a time-out that stays due");
                    }
                    self.drive();
                }
                _ => break,
            }
        }
        self.now = end;
        self.drive();
    }

    /// Starts a call and puts it on the wire, behind what the core has to say before.
    pub(crate) fn start(&mut self, end: End, timeout: Option<Duration>) -> Result<CallKey, StartError> {
        let now = self.now;
        let side = self.side(end);
        side.poll();
        let (key, header) = side
            .core
            .start_call(now, GET.ordinal, timeout.map(|timeout| now + timeout))?;
        side.wire
            .push_back((header, format!("to {}", key.id()).into_bytes()));
        Ok(key)
    }

    pub(crate) fn call(&mut self, end: End) -> CallKey {
        self.start(end, None).unwrap()
    }

    pub(crate) fn call_within(&mut self, end: End, milliseconds: u64) -> CallKey {
        self.start(end, Some(Duration::from_millis(milliseconds)))
            .unwrap()
    }

    pub(crate) fn one_way(&mut self, end: End, timeout: Option<Duration>) -> u64 {
        let now = self.now;
        let side = self.side(end);
        side.poll();
        let deadline = timeout.map(|timeout| now + timeout);
        let header = side.core.start_one_way(now, LOG.ordinal, deadline).unwrap();
        side.wire.push_back((header, b"line".to_vec()));
        header.id
    }

    /// Ends a handler; puts the reply, if one is due, on the wire.
    pub(crate) fn finish(&mut self, end: End, id: u64, status: ReplyStatus) -> bool {
        let side = self.side(end);
        side.poll();
        let reply = side.core.finish(id, status, 5);
        let sent = reply.is_some();
        side.wire
            .extend(reply.map(|header| (header, format!("from {id}").into_bytes())));
        sent
    }

    pub(crate) fn assert_no_errors(&mut self) {
        for end in End::BOTH {
            assert!(self.side(end).error.is_none(), "{:?}", self.side(end).error);
        }
    }
}
