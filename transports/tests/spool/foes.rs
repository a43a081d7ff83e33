//! What a side may do that lies.

use super::*;

/// What stands in the place of the file ends the connection, and nothing else.
#[test]
fn files_that_are_none() {
    type Impostor<'a> = (&'a str, &'a str, &'a dyn Fn(&Path));

    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target");
    make(&target, b"of somebody");
    let other_user = rustix::process::geteuid().is_root();
    let impostors: [Impostor<'_>; 9] = [
        ("a link", "it is none", &|path| symlink(&target, path).unwrap()),
        ("a link to nothing", "it is none", &|path| {
            symlink("nothing", path).unwrap()
        }),
        ("a directory", "it is none", &|path| fs::create_dir(path).unwrap()),
        ("a pipe", "it is none", &|path| {
            make_fifo(path);
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        }),
        ("a socket", "it is none", &|path| {
            drop(UnixListener::bind(path).unwrap())
        }),
        ("open to others", "others may open it", &|path| {
            make(path, &[])
                .set_permissions(Permissions::from_mode(0o640))
                .unwrap();
        }),
        ("a program", "others may open it", &|path| {
            make(path, &[])
                .set_permissions(Permissions::from_mode(0o700))
                .unwrap();
        }),
        ("with two names", "it has other names", &|path| {
            make(path, &[]);
            fs::hard_link(path, name.rendezvous.with_extension("other")).unwrap();
        }),
        ("of another user", "it belongs to another user", &|path| {
            make(path, &[]);
            std::os::unix::fs::chown(path, Some(12_345), None).unwrap();
        }),
    ];
    for (seed, (what, why, place)) in (1..).zip(impostors) {
        if what == "of another user" && !other_user {
            continue;
        }
        let (mut raw, mut port, [path, _]) = by_hand(&name, &mut *listener, seed);
        place(&path);
        raw.say(&spool(4096), &[]);
        let error = failure(&mut port);
        assert_eq!(error.kind(), ErrorKind::Protocol, "{what}");
        let expected = format!("the other side's file for large bodies is refused: {why}");
        assert_eq!(error.to_string(), expected, "{what}");
        works(&name, &mut *listener);
        // With the connection, the name goes that led nowhere.
        drop(port);
        assert!(path.symlink_metadata().is_err() || path.is_dir(), "{what}");
    }
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut File::open(&target).unwrap(), &mut text).unwrap();
    assert!(text.ends_with(b"of somebody") && text.len() == HEAD as usize + 11);
}

#[test]
fn what_is_said_of_a_file_and_makes_no_sense() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let lies: [(&str, &[Header]); 10] = [
        ("its places are larger", &[spool(0)]),
        ("its places are larger", &[spool(MIB as u64 + 1)]),
        ("its places are larger", &[spool(u64::MAX)]),
        ("it is the second", &[spool(4096), spool(4096)]),
        ("one that is not open", &[spooled(0, 0, 1)]),
        ("a place that it does not have", &[spool(4096), spooled(0, 4, 1)]),
        (
            "a place that it does not have",
            &[spool(4096), spooled(0, u32::MAX, 1)],
        ),
        ("larger than its place", &[spool(4096), spooled(0, 0, 4097)]),
        ("has nothing in it", &[spool(4096), spooled(0, 0, 0)]),
        ("belongs to no message", &[spool(4096), spooled(1, 0, 1)]),
    ];
    for (seed, (why, lie)) in (1..).zip(lies) {
        let (mut raw, mut port, [path, _]) = by_hand(&name, &mut *listener, seed);
        make(&path, &[7; 4096]);
        begin(&mut raw, 0, 5, 10_000);
        for frame in lie {
            raw.say(frame, &[]);
        }
        let error = failure(&mut port);
        assert_eq!(error.kind(), ErrorKind::Protocol, "{lie:?}");
        assert!(error.to_string().contains(why), "{lie:?}: {error}");
        works(&name, &mut *listener);
    }
    // More than the message was said to have.
    let (mut raw, mut port, [path, _]) = by_hand(&name, &mut *listener, 100);
    make(&path, &[7; 4096]);
    raw.say(&spool(4096), &[]);
    begin(&mut raw, 0, 5, 5000);
    raw.say(&spooled(0, 0, 4096), &[]);
    raw.say(&spooled(0, 0, 4096), &[]);
    let error = failure(&mut port).to_string();
    assert!(error.contains("more than it was said to have"), "{error}");
    works(&name, &mut *listener);
}

