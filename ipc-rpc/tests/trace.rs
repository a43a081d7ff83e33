//! What the program's log is told of each call.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;

use ipc_rpc::{Context, DirectState, Endpoint, Section, Server, ServiceClient, View};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The fields of an event, as text.
type Told = BTreeMap<&'static str, String>;

/// Keeps what it is told of calls.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Told>>>);

struct Fields<'a>(&'a mut Told);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "ipc_rpc::call"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut told = Told::new();
        event.record(&mut Fields(&mut told));
        self.0.lock().unwrap().push(told);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[ipc_rpc::service]
trait Store {
    async fn put(&self, value: &[u8]) -> u32;
    async fn fetch(&self, context: &Context, length: u32) -> Section<u8>;
    async fn weigh(&self, value: View<u8>) -> u64;
    async fn fail(&self);
    #[rpc(oneway)]
    async fn post(&self, value: u8);
}

struct Shelf;

impl Store for Shelf {
    async fn put(&self, value: &[u8]) -> u32 {
        value.len() as u32
    }

    async fn fetch(&self, context: &Context, length: u32) -> Section<u8> {
        context.alloc(length as usize).unwrap()
    }

    async fn weigh(&self, value: View<u8>) -> u64 {
        value.len() as u64
    }

    async fn fail(&self) {
        panic!("as asked");
    }

    async fn post(&self, _: u8) {}
}

const LARGE: usize = 1 << 20;

/// What is told of calls over this transport.
fn told_over(endpoint: Endpoint, scheme: &str, carries: bool) {
    let server = Server::bind(endpoint.clone())
        .service(StoreServer::new(Shelf))
        .listen()
        .unwrap();
    let handle = server.handle();
    let serving = thread::spawn(|| server.run().wait());
    let listener = Listener::default();
    let client = StoreClient::connect(endpoint).wait().unwrap();
    tracing::subscriber::with_default(listener.clone(), || {
        assert_eq!(client.put(b"small").wait().unwrap(), 5);
        let value = client.alloc::<u8>(LARGE).unwrap();
        assert_eq!(client.weigh(value).wait().unwrap(), LARGE as u64);
        assert_eq!(client.fetch(LARGE as u32).wait().unwrap().len(), LARGE);
        client.fail().wait().unwrap_err();
        client.post(1).wait().unwrap();
        // What never left is not told of.
        client
            .put(&[])
            .timeout(std::time::Duration::ZERO)
            .wait()
            .unwrap_err();
    });
    client.put(b"nobody listens").wait().unwrap();
    let told = std::mem::take(&mut *listener.0.lock().unwrap());
    let methods: Vec<_> = told
        .iter()
        .map(|told| (&*told["method"], &*told["outcome"]))
        .collect();
    let expected = [
        ("Store.put", "ok"),
        ("Store.weigh", "ok"),
        ("Store.fetch", "ok"),
        ("Store.fail", "failed"),
        ("Store.post", "posted"),
    ];
    assert_eq!(methods, expected, "over {scheme}");
    assert!(told.iter().all(|told| told["transport"] == scheme));
    let number = |call: usize, field| told[call][field].parse::<usize>().unwrap();
    assert_eq!(
        (number(0, "sent_inline"), number(0, "received_inline")),
        (8 + 5, 4)
    );
    assert_eq!((number(0, "sent_sections"), number(0, "sent_direct")), (0, 0));
    for (call, inline, sections) in [
        (1, "sent_inline", "sent_sections"),
        (2, "received_inline", "received_sections"),
    ] {
        let (inline, sections) = (number(call, inline), number(call, sections));
        let expected = if carries { LARGE } else { 0 };
        assert_eq!(sections, expected, "over {scheme}");
        assert_eq!(inline < 100, carries, "over {scheme}: {inline}");
    }
    assert!(number(3, "received_inline") > 0);
    assert_eq!((number(4, "sent_inline"), number(4, "received_inline")), (1, 0));
    drop(client);
    handle.shutdown();
    serving.join().unwrap().unwrap();
}

fn named(scheme: &str) -> Endpoint {
    format!("{scheme}:trace-{scheme}-{}", std::process::id())
        .parse()
        .unwrap()
}

#[test]
fn every_call_is_told_of() {
    told_over(named("shm"), "shm", true);
    told_over(named("unix"), "unix", true);
    told_over(named("mem"), "mem", true);
    told_over(named("pipe"), "pipe", false);
}

#[test]
fn what_is_lent_is_told_apart() {
    let name = format!("shm:trace-direct-{}", std::process::id());
    let endpoint = || name.parse::<Endpoint>().unwrap().direct(true);
    let server = Server::bind(endpoint())
        .service(StoreServer::new(Shelf))
        .listen()
        .unwrap();
    let handle = server.handle();
    let serving = thread::spawn(|| server.run().wait());
    let client = StoreClient::connect(endpoint()).wait().unwrap();
    let value = vec![1; 4 * LARGE];
    // The two sides show each other first that they can.
    let state = loop {
        client.put(&value).wait().unwrap();
        match client.as_client().direct().unwrap().state {
            DirectState::Open => {}
            state => break state,
        }
    };
    let listener = Listener::default();
    tracing::subscriber::with_default(listener.clone(), || client.put(&value).wait().unwrap());
    let told = std::mem::take(&mut *listener.0.lock().unwrap());
    let number = |field| told[0][field].parse::<usize>().unwrap();
    let (inline, direct) = (number("sent_inline"), number("sent_direct"));
    assert_eq!(inline + direct, value.len() + 8);
    // Where the system allows it; elsewhere it is sent.
    assert_eq!(direct > 0, state == DirectState::Agreed, "{state:?}");
    drop(client);
    handle.shutdown();
    serving.join().unwrap().unwrap();
}
