//! What goes wrong, and leaves the connection alive.

use ipc_rpc::{ErrorKind, Outcome, ServiceClient};
use tests::fixture::Fixture;
use tests::subject::{AbsentClient, NextSubjectClient, SkewedSubjectClient};

use crate::times::assert_error;

pub(crate) async fn panics(f: Fixture) {
    let (_server, client) = f.pair().await;
    for round in 0..3 {
        let text = format!("round {round}");
        let ended = [
            ("Subject.panic_at_once", f.end(client.panic_at_once(&text)).await),
            ("Subject.panic_later", f.end(client.panic_later(&text)).await),
            (
                "Subject.panic_blocking",
                f.end(client.panic_blocking(&text)).await,
            ),
        ];
        for (method, ended) in ended {
            let error = ended.unwrap_err();
            assert_error(&error, ErrorKind::Panicked, Outcome::Unknown, Some(method));
            let expected = format!("{method}: the handler panicked: {text}; the server is still running");
            assert_eq!(error.to_string(), expected);
        }
        assert_eq!(f.end(client.number(round)).await.unwrap(), round);
    }
}

pub(crate) async fn panics_beside_other_calls(f: Fixture) {
    let (_server, client) = f.pair().await;
    let ended = f.together(60, |index| {
        let client = client.clone();
        async move {
            match index % 3 {
                0 => f.end(client.panic_at_once("now")).await.is_err(),
                1 => f.end(client.panic_later("later")).await.is_err(),
                _ => f.end(client.after(1)).await.is_ok(),
            }
        }
    });
    assert!(ended.await.into_iter().all(|as_expected| as_expected));
}

pub(crate) async fn a_service_that_is_not_there(f: Fixture) {
    let (server, client) = f.pair().await;
    let absent: AbsentClient = client.service();
    for _ in 0..2 {
        let error = f.end(absent.anything()).await.unwrap_err();
        assert_error(
            &error,
            ErrorKind::UnknownService,
            Outcome::NotSent,
            Some("Absent.anything"),
        );
        assert!(error.to_string().ends_with("does not serve Absent"), "{error}");
    }
    assert_eq!(f.end(client.number(1)).await.unwrap(), 1);
    // One can also connect for it.
    let absent: AbsentClient = f.end(f.connect(&server)).await.unwrap();
    assert_eq!(
        f.end(absent.anything()).await.unwrap_err().kind(),
        ErrorKind::UnknownService
    );
}

pub(crate) async fn a_program_of_another_age(f: Fixture) {
    let server = f.server();
    let skewed: SkewedSubjectClient = f.end(f.connect(&server)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(f.end(skewed.text("same")).await.unwrap(), "same");
        let error = f.end(skewed.number(1, 2)).await.unwrap_err();
        assert_error(
            &error,
            ErrorKind::Incompatible,
            Outcome::NotSent,
            Some("Subject.number"),
        );
        let expected = "Subject.number changed: this program expects number(u32, u32) -> Option<u64>, the server has \
                        number(u64) -> u64. Other methods still work. Rebuild or restart the older side";
        assert_eq!(error.to_string(), expected);
        let error = f.end(skewed.forgotten()).await.unwrap_err();
        assert_error(
            &error,
            ErrorKind::UnknownMethod,
            Outcome::NotSent,
            Some("Subject.forgotten"),
        );
        assert!(
            error
                .to_string()
                .ends_with(" has no Subject.forgotten: it is older than this program"),
            "{error}"
        );
    }
    let next: NextSubjectClient = f.end(f.connect(&server)).await.unwrap();
    let error = f.end(next.text("same")).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::Incompatible,
        Outcome::NotSent,
        Some("Subject.text"),
    );
    let expected = "Subject.text: this program expects version 2 of Subject, the server has version 1. Rebuild or \
                    restart the older side";
    assert_eq!(error.to_string(), expected);
}

pub(crate) async fn bodies_above_the_limit(f: Fixture) {
    const LIMIT: usize = 64 << 10;
    let mut plan = f.plan();
    plan.max_message = Some(LIMIT);
    let server = f.serve(&plan);
    let client = f.client(&server).await;
    let fitting = vec![b'x'; LIMIT / 2];
    let text = String::from_utf8(fitting).unwrap();
    for _ in 0..2 {
        // The argument is seen to be too large before it is sent.
        let large = text.repeat(3);
        let error = f.end(client.text(&large)).await.unwrap_err();
        assert_error(
            &error,
            ErrorKind::TooLarge,
            Outcome::NotSent,
            Some("Subject.text"),
        );
        assert!(
            error.to_string().starts_with("Subject.text argument is "),
            "{error}"
        );
        assert!(error.to_string().contains("64 KiB"), "{error}");
        assert_eq!(f.end(client.text(&text)).await.unwrap(), text);
    }
    // What a client takes is its own setting.
    let connect = f
        .connect::<tests::subject::SubjectClient>(&server)
        .max_message(LIMIT);
    let modest = f.end(connect).await.unwrap();
    let error = f.end(modest.give(2 * LIMIT as u64)).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::TooLarge,
        Outcome::Unknown,
        Some("Subject.give"),
    );
    assert_eq!(f.end(modest.give(10)).await.unwrap().len(), 10);
}
