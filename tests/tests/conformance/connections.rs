//! Connections: who gets in, what is known of them, and how they end.

use std::time::{Duration, Instant};

use ipc_rpc::{Endpoint, ErrorKind, Outcome, ServiceClient};
use tests::fixture::Fixture;
use tests::mode::Mode;
use tests::process::Helper;
use tests::subject::{SecondClient, SubjectClient};

use crate::times::assert_error;

pub(crate) async fn what_a_handler_knows(f: Fixture) {
    let server = f.server();
    let connect = f.connect::<SubjectClient>(&server).greeting("good morning");
    let (greeted, other) = (f.end(connect).await.unwrap(), f.client(&server).await);
    let seen = f.end(greeted.seen()).await.unwrap();
    assert_eq!(seen.method, "Subject.seen");
    assert_eq!(seen.greeting.as_deref(), Some("good morning"));
    assert!(!seen.cancelled);
    assert_eq!(seen.anonymous, !f.transport.vouches());
    assert_eq!(seen.pid, f.transport.tells_processes().then(std::process::id));
    assert_eq!(seen.uid.is_some(), f.transport.tells_users());
    assert_eq!(
        f.end(greeted.seen()).await.unwrap(),
        seen,
        "it is the same connection"
    );
    let others = f.end(other.seen()).await.unwrap();
    assert_ne!(others.connection, seen.connection);
    assert_eq!(others.greeting.as_deref(), Some(""));
}

pub(crate) async fn refused_on_connect(f: Fixture) {
    let mut plan = f.plan();
    plan.reject = Some("closed for the season".to_owned());
    let server = f.serve(&plan);
    for _ in 0..3 {
        let error = f.end(f.connect::<SubjectClient>(&server)).await.unwrap_err();
        assert_error(&error, ErrorKind::Rejected, Outcome::NotSent, None);
        assert_eq!(
            error.to_string(),
            format!("\"{}\" refused us: closed for the season", server.endpoint())
        );
    }
}

pub(crate) async fn let_in_with_a_token(f: Fixture) {
    let mut plan = f.plan();
    plan.token = Some("secret".to_owned());
    let server = f.serve(&plan);
    for wrong in [&b""[..], b"Secret", &[0xff; 4096]] {
        let error = f
            .end(f.connect::<SubjectClient>(&server).greeting(wrong))
            .await
            .unwrap_err();
        assert_error(&error, ErrorKind::Rejected, Outcome::NotSent, None);
    }
    let error = f
        .end(f.connect::<SubjectClient>(&server).greeting(vec![0; 4097]))
        .await
        .unwrap_err();
    assert_error(&error, ErrorKind::TooLarge, Outcome::NotSent, None);
    let client = f
        .end(f.connect::<SubjectClient>(&server).greeting("secret"))
        .await
        .unwrap();
    assert_eq!(f.end(client.number(1)).await.unwrap(), 1);
}

pub(crate) async fn on_connect_panics(f: Fixture) {
    let mut plan = f.plan();
    plan.panic = true;
    let server = f.serve(&plan);
    for _ in 0..3 {
        let error = f.end(f.connect::<SubjectClient>(&server)).await.unwrap_err();
        assert_error(&error, ErrorKind::Rejected, Outcome::NotSent, None);
    }
}

pub(crate) async fn denied_by_allow(f: Fixture) {
    let mut plan = f.plan();
    plan.allow = Some(false);
    if !f.transport.vouches() {
        // Nobody would know whom to allow.
        let plan = serde_json::to_string(&plan).unwrap();
        let line = Helper::start(f.program, "serve", &plan, |_| {}).line();
        assert!(
            line.starts_with(
                "failed: Server::allow needs to know who calls, which tcp:127.0.0.1:0 cannot tell; use unix:"
            ),
            "{line}"
        );
        return;
    }
    let server = f.serve(&plan);
    let error = f.end(f.connect::<SubjectClient>(&server)).await.unwrap_err();
    assert_error(&error, ErrorKind::Denied, Outcome::NotSent, None);
    assert!(error.to_string().contains("(Server::allow decides)"), "{error}");
}

