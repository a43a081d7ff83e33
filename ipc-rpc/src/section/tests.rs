//! Sections where something is against them: ports that refuse them, peers that lie about them, serializers that do not know them.
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, and clippy knows only functions marked as tests"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize, Serializer};
use transports::{Block, Error, ErrorKind as T, Flushed, Header, Lease, Pool, Port, Sender, Sent, memory};

use super::{Attached, Delivered, Lender, Section, View};
use crate::codec::{Budget, Extras};
use crate::server::Server;
use crate::{Codec, Connect, ErrorKind, Outcome, ServiceClient};

/// Large enough to travel beside a message.
const LARGE: usize = 20_000;

#[crate::service]
trait Mirror {
    async fn mixed(
        &self,
        name: &str,
        values: View<f32>,
        number: u32,
        bytes: Section<u8>,
    ) -> (u32, Mixed, String);
    async fn make(&self, context: &crate::Context, length: u64) -> Section<u8>;
    async fn number(&self, value: u64) -> u64;
    async fn sum(&self, bytes: View<u8>) -> u64;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Mixed {
    values: View<f32>,
    bytes: Vec<View<u8>>,
}

struct Glass;

impl Mirror for Glass {
    async fn mixed(
        &self,
        name: &str,
        values: View<f32>,
        number: u32,
        bytes: Section<u8>,
    ) -> (u32, Mixed, String) {
        let bytes = View::from(bytes);
        let mixed = Mixed {
            values,
            bytes: vec![bytes.clone(), bytes],
        };
        (number, mixed, name.to_owned())
    }

    async fn make(&self, context: &crate::Context, length: u64) -> Section<u8> {
        context.alloc(length as usize).unwrap()
    }

    async fn number(&self, value: u64) -> u64 {
        value
    }

    async fn sum(&self, bytes: View<u8>) -> u64 {
        bytes.iter().map(|&byte| u64::from(byte)).sum()
    }
}

/// What is done to messages with sections on their way: they are changed, or the port gives an error.
type Meddle = fn(&mut Vec<u8>, &mut Vec<Block>) -> Result<(), Error>;

struct Meddling {
    inner: Box<dyn Sender>,
    meddle: Meddle,
    met: Arc<AtomicBool>,
}

impl Sender for Meddling {
    fn try_send(&mut self, header: &Header, body: &mut Vec<u8>) -> Result<Sent, Error> {
        self.inner.try_send(header, body)
    }

    fn try_send_with(
        &mut self,
        header: &Header,
        head: &[u8],
        body: &mut Vec<u8>,
        sections: &[Block],
    ) -> Result<Sent, Error> {
        let mut sections = sections.to_vec();
        if !sections.is_empty() {
            self.met.store(true, Ordering::Relaxed);
            (self.meddle)(body, &mut sections)?;
        }
        self.inner.try_send_with(header, head, body, &sections)
    }

    fn flush(&mut self) -> Result<Flushed, Error> {
        self.inner.flush()
    }

    fn queued(&self) -> usize {
        self.inner.queued()
    }
}

/// A client whose connection meddles with what it sends, or with what it receives, and a sign that it has done so.
fn client(limit: usize, requests: bool, meddle: Meddle) -> (MirrorClient, Arc<AtomicBool>) {
    let met = Arc::new(AtomicBool::new(false));
    let wrap = |port: Port| Port {
        sender: Box::new(Meddling {
            inner: port.sender,
            meddle,
            met: met.clone(),
        }),
        ..port
    };
    let (mut ours, mut theirs) = memory::pair(limit);
    if requests {
        ours = wrap(ours);
    } else {
        theirs = wrap(theirs);
    }
    let hub = Server::bind(ours.endpoint.clone())
        .service(MirrorServer::new(Glass))
        .into_hub()
        .unwrap();
    let connect = Connect::in_process(move || {
        let runtime = crate::in_process::background()?;
        let _entered = runtime.enter();
        hub.admit(theirs);
        Ok(ours)
    });
    (connect.wait().unwrap(), met)
}

fn filled(client: &MirrorClient, length: usize) -> Section<u8> {
    let mut section = client.alloc::<u8>(length).unwrap();
    for (index, byte) in section.iter_mut().enumerate() {
        *byte = index as u8;
    }
    section
}

/// Nothing of it is in use any more.
fn all_is_back(client: &MirrorClient) {
    while client.as_client().traffic().pool_in_use > 0 {
        // The other side drops what it has before it answers the next call.
        assert_eq!(client.number(7).wait().unwrap(), 7);
    }
}

#[test]
fn what_a_port_refuses_travels_inside() {
    let refusals: [Meddle; 2] = [
        |_, _| Err(Error::new(T::Unsupported, "not this one")),
        |_, _| Err(Error::new(T::Resource, "not now")),
    ];
    for meddle in refusals {
        for requests in [true, false] {
            let (client, met) = client(1 << 20, requests, meddle);
            for _ in 0..3 {
                let values = vec![0.5; LARGE];
                let bytes = filled(&client, LARGE);
                let expected = bytes.to_vec();
                let (number, mixed, name) = client.mixed("name", &values, 9, bytes).wait().unwrap();
                assert_eq!((number, name.as_str()), (9, "name"));
                assert_eq!(mixed.values[..], values);
                assert_eq!(mixed.bytes.len(), 2);
                assert!(mixed.bytes.iter().all(|bytes| bytes[..] == expected));
            }
            assert!(met.swap(false, Ordering::Relaxed), "nothing was refused");
            all_is_back(&client);
        }
    }
}

#[test]
fn what_is_too_large_to_travel_inside_is_an_error_of_the_call() {
    const LIMIT: usize = 64 << 10;
    let refuse: Meddle = |_, _| Err(Error::new(T::Resource, "not now"));
    let (sending, _) = client(LIMIT, true, refuse);
    let error = sending.sum(filled(&sending, LIMIT)).wait().unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::TooLarge, Outcome::NotSent),
        "{error}"
    );
    assert!(error.to_string().contains("(not now)"), "{error}");
    assert_eq!(sending.number(7).wait().unwrap(), 7);
    all_is_back(&sending);

    let (receiving, _) = client(LIMIT, false, refuse);
    let error = receiving.make(LIMIT as u64).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(error.to_string().contains("the result cannot be sent"), "{error}");
    assert_eq!(receiving.number(7).wait().unwrap(), 7);
}

