//! Random scripts on both ends, beside a reference model that is too simple to be wrong.
//!
//! The model knows which calls were started and how each ended, which handlers run, and which messages are on
//! their way. From that it tells what each core has to say next. Between two honest ends:
//!
//! - each call ends exactly once, by the answer that its handler gave, or a report that is true;
//! - ids are new, unanswered calls and running handlers are those that the model counts, and within the
//!   limits;
//! - no message is ever a breach;
//! - when all is done nothing is left, and a drain has ended;
//! - the same script gives the same trace.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use transports::Header;

use crate::connection::{
    CallKey, CancelReason, Config, Connection, Event, Incoming, ReplyStatus, StartError, State, grace,
};
use crate::pair::{Client, End, Sent, client_config, server_config};
use crate::{Error, ErrorKind, raw};

/// Small enough to be reached by short scripts.
const MAX_IN_FLIGHT: usize = 5;
const MAX_CANCELS_PENDING: usize = 2;

/// What may happen. Numbers choose among what is there, whatever their size.
#[derive(Clone, Debug)]
enum Step {
    Start {
        end: End,
        timeout: Option<u16>,
    },
    OneWay {
        end: End,
        timeout: Option<u16>,
    },
    Withdraw {
        end: End,
    },
    Cancel {
        end: End,
        which: usize,
    },
    Finish {
        end: End,
        which: usize,
        status: ReplyStatus,
    },
    Deliver {
        from: End,
        count: usize,
    },
    Pass {
        microseconds: u64,
    },
    Ping {
        end: End,
    },
    Drain {
        end: End,
        within: u16,
    },
    Close {
        end: End,
    },
    Lose,
}

/// How a call of the model ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Replied,
    Expired,
    Cancelled,
    Failed,
}

#[derive(Debug)]
struct Call {
    key: CallKey,
    deadline: Option<Instant>,
    expires: Option<Instant>,
    ended: Option<Ended>,
}

#[derive(Debug)]
struct Handler {
    deadline: Option<Instant>,
    one_way: bool,
    given_up: bool,
}

#[derive(Debug)]
struct Model {
    core: Connection,
    /// Sent by this end, not delivered.
    wire: VecDeque<Sent>,
    calls: BTreeMap<u64, Call>,
    /// Ids of sent calls whose reply has not been delivered.
    unanswered: BTreeSet<u64>,
    handlers: BTreeMap<u64, Handler>,
    /// How handlers of this end answered.
    answers: BTreeMap<u64, ReplyStatus>,
    last_id: u64,
    told_to_drain: bool,
    drains: bool,
    pings: VecDeque<u64>,
    closed: bool,
}

struct World {
    ends: [Model; 2],
    now: Instant,
    start: Instant,
    trace: String,
}

impl Model {
    fn new(config: Config, now: Instant) -> Self {
        Self {
            core: Connection::new(config, now).unwrap(),
            wire: VecDeque::new(),
            calls: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            handlers: BTreeMap::new(),
            answers: BTreeMap::new(),
            last_id: 0,
            told_to_drain: false,
            drains: false,
            pings: VecDeque::new(),
            closed: false,
        }
    }

    fn given_up(&self) -> usize {
        self.handlers.values().filter(|handler| handler.given_up).count()
    }

    fn running_one_ways(&self) -> usize {
        self.handlers
            .values()
            .filter(|handler| handler.one_way && !handler.given_up)
            .count()
    }

    fn awaited(&self) -> Vec<u64> {
        self.calls
            .values()
            .filter(|call| call.ended.is_none())
            .map(|call| call.key.id())
            .collect()
    }

    fn end(&mut self, key: CallKey, how: Ended) -> &Call {
        let call = self.calls.get_mut(&key.id()).expect("a call that was started");
        assert_eq!(call.key, key);
        assert_eq!(call.ended, None, "{key:?} ends a second time, by {how:?}");
        call.ended = Some(how);
        call
    }

    fn new_id(&mut self, id: u64) {
        assert!(id > self.last_id, "ids only grow");
        self.last_id = id;
    }

