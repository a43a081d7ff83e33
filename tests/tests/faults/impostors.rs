//! Servers that break the rules: a client of either mode is told in time, with a clear error, and never hangs or panics.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use ipc_rpc::{ErrorKind, Limits, Outcome, ServiceClient};
use tests::fixture::Transport;
use tests::mode::Mode;
use tests::samples::SamplesClient;
use tests::subject::SubjectClient;
use tests::watchdog;

use crate::hostile::HANG;
use crate::raw::{self, Frame, id};

/// What a welcome says: version 1, bincode, 1 MiB, 16 calls, and the services that are called here.
pub(crate) fn welcome() -> Frame {
    let mut body = vec![1, 0, 1];
    body.extend((1_u32 << 20).to_le_bytes());
    body.extend(16_u32.to_le_bytes());
    let services = [SubjectClient::INFO, SamplesClient::INFO];
    body.extend((services.len() as u16).to_le_bytes());
    for info in services {
        body.extend((info.name.len() as u16).to_le_bytes());
        body.extend(info.name.as_bytes());
        body.extend(info.version.to_le_bytes());
        body.extend((info.methods.len() as u16).to_le_bytes());
        for method in info.methods {
            body.extend(method.ordinal.to_le_bytes());
            body.extend(method.fingerprint.to_le_bytes());
            body.extend((method.signature.len() as u16).to_le_bytes());
            body.extend(method.signature.as_bytes());
        }
    }
    Frame {
        id: raw::MAGIC,
        body,
        ..Frame::new(raw::WELCOME)
    }
}

fn reply(id: u64, value: u64) -> Frame {
    Frame {
        id,
        body: value.to_le_bytes().to_vec(),
        ..Frame::new(raw::REPLY)
    }
}

/// Reads one message and gives its kind and id.
pub(crate) fn hear(stream: &mut UnixStream) -> (u8, u64) {
    let mut header = [0; 32];
    stream.read_exact(&mut header).expect("the client speaks");
    let length = u32::from_le_bytes(header[..4].try_into().unwrap());
    stream
        .read_exact(&mut vec![0; length as usize])
        .expect("the client speaks");
    (header[4], u64::from_le_bytes(header[8..16].try_into().unwrap()))
}

/// Says something and then nothing, until the client hangs up.
fn say_and_stay(stream: &mut UnixStream, bytes: &[u8]) {
    // The client may have hung up before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Connects a client of each mode to a server of one connection, and makes one call.
fn against(name: &str, server: fn(&mut UnixStream), judge: fn(Result<u64, ipc_rpc::Error>)) {
    for mode in [Mode::Async, Mode::Blocking] {
        let endpoint = Transport::UnixPath.endpoint();
        let path = endpoint.strip_prefix("unix:").unwrap().to_owned();
        let listener = UnixListener::bind(&path).unwrap();
        let serving = std::thread::spawn(move || server(&mut listener.accept().unwrap().0));
        let began = Instant::now();
        let call = async move {
            let mut limits = Limits::default();
            limits.message = Duration::from_secs(1);
            let connect = SubjectClient::connect(endpoint.as_str())
                .timeout(Duration::from_secs(1))
                .limits(limits);
            let client = mode.end(connect).await?;
            let result = mode.end(client.number(7)).await;
            // Whatever it was, later calls end, too.
            let _ = mode.end(client.number(8).timeout(Duration::from_secs(1))).await;
            result
        };
        let result = watchdog::guard(&format!("{name}, {mode:?}"), move || mode.run(call));
        assert!(
            began.elapsed() < HANG,
            "{name}, {mode:?}: took {:?}",
            began.elapsed()
        );
        judge(result);
        serving.join().expect("the impostor has done its part");
        std::fs::remove_file(path).unwrap();
    }
}

/// Lets the client in and takes its first call; gives the call's id.
pub(crate) fn introduced(stream: &mut UnixStream) -> u64 {
    assert_eq!(hear(stream), (raw::HELLO, raw::MAGIC));
    stream.write_all(&welcome().bytes()).unwrap();
    let (kind, call) = hear(stream);
    assert_eq!(kind, raw::REQUEST);
    call
}

#[test]
fn an_honest_one() {
    // The bytes above are right; everything else here depends on that.
    let server: fn(&mut UnixStream) = |stream| {
        let call = introduced(stream);
        say_and_stay(
            stream,
            &[reply(call, 7).bytes(), Frame::new(raw::PING).bytes()].concat(),
        );
    };
    against("an_honest_one", server, |result| assert_eq!(result.unwrap(), 7));
}

#[test]
fn answers_with_attachments() {
    let server: fn(&mut UnixStream) = |stream| {
        let call = introduced(stream);
        let answer = Frame {
            handles: 1,
            ..reply(call, 7)
        };
        stream.write_all(&answer.bytes()).unwrap();
        assert_eq!(hear(stream).0, raw::CLOSE, "the client says why it leaves");
    };
    against("answers_with_attachments", server, |result| {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Protocol, Outcome::Unknown),
            "{error}"
        );
        assert!(error.to_string().contains("sections"), "{error}");
    });
}

