//! The trait may come out of a macro of the user's.
#![deny(warnings, unused)]
#![allow(
    clippy::ptr_arg,
    reason = "the macro is for any type, and one of them is a vector"
)]

macro_rules! service {
    ($name:ident, $argument:ident, $ty:ty, $server:ident) => {
        #[ipc_rpc::service]
        trait $name {
            async fn echo(&self, $argument: $ty, lent: &$ty, maybe: Option<$ty>) -> $ty;
            async fn add(&self, $argument: u8) -> u8 {
                let one = 1;
                $argument + one
            }
        }

        impl $name for () {
            async fn echo(&self, $argument: $ty, _: &$ty, _: Option<$ty>) -> $ty {
                $argument
            }
        }

        let _ = $server::new(());
    };
}

fn main() {
    service!(Bytes, bytes, Vec<u8>, BytesServer);
    service!(Pair, pair, (u8, String), PairServer);
}