/// Where the index of an attached section stands in a body that is nothing else: behind the variant and the count.
const INDEX: usize = 12;

const NOT_REFERRED_TO: &str = "the message has sections that no value refers to";

#[test]
fn lies_about_sections_are_errors_of_their_calls() {
    let lies: [(Meddle, &str); 6] = [
        (
            |body, _| {
                body[INDEX] = 1;
                Ok(())
            },
            "there is no section 1: the message has 1",
        ),
        (
            |_, sections| {
                sections.clear();
                Ok(())
            },
            "there is no section 0: the message has none",
        ),
        (
            |_, sections| {
                sections.push(sections[0].clone());
                Ok(())
            },
            NOT_REFERRED_TO,
        ),
        (
            |body, _| {
                body[4] ^= 1;
                Ok(())
            },
            "values of 1 bytes do not make a section of 20000",
        ),
        (
            |body, _| {
                body[0] = 2;
                Ok(())
            },
            "2 is no kind of section",
        ),
        (
            |body, _| {
                body.truncate(INDEX);
                Ok(())
            },
            "the message ends too early",
        ),
    ];
    for (meddle, rule) in lies {
        for requests in [true, false] {
            if !requests && rule == NOT_REFERRED_TO {
                // A result that is a `Section` goes with all rights to it, and so not twice.
                continue;
            }
            let (client, met) = client(1 << 20, requests, meddle);
            let error = if requests {
                client.sum(filled(&client, LARGE)).wait().unwrap_err()
            } else {
                client.make(LARGE as u64).wait().unwrap_err()
            };
            assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
            assert!(error.to_string().contains(rule), "{error}");
            assert!(met.load(Ordering::Relaxed));
            assert_eq!(client.number(7).wait().unwrap(), 7);
            all_is_back(&client);
        }
    }
}

/// A pool, and what its sections are to the other side.
struct Pair {
    near: Port,
    far: Port,
    lender: Lender,
}

impl Pair {
    fn new() -> Self {
        let (near, far) = memory::pair(1 << 20);
        let lender = Lender::new(1, near.pool.clone().unwrap());
        Self { near, far, lender }
    }

    fn pool(&self) -> &Pool {
        self.near.pool.as_ref().unwrap()
    }

    fn encode(&self, value: &impl Serialize) -> (Vec<u8>, Attached) {
        let mut body = Vec::new();
        let extras = Extras {
            lent: None,
            lender: Some(&self.lender),
        };
        let beside = Codec::Bincode
            .encode_with(value, &mut body, 1 << 20, extras)
            .unwrap();
        (body, beside.attached)
    }

    fn pass(&mut self, blocks: &[Block]) -> Vec<Lease> {
        let mut message = transports::Message::default();
        let header = Header::default();
        self.near
            .sender
            .try_send_with(&header, &[], &mut Vec::new(), blocks)
            .unwrap();
        self.near.sender.flush().unwrap();
        self.far.receiver.try_recv(&mut message).unwrap();
        message.sections
    }
}