    /// What the model expects of a start.
    fn cannot_start(&self) -> Option<StartError> {
        if self.closed {
            Some(StartError::Closed)
        } else if self.told_to_drain {
            Some(StartError::Draining)
        } else {
            None
        }
    }
}

fn at(end: End) -> usize {
    usize::from(end != Client)
}

impl World {
    fn new(start: Instant) -> Self {
        let limited = |mut config: Config| {
            config.limits.max_in_flight = MAX_IN_FLIGHT as u32;
            config.limits.max_cancels_pending = MAX_CANCELS_PENDING as u32;
            config
        };
        let ends = [
            Model::new(limited(client_config()), start),
            Model::new(limited(server_config()), start),
        ];
        let mut world = Self {
            ends,
            now: start,
            start,
            trace: String::new(),
        };
        let mut body = Vec::new();
        let hello = world.ends[0].core.poll_transmit(&mut body).unwrap();
        let connect = world.ends[1].core.handle_message(start, &hello, &body).unwrap();
        assert!(matches!(connect, Incoming::Connect { .. }));
        world.ends[1].core.accept();
        let welcome = world.ends[1].core.poll_transmit(&mut body).unwrap();
        assert_eq!(
            world.ends[0].core.handle_message(start, &welcome, &body).unwrap(),
            Incoming::Opened
        );
        world
    }

    fn run(script: &[Step], start: Instant) -> String {
        let mut world = Self::new(start);
        for step in script {
            writeln!(world.trace, "{step:?}").unwrap();
            world.apply(step);
            world.check();
        }
        world.settle();
        world.trace
    }

    fn apply(&mut self, step: &Step) {
        let now = self.now;
        let time = |timeout: &Option<u16>| {
            timeout.map(|timeout| now + Duration::from_micros(u64::from(timeout) + 1))
        };
        match step {
            Step::Start { end, timeout } => self.start(*end, time(timeout)),
            Step::OneWay { end, timeout } => {
                let model = &mut self.ends[at(*end)];
                match model.core.start_one_way(now, 7, time(timeout)) {
                    Ok(header) => {
                        assert_eq!(model.cannot_start(), None);
                        model.new_id(header.id);
                        model.wire.push_back((header, Vec::new()));
                    }
                    Err(error) => assert_eq!(Some(error), model.cannot_start()),
                }
            }
            Step::Withdraw { end } => {
                let model = &mut self.ends[at(*end)];
                if let Ok((key, _)) = model
                    .core
                    .start_call(now, 7, Some(now + Duration::from_micros(1)))
                {
                    model.new_id(key.id());
                    model.core.withdraw_call(key);
                }
                self.poll(*end);
            }
            Step::Cancel { end, which } => {
                let model = &mut self.ends[at(*end)];
                let awaited = model.awaited();
                if let Some(id) = awaited.get(which % awaited.len().max(1)) {
                    let key = model.calls[id].key;
                    model.end(key, Ended::Cancelled);
                    model.core.cancel_call(key);
                } else if let Some(old) = model.calls.values().nth(which % model.calls.len().max(1)) {
                    // Has ended: nothing may come of it.
                    model.core.cancel_call(old.key);
                }
                self.poll(*end);
            }
            Step::Finish { end, which, status } => self.finish(*end, *which, *status),
            Step::Deliver { from, count } => {
                for _ in 0..*count {
                    self.deliver(*from);
                }
            }
            Step::Pass { microseconds } => self.pass(Duration::from_micros(*microseconds)),
            Step::Ping { end } => {
                let model = &mut self.ends[at(*end)];
                let token = model.last_id;
                let possible = !model.closed && model.pings.len() < 8;
                assert_eq!(model.core.ping(token), possible);
                if possible {
                    model.pings.push_back(token);
                }
                self.poll(*end);
            }
            Step::Drain { end, within } => {
                let model = &mut self.ends[at(*end)];
                model
                    .core
                    .drain(now, now + Duration::from_micros(u64::from(*within) + 1));
                model.drains |= !model.closed;
                self.poll(*end);
            }
            Step::Close { end } => {
                self.ends[at(*end)].core.close(ErrorKind::Closed, "enough");
                self.poll(*end);
            }
            Step::Lose => {
                for end in End::BOTH {
                    self.ends[at(end)]
                        .core
                        .handle_end(&Error::new(ErrorKind::PeerDied, "gone"));
                    self.ends[at(end)].wire.clear();
                    self.poll(end);
                    assert!(self.ends[at(end)].wire.is_empty());
                }
            }
        }
    }

