//! A server that closes with a reason and goes: whoever calls it then reads that before it finds the server dead, though it finds that
//! it cannot send first.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use ipc_rpc::ErrorKind;
use tests::fixture::Transport;
use tests::mode::Mode;
use tests::subject::SubjectClient;
use tests::watchdog;

use crate::impostors::{hear, welcome};
use crate::raw::{self, Frame};

const REASON: &str = "down until Monday";

/// A server of one connection, which closes it when it is told to.
struct Closing {
    endpoint: String,
    close: Sender<()>,
    closed: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Closing {
    fn start() -> Self {
        let endpoint = Transport::UnixPath.endpoint();
        let path = endpoint.strip_prefix("unix:").unwrap().to_owned();
        let listener = UnixListener::bind(&path).unwrap();
        let (close, told) = mpsc::channel();
        let (tell, closed) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (mut stream, _): (UnixStream, _) = listener.accept().unwrap();
            assert_eq!(hear(&mut stream), (raw::HELLO, raw::MAGIC));
            stream.write_all(&welcome().bytes()).unwrap();
            told.recv().unwrap();
            let close = Frame {
                extra: raw::BUSY,
                body: REASON.as_bytes().to_vec(),
                ..Frame::new(raw::CLOSE)
            };
            stream.write_all(&close.bytes()).unwrap();
            drop(stream);
            std::fs::remove_file(path).unwrap();
            tell.send(()).unwrap();
        });
        Self {
            endpoint,
            close,
            closed,
            thread,
        }
    }

    /// It has gone when this returns. The thread is blocked.
    fn close(self) {
        self.close.send(()).unwrap();
        self.closed.recv().unwrap();
        self.thread.join().expect("the server has done its part");
    }
}

#[track_caller]
fn told<T>(what: &str, result: Result<T, ipc_rpc::Error>) {
    let Err(error) = result else {
        panic!("{what}: nobody is there")
    };
    assert_eq!(error.kind(), ErrorKind::Busy, "{what}: {error}");
    assert!(error.to_string().contains(REASON), "{what}: {error}");
}

/// In one poll, so that the connection's driver cannot have read anything in between.
#[test]
fn several_calls_at_once() {
    watchdog::guard("several calls at once", || {
        let large = vec![7; 500_000];
        for round in 0..50 {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Closing::start();
                let client = SubjectClient::connect(server.endpoint.as_str()).await.unwrap();
                server.close();
                if round % 2 == 0 {
                    let results = tokio::join!(client.number(1), client.number(2), client.count(&large));
                    told("the first", results.0);
                    told("the second", results.1);
                    told("a large one", results.2);
                } else {
                    let results = tokio::join!(client.count(&large), client.number(1), client.number(2));
                    told("a large one", results.0);
                    told("the first", results.1);
                    told("the second", results.2);
                }
                told("a later one", client.number(3).await);
            });
        }
    });
}

/// One after the other, while the driver runs on another thread, or there is none.
#[test]
fn one_call_after_the_other() {
    for mode in [Mode::Async, Mode::Blocking] {
        watchdog::guard("one call after the other", move || {
            for round in 0..100 {
                let server = Closing::start();
                mode.run(async {
                    let connect = SubjectClient::connect(server.endpoint.as_str());
                    let client = mode.end(connect).await.unwrap();
                    server.close();
                    for call in 0..3 {
                        let what = format!("{mode:?}, round {round}, call {call}");
                        told(&what, mode.end(client.number(call)).await);
                    }
                });
            }
        });
    }
}
