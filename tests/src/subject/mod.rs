//! The service that is tested: one method for each thing that a call can do, and methods that tell a test what has
//! happened in the server, so that no test has to sleep.

mod server;

use std::sync::LazyLock;

use bytes::Bytes;
use ipc_rpc::Context;
use serde::{Deserialize, Serialize};

use crate::meter::Holdings;

pub use server::{Plan, Served};

/// A value with some structure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// A number.
    pub id: u64,
    /// A text.
    pub name: String,
    /// Texts.
    pub tags: Vec<String>,
    /// Another one.
    pub parent: Option<Box<Record>>,
}

/// A service's own error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Dividing by zero.
    ByZero,
    /// Anything else.
    Because(String),
}

/// What a handler sees of its call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The peer's process.
    pub pid: Option<u32>,
    /// The peer's user.
    pub uid: Option<u32>,
    /// Whether anybody vouches for the peer.
    pub anonymous: bool,
    /// The connection's number.
    pub connection: u64,
    /// Milliseconds until the deadline.
    pub left: Option<u64>,
    /// The method's name.
    pub method: String,
    /// Whether nobody waits for the result.
    pub cancelled: bool,
    /// The greeting of the connection, attached in `on_connect`.
    pub greeting: Option<String>,
}

/// See the module.
#[ipc_rpc::service]
pub trait Subject {
    /// Does nothing.
    async fn nothing(&self);
    /// Gives a number back.
    async fn number(&self, value: u64) -> u64;
    /// Gives a borrowed text back.
    async fn text(&self, text: &str) -> String;
    /// Gives borrowed bytes back.
    async fn bytes(&self, data: &[u8]) -> Vec<u8>;
    /// Gives owned bytes back.
    async fn owned_bytes(&self, data: Vec<u8>) -> Vec<u8>;
    /// Gives shared bytes back.
    async fn shared_bytes(&self, data: Bytes) -> Bytes;
    /// Takes bytes and says whether they are those of [`pattern`].
    async fn take(&self, data: &[u8]) -> bool;
    /// Takes bytes and gives their number.
    async fn count(&self, data: &[u8]) -> u64;
    /// Gives the bytes of [`pattern`].
    async fn give(&self, length: u64) -> Vec<u8>;
    /// Adds borrowed numbers.
    async fn sum(&self, values: &[u32]) -> u64;
    /// Gives a lent value back.
    async fn record(&self, record: &Record) -> Record;
    /// Gives a borrowed text back, if there is one.
    async fn optional_text(&self, text: Option<&str>) -> Option<String>;
    /// Gives borrowed bytes back, if there are any.
    async fn optional_bytes(&self, data: Option<&[u8]>) -> Option<Vec<u8>>;
    /// Turns a pair around.
    async fn pair(&self, pair: (&str, u32)) -> (u32, String);
    /// Gives a result back as the method's own.
    async fn result(&self, given: Result<u32, String>) -> Result<u32, Refusal>;
    /// Gives a result back as a value.
    async fn result_inside(&self, given: Result<Vec<u8>, String>) -> (Result<Vec<u8>, String>, Option<()>);
    /// Divides, or refuses.
    async fn divide(&self, dividend: i32, divisor: i32) -> Result<i32, Refusal>;
    /// Takes as many arguments as a method may have, and gives their places' weighted sum.
    #[expect(clippy::too_many_arguments, reason = "the largest number there may be")]
    async fn many(
        &self,
        a: u8,
        b: u8,
        c: u8,
        d: u8,
        e: u8,
        f: u8,
        g: u8,
        h: u8,
        i: u8,
        j: u8,
        k: u8,
        l: u8,
        m: u8,
        n: u8,
        o: u8,
        p: u8,
    ) -> u64;
    /// Counts on a thread that may block; says whether it was another than those of the runtime.
    #[rpc(blocking)]
    fn work(&self, to: u64) -> (u64, bool);
    /// Works until nobody waits for the result any more.
    #[rpc(blocking)]
    fn work_until_cancelled(&self, context: &Context);
    /// Tells what the handler sees.
    async fn seen(&self, context: &Context) -> Seen;
    /// Panics before it waits for anything.
    async fn panic_at_once(&self, text: &str) -> u8;
    /// Panics after it has waited.
    async fn panic_later(&self, text: &str) -> u8;
    /// Panics on a thread that may block.
    #[rpc(blocking)]
    fn panic_blocking(&self, text: &str) -> u8;
    /// Waits until it is released, and gives its token back. A handler that is dropped before counts as abandoned.
    async fn hold(&self, context: &Context, token: u64) -> u64;
    /// Lets one handler of [`Subject::hold`] go, now or as soon as it is there.
    async fn release(&self, token: u64);
    /// Waits until so many handlers of [`Subject::hold`] and others that take a while have ever started.
    async fn until_held(&self, count: u64) -> u64;
    /// Waits until so many of them have been dropped unfinished.
    async fn until_abandoned(&self, count: u64) -> u64;
    /// Waits until so many of their contexts have told of a cancellation, or a blocking handler has seen it.
    async fn until_cancelled(&self, count: u64) -> u64;
    /// Waits until so many connections have ended, and gives the events of handlers and connections so far.
    async fn until_rundowns(&self, count: u64) -> Vec<String>;
    /// Waits for this long and gives it back.
    async fn after(&self, milliseconds: u64) -> u64;
    /// Keeps the thread of the connection busy for this long, as a handler should not.
    async fn hog(&self, milliseconds: u64);
    /// Remembers a number.
    #[rpc(oneway)]
    async fn note(&self, value: u64);
    /// Forgets a number.
    #[rpc(oneway)]
    async fn ignore(&self, value: u64);
    /// Remembers how many bytes there were.
    #[rpc(oneway)]
    async fn note_bytes(&self, data: &[u8]);
    /// Waits until so many numbers were noted, and gives all.
    async fn until_notes(&self, count: u64) -> Vec<u64>;
    /// Shuts the server down.
    async fn shut_down(&self);
    /// What the server's process holds.
    async fn holdings(&self) -> Holdings;
    /// How often the server's process has allocated, where it counts.
    async fn allocations(&self) -> u64;
}