    fn start(&mut self, end: End, deadline: Option<Instant>) {
        let now = self.now;
        let model = &mut self.ends[at(end)];
        let full = model.unanswered.len() == MAX_IN_FLIGHT;
        let expected = model.cannot_start().or(full.then_some(StartError::Full));
        match model.core.start_call(now, 7, deadline) {
            Err(error) => assert_eq!(Some(error), expected),
            Ok((key, header)) => {
                assert_eq!(expected, None);
                assert!(key.slot() < MAX_IN_FLIGHT);
                model.new_id(key.id());
                let expires = deadline.map(|deadline| deadline + grace(deadline - now));
                model.calls.insert(
                    key.id(),
                    Call {
                        key,
                        deadline,
                        expires,
                        ended: None,
                    },
                );
                model.unanswered.insert(key.id());
                model.wire.push_back((header, Vec::new()));
            }
        }
    }

    fn finish(&mut self, end: End, which: usize, status: ReplyStatus) {
        let model = &mut self.ends[at(end)];
        let Some(id) = model
            .handlers
            .keys()
            .nth(which % model.handlers.len().max(1))
            .copied()
        else {
            return;
        };
        let handler = model.handlers.remove(&id).unwrap();
        let reply = model.core.finish(id, status, id);
        assert_eq!(reply.is_some(), !handler.one_way && !handler.given_up, "{id:#x}");
        if let Some(header) = reply {
            model.answers.insert(id, status);
            model.wire.push_back((header, id.to_le_bytes().to_vec()));
        }
        assert_eq!(model.core.finish(id, status, id), None, "a handler ends once");
        self.poll(end);
    }

    /// Takes what a core has to do, as a driver does after each thing that happens.
    fn poll(&mut self, end: End) {
        let mut body = Vec::new();
        loop {
            let has_to_say = self.ends[at(end)].core.has_to_say();
            let Some(header) = self.ends[at(end)].core.poll_transmit(&mut body) else {
                break;
            };
            assert!(has_to_say, "it says what it did not announce");
            assert_eq!(header.length as usize, body.len());
            self.ends[at(end)].wire.push_back((header, body.clone()));
        }
        while let Some(event) = self.ends[at(end)].core.poll_event() {
            writeln!(self.trace, "  {:?} {end:?} {event:?}", self.now - self.start).unwrap();
            self.on_event(end, event);
        }
    }

    fn on_event(&mut self, end: End, event: Event) {
        let now = self.now;
        let model = &mut self.ends[at(end)];
        assert!(!model.closed, "{event:?} after the last event");
        match event {
            Event::Expired(key) => {
                let expires = model.end(key, Ended::Expired).expires;
                assert!(expires.is_some_and(|expires| expires <= now), "too early");
            }
            Event::Failed(key) => {
                assert_eq!(model.core.state(), State::Closed);
                model.end(key, Ended::Failed);
            }
            Event::CancelServing { id, why } => {
                let handler = model.handlers.get_mut(&id).expect("a call that is served");
                assert!(!handler.given_up, "{id:#x} is stopped a second time");
                handler.given_up = true;
                match why {
                    CancelReason::Deadline => {
                        assert!(handler.deadline.is_some_and(|deadline| deadline <= now))
                    }
                    CancelReason::ConnectionLost => assert_eq!(model.core.state(), State::Closed),
                }
            }
            Event::Closed => {
                model.closed = true;
                assert_eq!(model.awaited(), [0; 0], "each has failed before");
                assert!(
                    model.handlers.values().all(|handler| handler.given_up),
                    "each was stopped before"
                );
                model.unanswered.clear();
            }
        }
    }

