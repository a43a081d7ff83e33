//! What an async driver is promised, over every transport.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Place, body, connected, header, over_every_transport};
use tokio::time::timeout;
use transports::reactor::Source;
use transports::{
    Accepted, ErrorKind, Flushed, Header, Message, Port, Received, Scheme, Sent, connect, listen,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A port as an async driver uses it.
struct Driver {
    port: Port,
    source: Source,
    blocked: bool,
    looks: Cell<u64>,
}

impl Driver {
    fn new(port: Port) -> Self {
        let source = port.receiver.source().unwrap();
        Self {
            port,
            source,
            blocked: false,
            looks: Cell::new(0),
        }
    }

    async fn receive(&mut self) -> Message {
        let mut message = Message::default();
        match self.receive_into(&mut message).await {
            Received::Message => message,
            other => panic!("{other:?}"),
        }
    }

    async fn receive_into(&mut self, message: &mut Message) -> Received {
        let Self {
            port, source, looks, ..
        } = self;
        poll_fn(|cx| {
            // Messages that came with an earlier one make no event.
            let mut received = match port.receiver.ready() {
                true => port.receiver.try_recv(message).unwrap(),
                false => Received::Empty,
            };
            while received == Received::Empty {
                let polled = source.poll_recv(cx, || {
                    looks.set(looks.get() + 1);
                    received = port.receiver.try_recv(message).unwrap();
                    port.receiver.drained() && port.receiver.arm()
                });
                match polled {
                    Poll::Ready(looked) => looked.unwrap(),
                    // The look that saw all there was may have been the one that received.
                    Poll::Pending if received == Received::Empty => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            Poll::Ready(received)
        })
        .await
    }

    async fn send(&mut self, header: Header, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        while self.port.sender.try_send(&header, &mut bytes).unwrap() == Sent::Full {
            self.flush().await;
        }
        self.flush().await;
    }

    async fn flush(&mut self) {
        let Self {
            port,
            source,
            blocked,
            ..
        } = self;
        *blocked = port.sender.flush().unwrap() == Flushed::Blocked;
        poll_fn(|cx| {
            while *blocked {
                let polled = source.poll_space(cx, || {
                    *blocked = port.sender.flush().unwrap() == Flushed::Blocked;
                    *blocked
                });
                match polled {
                    Poll::Ready(looked) => looked.unwrap(),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

#[test]
fn calls_go_to_and_fro() {
    over_every_transport(|client, server| {
        runtime().block_on(async {
            let (mut client, mut server) = (Driver::new(client), Driver::new(server));
            let serve = async {
                for id in 0..2000_u64 {
                    let message = server.receive().await;
                    assert_eq!(message.header.id, id);
                    server.send(message.header, &message.body).await;
                }
            };
            let call = async {
                for id in 0..2000_u64 {
                    client.send(header(id), &body(id as usize % 70, id)).await;
                    let answer = client.receive().await;
                    assert_eq!((answer.header.id, answer.body), (id, body(id as usize % 70, id)));
                }
            };
            timeout(common::WATCHDOG, async { tokio::join!(serve, call) })
                .await
                .unwrap();
        });
    });
}

#[test]
fn large_bodies_pass_both_ways_at_once() {
    over_every_transport(|client, server| {
        runtime().block_on(async {
            let exchange = |port: Port, seed: u64| async move {
                let port = Driver::new(port);
                let Driver {
                    port:
                        Port {
                            mut sender,
                            mut receiver,
                            ..
                        },
                    source,
                    ..
                } = port;
                let (mut sent, mut received) = (0, 0);
                let mut message = Message::default();
                let mut blocked = false;
                poll_fn(|cx| {
                    loop {
                        while sent < 12 && !blocked {
                            let mut bytes = body(3 << 20, seed + sent);
                            match sender.try_send(&header(sent), &mut bytes).unwrap() {
                                Sent::Accepted => sent += 1,
                                Sent::Full => {}
                            }
                            blocked = sender.flush().unwrap() == Flushed::Blocked;
                        }
                        let mut idle = true;
                        if blocked {
                            idle &= source
                                .poll_space(cx, || {
                                    blocked = sender.flush().unwrap() == Flushed::Blocked;
                                    blocked
                                })
                                .is_pending();
                        }
                        idle &= source
                            .poll_recv(cx, || {
                                while receiver.try_recv(&mut message).unwrap() == Received::Message {
                                    assert_eq!(message.header.id, received);
                                    assert!(message.body == body(3 << 20, (1 - seed) + received));
                                    received += 1;
                                }
                                receiver.drained() && receiver.arm()
                            })
                            .is_pending();
                        if sent == 12 && received == 12 && !blocked {
                            return Poll::Ready(());
                        }
                        if idle {
                            return Poll::Pending;
                        }
                    }
                })
                .await;
                (sender, receiver)
            };
            let both = async { tokio::join!(exchange(client, 0), exchange(server, 1)) };
            timeout(common::WATCHDOG, both).await.unwrap();
        });
    });
}

#[test]
fn an_idle_source_is_silent_and_the_end_is_told() {
    over_every_transport(|client, server| {
        runtime().block_on(async {
            let mut client = Driver::new(client);
            let mut message = Message::default();
            let silent = timeout(Duration::from_millis(50), client.receive_into(&mut message)).await;
            assert!(silent.is_err());
            assert!(client.looks.get() <= 2, "{} looks at nothing", client.looks.get());
            drop(server);
            let end = timeout(common::WATCHDOG, client.receive_into(&mut message))
                .await
                .unwrap();
            assert_eq!(end, Received::Closed);
        });
    });
}

#[test]
fn a_port_moves_from_one_runtime_to_the_next() {
    over_every_transport(|client, server| {
        let mut ports = Some((client, server));
        for _ in 0..3 {
            let (client, server) = ports.take().unwrap();
            let (client, server) = runtime().block_on(async {
                let (mut client, mut server) = (Driver::new(client), Driver::new(server));
                client.send(header(1), b"there").await;
                assert_eq!(server.receive().await.body, b"there");
                server.send(header(1), b"and back").await;
                assert_eq!(client.receive().await.body, b"and back");
                (client.port, server.port)
            });
            ports = Some((client, server));
        }
    });
}

#[test]
fn listeners_tell_of_clients() {
    let place = Place::new();
    for endpoint in place.endpoints() {
        runtime().block_on(async {
            let mut listener = listen(&endpoint).unwrap();
            let source = listener.source().unwrap();
            let resolved = listener.endpoint().clone();
            let clients = std::thread::spawn(move || {
                (0..20)
                    .map(|_| connect(&resolved, common::watchdog()).unwrap())
                    .collect::<Vec<_>>()
            });
            let mut accepted = Vec::new();
            let accept = poll_fn(|cx| {
                while accepted.len() < 20 {
                    let polled = source.poll_recv(cx, || {
                        loop {
                            match listener.try_accept().unwrap() {
                                Accepted::Port(port) => accepted.push(port),
                                Accepted::Empty => return true,
                            }
                        }
                    });
                    if polled.is_pending() {
                        return Poll::Pending;
                    }
                }
                Poll::Ready(())
            });
            timeout(common::WATCHDOG, accept).await.unwrap();
            assert_eq!(clients.join().unwrap().len(), 20);
        });
    }
}

#[test]
fn without_a_reactor_there_is_an_error_and_no_panic() {
    let place = Place::new();
    for endpoint in place
        .endpoints()
        .into_iter()
        .filter(|endpoint| endpoint.scheme() != Scheme::Memory)
        // Named pipes are watched by the system's thread pool.
        .filter(|endpoint| endpoint.scheme() != Scheme::Pipe || cfg!(unix))
    {
        let (client, _server) = connected(&endpoint);
        let refused = client.receiver.source().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains("enable_io"), "{refused}");
        let without_io = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let refused = without_io.block_on(async { client.receiver.source().unwrap_err() });
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn a_memory_port_needs_no_reactor() {
    let (mut client, server) = transports::memory::pair(1000);
    let source = server.receiver.source().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    while source.poll_recv(&mut cx, || true).is_ready() {}
    common::send(&mut client, header(1), b"x");
    assert!(source.poll_recv(&mut cx, || true).is_ready());
    assert!(source.poll_recv(&mut cx, || true).is_pending());
}

#[test]
fn two_runtimes_exchange_bursts() {
    over_every_transport(|client, server| {
        let client = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut client = Driver::new(client);
                for round in 0..500_u64 {
                    let burst = round % 20 + 1;
                    for id in 0..burst {
                        client.send(header(id), &body(id as usize * 7, round)).await;
                    }
                    for id in 0..burst {
                        let answer = client.receive().await;
                        assert_eq!(
                            (answer.header.id, answer.body),
                            (id, body(id as usize * 7, round))
                        );
                    }
                }
            });
        });
        runtime().block_on(async {
            let mut server = Driver::new(server);
            let mut message = Message::default();
            let serve = async {
                while server.receive_into(&mut message).await == Received::Message {
                    server.send(message.header, &message.body).await;
                }
            };
            timeout(common::WATCHDOG, serve).await.unwrap();
        });
        client.join().unwrap();
    });
}
