//! A service with a method for every kind of type that serde knows, from the list that the codecs are tested with.

use ipc_rpc::{Codec, ErrorKind, Outcome, ServiceClient};

use crate::fixture::Fixture;
use crate::subject::SubjectClient;
use crate::values::list::*;

#[path = "../../ipc-rpc/tests/codec/values.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the list is shared with tests that use more of it"
)]
mod list;

/// Hands the list on without the types that are bound to one thread: a handler may move to another.
macro_rules! keep_portable {
    // Types that are not `Send`.
    (@ $callback:ident [$($kept:tt)*] reference_counted: $type:ty = [$($value:expr),*] $(, not($($not:tt)*))*; $($rest:tt)*) => {
        keep_portable!(@ $callback [$($kept)*] $($rest)*);
    };
    (@ $callback:ident [$($kept:tt)*] $name:ident: $type:ty = [$($value:expr),*] $(, not($($not:tt)*))*; $($rest:tt)*) => {
        keep_portable!(@ $callback [$($kept)* $name: $type = [$($value),*] $(, not($($not)*))*;] $($rest)*);
    };
    (@ $callback:ident [$($kept:tt)*]) => {
        $callback! { $($kept)* }
    };
    ($($list:tt)*) => {
        keep_portable!(@ service [] $($list)*);
    };
}

/// How a codec that cannot carry a value refuses it, and with what in its sentence.
struct Exception {
    codec: Codec,
    on_encoding: bool,
    text: &'static str,
}

/// Writes the service, its server, and a function that calls every method with every value.
macro_rules! service {
    ($($name:ident: $type:ty = [$($value:expr),*] $(, not($codec:ident, $kind:ident, $text:literal))*;)*) => {
        /// Gives everything back.
        #[ipc_rpc::service]
        pub(crate) trait Values {
            $(
                /// Gives the value back, in a tuple so that a result is no error of the method.
                async fn $name(&self, value: $type) -> ($type,);
            )*
        }

        pub(crate) struct Echo;

        impl Values for Echo {
            $(
                async fn $name(&self, value: $type) -> ($type,) {
                    (value,)
                }
            )*
        }

        /// Calls every method with every value of its list, over the fixture's transport.
        async fn call_all(f: Fixture, client: &ValuesClient) {
            $(
                let exceptions: Vec<Exception> = vec![$(Exception { codec: Codec::$codec, on_encoding: stringify!($kind) == "Encode", text: $text }),*];
                let exception = exceptions.iter().find(|exception| exception.codec == f.codec);
                let values: Vec<$type> = vec![$($value),*];
                let copies: Vec<$type> = vec![$($value),*];
                for (value, copy) in values.into_iter().zip(copies) {
                    let result = f.end(client.$name(value)).await.map(|(value,)| value);
                    judge(stringify!($name), result, copy, exception);
                }
            )*
        }
    };
}

for_each_type!(keep_portable);

fn judge<T: Value>(
    name: &str,
    result: Result<T, ipc_rpc::Error>,
    expected: T,
    exception: Option<&Exception>,
) {
    match (result, exception) {
        (Ok(value), None) => assert_eq!(value, expected, "{name}"),
        (Err(error), Some(exception)) => {
            let (kind, outcome) = match exception.on_encoding {
                true => (ErrorKind::Encode, Outcome::NotSent),
                false => (ErrorKind::Decode, Outcome::RejectedByPeer),
            };
            assert_eq!(
                (error.kind(), error.outcome()),
                (kind, outcome),
                "{name}: {error}"
            );
            assert!(error.to_string().contains(exception.text), "{name}: {error}");
        }
        (Ok(value), Some(_)) => panic!("{name} is carried after all, as {value:?}"),
        (Err(error), None) => panic!("{name} is not carried: {error}"),
    }
}

/// The service that a test's server serves beside the others.
#[must_use]
pub fn server() -> impl ipc_rpc::Service {
    ValuesServer::new(Echo)
}

/// Sends every value of the list there and back.
///
/// # Panics
/// If one of them does not come back as it was, or is not refused as it should be.
pub async fn check(f: Fixture, client: &SubjectClient) {
    let client: ValuesClient = client.service();
    call_all(f, &client).await;
}