    fn deliver(&mut self, from: End) {
        let Some((header, body)) = self.ends[at(from)].wire.pop_front() else {
            return;
        };
        let to = from.other();
        writeln!(self.trace, "  {:?} to {to:?} {header:?}", self.now - self.start).unwrap();
        let expected_request = self.is_admitted(to, &header);
        let was_closed = self.ends[at(to)].closed;
        let bytes = Header::from_bytes(&header.to_bytes());
        let incoming = self.ends[at(to)].core.handle_message(self.now, &bytes, &body);
        let incoming = incoming.expect("an honest message is no breach");
        writeln!(self.trace, "    {incoming:?}").unwrap();
        if was_closed {
            assert_eq!(incoming, Incoming::Nothing);
            return;
        }
        assert_eq!(matches!(incoming, Incoming::Request { .. }), expected_request);
        self.on_incoming(from, to, &header, &body, incoming);
        self.poll(to);
    }

    /// Whether a message is a request that is to be served.
    fn is_admitted(&self, to: End, header: &Header) -> bool {
        let model = &self.ends[at(to)];
        let one_way = header.flags & raw::ONE_WAY != 0;
        header.kind == raw::REQUEST
            && !model.closed
            && model.given_up() <= MAX_CANCELS_PENDING
            && !(one_way && model.running_one_ways() == MAX_IN_FLIGHT)
    }

    fn on_incoming(&mut self, from: End, to: End, header: &Header, body: &[u8], incoming: Incoming) {
        let now = self.now;
        let sender_wants = |world: &Self, id: u64| world.ends[at(from)].calls[&id].ended.is_none();
        match incoming {
            Incoming::Request {
                id,
                ordinal,
                deadline,
                one_way,
            } => {
                assert_eq!((id, ordinal), (header.id, 7));
                let handler = Handler {
                    deadline,
                    one_way,
                    given_up: false,
                };
                if let Some(call) = self.ends[at(from)].calls.get(&id) {
                    assert_eq!(deadline.is_some(), call.deadline.is_some());
                    assert!(deadline >= call.deadline, "messages take time");
                }
                assert!(self.ends[at(to)].handlers.insert(id, handler).is_none());
            }
            Incoming::Cancel { id } => {
                assert!(!sender_wants(self, id), "nobody asked for it");
                let handler = self.ends[at(to)]
                    .handlers
                    .get_mut(&id)
                    .expect("a call that is served");
                assert!(!handler.given_up);
                handler.given_up = true;
            }
            Incoming::Reply { key, status, extra } => {
                assert_eq!(key.id(), header.id);
                let answer = self.ends[at(from)].answers.get(&key.id()).copied();
                let call = self.ends[at(to)].end(key, Ended::Replied);
                match status {
                    _ if answer.is_some() => {
                        assert_eq!(answer, Some(status), "not the handler's answer");
                        assert_eq!((extra, body), (key.id(), &key.id().to_le_bytes()[..]));
                    }
                    ReplyStatus::Failed(ErrorKind::Deadline) => {
                        assert!(call.deadline.is_some_and(|deadline| deadline <= now));
                    }
                    other => assert_eq!(other, ReplyStatus::Refused(ErrorKind::Busy)),
                }
            }
            Incoming::Pong { token } => {
                assert_eq!(self.ends[at(to)].pings.pop_front(), Some(token));
            }
            Incoming::Draining => {
                assert!(self.ends[at(from)].drains);
                self.ends[at(to)].told_to_drain = true;
            }
            Incoming::Closed => assert_eq!(header.kind, raw::CLOSE),
            Incoming::Nothing => {
                assert!(!matches!(header.kind, raw::PONG | raw::CLOSE));
                if header.kind == raw::REPLY {
                    assert!(
                        !sender_wants_reply(&self.ends[at(to)], header.id),
                        "a reply is lost"
                    );
                }
            }
            Incoming::Connect { .. } | Incoming::Opened => panic!("the handshake is over"),
        }
        if header.kind == raw::REPLY {
            assert!(self.ends[at(to)].unanswered.remove(&header.id), "answered twice");
        }
    }

