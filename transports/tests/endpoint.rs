//! How endpoints are written, and what is wrong with those that are not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use transports::{Endpoint, Error, ErrorKind, Scheme, connect, listen};

fn parse(text: &str) -> Result<Endpoint, Error> {
    text.parse()
}

#[test]
fn what_is_an_endpoint() {
    let longest = "n".repeat(64);
    let cases = [
        ("store", "store", Scheme::Unix),
        ("Store_2.old-1", "Store_2.old-1", Scheme::Unix),
        ("_", "_", Scheme::Unix),
        ("9", "9", Scheme::Unix),
        (&longest, &longest, Scheme::Unix),
        ("shm:store", "shm:store", Scheme::SharedMemory),
        ("shm:/run/store.sock", "shm:/run/store.sock", Scheme::SharedMemory),
        ("shm:./store.sock", "shm:./store.sock", Scheme::SharedMemory),
        ("shm:@store", "shm:@store", Scheme::SharedMemory),
        ("unix:store", "unix:store", Scheme::Unix),
        ("unix:/run/store.sock", "unix:/run/store.sock", Scheme::Unix),
        ("unix:./store.sock", "unix:./store.sock", Scheme::Unix),
        ("unix:a/b c:d@é", "unix:a/b c:d@é", Scheme::Unix),
        ("unix:@store", "unix:@store", Scheme::Unix),
        ("pipe:store", "pipe:store", Scheme::Pipe),
        ("mem:store", "mem:store", Scheme::Memory),
        ("tcp:7000", "tcp:127.0.0.1:7000", Scheme::Tcp),
        ("tcp:0", "tcp:127.0.0.1:0", Scheme::Tcp),
        ("tcp:65535", "tcp:127.0.0.1:65535", Scheme::Tcp),
        ("tcp:localhost:7000", "tcp:localhost:7000", Scheme::Tcp),
        ("tcp:[::1]:7000", "tcp:[::1]:7000", Scheme::Tcp),
        ("tcp:example.org:80", "tcp:example.org:80", Scheme::Tcp),
    ];
    for (text, shown, scheme) in cases {
        let endpoint = parse(text).unwrap();
        assert_eq!(
            (endpoint.to_string().as_str(), endpoint.scheme()),
            (shown, scheme)
        );
        assert_eq!(parse(shown).unwrap(), endpoint, "{shown} reads back");
        // A plain name says nothing of its transport.
        assert!(shown.starts_with(&format!("{scheme}:")) || !shown.contains(':'));
        assert_eq!(Endpoint::try_from(text).unwrap(), endpoint);
        assert_eq!(Endpoint::try_from(text.to_owned()).unwrap(), endpoint);
        assert_eq!(Endpoint::try_from(&text.to_owned()).unwrap(), endpoint);
        assert_eq!(Endpoint::from(&endpoint), endpoint);
    }
}

#[test]
fn what_is_none() {
    let too_long = "n".repeat(65);
    let cases = [
        ("", "\"\" is not an endpoint: the name is empty"),
        (
            ":",
            "\":\" is not an endpoint: the transport \":\" is not known here; use mem:, shm:, unix:, pipe:, tcp:, exec:, fd:, or a plain name",
        ),
        ("unix:", "\"unix:\" is not an endpoint: the name is empty"),
        ("unix:@", "\"unix:@\" is not an endpoint: the name is empty"),
        ("mem:", "\"mem:\" is not an endpoint: the name is empty"),
        (
            "a b",
            "\"a b\" is not an endpoint: a name has no ' '; use letters, digits, '.', '_' and '-'",
        ),
        (
            "é",
            "\"é\" is not an endpoint: a name has no 'é'; use letters, digits, '.', '_' and '-'",
        ),
        (
            "a\nb",
            "\"a\\nb\" is not an endpoint: a name has no '\\n'; use letters, digits, '.', '_' and '-'",
        ),
        ("..", "\"..\" is not an endpoint: a name does not start with '.'"),
        ("-x", "\"-x\" is not an endpoint: a name does not start with '-'"),
        (
            "mem:a/b",
            "\"mem:a/b\" is not an endpoint: a name has no '/'; use letters, digits, '.', '_' and '-'",
        ),
        (
            &too_long,
            &format!("\"{too_long}\" is not an endpoint: the name has 65 bytes, at most 64 are possible"),
        ),
        (
            "/run/store.sock",
            "\"/run/store.sock\" is not an endpoint: to mean a path, write unix:/run/store.sock",
        ),
        (
            "unix:/run/",
            "\"unix:/run/\" is not an endpoint: the path names a directory; add the name of the socket",
        ),
        (
            "unix:a/..",
            "\"unix:a/..\" is not an endpoint: the path names a directory; add the name of the socket",
        ),
        (
            "unix:a/b\0",
            "\"unix:a/b\\u{0}\" is not an endpoint: a path has no NUL",
        ),
        (
            "ring:store",
            "\"ring:store\" is not an endpoint: the transport \"ring:\" is not known here; use mem:, shm:, unix:, pipe:, tcp:, exec:, fd:, or a plain name",
        ),
        (
            "UNIX:store",
            "\"UNIX:store\" is not an endpoint: the transport \"UNIX:\" is not known here; use mem:, shm:, unix:, pipe:, tcp:, exec:, fd:, or a plain name",
        ),
        (
            "tcp:",
            "\"tcp:\" is not an endpoint: \"\" is not a port number from 0 to 65535",
        ),
        (
            "tcp:x",
            "\"tcp:x\" is not an endpoint: \"x\" is not a port number from 0 to 65535",
        ),
        (
            "tcp:+1",
            "\"tcp:+1\" is not an endpoint: \"+1\" is not a port number from 0 to 65535",
        ),
        (
            "tcp:65536",
            "\"tcp:65536\" is not an endpoint: \"65536\" is not a port number from 0 to 65535",
        ),
        ("tcp::1", "\"tcp::1\" is not an endpoint: \"\" is not a host"),
        (
            "tcp:a b:1",
            "\"tcp:a b:1\" is not an endpoint: \"a b\" is not a host",
        ),
        (
            "tcp:::1:7000",
            "\"tcp:::1:7000\" is not an endpoint: an IPv6 address stands between brackets: tcp:[::1]:7000",
        ),
        (
            "tcp:[x]:7000",
            "\"tcp:[x]:7000\" is not an endpoint: \"x\" is not an IPv6 address",
        ),
    ];
    for (text, message) in cases {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidEndpoint);
        assert_eq!(error.to_string(), message);
    }
    // A message never grows with what it complains of.
    let error = parse(&"x y".repeat(100_000)).unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn a_path_is_always_a_path() {
    for (path, shown) in [
        ("/run/x", "unix:/run/x"),
        ("x", "unix:./x"),
        ("./x", "unix:./x"),
        ("a/x", "unix:a/x"),
    ] {
        let endpoint = Endpoint::try_from(Path::new(path)).unwrap();
        assert_eq!(endpoint, Endpoint::try_from(PathBuf::from(path)).unwrap());
        assert_eq!(endpoint.to_string(), shown);
    }
    for path in ["", "/", "a/", ".."] {
        assert_eq!(
            Endpoint::try_from(Path::new(path)).unwrap_err().kind(),
            ErrorKind::InvalidEndpoint,
            "{path}"
        );
    }
}

