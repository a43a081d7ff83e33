//! Generated code gives a user no warning, however strict the user is: this file is compiled, and linted by clippy, with
//! every lint below an error. It is lenient nowhere but where the trait itself would be at fault without the macro.
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    unused_lifetimes,
    single_use_lifetimes,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason
)]

use std::borrow::Cow;
use std::path::Path;

use ipc_rpc::{Context, ServiceClient};
use serde::{Deserialize, Serialize};

/// Counts the changes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version(pub u64);

/// Why a value was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// There is no room.
    Full,
}

/// A service of all kinds of methods.
#[ipc_rpc::service(name = "strict", version = 2)]
pub trait Strict {
    /// Takes nothing.
    async fn nothing(&self);
    /// Borrows.
    async fn borrow(&self, text: &str, bytes: Option<&[u8]>, mixed: (u8, &str)) -> Option<Vec<u8>>;
    /// Fails.
    ///
    /// # Errors
    /// `Full` when there is no room.
    async fn fail(&self, context: &Context, path: &Path) -> Result<Version, Failure>;
    /// Is not waited for, and has arguments of one suffix.
    #[rpc(oneway)]
    async fn tell(&self, user_id: u64, group_id: u64, session_id: u64);
    /// Blocks.
    #[rpc(blocking)]
    #[must_use]
    fn block(&self, count: u64) -> u64;
    /// Has a body, and an argument that it does not use.
    async fn add(&self, _unused: Cow<'_, str>, left: u8, right: u8) -> u8 {
        left.wrapping_add(right)
    }
    /// Is old.
    #[deprecated = "it is old"]
    async fn old(&self, flags: (bool, bool), more: bool) -> bool;
    /// Takes many.
    #[expect(clippy::too_many_arguments, reason = "it is how the other program is called")]
    async fn many(
        &self,
        first: u8,
        second: u8,
        third: u8,
        fourth: u8,
        fifth: u8,
        sixth: u8,
        seventh: u8,
    ) -> u8;
    /// Matters.
    #[must_use = "for a reason"]
    async fn matter(&self) -> u8;
}

/// All that blocks.
#[ipc_rpc::service]
#[deprecated = "use another"]
pub trait Blocking {
    /// Blocks.
    #[rpc(blocking)]
    fn block(&self);
}

mod inner {
    #[ipc_rpc::service]
    pub(super) trait Inner {
        async fn undocumented(&self, key: &str);
    }

    #[derive(Debug)]
    pub(super) struct Nobody;

    impl Inner for Nobody {
        async fn undocumented(&self, _: &str) {}
    }
}

#[test]
fn a_strict_program_compiles() {
    #[ipc_rpc::service]
    trait Local {
        async fn local(&self, key: &str);
    }

    impl Local for () {
        async fn local(&self, _: &str) {}
    }

    let _ = LocalServer::new(());
    let _ = inner::InnerServer::new(inner::Nobody);
    assert_eq!(StrictClient::INFO.name, "strict");
    assert_eq!(StrictClient::INFO.methods.len(), 9);
}