pub(crate) async fn the_limit_of_connections(f: Fixture) {
    let mut plan = f.plan();
    plan.max_connections = Some(2);
    let server = f.serve(&plan);
    let (first, second) = (f.client(&server).await, f.client(&server).await);
    for _ in 0..3 {
        let error = f.end(f.connect::<SubjectClient>(&server)).await.unwrap_err();
        assert_error(&error, ErrorKind::Busy, Outcome::NotSent, None);
        assert!(
            error.to_string().ends_with("it has 2 connections already"),
            "{error}"
        );
    }
    drop(first);
    f.end(second.until_rundowns(1)).await.unwrap();
    // The connection's place is free a moment after its rundown.
    let began = Instant::now();
    let third = loop {
        match f.end(f.connect::<SubjectClient>(&server)).await {
            Ok(client) => break client,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "{error}"),
        }
    };
    assert_eq!(f.end(third.number(3)).await.unwrap(), 3);
    assert_eq!(f.end(second.number(2)).await.unwrap(), 2);
}

pub(crate) async fn the_rundown_comes_once_and_last(f: Fixture) {
    let (server, client) = f.pair().await;
    let witness = f.client(&server).await;
    let second: SecondClient = client.service();
    let running: Vec<_> = (0..5)
        .map(|token| {
            let client = client.clone();
            f.start(async move { f.end(client.hold(token)).await })
        })
        .collect();
    f.end(witness.until_held(5)).await.unwrap();
    second.as_client().close();
    for one in running {
        let error = one.join().await.unwrap_err();
        assert_error(&error, ErrorKind::Closed, Outcome::Unknown, Some("Subject.hold"));
    }
    let mut events = f.end(witness.until_rundowns(1)).await.unwrap();
    assert_eq!(events.pop().as_deref(), Some("rundown"));
    assert_eq!(events, ["abandoned"; 5]);
    // Closed is closed, for all who share it; and once is enough.
    let error = f.end(client.number(1)).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::Closed,
        Outcome::NotSent,
        Some("Subject.number"),
    );
    client.as_client().close();
    drop((client, second));
    assert_eq!(f.end(witness.until_rundowns(1)).await.unwrap().len(), 6);
}

pub(crate) async fn connecting_again_and_again(f: Fixture) {
    let server = f.server();
    let witness = f.client(&server).await;
    let mut last = 0;
    for round in 1..=30 {
        let client = f.client(&server).await;
        let connection = f.end(client.seen()).await.unwrap().connection;
        assert!(connection > last, "connection numbers are not used again");
        last = connection;
        drop(client);
        if round % 10 == 0 {
            f.end(witness.until_rundowns(round)).await.unwrap();
        }
    }
}