#[test]
fn settings_are_kept_and_bounded() {
    let endpoint = parse("tcp:1").unwrap();
    assert_eq!(endpoint.message_limit(), 64 << 20);
    assert_eq!(endpoint.clone().max_message(0).message_limit(), 0);
    assert_eq!(endpoint.clone().max_message(1 << 30).message_limit(), 1 << 30);
    assert_eq!(endpoint.clone().max_message(usize::MAX).message_limit(), 1 << 30);
    assert!(!endpoint.is_remote_allowed());
    assert!(endpoint.clone().allow_remote().is_remote_allowed());
    assert_ne!(endpoint.clone().allow_remote(), endpoint);
    assert_eq!(endpoint.expected_server(), None);
    assert_eq!(parse("unix:/x").unwrap().expected_server(), None);
    assert_eq!(
        parse("unix:/x").unwrap().expect_server(7).expected_server(),
        Some(7)
    );
    if Scheme::Unix.is_supported() {
        assert!(parse("x").unwrap().expected_server().is_some());
        assert!(parse("unix:@x").unwrap().expected_server().is_some());
        assert!(parse("x").unwrap().detail().to_string().ends_with("/x.sock"));
    }
    assert_eq!(parse("tcp:1").unwrap().detail().to_string(), "tcp:127.0.0.1:1");
    assert!(format!("{endpoint:?}").contains("tcp:127.0.0.1:1"));
}

#[test]
fn what_schemes_can() {
    assert!(
        Scheme::Memory.vouches_for_peer()
            && Scheme::Unix.vouches_for_peer()
            && !Scheme::Tcp.vouches_for_peer()
    );
    for scheme in Scheme::ALL {
        assert!(!scheme.carries_handles());
        let shares = match scheme {
            Scheme::Memory => true,
            Scheme::Tcp | Scheme::Pipe => false,
            _ => Scheme::SharedMemory.is_supported(),
        };
        assert_eq!(scheme.carries_sections(), shares);
    }
    assert!(Scheme::Memory.is_supported() && Scheme::Tcp.is_supported());
}

#[test]
fn a_transport_that_the_platform_lacks_is_refused_when_used() {
    if Scheme::Unix.is_supported() {
        return;
    }
    for text in ["store", "unix:/x", "unix:@x"] {
        let endpoint = parse(text).unwrap();
        assert_eq!(
            connect(&endpoint, None).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        assert_eq!(listen(&endpoint).err().unwrap().kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn other_machines_are_reached_only_when_that_is_meant() {
    for text in [
        "tcp:0.0.0.0:0",
        "tcp:192.0.2.1:7000",
        "tcp:[::]:0",
        "tcp:example.org:80",
    ] {
        let endpoint = parse(text).unwrap();
        for error in [
            listen(&endpoint).err().unwrap(),
            connect(&endpoint.with_some_port(), None).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidEndpoint);
            assert!(error.to_string().contains("allow_remote"), "{error}");
        }
    }
    let anywhere = parse("tcp:0.0.0.0:0").unwrap().allow_remote();
    let listener = listen(&anywhere).unwrap();
    assert_ne!(listener.endpoint().to_string(), "tcp:0.0.0.0:0");
    assert!(listener.endpoint().is_remote_allowed());

    for text in ["tcp:0", "tcp:localhost:0", "tcp:127.0.0.2:0"] {
        if text.contains(".2:") && !cfg!(target_os = "linux") {
            continue;
        }
        let listener = listen(&parse(text).unwrap()).unwrap();
        connect(listener.endpoint(), None).unwrap();
    }
    let error = connect(&parse("tcp:0").unwrap(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidEndpoint);
}

trait WithSomePort {
    fn with_some_port(&self) -> Endpoint;
}

impl WithSomePort for Endpoint {
    /// The same host, with a port that can be connected to.
    fn with_some_port(&self) -> Endpoint {
        let text = self.to_string();
        let (host, _) = text.rsplit_once(':').unwrap();
        parse(&format!("{host}:7000")).unwrap()
    }
}