    fn pass(&mut self, by: Duration) {
        self.now += by;
        let now = self.now;
        for end in End::BOTH {
            self.ends[at(end)].core.handle_timeout(now);
            let model = &self.ends[at(end)];
            assert!(
                model.core.poll_timeout().is_none_or(|next| next > now),
                "a time-out that stays due"
            );
            self.poll(end);
            let overdue = |call: &&Call| call.ended.is_none() && call.expires.is_some_and(|at| at <= now);
            assert_eq!(
                self.ends[at(end)].calls.values().filter(overdue).count(),
                0,
                "a deadline was missed"
            );
        }
    }

    fn check(&self) {
        for model in &self.ends {
            assert_eq!(model.core.in_flight(), model.unanswered.len());
            assert!(model.core.in_flight() <= MAX_IN_FLIGHT);
            assert_eq!(model.core.state() == State::Closed, model.closed);
            if !model.closed {
                assert_eq!(model.core.serving(), model.handlers.len());
                assert_eq!(model.core.has_room(), model.unanswered.len() < MAX_IN_FLIGHT);
                assert!(model.awaited().iter().all(|id| model.unanswered.contains(id)));
                assert!(model.handlers.len() <= 3 * MAX_IN_FLIGHT + MAX_CANCELS_PENDING);
            }
        }
    }

    /// Everybody finishes what there is to do; then nothing may be left.
    fn settle(&mut self) {
        self.trace.push_str("settle\n");
        for _ in 0..4 {
            for end in End::BOTH {
                while !self.ends[at(end)].handlers.is_empty() {
                    self.finish(end, 0, ReplyStatus::Ok);
                }
                while !self.ends[at(end)].wire.is_empty() {
                    self.deliver(end);
                }
            }
            self.check();
        }
        for end in End::BOTH {
            let model = &self.ends[at(end)];
            assert_eq!(model.awaited(), [0; 0], "a call has not ended");
            assert_eq!((model.core.in_flight(), model.core.serving()), (0, 0));
            assert!(model.closed || model.pings.is_empty());
            assert!(!model.drains || model.closed, "a drain has not ended");
        }
        assert_eq!(self.ends[0].closed, self.ends[1].closed);
    }
}

fn sender_wants_reply(model: &Model, id: u64) -> bool {
    model.calls[&id].ended.is_none()
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Client), Just(End::Server)]
}

fn timeout() -> impl Strategy<Value = Option<u16>> {
    prop_oneof![1 => Just(None), 1 => (0u16..8000).prop_map(Some)]
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![
        3 => Just(ReplyStatus::Ok),
        1 => Just(ReplyStatus::Failed(ErrorKind::Panicked)),
        1 => Just(ReplyStatus::Refused(ErrorKind::UnknownMethod)),
    ];
    prop_oneof![
        30 => (end(), timeout()).prop_map(|(end, timeout)| Step::Start { end, timeout }),
        6 => (end(), timeout()).prop_map(|(end, timeout)| Step::OneWay { end, timeout }),
        2 => end().prop_map(|end| Step::Withdraw { end }),
        12 => (end(), any::<usize>()).prop_map(|(end, which)| Step::Cancel { end, which }),
        25 => (end(), any::<usize>(), status)
            .prop_map(|(end, which, status)| Step::Finish { end, which, status }),
        30 => (end(), 1usize..5).prop_map(|(from, count)| Step::Deliver { from, count }),
        15 => (0u64..4000).prop_map(|microseconds| Step::Pass { microseconds }),
        2 => end().prop_map(|end| Step::Ping { end }),
        1 => (end(), any::<u16>()).prop_map(|(end, within)| Step::Drain { end, within }),
        // Seldom, or most scripts would be over before they are interesting.
        1 => prop_oneof![3 => end().prop_map(|end| Step::Close { end }), 1 => Just(Step::Lose)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn two_honest_ends_agree_with_the_model(script in proptest::collection::vec(step(), 1..150)) {
        let start = Instant::now();
        let first = World::run(&script, start);
        let second = World::run(&script, start);
        prop_assert_eq!(first, second, "the same script gives the same trace");
    }
}