pub(crate) async fn pings(f: Fixture) {
    let (_server, client) = f.pair().await;
    for _ in 0..20 {
        assert!(f.end(client.as_client().ping()).await.unwrap() < Duration::from_secs(10));
    }
    let both = f.together(8, |_| {
        let client = client.clone();
        async move {
            let time = f.end(client.as_client().ping()).await;
            f.end(client.nothing()).await.unwrap();
            time.is_ok()
        }
    });
    assert!(both.await.into_iter().all(|answered| answered));
    client.as_client().close();
    assert_eq!(
        f.end(client.as_client().ping()).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

pub(crate) async fn a_server_that_shuts_down_drains(f: Fixture) {
    let mut plan = f.plan();
    plan.drain = Some(2000);
    let mut server = f.serve(&plan);
    let (client, other) = (f.client(&server).await, f.client(&server).await);
    let (slow, fast) = (client.clone(), client.clone());
    let in_progress = f.start(async move { f.end(slow.after(300)).await });
    f.end(client.until_held(1)).await.unwrap();
    let shut = f.start(async move { f.end(fast.shut_down()).await });
    assert_eq!(
        in_progress.join().await.unwrap(),
        300,
        "a call in progress ends as if nothing had happened"
    );
    shut.join().await.unwrap();
    server.wait().unwrap();
    for client in [client, other] {
        let error = f.end(client.number(1)).await.unwrap_err();
        // A blocking client that waits for nothing reads nothing, so its call is on its way when it learns. But then it
        // learns, too, that the server has not read the call.
        let unread = f.mode == Mode::Blocking && error.outcome() == Outcome::RejectedByPeer;
        let outcome = if unread {
            Outcome::RejectedByPeer
        } else {
            Outcome::NotSent
        };
        assert_error(&error, ErrorKind::Closed, outcome, Some("Subject.number"));
        assert!(error.is_retryable(), "{error}");
    }
    let error = f.end(f.connect::<SubjectClient>(&server)).await.unwrap_err();
    assert_error(&error, ErrorKind::NotConnected, Outcome::NotSent, None);
}

pub(crate) async fn a_drain_has_an_end(f: Fixture) {
    let mut plan = f.plan();
    plan.drain = Some(100);
    let mut server = f.serve(&plan);
    let client = f.client(&server).await;
    let holder = {
        let client = client.clone();
        f.start(async move { f.end(client.hold(1)).await })
    };
    f.end(client.until_held(1)).await.unwrap();
    // Its own answer may come before the news of the end, or after.
    let _ = f.end(client.shut_down()).await;
    let error = holder.join().await.unwrap_err();
    assert_error(&error, ErrorKind::Closed, Outcome::Unknown, Some("Subject.hold"));
    assert!(error.to_string().contains("shutting down"), "{error}");
    server.wait().unwrap();
}

pub(crate) async fn served_by_another_process(f: Fixture) {
    let (server, client) = f.pair().await;
    let seen = f.end(client.seen()).await.unwrap();
    assert_ne!(server.pid(), std::process::id());
    assert_eq!(seen.anonymous, !f.transport.vouches());
    if f.transport.tells_processes() {
        assert_eq!(seen.pid, Some(std::process::id()));
        assert_eq!(client.as_client().peer().pid(), Some(server.pid()));
    }
}

pub(crate) async fn the_server_is_killed(f: Fixture) {
    let (mut server, client) = f.pair().await;
    let running: Vec<_> = (0..8)
        .map(|token| {
            let client = client.clone();
            f.start(async move { f.end(client.hold(token)).await })
        })
        .collect();
    f.end(client.until_held(8)).await.unwrap();
    let endpoint: Endpoint = server.endpoint().clone();
    server.process().kill();
    let killed = Instant::now();
    for one in running {
        let error = one.join().await.unwrap_err();
        assert_error(
            &error,
            ErrorKind::PeerDied,
            Outcome::Unknown,
            Some("Subject.hold"),
        );
        assert!(!error.is_retryable(), "{error}");
    }
    assert!(
        killed.elapsed() < Duration::from_secs(4),
        "noticed after {:?}",
        killed.elapsed()
    );
    let error = f.end(client.number(1)).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::PeerDied,
        Outcome::NotSent,
        Some("Subject.number"),
    );
    // The next one takes its place, and a new client reaches it.
    let mut plan = f.plan();
    plan.endpoint = endpoint.to_string();
    let successor = f.serve(&plan);
    let client = f.client(&successor).await;
    assert_eq!(f.end(client.number(1)).await.unwrap(), 1);
}

pub(crate) async fn the_client_is_killed(f: Fixture) {
    let (server, witness) = f.pair().await;
    for round in 1..=3 {
        let mut victim = Helper::start(f.program, "hold", &server.endpoint().to_string(), |_| {});
        assert_eq!(victim.line(), "connected");
        f.end(witness.until_held(8 * round)).await.unwrap();
        victim.kill();
        let events = f.end(witness.until_rundowns(round)).await.unwrap();
        let expected = [&["abandoned"; 8][..], &["rundown"]]
            .concat()
            .repeat(round as usize);
        assert_eq!(events, expected);
        assert_eq!(
            f.end(witness.until_cancelled(8 * round)).await.unwrap(),
            8 * round
        );
    }
}

pub(crate) async fn connecting_while_the_server_starts(f: Fixture) {
    let plan = f.plan();
    let endpoint = if plan.endpoint == "tcp:0" {
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("tcp:{}", free.local_addr().unwrap().port())
    } else {
        plan.endpoint.clone()
    };
    let error = f
        .end(SubjectClient::connect(endpoint.as_str()).codec(f.codec))
        .await
        .unwrap_err();
    assert_error(&error, ErrorKind::NotConnected, Outcome::NotSent, None);
    assert!(error.is_retryable(), "{error}");
    let connect = SubjectClient::connect(endpoint.as_str())
        .codec(f.codec)
        .retry(Duration::from_secs(20));
    let client = f.start(async move { f.end(connect).await.unwrap() });
    let plan = tests::subject::Plan { endpoint, ..plan };
    let _server = f.serve(&plan);
    assert_eq!(f.end(client.join().await.number(1)).await.unwrap(), 1);
}
