//! Accepting connections.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use transports::{Accepted, Listener};

use crate::Error;
use crate::hub::Hub;

/// Accepts connections until that fails for good.
pub(crate) async fn accept(mut listener: Box<dyn Listener>, hub: Arc<Hub>) -> Error {
    /// How long to leave the backlog alone when the process has no descriptor left and no connection ends.
    const PAUSE: Duration = Duration::from_millis(100);
    let source = match listener.source() {
        Ok(source) => source,
        Err(error) => return error.into(),
    };
    loop {
        let accepted = std::future::poll_fn(|cx| {
            loop {
                let mut accepted = None;
                let looked = source.poll_recv(cx, || {
                    let outcome = listener.try_accept();
                    let drained = matches!(outcome, Ok(Accepted::Empty));
                    accepted = Some(outcome);
                    drained
                });
                match (looked, accepted) {
                    (Poll::Ready(Err(error)), _) => return Poll::Ready(Err(error)),
                    (Poll::Ready(Ok(())), Some(Ok(Accepted::Port(port)))) => return Poll::Ready(Ok(port)),
                    (Poll::Ready(Ok(())), Some(Err(error))) => return Poll::Ready(Err(error)),
                    (Poll::Ready(Ok(())), _) => {}
                    (Poll::Pending, _) => return Poll::Pending,
                }
            }
        });
        match accepted.await {
            Ok(port) => hub.admit(port),
            Err(error) if error.kind() == transports::ErrorKind::Resource => {
                let _ = tokio::time::timeout(PAUSE, hub.fewer()).await;
            }
            Err(error) => return error.into(),
        }
    }
}
