//! Calls and replies, in the ordinary course of things.

use crate::connection::{Incoming, ReplyStatus};
use crate::pair::{Client, End, GET, Pair, Server};

#[test]
fn a_call_is_answered_either_way() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let key = pair.call(caller);
        assert_eq!(pair.core(caller).in_flight(), 1);
        pair.drive();
        let (request, body) = pair.side(caller.other()).incoming.remove(0);
        let expected = Incoming::Request {
            id: key.id(),
            ordinal: GET.ordinal,
            deadline: None,
            one_way: false,
        };
        assert_eq!(request, expected);
        assert_eq!(body, format!("to {}", key.id()).into_bytes());
        assert_eq!(pair.core(caller.other()).serving(), 1);

        assert!(pair.finish(caller.other(), key.id(), ReplyStatus::Ok));
        assert_eq!(pair.core(caller.other()).serving(), 0);
        pair.drive();
        let answer = format!("from {}", key.id());
        assert_eq!(
            pair.side(caller).replies(),
            [(key, ReplyStatus::Ok, 5, answer.as_bytes())]
        );
        assert_eq!(pair.core(caller).in_flight(), 0);
        pair.assert_no_errors();
    }
}

#[test]
fn a_handler_ends_once() {
    let mut pair = Pair::open();
    let key = pair.call(Client);
    pair.drive();
    assert!(pair.finish(Server, key.id(), ReplyStatus::Ok));
    assert!(!pair.finish(Server, key.id(), ReplyStatus::Ok));
    assert!(!pair.finish(Server, 12345, ReplyStatus::Ok));
}
