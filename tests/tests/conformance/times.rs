//! Deadlines, limits, and calls that nobody waits for any more.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use ipc_rpc::{Error, ErrorKind, Outcome};
use tests::fixture::{Fixture, MOMENT};
use tests::subject::SubjectClient;

/// Checks what an error says of itself.
#[track_caller]
pub(crate) fn assert_error(error: &Error, kind: ErrorKind, outcome: Outcome, method: Option<&str>) {
    assert_eq!(
        (error.kind(), error.outcome(), error.method()),
        (kind, outcome, method),
        "{error}"
    );
}

pub(crate) async fn the_handler_sees_the_deadline(f: Fixture) {
    let (_server, client) = f.pair().await;
    assert_eq!(f.end(client.seen()).await.unwrap().left, None);
    let left = f
        .end(client.seen().timeout(Duration::from_secs(20)))
        .await
        .unwrap()
        .left;
    assert!(
        left.is_some_and(|left| (1..=20_000).contains(&left)),
        "{left:?} ms left of 20 s"
    );
    let patient: SubjectClient = client.with_timeout(Duration::from_secs(40));
    let left = f.end(patient.seen()).await.unwrap().left;
    assert!(
        left.is_some_and(|left| (20_001..=40_000).contains(&left)),
        "{left:?} ms left of 40 s"
    );
    // The call's own replaces the client's.
    let left = f
        .end(patient.seen().timeout(Duration::from_secs(10)))
        .await
        .unwrap()
        .left;
    assert!(
        left.is_some_and(|left| left <= 10_000),
        "{left:?} ms left of 10 s"
    );
    // One that no clock can show.
    assert_eq!(
        f.end(client.seen().timeout(Duration::MAX)).await.unwrap().left,
        None
    );
}

pub(crate) async fn a_deadline_passes_on_both_sides(f: Fixture) {
    let (_server, client) = f.pair().await;
    let began = Instant::now();
    let error = f.end(client.hold(1).timeout(MOMENT)).await.unwrap_err();
    assert!(began.elapsed() >= MOMENT, "{:?}", began.elapsed());
    assert_error(
        &error,
        ErrorKind::Deadline,
        Outcome::Unknown,
        Some("Subject.hold"),
    );
    assert!(
        error
            .to_string()
            .starts_with("Subject.hold timed out after 100 ms"),
        "{error}"
    );
    assert_eq!(f.end(client.until_abandoned(1)).await.unwrap(), 1);
    assert_eq!(f.end(client.until_cancelled(1)).await.unwrap(), 1);
    // Nobody waits for a late answer, and nothing is wrong with the connection.
    f.end(client.release(1)).await.unwrap();
    assert_eq!(f.end(client.number(5)).await.unwrap(), 5);
}

pub(crate) async fn many_deadlines_at_once(f: Fixture) {
    let (_server, client) = f.pair().await;
    let held = |token: u64, timeout| {
        let client = client.clone();
        async move {
            f.end(client.hold(token).timeout(timeout))
                .await
                .map_err(|error| error.kind())
        }
    };
    let patient: Vec<_> = (0..25)
        .map(|token| f.start(held(token, Duration::from_secs(20))))
        .collect();
    f.end(client.until_held(25)).await.unwrap();
    // Those with less time end, and only those.
    for ended in f.together(25, |index| held(100 + index, MOMENT)).await {
        assert_eq!(ended, Err(ErrorKind::Deadline));
    }
    for (token, one) in (0..).zip(patient) {
        f.end(client.release(token)).await.unwrap();
        assert_eq!(one.join().await, Ok(token));
    }
}

pub(crate) async fn a_deadline_that_has_passed(f: Fixture) {
    let (_server, client) = f.pair().await;
    let error = f.end(client.hold(1).timeout(Duration::ZERO)).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::Deadline,
        Outcome::NotSent,
        Some("Subject.hold"),
    );
    assert!(error.is_retryable(), "{error}");
    assert_eq!(f.end(client.until_held(0)).await.unwrap(), 0);
}

pub(crate) async fn the_limit_of_calls_in_flight(f: Fixture) {
    let mut plan = f.plan();
    plan.max_in_flight = Some(4);
    let server = f.serve(&plan);
    let (client, control) = (f.client(&server).await, f.client(&server).await);
    let running = f.together(12, |token| {
        let client = client.clone();
        async move { f.end(client.hold(token)).await.unwrap() }
    });
    let releaser = f.start(async move {
        // Four are in their handlers. When they are released the next come, in whatever order.
        assert_eq!(f.end(control.until_held(4)).await.unwrap(), 4);
        for token in 0..12 {
            f.end(control.release(token)).await.unwrap();
        }
        assert_eq!(f.end(control.until_held(12)).await.unwrap(), 12);
    });
    assert_eq!(running.await, (0..12).collect::<Vec<_>>());
    releaser.join().await;
}

