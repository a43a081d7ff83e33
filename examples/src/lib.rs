//! What the two sides of the examples share: their services, as traits and the types in them.
//!
//! A program that only calls needs nothing but such a crate and `ipc-rpc`, and with `default-features = false` on both
//! it needs no runtime: `examples/blocking` is one.

pub mod hello;
pub mod kv;
pub mod text;
