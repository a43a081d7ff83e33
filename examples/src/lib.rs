//! What the two sides of the examples share: their services.

pub mod hello;