pub(crate) async fn the_deadline_of_a_call_that_waits_for_room(f: Fixture) {
    let mut plan = f.plan();
    plan.max_in_flight = Some(1);
    let server = f.serve(&plan);
    let (client, control) = (f.client(&server).await, f.client(&server).await);
    let holder = {
        let client = client.clone();
        f.start(async move { f.end(client.hold(1)).await.unwrap() })
    };
    f.end(control.until_held(1)).await.unwrap();
    let error = f.end(client.number(2).timeout(MOMENT)).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::Deadline,
        Outcome::NotSent,
        Some("Subject.number"),
    );
    assert_eq!(
        error.to_string(),
        "Subject.number timed out after 100 ms, before it could be sent: too much is in flight"
    );
    // The next in the queue is not forgotten.
    let next = {
        let client = client.clone();
        f.start(async move { f.end(client.number(3)).await.unwrap() })
    };
    f.end(control.release(1)).await.unwrap();
    assert_eq!((holder.join().await, next.join().await), (1, 3));
}

pub(crate) async fn one_way_calls_above_the_limit_wait(f: Fixture) {
    let mut plan = f.plan();
    plan.max_in_flight = Some(2);
    let server = f.serve(&plan);
    let client = f.client(&server).await;
    for value in 0..2000 {
        f.end(client.note(value)).await.unwrap();
    }
    assert_eq!(
        f.end(client.until_notes(2000)).await.unwrap(),
        (0..2000).collect::<Vec<_>>()
    );
}

pub(crate) async fn blocking_methods(f: Fixture) {
    let (_server, client) = f.pair().await;
    assert_eq!(f.end(client.work(1000)).await.unwrap(), (500_500, true));
    // They do not hold others up.
    let worker = {
        let client = client.clone();
        f.start(async move { f.end(client.work_until_cancelled().timeout(MOMENT)).await })
    };
    f.end(client.until_held(1)).await.unwrap();
    assert_eq!(f.end(client.number(1)).await.unwrap(), 1);
    assert_eq!(worker.join().await.unwrap_err().kind(), ErrorKind::Deadline);
    assert_eq!(f.end(client.until_cancelled(1)).await.unwrap(), 1);
}

pub(crate) async fn a_dropped_call_is_cancelled(f: Fixture) {
    let (_server, client) = f.pair().await;
    for token in 1..=10 {
        let mut call = client.hold(token);
        tokio::select! {
            biased;
            ended = &mut call => panic!("nobody released it: {ended:?}"),
            held = client.until_held(token) => held.unwrap(),
        };
        drop(call);
        assert_eq!(client.until_abandoned(token).await.unwrap(), token);
        assert_eq!(client.until_cancelled(token).await.unwrap(), token);
    }
    assert_eq!(client.number(1).await.unwrap(), 1);
}

pub(crate) async fn calls_dropped_at_every_poll(f: Fixture) {
    let (_server, client) = f.pair().await;
    for polls in 0..8 {
        for _ in 0..20 {
            let mut call = pin!(client.after(1));
            for _ in 0..polls {
                if call
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_ready()
                {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // The stream of messages is still whole.
        assert_eq!(client.text("whole").await.unwrap(), "whole");
    }
}

pub(crate) async fn a_call_that_waits_for_room_is_dropped(f: Fixture) {
    let mut plan = f.plan();
    plan.max_in_flight = Some(1);
    let server = f.serve(&plan);
    let (client, control) = (f.client(&server).await, f.client(&server).await);
    let holder = tokio::spawn({
        let client = client.clone();
        async move { client.hold(1).await }
    });
    control.until_held(1).await.unwrap();
    let dropped = tokio::time::timeout(MOMENT, client.note(1)).await;
    assert!(
        dropped.is_ok() || dropped.is_err(),
        "a one-way call needs no room among those in flight"
    );
    let queued: Vec<_> = (0..5).map(|number| Box::pin(client.number(number))).collect();
    let mut queued = queued.into_iter();
    let mut first = queued.next().unwrap();
    let mut second = queued.next().unwrap();
    for call in [&mut first, &mut second] {
        assert!(
            call.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }
    // The first in the queue goes away at the moment when its turn has come.
    control.release(1).await.unwrap();
    holder.await.unwrap().unwrap();
    drop(first);
    assert_eq!(second.await.unwrap(), 1);
    assert_eq!(client.number(9).await.unwrap(), 9);
}
