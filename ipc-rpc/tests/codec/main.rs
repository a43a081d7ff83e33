//! What the codecs promise: they carry every type of [`values`], or say why not, and no message costs its receiver
//! more than its budget.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod arguments;
mod carried;
mod hostile;
mod limits;
mod meter;
mod random;
mod shapes;
mod values;
