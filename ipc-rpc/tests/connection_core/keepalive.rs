//! Asking for signs of life: who is asked, when silence counts, and when it does not.

use std::time::Duration;

use crate::connection::{Config, Incoming, ReplyStatus};
use crate::pair::{Client, End, Pair, Server, client_config, server_config};

const INTERVAL: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_millis(100);

fn pair() -> Pair {
    let keepalive = Some(INTERVAL);
    Pair::open_with(
        Config {
            keepalive,
            ..client_config()
        },
        Config {
            keepalive,
            ..server_config()
        },
    )
}

/// Lets one end look for as long as that while the other one is stopped. How long it was until silence was told.
fn alone(pair: &mut Pair, end: End, looks: u32) -> Option<Duration> {
    let since = pair.now;
    for _ in 0..looks {
        let next = pair.core(end).poll_timeout()?;
        pair.now = pair.now.max(next);
        let now = pair.now;
        pair.core(end).handle_timeout(now);
        pair.side(end).poll();
        if pair.core(end).is_silent() {
            return Some(pair.now - since);
        }
    }
    None
}

#[test]
fn a_peer_that_answers_is_never_silent() {
    let mut pair = pair();
    let key = pair.call(Client);
    pair.drive();
    pair.advance(INTERVAL * 50);
    for end in End::BOTH {
        assert!(!pair.core(end).is_silent());
        let seen = &pair.side(end).incoming;
        let news = seen
            .iter()
            .filter(|(incoming, _)| !matches!(incoming, Incoming::Request { .. }));
        assert_eq!(news.count(), 0, "the user hears nothing of it: {seen:?}");
    }
    assert!(pair.finish(Server, key.id(), ReplyStatus::Ok));
    pair.drive();
    assert_eq!(pair.side(Client).replies().len(), 1);
    pair.assert_no_errors();
}

#[test]
fn a_stopped_peer_is_silent_after_the_interval() {
    for end in End::BOTH {
        let mut pair = pair();
        pair.call(Client);
        pair.drive();
        let told = alone(&mut pair, end, 100).expect("it is told");
        // A look that still knows of the last message, one that asks, and the interval.
        assert!(told >= INTERVAL && told <= INTERVAL + 2 * LOOK, "{told:?}");
        let pings = pair.side(end).wire.len();
        assert_eq!(pings, 1, "it is asked once");
    }
}

#[test]
fn any_message_is_a_sign_of_life() {
    let mut pair = pair();
    let key = pair.call(Client);
    pair.drive();
    assert_eq!(alone(&mut pair, Client, 5), None);
    // What the server had to say arrives at last: the reply, and not the answer to the ping.
    pair.side(Client).wire.clear();
    assert!(pair.finish(Server, key.id(), ReplyStatus::Ok));
    pair.drive();
    let told = alone(&mut pair, Client, 100).expect("it is told");
    assert!(told >= INTERVAL, "{told:?}");
}

#[test]
fn own_absence_is_not_taken_for_the_peers() {
    let mut pair = pair();
    pair.call(Client);
    pair.drive();
    // This process was stopped for an hour. It is one look, whatever it missed.
    pair.now += Duration::from_secs(3600);
    let now = pair.now;
    pair.core(Client).handle_timeout(now);
    pair.core(Client).handle_timeout(now);
    assert!(!pair.core(Client).is_silent());
    pair.advance(INTERVAL * 3);
    assert!(!pair.core(Client).is_silent());
    pair.assert_no_errors();
}

#[test]
fn a_server_asks_nothing_of_an_idle_client() {
    let mut pair = pair();
    let key = pair.call(Client);
    pair.drive();
    assert!(pair.core(Server).poll_timeout().is_some());
    assert!(pair.finish(Server, key.id(), ReplyStatus::Ok));
    pair.drive();
    // It may block in something else, for ever, and reads nothing meanwhile.
    assert_eq!(pair.core(Server).poll_timeout(), None, "and costs no time");
    pair.now += INTERVAL * 1000;
    let now = pair.now;
    pair.core(Server).handle_timeout(now);
    assert!(pair.side(Server).wire.is_empty());
    // Its next call starts anew.
    pair.call(Client);
    pair.step();
    let told = alone(&mut pair, Server, 100).expect("it is told");
    assert!(told >= INTERVAL, "{told:?}");
}

#[test]
fn nobody_is_asked_who_need_not_be() {
    let mut pair = Pair::open();
    pair.call(Client);
    pair.drive();
    for end in End::BOTH {
        assert_eq!(pair.core(end).poll_timeout(), None);
    }
}

#[test]
fn pings_of_the_user_are_told_apart() {
    let mut pair = pair();
    assert_eq!(alone(&mut pair, Client, 3), None);
    assert!(pair.core(Client).ping(7));
    pair.drive();
    let pongs = &pair.side(Client).incoming;
    assert_eq!(pongs.len(), 1);
    assert_eq!(pongs[0].0, Incoming::Pong { token: 7 });
    pair.assert_no_errors();
}
