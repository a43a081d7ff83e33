//! `kill -9` of a server and of a client, under load.

use std::time::Instant;

use ipc_rpc::{Error, ErrorKind, Outcome};
use tests::meter::Holdings;
use tests::mode::{Ending, Mode};
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};

use crate::{Distribution, PROGRAM, WATCHDOG, name, until_descriptors, until_own_descriptors};

/// Calls that wait in the server, and callers that call one after the other.
const HELD: u64 = 8;
const CALLERS: u64 = 8;

#[test]
fn a_server_is_killed() {
    server_kills(50);
}

#[test]
#[ignore = "takes a minute"]
fn a_server_is_killed_1000_times() {
    server_kills(1000);
}

#[test]
fn a_client_is_killed() {
    client_kills(50);
}

#[test]
#[ignore = "takes a minute"]
fn a_client_is_killed_1000_times() {
    client_kills(1000);
}

fn server_kills(rounds: u64) {
    let plan = Plan::at(name("kill-server"));
    let mut times = [Distribution::default(), Distribution::default()];
    let mut kept = None;
    let mut unknown = 0;
    for round in 0..=rounds {
        let mode = if round % 2 == 0 {
            Mode::Async
        } else {
            Mode::Blocking
        };
        // It takes the place of the one that was killed, at once.
        let mut server = Helper::serve(PROGRAM, &plan, |_| {});
        let ended = mode.run(under_load(mode, &mut server));
        server.leave_behind();
        drop(server);
        // The first round is for what is made once in a process and kept.
        let Some(kept) = kept else {
            kept = Some(Holdings::own().descriptors);
            continue;
        };
        until_own_descriptors(kept);
        for (error, took) in ended {
            assert_eq!(error.kind(), ErrorKind::PeerDied, "round {round}: {error}");
            let was_held = error.method() == Some("Subject.hold");
            assert!(
                !was_held || error.outcome() == Outcome::Unknown,
                "round {round}: {error:?}"
            );
            unknown += u64::from(error.outcome() == Outcome::Unknown);
            times[(round % 2) as usize].add(took);
        }
    }
    // And the last one was killed, too.
    let mut last = Helper::serve(PROGRAM, &plan, |_| {});
    last.kill();
    let [awaited, waited] = times;
    println!("{rounds} kills of a server; {unknown} calls were in flight");
    assert!(unknown >= rounds * HELD);
    let longest = awaited
        .tell("from the kill to the end of an awaited call")
        .max(waited.tell("from the kill to the end of a call that blocked"));
    assert!(longest < WATCHDOG, "{longest:?}");
}

/// Kills a server under load: how each call ended that did not succeed, and how long after the kill.
async fn under_load(mode: Mode, server: &mut Helper) -> Vec<(Error, std::time::Duration)> {
    let endpoint = server.endpoint().clone();
    let client: SubjectClient = mode.end(SubjectClient::connect(endpoint.clone())).await.unwrap();
    let mut running = Vec::new();
    for token in 0..HELD {
        let client = client.clone();
        running.push(mode.start(async move {
            let error = mode.end(client.hold(token)).await.unwrap_err();
            (error, Instant::now())
        }));
    }
    for _ in 0..CALLERS {
        // Half as many connections, beside the one with the waiting calls.
        let own = mode.end(SubjectClient::connect(endpoint.clone())).await.unwrap();
        running.push(mode.start(async move { (until_failure(mode, &own).await, Instant::now()) }));
    }
    mode.end(client.until_held(HELD)).await.unwrap();
    let killed = Instant::now();
    server.kill();
    let mut ended = Vec::new();
    for call in running {
        let (error, at) = call.join().await;
        ended.push((error, at.saturating_duration_since(killed)));
    }
    // Whoever comes later hears so at once.
    let error = mode.end(client.number(1)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::PeerDied, Outcome::NotSent)
    );
    ended
}

async fn until_failure(mode: Mode, client: &SubjectClient) -> Error {
    for number in 0.. {
        match mode.end(client.number(number)).await {
            Ok(same) => assert_eq!(same, number),
            Err(error) => return error,
        }
    }
    unreachable!("numbers do not end")
}

fn client_kills(rounds: u64) {
    let server = Helper::serve(PROGRAM, &Plan::at(name("kill-client")), |_| {});
    let endpoint = server.endpoint().to_string();
    let canary = SubjectClient::connect(server.endpoint().clone()).wait().unwrap();
    let mut times = Distribution::default();
    let mut kept = None;
    for round in 1..=rounds + 1 {
        let mut victim = Helper::start(PROGRAM, "hold", &endpoint, |_| {});
        assert_eq!(victim.line(), "connected");
        Ending::wait(canary.until_held(8 * round)).unwrap();
        let killed = Instant::now();
        victim.kill();
        canary.until_abandoned(8 * round).wait().unwrap();
        canary.until_rundowns(round).wait().unwrap();
        let took = killed.elapsed();
        let kept = *kept.get_or_insert_with(|| {
            // With the first one gone for good.
            until_descriptors(server.pid(), canary.holdings().wait().unwrap().descriptors);
            Holdings::of(server.pid()).descriptors
        });
        until_descriptors(server.pid(), kept);
        times.add(took);
    }
    let events = canary.until_rundowns(0).wait().unwrap();
    let rundowns = events.iter().filter(|event| *event == "rundown").count() as u64;
    let abandoned = events.iter().filter(|event| *event == "abandoned").count() as u64;
    assert_eq!(
        (rundowns, abandoned),
        (rounds + 1, 8 * (rounds + 1)),
        "each exactly once"
    );
    println!("{rounds} kills of a client with 8 calls in progress");
    let longest = times.tell("from the kill until all its handlers were dropped and its rundown had run");
    assert!(longest < WATCHDOG, "{longest:?}");
}
