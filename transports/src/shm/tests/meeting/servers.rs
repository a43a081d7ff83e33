//! Servers that decline, that say something else, or that are slow to say anything.

use super::*;

#[test]
fn a_server_that_declines() {
    let sentence = "not today";
    let decline = [
        &Kind::Decline.header(sentence.len()).to_bytes()[..],
        sentence.as_bytes(),
    ]
    .concat();
    // A client that insists is told why.
    let (mut port, stream, _) = asked();
    say(&stream, &decline);
    let error = end_of(&mut port).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().ends_with("does not share memory: not today"),
        "{error}"
    );
    assert_eq!(end_of(&mut port).unwrap_err().to_string(), error.to_string());
    // Byte by byte, and with bytes that are no text.
    let (mut port, stream, _) = asked();
    let mut bytes = decline;
    *bytes.last_mut().unwrap() = 0xff;
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 {
            assert_eq!(
                port.receiver.try_recv(&mut Message::default()).unwrap(),
                Received::Empty
            );
            assert!(port.receiver.in_progress());
        }
        say(&stream, &[*byte]);
    }
    let error = end_of(&mut port).unwrap_err();
    assert!(error.to_string().ends_with("not toda\u{fffd}"), "{error}");
}

#[test]
fn servers_that_say_something_else() {
    alone("meeting::servers::servers_that_say_something_else", || {
        let things = Things::make();
        drop(asked());
        closer_is_there();
        let held = Held::now();
        let right = things.descriptors();
        let tell = |what: &str, bytes: &[u8], descriptors: &[BorrowedFd<'_>], stay: bool| {
            let (mut port, stream, theirs) = asked();
            send(stream.as_fd(), bytes, descriptors);
            let stays = stay.then_some(stream);
            let end = end_of(&mut port);
            drop((port, stays, theirs));
            held.returns(what);
            end
        };
        let answer = Kind::Answer.header(0);
        refused(
            "an offer",
            tell("an offer", &offer().to_bytes(), &right, true),
            PROTOCOL,
            "not its turn",
        );
        for ordinal in [0, LAYOUT.memory() as u64 * 2, u64::MAX] {
            let bytes = Header { ordinal, ..answer }.to_bytes();
            refused(
                "a size",
                tell("a size", &bytes, &right, true),
                PROTOCOL,
                "another size",
            );
        }
        let other = Header { flags: 2, ..answer }.to_bytes();
        refused(
            "a version",
            tell("a version", &other, &right, true),
            PROTOCOL,
            "another way",
        );
        let bytes = answer.to_bytes();
        for count in 0..3 {
            refused(
                "few",
                tell("few", &bytes, &right[..count], true),
                PROTOCOL,
                "three descriptors",
            );
        }
        refused(
            "many",
            tell("many", &bytes, &[right[2]; 253], true),
            PROTOCOL,
            "came with a file descriptor",
        );
        let twice = [bytes, bytes].concat();
        refused(
            "twice",
            tell("twice", &twice, &right, true),
            PROTOCOL,
            "went on speaking",
        );
        refused(
            "half",
            tell("half", &bytes[..20], &right, false),
            ErrorKind::PeerDied,
            "in the middle of a message",
        );
        // A message with an attachment; with none, it is what the server has to say to a client that it does not let in.
        let message = header_without_attachments(1).to_bytes();
        refused(
            "attached",
            tell("attached", &message, &right, true),
            PROTOCOL,
            "came with a file descriptor",
        );
        assert!(tell("a message", &message, &[], false).is_ok());
        // Nothing but the end.
        let (mut port, stream, theirs) = asked();
        drop((stream, theirs));
        let end = end_of(&mut port);
        assert!(
            end.is_ok()
                || end
                    .as_ref()
                    .is_err_and(|error| error.kind() == ErrorKind::PeerDied),
            "{end:?}"
        );
        drop(port);
        held.returns("the end");
    });
}

#[test]
fn a_server_that_speaks_first_is_heard_over_the_socket() {
    let (mut port, stream, _) = asked();
    let mut message = Message::default();
    say(&stream, &header_without_attachments(3).to_bytes());
    assert_eq!(received(&mut port, &mut message).unwrap(), Received::Message);
    assert_eq!((message.header.id, port.carrier.scheme()), (3, Scheme::Unix));
}

/// What was sent before the answer came arrives, in order, whichever way is taken.
#[test]
fn messages_wait_for_the_answer() {
    let (mut port, stream, _) = asked();
    for id in 1..=3 {
        port.sender
            .try_send(&header_without_attachments(id), &mut vec![7; 40_000])
            .unwrap();
        assert_eq!(port.sender.flush().unwrap(), crate::Flushed::Blocked);
    }
    assert!(port.sender.queued() > 3 * 40_000);
    say(&stream, &header_without_attachments(9).to_bytes());
    assert_eq!(
        received(&mut port, &mut Message::default()).unwrap(),
        Received::Message
    );
    assert_eq!(port.sender.flush().unwrap(), crate::Flushed::Done);
    for id in 1..=3 {
        let (header, body, _) = hear(&stream);
        assert_eq!((header.id, body), (id, vec![7; 40_000]));
    }
    // And no more waits than is allowed to.
    let (mut port, _stream, _) = asked();
    let mut sent = 0;
    while port
        .sender
        .try_send(&header_without_attachments(1), &mut vec![7; 1 << 20])
        .unwrap()
        == crate::Sent::Accepted
    {
        sent += 1;
        assert!(sent < 100);
    }
    assert!(sent >= 15, "{sent}");
}
