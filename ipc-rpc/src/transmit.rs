//! What may stand in a service's signatures, checked where the macro has the user's own token to point at.

use serde::{Deserialize, Serialize};

/// A type that can be an argument: what a server decodes it as.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross a process boundary",
    label = "not a serde type",
    note = "derive serde::Serialize and serde::Deserialize for `{Self}`, or pass something that has them"
)]
pub trait Transmit<'de>: Serialize + Deserialize<'de> {}

impl<'de, T: Serialize + Deserialize<'de>> Transmit<'de> for T {}

/// Fails to compile for what cannot be an argument.
pub const fn assert_argument<'de, T: Transmit<'de>>() {}

/// Fails to compile for what cannot be a result.
pub const fn assert_result<T: for<'de> Transmit<'de>>() {}