fn decode<T: for<'de> Deserialize<'de>>(body: &[u8], leases: Vec<Lease>, heap: usize) -> Result<T, String> {
    let seed = std::marker::PhantomData::<T>;
    let budget = Budget::for_body(body.len());
    Codec::Bincode
        .decode_seed(body, seed, &budget, Some(Delivered::new(leases, 0, heap)))
        .map_err(|error| error.to_string())
}

#[test]
fn one_section_belongs_to_one_value() {
    let mut pair = Pair::new();
    let view = View::from(vec![1_u8; LARGE]);
    let (mut body, attached) = pair.encode(&(&view, &view));
    let leases = pair.pass(attached.blocks());
    assert_eq!(leases.len(), 2);
    let decoded: (View<u8>, View<u8>) = decode(&body, leases.clone(), 0).unwrap();
    assert_eq!((&decoded.0, &decoded.1), (&view, &view));
    // Both values refer to the first.
    body[16 + INDEX] = 0;
    let error = decode::<(View<u8>, View<u8>)>(&body, leases, 0).unwrap_err();
    assert!(error.contains("two values refer to section 0"), "{error}");
    drop((decoded, attached));
    assert_eq!(pair.pool().usage().in_use, 0);
}

#[test]
fn values_of_another_size_do_not_fit() {
    let mut pair = Pair::new();
    let (body, attached) = pair.encode(&View::from(vec![1_u8; LARGE + 1]));
    let leases = pair.pass(attached.blocks());
    let error = decode::<View<u16>>(&body, leases, 0).unwrap_err();
    assert!(error.contains("20001 values of 2 bytes do not make"), "{error}");
    let (body, attached) = pair.encode(&View::from(vec![1_u8; 7]));
    assert!(attached.is_empty());
    let error = decode::<View<u16>>(&body, Vec::new(), 0).unwrap_err();
    assert!(
        error.contains("7 bytes are no whole number of values of 2 bytes"),
        "{error}"
    );
}

#[test]
fn values_are_aligned_wherever_they_stood() {
    let mut pair = Pair::new();
    let view = View::from(vec![0x0102_0304_u32; LARGE]);
    let (body, attached) = pair.encode(&view);
    let leases = pair.pass(attached.blocks());
    let decoded: View<u32> = decode(&body, leases, 0).unwrap();
    assert_eq!(format!("{decoded:?}"), "View(20000 values, in place)");
    for bytes in [0_usize, 1, 2, 3] {
        // Inside of a body, at any place.
        let small = View::from(vec![5_u64; 3]);
        let (body, _) = pair.encode(&(vec![7_u8; bytes], &small));
        let (_, decoded): (Vec<u8>, View<u64>) = decode(&body, Vec::new(), 0).unwrap();
        assert_eq!(decoded, small);
    }
}

/// Puts its view through serializers of its own.
struct Nested(View<u8>);

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = serde_json::to_string(&self.0).unwrap();
        let config = bincode::config::standard();
        let bytes = bincode::serde::encode_to_vec(&self.0, config).unwrap();
        (json, bytes, &self.0).serialize(serializer)
    }
}

#[test]
fn other_serializers_see_bytes() {
    let mut pair = Pair::new();
    let view = View::from((0..LARGE).map(|index| index as u8).collect::<Vec<_>>());
    let (body, attached) = pair.encode(&Nested(view.clone()));
    assert_eq!(attached.blocks().len(), 1);
    let leases = pair.pass(attached.blocks());
    let (json, bytes, decoded): (String, Vec<u8>, View<u8>) = decode(&body, leases, 0).unwrap();
    assert_eq!(decoded, view);
    assert_eq!(serde_json::from_str::<View<u8>>(&json).unwrap(), view);
    assert_eq!(serde_json::from_str::<Vec<u8>>(&json).unwrap(), view[..]);
    let config = bincode::config::standard();
    let (other, _): (View<u8>, _) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
    assert_eq!(other, view);
    // JSON of ours has the bytes of the values.
    let section = Section::from(vec![1.0_f32]);
    let mut text = Vec::new();
    Codec::Json.encode(&section, &mut text, 100).unwrap();
    assert_eq!(text, b"[0,0,128,63]");
    let budget = Budget::for_body(text.len());
    assert_eq!(
        Codec::Json.decode::<Section<f32>>(&text, &budget).unwrap(),
        section
    );
}

#[test]
fn a_copy_has_to_be_paid_for() {
    let delivered = Delivered::new(Vec::new(), 0, 100);
    assert!(delivered.charge(60).is_ok());
    assert!(delivered.charge(40).is_ok());
    let error = delivered.charge(1).unwrap_err();
    assert!(
        error.to_string().contains("more memory than one message may"),
        "{error}"
    );
}
