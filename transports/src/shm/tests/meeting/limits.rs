//! Sides that may not make, map or open what it takes, or that are not to share memory.

use super::*;

#[test]
fn running_out_of_descriptors_at_each_of_them() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    alone(
        "meeting::limits::running_out_of_descriptors_at_each_of_them",
        || {
            let mut server = Server::new();
            let before = getrlimit(Resource::Nofile);
            let allow = |more: usize| {
                let open = std::fs::read_dir("/proc/self/fd").unwrap().count() - 1;
                let current = Some((open + more) as u64);
                setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
            };
            let mut shared = [false; 2];
            for more in 0..16 {
                // The server runs out, with an offer before it.
                let (socket, things) = (UnixStream::connect(server.place.path()).unwrap(), Things::make());
                send(&socket, &offer().to_bytes(), &things.descriptors());
                // It has what an acceptor keeps spare.
                allow(more);
                let accepted = server.listener.try_accept();
                let mut port = match accepted {
                    Ok(crate::Accepted::Port(port)) => Some(port),
                    Ok(crate::Accepted::Empty) => None,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Resource, "{more} more: {error}");
                        None
                    }
                };
                if let Some(port) = &mut port {
                    match port.receiver.try_recv(&mut Message::default()) {
                        Ok(Received::Empty) => shared[0] |= port.carrier.scheme() == Scheme::SharedMemory,
                        Ok(other) => panic!("{more} more: {other:?}"),
                        // The system drops those that find no room, and tells.
                        Err(error) => assert_eq!(error.kind(), PROTOCOL, "{more} more: {error}"),
                    }
                }
                setrlimit(Resource::Nofile, before).unwrap();
                drop((port, socket, things));
                // What was left waiting.
                while let crate::Accepted::Port(_) = server.listener.try_accept().unwrap() {}
                server.sing();
                server.held.returns("a server");

                // The client runs out.
                allow(more);
                let connected = connect(&server.place.endpoint("shm"), deadline());
                setrlimit(Resource::Nofile, before).unwrap();
                match connected {
                    Ok(port) => {
                        shared[1] = true;
                        drop(port);
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Resource, "{more} more: {error}"),
                }
                while let crate::Accepted::Port(_) = server.listener.try_accept().unwrap() {}
                server.sing();
                server.held.returns("a client");
            }
            assert_eq!(shared, [true; 2], "at last there are enough");
        },
    );
}

#[test]
fn a_process_that_may_make_no_memory() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    alone("meeting::limits::a_process_that_may_make_no_memory", || {
        let mut server = Server::new();
        let before = getrlimit(Resource::Fsize);
        let current = Some(LAYOUT.memory() as u64 - 1);
        let things = Things::make();
        server.held = Held::now();
        // A server declines, and says why.
        let (mut port, stream, made) = offered(&server.place, &mut *server.listener);
        setrlimit(Resource::Fsize, Rlimit { current, ..before }).unwrap();
        assert_eq!(
            port.receiver.try_recv(&mut Message::default()).unwrap(),
            Received::Empty
        );
        assert_eq!(port.carrier.scheme(), Scheme::Unix);
        let (header, sentence, _) = hear(&stream);
        assert_eq!(header, Kind::Decline.header(sentence.len()));
        assert!(String::from_utf8(sentence).unwrap().contains("RLIMIT_FSIZE"));
        // Who insists on memory is told the same.
        let error = connect(&server.place.endpoint("shm"), deadline()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Resource);
        assert!(error.to_string().contains("RLIMIT_FSIZE"), "{error}");
        setrlimit(Resource::Fsize, before).unwrap();
        drop((port, stream, made));
        while let crate::Accepted::Port(_) = server.listener.try_accept().unwrap() {}
        server.sing();
        server.held.returns("no memory");
        drop(things);
    });
}

#[test]
fn a_process_that_may_map_no_memory() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    alone("meeting::limits::a_process_that_may_map_no_memory", || {
        let mut server = Server::new();
        let before = getrlimit(Resource::As);
        let mapped = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
        };
        if mapped() > 1 << 40 {
            // An address sanitizer maps terabytes, and ends the process where it gets no more.
            return;
        }
        let mut ends = std::collections::BTreeSet::new();
        // The other side's memory, its word, one's own memory and its word: each in turn finds no room.
        for pages in [
            0, 1, 16, 65, 66, 67, 68, 100, 130, 131, 132, 133, 134, 135, 140, 200,
        ] {
            let (mut port, stream, things) = offered(&server.place, &mut *server.listener);
            let current = Some(mapped() + pages * 4096);
            setrlimit(Resource::As, Rlimit { current, ..before }).unwrap();
            let met = port.receiver.try_recv(&mut Message::default());
            setrlimit(Resource::As, before).unwrap();
            assert!(matches!(met, Ok(Received::Empty)), "{pages} pages: {met:?}");
            let (header, sentence, theirs) = hear(&stream);
            if port.carrier.scheme() == Scheme::Unix {
                assert_eq!(header, Kind::Decline.header(sentence.len()));
                ends.insert(String::from_utf8(sentence).unwrap());
            } else {
                assert_eq!(header, Kind::Answer.header(0));
                ends.insert("shared".to_owned());
            }
            drop((port, stream, things, theirs));
            server.sing();
            server.held.returns("no mapping");
        }
        assert!(ends.len() >= 2 && ends.contains("shared"), "{ends:?}");
    });
}

#[test]
fn who_is_not_to_share_memory_says_nothing_of_it() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).unwrap();
    let mut port = connect(&place.endpoint("unix"), deadline()).unwrap();
    port.sender
        .try_send(&header_without_attachments(5), &mut Vec::new())
        .unwrap();
    port.sender.flush().unwrap();
    let stream = stream_of(listener.accept().unwrap().0.into()).unwrap();
    assert_eq!(hear(&stream).0.id, 5);
    assert_eq!(port.carrier.scheme(), Scheme::Unix);
}