/// Another service of the same server.
#[ipc_rpc::service]
pub trait Second {
    /// Doubles a number.
    async fn twice(&self, value: u64) -> u64;
    /// The connection that the call came by.
    async fn connection(&self, context: &Context) -> u64;
}

/// A service that no server has.
#[ipc_rpc::service]
pub trait Absent {
    /// Is not there.
    async fn anything(&self) -> u8;
}

/// [`Subject`] as a program of another age knows it.
#[ipc_rpc::service(name = "Subject")]
pub trait SkewedSubject {
    /// Is the same.
    async fn text(&self, text: &str) -> String;
    /// Has another signature.
    async fn number(&self, value: u32, scale: u32) -> Option<u64>;
    /// Is gone.
    async fn forgotten(&self) -> u8;
}

/// [`Subject`] in another version.
#[ipc_rpc::service(name = "Subject", version = 2)]
pub trait NextSubject {
    /// Has the same signature.
    async fn text(&self, text: &str) -> String;
}

/// A service that has to know who calls.
#[ipc_rpc::service]
pub trait Private {
    /// Does nothing.
    async fn nothing(&self);
}

/// Bytes that differ from their neighbours, and blocks that differ from each other, so that a piece that is lost, doubled or
/// moved shows. Made so that it is fast in a build that is not optimised: a block at a time.
#[must_use]
pub fn pattern(length: u64) -> Vec<u8> {
    const BLOCK: usize = 4 << 10;
    static FIRST: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..BLOCK).map(|index| (index ^ index >> 8) as u8).collect());
    let length = usize::try_from(length).expect("a length of memory");
    let mut bytes = Vec::with_capacity(length + BLOCK);
    for block in 0..length.div_ceil(BLOCK) as u64 {
        bytes.extend_from_slice(&FIRST);
        let at = bytes.len() - BLOCK;
        bytes[at..at + 8].copy_from_slice(&block.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
