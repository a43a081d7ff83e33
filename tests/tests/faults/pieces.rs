//! Large bodies that come in pieces, from a client that holds them up and from clients that lie about them.

use ipc_rpc::Endpoint;
use tests::fixture::Transport;
use tests::subject::{Plan, SubjectClient, pattern};
use tests::watchdog;

use crate::hostile::{attack, sing};
use crate::raw::{self, Frame, Stranger, id};
use crate::serve;

/// What no message's header has.
const FLAG: u8 = 0x80;
const BEGIN: u8 = 0x10;
const PIECE: u8 = 0x11;

fn frame(kind: u8, lane: u64, body: Vec<u8>) -> Frame {
    Frame {
        flags: FLAG,
        id: lane,
        body,
        ..Frame::new(kind)
    }
}

/// The beginning of a message of so many bytes, with none of them.
fn begin(lane: u64, message: &Frame, length: usize) -> Frame {
    let header = Frame {
        body: Vec::new(),
        ..message.clone()
    };
    frame(BEGIN, lane, header.bytes_claiming(length as u32))
}

fn piece(lane: u64, bytes: &[u8]) -> Frame {
    frame(PIECE, lane, bytes.to_vec())
}

/// A call of `Subject.count`, and what it counts.
fn count(sequence: u64, length: u64) -> Frame {
    let mut body = length.to_le_bytes().to_vec();
    body.extend(pattern(length));
    Frame {
        ordinal: raw::ordinal("Subject.count"),
        body,
        ..Frame::number(id(sequence), 0)
    }
}

#[test]
fn small_calls_are_answered_between_the_pieces_of_large_ones() {
    for transport in [Transport::UnixName, Transport::Tcp] {
        watchdog::guard(&format!("between the pieces, over {transport:?}"), move || {
            let mut plan = Plan::at(transport.endpoint());
            // Nobody is to lose patience with this client.
            plan.message = Some(600_000);
            let server = serve(&plan);
            let mut stranger = Stranger::introduced(server.endpoint());
            let large: Vec<Frame> = (1..=8).map(|sequence| count(sequence, 100_000)).collect();
            for (lane, call) in large.iter().enumerate() {
                stranger.say(&begin(lane as u64, call, call.body.len()));
                stranger.say(&piece(lane as u64, &call.body[..50_000]));
            }
            // Half of each is there, and the rest does not come before this has its answer.
            for sequence in 10..20 {
                stranger.say(&Frame::number(id(sequence), sequence));
                let answer = stranger.hear().expect("the server answers");
                assert_eq!((answer.kind, answer.id), (raw::REPLY, id(sequence)), "{answer:?}");
                assert_eq!(answer.body, sequence.to_le_bytes());
            }
            for (lane, call) in large.iter().enumerate().rev() {
                stranger.say(&piece(lane as u64, &call.body[50_000..]));
                let answer = stranger.hear().expect("the server answers");
                assert_eq!((answer.kind, answer.id), (raw::REPLY, call.id), "{answer:?}");
                assert_eq!(answer.body, 100_000_u64.to_le_bytes());
            }
            sing(&SubjectClient::connect(server.endpoint()).wait().unwrap(), 10);
        });
    }
}

/// Each ends the connection.
#[test]
fn lies_about_large_bodies() {
    attack("lies_about_large_bodies", |endpoint: &Endpoint| {
        let call = count(1, 100_000);
        let length = call.body.len();
        let later = Frame {
            id: id(2),
            ..call.clone()
        };
        let lies: [&[Frame]; 12] = [
            // More than was announced: in one piece, and in two.
            &[
                begin(0, &call, length),
                piece(0, &[&call.body[..], &[1]].concat()),
            ],
            &[
                begin(0, &call, length),
                piece(0, &call.body[1..]),
                piece(0, &[1, 2]),
            ],
            // Nothing.
            &[begin(0, &call, length), piece(0, &[])],
            &[begin(0, &call, 0)],
            // A piece of no message, of one that is whole, and on a lane that is none.
            &[piece(0, &[1])],
            &[begin(0, &call, length), piece(0, &call.body), piece(0, &[1])],
            &[begin(8, &call, length)],
            &[begin(u64::MAX, &call, length)],
            // A lane that is in use, and a number that is.
            &[begin(0, &call, length), begin(0, &later, length)],
            &[begin(0, &call, length), begin(1, &call, length)],
            // Above the limit.
            &[begin(0, &call, (64 << 20) + 1)],
            // What tells of memory, of which there is none, or none that was announced.
            &[frame(1, 0, Vec::new())],
        ];
        for lie in lies {
            let mut stranger = Stranger::introduced(endpoint);
            // The server may hang up before it has heard all.
            for frame in lie {
                let _ = stranger.write(&frame.bytes());
            }
            let heard = stranger.rest();
            let is_expected = |frame: &Frame| frame.kind == raw::CLOSE || frame.id == call.id;
            assert!(heard.iter().all(is_expected), "{heard:?}");
        }
        // Before anybody is let in.
        let mut stranger = Stranger::connect(endpoint);
        let _ = stranger.write(&begin(0, &call, length).bytes());
        let heard = stranger.rest();
        assert!(heard.iter().all(|frame| frame.kind == raw::REJECT), "{heard:?}");
    });
}

/// What is allowed takes no memory before it comes, and none when its sender is gone.
#[test]
fn large_bodies_that_do_not_come() {
    attack("large_bodies_that_do_not_come", |endpoint: &Endpoint| {
        let strangers: Vec<_> = (0..20)
            .map(|_| {
                let mut stranger = Stranger::introduced(endpoint);
                for lane in 0..8 {
                    let call = Frame::number(id(lane + 1), 0);
                    // The server may lose patience before it has heard all.
                    let _ = stranger.write(&begin(lane, &call, 64 << 20).bytes());
                    let _ = stranger.write(&piece(lane, &[7; 1000]).bytes());
                }
                let rest = piece(0, &[7; 1000]).bytes_claiming((64 << 20) - 1000);
                let _ = stranger.write(&rest);
                stranger
            })
            .collect();
        for mut stranger in strangers {
            let _ = stranger.0.end_writing();
            let heard = stranger.rest();
            assert!(heard.iter().all(|frame| frame.kind == raw::CLOSE), "{heard:?}");
        }
    });
}
