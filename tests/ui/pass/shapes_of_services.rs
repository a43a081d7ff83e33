//! Ways to write and to use a service that must keep working.
#![deny(warnings, unused)]

use std::sync::Arc;

// `Send`, `Sync` and `'static` hold anyway; they may be written.
#[ipc_rpc::service]
trait Bounds: Send + core::marker::Sync + 'static {
    async fn one(&self) -> u8;
}

impl Bounds for u8 {
    async fn one(&self) -> u8 {
        *self
    }
}

// Not only `async fn` implements an `async fn` of the trait.
#[ipc_rpc::service]
trait Futures {
    async fn ready(&self, key: &str) -> usize;
}

impl Futures for () {
    fn ready(&self, key: &str) -> impl Future<Output = usize> + Send {
        std::future::ready(key.len())
    }
}

fn assert_send<T: Send>(_: &T) {}
fn assert_static<T: Clone + Send + Sync + 'static>(_: Option<T>) {}
fn serves<T: Bounds>(_: T) {}

fn main() {
    serves(1_u8);
    serves(Arc::new(1_u8));
    serves(Arc::new(Arc::new(1_u8)));
    let _ = BoundsServer::from_arc(Arc::new(1_u8)).require_identity().clone();
    let _ = FuturesServer::new(());
    assert_static(None::<FuturesClient>);
    if let Some(client) = None::<FuturesClient> {
        assert_send(&client.ready("key"));
    }
}