#[test]
fn no_welcome() {
    let silent: fn(&mut UnixStream) = |stream| say_and_stay(stream, b"");
    against("silence", silent, |result| {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Deadline, Outcome::NotSent),
            "{error}"
        );
    });
    let garbage: fn(&mut UnixStream) =
        |stream| say_and_stay(stream, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    against("garbage", garbage, |result| {
        let error = result.unwrap_err();
        let kinds = [ErrorKind::Protocol, ErrorKind::TooLarge];
        assert!(
            kinds.contains(&error.kind()) && error.outcome() == Outcome::NotSent,
            "{error:?}"
        );
    });
    let hangs_up: fn(&mut UnixStream) = |stream| assert_eq!(hear(stream).0, raw::HELLO);
    against("hanging up", hangs_up, |result| {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::PeerDied, Outcome::NotSent),
            "{error}"
        );
    });
    let drips: fn(&mut UnixStream) = |stream| {
        for byte in welcome().bytes() {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    against("dripping", drips, |result| {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Deadline, Outcome::NotSent),
            "{error}"
        );
    });
    let other: fn(&mut UnixStream) = |stream| {
        let mut other = welcome();
        // A codec that was not offered.
        other.body[2] = 2;
        say_and_stay(stream, &other.bytes());
    };
    against("another codec", other, |result| {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Protocol, Outcome::NotSent),
            "{error}"
        );
    });
}

/// What follows the first call, whatever it is, ends that call as a breach of the protocol.
fn breach(name: &str, server: fn(&mut UnixStream)) {
    against(name, server, |result| {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Protocol, Outcome::Unknown),
            "{error}"
        );
        assert_eq!(error.method(), Some("Subject.number"));
    });
}

#[test]
fn answers_to_nothing() {
    breach("an unknown id", |stream| {
        let call = introduced(stream);
        say_and_stay(stream, &reply(call + id(5), 7).bytes());
    });
    breach("an unexpected pong", |stream| {
        introduced(stream);
        say_and_stay(
            stream,
            &Frame {
                extra: 1,
                ..Frame::new(raw::PONG)
            }
            .bytes(),
        );
    });
    breach("a second welcome", |stream| {
        introduced(stream);
        say_and_stay(stream, &welcome().bytes());
    });
    breach("an unknown kind", |stream| {
        introduced(stream);
        say_and_stay(stream, &Frame::new(99).bytes());
    });
    breach("a refusal that is no failure", |stream| {
        let call = introduced(stream);
        say_and_stay(
            stream,
            &Frame {
                flags: 2,
                ..reply(call, 7)
            }
            .bytes(),
        );
    });
}

#[test]
fn two_answers_to_one_call() {
    let server: fn(&mut UnixStream) = |stream| {
        let call = introduced(stream);
        say_and_stay(stream, &reply(call, 7).bytes().repeat(2));
    };
    // The first one counts; what the second one does to the connection is no matter of this call.
    against("two answers", server, |result| match result {
        Ok(value) => assert_eq!(value, 7),
        Err(error) => panic!("{error}"),
    });
}

#[test]
fn answers_that_cannot_be_read() {
    let wrong: fn(&mut UnixStream) = |stream| {
        let call = introduced(stream);
        say_and_stay(
            stream,
            &Frame {
                body: vec![1, 2, 3],
                ..reply(call, 0)
            }
            .bytes(),
        );
    };
    against("a wrong value", wrong, |result| {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Decode, Outcome::Unknown),
            "{error}"
        );
    });
    let rude: fn(&mut UnixStream) = |stream| {
        let call = introduced(stream);
        // A failure of a kind that nobody knows, with a sentence that is no text and would paint a terminal.
        let body = b"\x1b[31m\xff\xfe\0red".to_vec();
        say_and_stay(
            stream,
            &Frame {
                flags: 1,
                ordinal: 200,
                body,
                ..reply(call, 0)
            }
            .bytes(),
        );
    };
    against("a rude sentence", rude, |result| {
        let error = result.unwrap_err();
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    });
}

#[test]
fn answers_that_do_not_come_whole() {
    let half: fn(&mut UnixStream) = |stream| {
        let call = introduced(stream);
        let bytes = reply(call, 7).bytes();
        say_and_stay(stream, &bytes[..36]);
    };
    against("half an answer", half, |result| {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Deadline, Outcome::Unknown),
            "{error}"
        );
    });
    let cut: fn(&mut UnixStream) = |stream| {
        let call = introduced(stream);
        let _ = stream.write_all(&reply(call, 7).bytes()[..36]);
    };
    against("an answer that is cut", cut, |result| {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::PeerDied, Outcome::Unknown),
            "{error}"
        );
    });
    let long: fn(&mut UnixStream) = |stream| {
        let call = introduced(stream);
        say_and_stay(stream, &reply(call, 7).bytes_claiming(u32::MAX));
    };
    against("an endless answer", long, |result| {
        let error = result.unwrap_err();
        let kinds = [ErrorKind::Protocol, ErrorKind::TooLarge];
        assert!(
            kinds.contains(&error.kind()) && error.outcome() == Outcome::Unknown,
            "{error:?}"
        );
    });
}

#[test]
fn servers_that_call() {
    let server: fn(&mut UnixStream) = |stream| {
        let call = introduced(stream);
        stream.write_all(&Frame::number(id(1), 1).bytes()).unwrap();
        // The client serves nothing, says so, and goes on.
        let (kind, refused) = hear(stream);
        assert_eq!((kind, refused), (raw::REPLY, id(1)));
        say_and_stay(stream, &reply(call, 7).bytes());
    };
    against("a call", server, |result| assert_eq!(result.unwrap(), 7));
}
