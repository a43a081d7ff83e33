//! Every way to borrow an argument, and shapes in shapes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A type of the user's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// What it is called.
    pub name: String,
}

/// Takes arguments of all kinds.
#[ipc_rpc::service]
pub trait Borrowed {
    /// Text and bytes are borrowed from the message.
    async fn direct(&self, text: &str, bytes: &[u8]) -> usize;
    /// Other references are decoded and lent.
    async fn lent(&self, item: &Item, items: &[Item], map: &BTreeMap<String, u8>) -> usize;
    /// In an `Option`.
    async fn optional(&self, text: Option<&str>, bytes: Option<&[u8]>, item: Option<&Item>) -> usize;
    /// In a tuple, owned and borrowed side by side.
    async fn tuple(&self, mixed: (u8, &str, Option<&[Item]>), single: (&Item,)) -> usize;
    #[allow(clippy::option_option, reason = "it is there to be lent")]
    /// A tuple in an `Option`, and an `Option` in an `Option`.
    async fn nested(&self, pair: Option<(&str, &Item)>, twice: Option<Option<&[u8]>>) -> usize;
    #[allow(clippy::ptr_arg, reason = "it is there to be lent")]
    /// Types with a lifetime of their own.
    async fn cow(&self, text: Cow<'_, str>, fixed: Cow<'static, str>, lent: &Cow<'_, str>) -> usize;
    /// Owned byte strings, and results of all shapes.
    async fn owned(&self, bytes: Vec<u8>, shared: Bytes, text: String) -> Option<(Vec<u8>, Bytes, String)>;
    /// Types that the standard library can only lend.
    async fn path(&self, path: &Path, maybe: Option<&Path>, pair: (u8, &OsStr)) -> PathBuf;
    #[allow(clippy::ref_option, clippy::missing_errors_doc, reason = "it is there to be lent")]
    /// A reference to an owned shape.
    async fn reference(&self, maybe: &Option<Vec<u8>>) -> Result<Option<Vec<u8>>, (String, u8)>;
}
