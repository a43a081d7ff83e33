//! What each end may offer in the handshake, at its limits and beyond, and that it holds to what was agreed on.

use std::sync::Arc;

use crate::connection::{Config, Connection, Fit, MAX_SERVICES, Role};
use crate::handshake::{accepting, answer, meet};
use crate::pair::{BINCODE, GET, LOG, Pair, STORE, Side, client_config, server_config};
use crate::raw::{self, Hello, Listed};
use crate::{Error, ErrorKind, MethodInfo, ServiceInfo};

#[test]
fn limits_of_the_handshake() {
    let many = |count: usize| {
        (0..count)
            .map(|n| Listed::named(&format!("S{n}")))
            .collect::<Vec<_>>()
    };
    let name = |length: usize| vec![Listed::named(&"n".repeat(length))];
    let signature = |length: usize| {
        vec![Listed {
            methods: vec![(1, 1, vec![b'x'; length])],
            ..Listed::named("S")
        }]
    };
    let ordinals = |second: u64| {
        let methods = |ordinal| vec![(ordinal, 0, vec![])];
        let other = Listed {
            methods: methods(second),
            ..Listed::named("B")
        };
        vec![
            Listed {
                methods: methods(1),
                ..Listed::named("A")
            },
            other,
        ]
    };
    let with = |services: Vec<Listed>| Hello {
        services,
        ..Hello::default()
    };
    let cases = [
        ("services", with(many(256)), with(many(257))),
        ("bytes of a name", with(name(255)), with(name(256))),
        ("an empty name", with(name(1)), with(name(0))),
        (
            "bytes of a signature",
            with(signature(4096)),
            with(signature(4097)),
        ),
        (
            "a name twice",
            with(vec![Listed::named("A"), Listed::named("B")]),
            with(vec![Listed::named("A"), Listed::named("A")]),
        ),
        ("an ordinal twice", with(ordinals(2)), with(ordinals(1))),
        (
            "a name that is not UTF-8",
            with(name(1)),
            with(vec![Listed {
                name: vec![0xff],
                ..Listed::named("")
            }]),
        ),
        (
            "a control character",
            with(name(1)),
            with(vec![Listed::named("\u{1b}[31m")]),
        ),
        (
            "bytes of the blob",
            Hello {
                blob: vec![0; 4096],
                ..Hello::default()
            },
            Hello {
                blob: vec![0; 4097],
                ..Hello::default()
            },
        ),
        (
            "max_body",
            Hello {
                max_body: 4096,
                ..Hello::default()
            },
            Hello {
                max_body: 4095,
                ..Hello::default()
            },
        ),
        (
            "max_in_flight",
            Hello {
                max_in_flight: 1,
                ..Hello::default()
            },
            Hello {
                max_in_flight: 0,
                ..Hello::default()
            },
        ),
    ];
    for (what, good, bad) in cases {
        assert_eq!(meet(good.message()).1, Ok(()), "{what}");
        assert_eq!(meet(bad.message()).1, Err(ErrorKind::Protocol), "{what}");
    }
    let long = |length: usize| {
        let mut body = Hello::default().body();
        body.resize(length, 0);
        raw::handshake(raw::HELLO, body)
    };
    assert_eq!(meet(long(128 << 10)).1, Ok(()));
    assert_eq!(meet(long((128 << 10) + 1)).1, Err(ErrorKind::Protocol));
    assert_eq!(accepting().core.max_body_to_receive(), 128 << 10);
    let long = |length: usize| {
        let mut body = raw::welcome(1, BINCODE, &[]);
        body.resize(length, 0);
        raw::handshake(raw::WELCOME, body)
    };
    assert_eq!(answer(long(1 << 20)).1, Ok(()));
    assert_eq!(answer(long((1 << 20) + 1)).1, Err(ErrorKind::Protocol));
}

#[test]
fn limits_that_are_beyond_bounds_are_brought_back() {
    let hello = Hello {
        max_body: u32::MAX,
        max_in_flight: u32::MAX,
        ..Hello::default()
    };
    let (side, _) = meet(hello.message());
    assert_eq!(side.core.max_body_to_send(), 1 << 30);
    assert_eq!(side.core.max_calls(), 1 << 16);

    let mut client = client_config();
    client.limits.max_body = 0;
    client.limits.max_in_flight = 0;
    let pair = Pair::open_with(client, server_config());
    assert_eq!(pair.server.core.max_body_to_send(), 4096);
    assert_eq!(pair.server.core.max_calls(), 1);
}

fn offer(change: impl FnOnce(&mut Config)) -> Result<Connection, Error> {
    let mut config = client_config();
    change(&mut config);
    Connection::new(config, std::time::Instant::now())
}