/// Over a stream that has no files, one that is told of ends the connection.
#[test]
fn other_streams_have_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let endpoint: Endpoint = format!("unix:{}", path.display()).parse().unwrap();
    let mut listener = listen(&endpoint).unwrap();
    let mut raw = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let mut port = accept(&mut *listener);
    assert_eq!(port.carrier.scheme(), Scheme::Unix);
    raw.write_all(&spool(4096).to_bytes()).unwrap();
    let error = failure(&mut port);
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(
        error.to_string().contains("the two sides have none in common"),
        "{error}"
    );
}

/// The file ends before a piece does, from the beginning or in the middle of being read: an error, and no signal.
#[test]
fn files_that_are_cut_short() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let shorter = "it is shorter than what is said to lie in it";
    for (seed, left) in (1..).zip([0, 1, HEAD, HEAD + 4095]) {
        let (mut raw, mut port, [path, _]) = by_hand(&name, &mut *listener, seed);
        let file = make(&path, &[7; 4096]);
        raw.say(&spool(4096), &[]);
        take_in(&mut port).unwrap();
        file.set_len(left).unwrap();
        begin(&mut raw, 0, 5, 10_000);
        raw.say(&spooled(0, 0, 4096), &[]);
        let error = failure(&mut port);
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().ends_with(shorter), "{error}");
        works(&name, &mut *listener);
    }

    let cutting = AtomicBool::new(true);
    let cut = |file: &File| {
        while cutting.load(Ordering::Relaxed) {
            file.set_len(0).unwrap();
            file.write_all_at(&vec![7; MIB], HEAD).unwrap();
        }
    };
    let (mut whole, mut ended) = (0, 0);
    let deadline = watchdog().unwrap();
    for seed in 10..=u8::MAX {
        let (mut raw, mut port, [path, _]) = by_hand(&name, &mut *listener, seed);
        let file = make(&path, &vec![7; MIB]);
        raw.say(&spool(MIB as u64), &[]);
        take_in(&mut port).unwrap();
        cutting.store(true, Ordering::Relaxed);
        thread::scope(|scope| {
            scope.spawn(|| cut(&file));
            for id in 1..50 {
                begin(&mut raw, 0, id, MIB as u32);
                raw.say(&spooled(0, 0, MIB as u32), &[]);
                match common::receive_into(&mut port, &mut Message::default()) {
                    Ok(received) => assert_eq!(received, Received::Message),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Protocol);
                        ended += 1;
                        break;
                    }
                }
                whole += 1;
            }
            cutting.store(false, Ordering::Relaxed);
        });
        works(&name, &mut *listener);
        if ended > 3 || Instant::now() > deadline {
            break;
        }
    }
    assert!(ended > 0, "{whole} came whole");
}

/// Whoever gives nothing back, or too much, or cuts the file short, is served all the same, and hurts nobody else.
#[test]
fn receivers_that_lie() {
    type Lie<'a> = (&'a str, &'a dyn Fn(&File));

    let name = Name::new();
    let endpoint = smallest(&name.endpoint);
    let mut listener = listen(&endpoint).unwrap();
    let lies: [Lie<'_>; 5] = [
        ("it is never opened", &|_| {}),
        ("nothing comes back", &|file| {
            file.write_at(&[1], 0).unwrap();
        }),
        ("all is back at any time", &|file| {
            let [_, marks @ ..] = marks(file).map(|mark| mark.wrapping_add(1));
            file.write_at(&[&[1], &marks[..]].concat(), 0).unwrap();
        }),
        ("it is cut short", &|file| file.set_len(0).unwrap()),
        ("marks that mean nothing", &|file| {
            file.write_at(&[255; 4096], 0).unwrap();
        }),
    ];
    for (seed, (what, lie)) in (1..).zip(lies) {
        let (mut raw, mut port, [_, path]) = by_hand(&name, &mut *listener, seed);
        offer(&mut port);
        put(&mut port, &unordered(1), &[1]);
        flush(&mut port);
        assert_eq!(raw.hear().0, spool(4096), "{what}");
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        raw.hear();
        for id in 2..20 {
            lie(&file);
            let sent = body(50_000, id);
            put(&mut port, &unordered(id), &sent);
            together(
                || flush(&mut port),
                || {
                    let (mut header, mut heard) = raw.hear();
                    if header.kind == BEGIN {
                        header = Header::from_bytes(heard.first_chunk().unwrap());
                        heard = Vec::new();
                        while heard.len() < sent.len() {
                            let (piece, bytes) = raw.hear();
                            let spooled = (piece.ordinal >> 32) as usize;
                            match piece.kind {
                                PIECE => heard.extend(bytes),
                                // What lies in the file may be gone by now.
                                _ => heard.extend(&sent[heard.len()..][..spooled]),
                            }
                        }
                    }
                    assert!(header.id == id && heard == sent, "{what}, {id}");
                },
            );
        }
        works(&name, &mut *listener);
    }
}
