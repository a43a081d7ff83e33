//! Two servers that are started together on one name.

use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};

use crate::{PROGRAM, name};

#[test]
fn two_servers_start_together() {
    starts(20);
}

#[test]
#[ignore = "takes half a minute"]
fn two_servers_start_together_100_times() {
    starts(100);
}

fn starts(rounds: u32) {
    let name = name("start");
    let plan = serde_json::to_string(&Plan::at(&name)).unwrap();
    let mut first_won = 0;
    for round in 0..rounds {
        let mut both = [0, 1].map(|_| Helper::start(PROGRAM, "serve", &plan, |_| {}));
        let said = both.each_mut().map(|server| server.line());
        let won = said.each_ref().map(|line| line.starts_with("ready "));
        let winner = match won {
            [true, false] => 0,
            [false, true] => 1,
            _ => panic!("round {round}: {said:?}"),
        };
        let expected = format!(
            "failed: cannot serve \"{name}\": pid {} ({PROGRAM}) already serves it",
            both[winner].pid()
        );
        assert_eq!(said[1 - winner], expected, "round {round}");
        assert!(
            both[1 - winner].wait().success(),
            "round {round}: it ended by itself"
        );
        let client = SubjectClient::connect(name.as_str()).wait().unwrap();
        assert_eq!(client.number(round.into()).wait().unwrap(), u64::from(round));
        first_won += u32::from(winner == 0);
        // Every other time the next two find what a dead one left.
        if round % 2 == 0 {
            both[winner].kill();
        } else {
            client.shut_down().wait().unwrap();
            drop(client);
            assert_eq!(both[winner].line(), "ended");
            assert!(both[winner].wait().success());
        }
    }
    println!(
        "{rounds} times two servers on one name: one won each time, {first_won} times the one started first"
    );
    // What the last killed one left is no concern of a later run.
    drop(Helper::serve(PROGRAM, &Plan::at(&name), |_| {}));
}