/// What a peer would refuse is refused at home, with a sentence.
#[test]
fn own_offers_are_checked() {
    fn service(name: &'static str, methods: usize, signature: &'static str) -> &'static ServiceInfo {
        let methods = (0..methods as u64).map(|ordinal| {
            &*Box::leak(Box::new(MethodInfo {
                name,
                ordinal,
                fingerprint: 0,
                signature,
                arguments: &[],
                one_way: false,
                docs: "",
            }))
        });
        let methods = &*Box::leak(methods.collect::<Vec<_>>().into_boxed_slice());
        Box::leak(Box::new(ServiceInfo {
            name,
            version: 1,
            codec: ipc_rpc::Codec::Bincode,
            docs: "",
            methods,
        }))
    }
    let sentence = |result: Result<Connection, Error>| result.map(drop).unwrap_err().to_string();
    let blob = |length| {
        move |config: &mut Config| {
            config.role = Role::Connecting {
                blob: vec![0; length],
            }
        }
    };
    assert!(offer(blob(4096)).is_ok());
    assert_eq!(
        sentence(offer(blob(4097))),
        "the data sent on connect has 4097 bytes; the limit is 4096"
    );

    let services =
        |services: Vec<&'static ServiceInfo>| move |config: &mut Config| config.services = services.into();
    let names = |count: usize| {
        (0..count)
            .map(|n| service(format!("S{n}").leak(), 0, ""))
            .collect::<Vec<_>>()
    };
    assert!(offer(services(names(MAX_SERVICES))).is_ok());
    assert_eq!(
        sentence(offer(services(names(MAX_SERVICES + 1)))),
        "257 services on one endpoint; the limit is 256"
    );
    assert!(offer(services(vec![service("n".repeat(255).leak(), 0, "")])).is_ok());
    assert!(
        sentence(offer(services(vec![service("n".repeat(256).leak(), 0, "")]))).contains("1 to 255 bytes")
    );
    assert!(offer(services(vec![service("", 0, "")])).is_err());
    assert!(sentence(offer(services(vec![service("S", 1, "a(\n)")]))).contains("control character"));

    for count in [0, 17] {
        let error = offer(|config| config.codecs = vec![1; count])
            .map(drop)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    assert!(offer(|config| config.codecs = vec![1; 16]).is_ok());

    // Exactly as long as a Hello may be, and a byte more: the size is computed as it is written.
    let blank = {
        let mut side = Side::new(
            Config {
                services: Arc::new([service("S", 1000, "")]),
                ..client_config()
            },
            std::time::Instant::now(),
        );
        side.poll();
        side.wire[0].1.len()
    };
    let room = (128 << 10) - blank;
    let fits = |length: usize| {
        // 8 + 1 for the service, 18 for each method; signatures of 4,000 bytes, and one that fills what is
        // left.
        let mut left = room - 9 + length;
        let mut methods = Vec::new();
        while left > 0 {
            let signature = if left > 8000 {
                4000
            } else if left > 4018 {
                left / 2 - 18
            } else {
                left - 18
            };
            left -= 18 + signature;
            let ordinal = 5000 + methods.len() as u64;
            let signature = &*"s".repeat(signature).leak();
            let method = MethodInfo {
                name: "T.m",
                ordinal,
                fingerprint: 0,
                signature,
                arguments: &[],
                one_way: false,
                docs: "",
            };
            methods.push(&*Box::leak(Box::new(method)));
        }
        let methods = &*Box::leak(methods.into_boxed_slice());
        let info = ServiceInfo {
            name: "T",
            version: 1,
            codec: ipc_rpc::Codec::Bincode,
            docs: "",
            methods,
        };
        let both: Vec<&'static ServiceInfo> = vec![service("S", 1000, ""), Box::leak(Box::new(info))];
        Config {
            services: both.into(),
            ..client_config()
        }
    };
    let mut side = Side::new(fits(0), std::time::Instant::now());
    side.poll();
    assert_eq!(side.wire[0].1.len(), 128 << 10);
    let text = sentence(Connection::new(fits(1), std::time::Instant::now()));
    assert_eq!(
        text,
        "the services on this side of the connection take 131073 bytes to describe; the limit is 131072"
    );
}

#[test]
fn long_signatures_are_cut_where_a_character_ends() {
    static LONG: std::sync::LazyLock<&'static ServiceInfo> = std::sync::LazyLock::new(|| {
        let signature = &*format!("x{}", "é".repeat(3000)).leak();
        let method = MethodInfo {
            name: "L.m",
            ordinal: 1,
            fingerprint: 2,
            signature,
            arguments: &[],
            one_way: false,
            docs: "",
        };
        let methods = &*Box::leak(Box::new([&*Box::leak(Box::new(method))]));
        Box::leak(Box::new(ServiceInfo {
            name: "L",
            version: 1,
            codec: ipc_rpc::Codec::Bincode,
            docs: "",
            methods,
        }))
    });
    let pair = Pair::open_with(
        client_config(),
        Config {
            services: Arc::new([*LONG]),
            ..server_config()
        },
    );
    let signature = pair.client.core.peer_services().method(1).unwrap().signature;
    assert_eq!(signature.len(), 4095);
}

#[test]
fn a_call_is_checked_before_it_is_sent() {
    let pair = Pair::open();
    let services = pair.client.core.peer_services();
    assert_eq!(services.fit(&STORE, &GET), Fit::Fits);
    assert_eq!(services.fit(&STORE, &LOG), Fit::Fits);
    let other = ServiceInfo {
        name: "Other",
        methods: &[],
        ..STORE
    };
    assert_eq!(services.fit(&other, &GET), Fit::UnknownService);
    let newer = ServiceInfo {
        version: 3,
        methods: &[],
        ..STORE
    };
    assert_eq!(services.fit(&newer, &GET), Fit::OtherVersion(2));
    let flush = MethodInfo {
        name: "Store.flush",
        ordinal: 99,
        ..GET
    };
    assert_eq!(services.fit(&STORE, &flush), Fit::UnknownMethod);
    let changed = MethodInfo {
        fingerprint: 77,
        ..GET
    };
    assert_eq!(
        services.fit(&STORE, &changed),
        Fit::OtherSignature("get(&str) -> Option<Vec<u8>>")
    );
    assert_eq!(
        pair.server.core.peer_services().fit(&STORE, &GET),
        Fit::UnknownService
    );
}
