//! Runs every example as its user would, each in a runtime directory of its own, in as many processes as it has.

mod blocking;
mod daemon;
mod errors;
mod hello;
mod kv;
mod process;
mod spawn;
mod tensor;
mod tour;
