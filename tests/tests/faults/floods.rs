//! Too much of what is allowed, from somebody who was let in, and those who leave at the wrong moment.

use std::time::Instant;

use tests::meter::Holdings;
use tests::subject::{Plan, SubjectClient, pattern};
use tests::{fixture::Transport, watchdog};

use crate::hostile::{HANG, attack, attack_with, settle, sing};
use crate::raw::{self, Frame, Stranger, id};
use crate::serve;

#[test]
fn floods_of_cancels_and_pings() {
    attack("floods_of_cancels_and_pings", |endpoint| {
        let mut stranger = Stranger::introduced(endpoint);
        stranger.say(&Frame::hold(id(1), 1));
        // The first is obeyed, the others mean a call that has ended: legal, and of no effect.
        let cancels = Frame::cancel(id(1)).bytes().repeat(20_000);
        stranger.write(&cancels).unwrap();
        let reply = stranger.hear().unwrap();
        assert_eq!(
            (reply.kind, reply.id, reply.flags),
            (raw::REPLY, id(1), 1),
            "{reply:?}"
        );
        stranger.say(&Frame::number(id(2), 5));
        assert_eq!(stranger.hear().unwrap().body, 5_u64.to_le_bytes());
        // Pings that nobody reads the answers of.
        let pings = Frame::new(raw::PING).bytes().repeat(100_000);
        let flooded = stranger.write(&pings);
        drop((flooded, stranger));
    });
}

/// 100,000 calls, each cancelled at once.
#[test]
fn rapid_reset() {
    attack("rapid_reset", |endpoint| {
        let mut stranger = Stranger::introduced(endpoint);
        let mut batch = Vec::new();
        let (mut hung_up, mut last) = (false, None);
        for sequence in 1..=100_000 {
            batch.extend(Frame::hold(id(sequence), sequence).bytes());
            batch.extend(Frame::cancel(id(sequence)).bytes());
            if batch.len() > 16 << 10 {
                if stranger.write(&batch).is_err() {
                    hung_up = true;
                    break;
                }
                batch.clear();
                // A server that cannot answer stops reading: that would be no test of the budget.
                last = hear_some(&mut stranger).or(last);
            }
        }
        let last = stranger.rest().pop().or(last);
        let gone_away = last
            .as_ref()
            .is_some_and(|last| (last.kind, last.extra) == (raw::CLOSE, raw::BUSY));
        assert!(gone_away || hung_up, "nobody objected: {last:?}");
    });
}

/// Hears some of the answers, and gives the last. Each call has one, and more than this were made since the last time.
fn hear_some(stranger: &mut Stranger) -> Option<Frame> {
    (0..64).map_while(|_| stranger.hear()).last()
}

#[test]
fn more_calls_than_allowed() {
    let adjust: fn(&mut Plan) = |plan| plan.max_in_flight = Some(8);
    attack_with("more_calls_than_allowed", adjust, |endpoint| {
        let mut stranger = Stranger::introduced(endpoint);
        for sequence in 1..=10 {
            stranger.say(&Frame::hold(id(sequence), 1000 + sequence));
        }
        // Two too many are refused, and nothing else happens for so few.
        for _ in 0..2 {
            let reply = stranger.hear().unwrap();
            assert_eq!(
                (reply.kind, reply.flags, reply.ordinal),
                (raw::REPLY, 3, raw::BUSY),
                "{reply:?}"
            );
        }
        // One who insists is sent away.
        for sequence in 11..5000 {
            if stranger.write(&Frame::hold(id(sequence), 1).bytes()).is_err() {
                break;
            }
            if sequence % 100 == 0 {
                hear_some(&mut stranger);
            }
        }
        stranger.rest();
    });
}

#[test]
fn a_client_that_reads_nothing() {
    let adjust: fn(&mut Plan) = |plan| plan.max_queued = Some(1 << 20);
    attack_with("a_client_that_reads_nothing", adjust, |endpoint| {
        let strangers: Vec<_> = (0..4)
            .map(|_| {
                let mut stranger = Stranger::introduced(endpoint);
                // Each answer is 256 KiB. The server stops reading when a little more than its limit waits.
                for sequence in 1..=100 {
                    let give = Frame {
                        ordinal: raw::ordinal("Subject.give"),
                        ..Frame::number(id(sequence), 256 << 10)
                    };
                    stranger.say(&give);
                }
                stranger
            })
            .collect();
        // One of them reads after all, and gets all that it asked for.
        let mut strangers = strangers.into_iter();
        let mut patient = strangers.next().unwrap();
        for _ in 0..100 {
            assert_eq!(patient.hear().unwrap().body.len(), (256 << 10) + 8);
        }
    });
}

/// Those who may not stay are told why, and may stay until they have read it: as many as the limit says.
#[test]
fn refusals_that_nobody_takes_note_of() {
    for transport in [Transport::UnixName, Transport::Tcp] {
        watchdog::guard(&format!("refusals over {transport:?}"), move || {
            let plan = Plan {
                max_connections: Some(1),
                max_refused: Some(2),
                // Far longer than this takes.
                handshake: Some(20_000),
                ..Plan::at(transport.endpoint())
            };
            let mut server = serve(&plan);
            let canary = SubjectClient::connect(server.endpoint()).wait().unwrap();
            sing(&canary, 10);
            let before = Holdings::of(server.pid());
            let refused = || {
                let mut stranger = Stranger::connect(server.endpoint());
                let told = stranger.hear().expect("the server says why");
                assert_eq!((told.kind, told.extra), (raw::REJECT, raw::BUSY), "{told:?}");
                assert_eq!(told.sentence(), "it has 1 connections already");
                stranger
            };
            let (mut first, mut second) = (refused(), refused());
            for _ in 0..100 {
                assert_eq!(refused().hear(), None, "one too many is not kept");
            }
            assert!(first.is_connected() && second.is_connected());
            // Whoever takes note makes room for another one.
            drop(first);
            let began = Instant::now();
            while !refused().is_connected() {
                assert!(began.elapsed() < HANG, "nobody is kept any more");
            }
            drop(second);
            sing(&canary, 10);
            settle(&mut server, &before);
        });
    }
}

#[test]
fn connections_that_are_dropped_at_once() {
    attack("connections_that_are_dropped_at_once", |endpoint| {
        for round in 0..200 {
            let mut stranger = Stranger::connect(endpoint);
            if round % 2 == 0 {
                let _ = stranger.write(&Frame::hello().bytes());
            }
        }
    });
}

#[test]
fn endings_in_the_middle() {
    attack("endings_in_the_middle", |endpoint| {
        let call = Frame {
            body: pattern(100_000),
            ordinal: raw::ordinal("Subject.take"),
            ..Frame::number(id(2), 0)
        };
        let bytes = call.bytes();
        for length in [1, 31, 32, 33, 1000, 99_999] {
            let mut stranger = Stranger::introduced(endpoint);
            stranger.say(&Frame::hold(id(1), 1));
            stranger.write(&bytes[..length]).unwrap();
            stranger.0.end_writing().unwrap();
            let heard = stranger.rest();
            assert!(heard.iter().all(|frame| frame.kind == raw::CLOSE), "{heard:?}");
        }
    });
}
