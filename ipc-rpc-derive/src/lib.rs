//! The attribute macro of `ipc-rpc`. Use it as `#[ipc_rpc::service]`.
#![forbid(unsafe_code)]
