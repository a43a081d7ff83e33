//! Generated items are documented, wherever the service stands.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    unused,
    rust_2018_idioms
)]

/// A service that a library offers.
#[ipc_rpc::service]
pub trait Public {
    /// Does nothing.
    async fn nothing(&self);
    /// Is old.
    #[deprecated = "it is old"]
    async fn old(&self, _unused: &str) -> u8;
}

mod inner {
    #[ipc_rpc::service]
    pub(super) trait Private {
        #[rpc(blocking)]
        fn work(&self) -> u8;
    }

    pub(super) struct Worker;

    impl Private for Worker {
        fn work(&self) -> u8 {
            1
        }
    }
}

fn main() {
    #[ipc_rpc::service]
    trait Local {
        async fn local(&self) -> u8;
    }

    struct Here;

    impl Local for Here {
        async fn local(&self) -> u8 {
            1
        }
    }

    let _server = LocalServer::new(Here);
    let _server = inner::PrivateServer::new(inner::Worker);
}
