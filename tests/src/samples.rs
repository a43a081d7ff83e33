//! A service whose methods take and give sections.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};
use ipc_rpc::{Context, Section, SharedMut, Tiers, View};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::subject::pattern;

/// A value of several parts, without padding between them.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Pixel {
    /// Red, green, blue, opacity.
    pub colour: [u8; 4],
    /// The distance.
    pub depth: f32,
}

/// A value with sections in it, wherever they may be.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// A number.
    pub number: u64,
    /// The picture.
    pub pixels: View<Pixel>,
    /// Pieces of something.
    pub parts: Vec<View<u8>>,
    /// It may be there.
    pub edge: Option<View<f64>>,
    /// Something to write.
    pub scratch: Section<u16>,
}

/// A service's own error, with a section in it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// What was wrong.
    pub values: View<f32>,
}

/// What one side has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Messages without sections, and with.
    pub messages: [u64; 2],
    /// Bytes in bodies, and in sections.
    pub bytes: [u64; 2],
}

impl From<Tiers> for Counted {
    fn from(tiers: Tiers) -> Self {
        Self {
            messages: [tiers.inline_messages, tiers.section_messages],
            bytes: [tiers.inline_bytes, tiers.section_bytes],
        }
    }
}

/// See the module.
#[ipc_rpc::service]
pub trait Samples {
    /// Adds numbers.
    async fn sum(&self, values: View<f32>) -> f64;
    /// Adds depths.
    async fn depth(&self, pixels: View<Pixel>) -> f64;
    /// Turns bytes around, in place where that is possible.
    async fn turn(&self, bytes: Section<u8>) -> Section<u8>;
    /// Makes the bytes of [`pattern`].
    async fn make(&self, context: &Context, length: u64, sealed: bool) -> Section<u8>;
    /// Gives back what came.
    async fn echo(&self, bytes: View<u8>) -> View<u8>;
    /// Gives back what came.
    async fn frame(&self, frame: Frame) -> Frame;
    /// Turns around what is there; gives the rest back.
    async fn mixed(
        &self,
        first: Option<Section<u8>>,
        second: (View<u8>, u32),
    ) -> (Option<Section<u8>>, u32, View<u8>);
    /// Halves, or rejects what has a negative one.
    async fn halve(&self, values: Section<f32>) -> Result<Section<f32>, Rejected>;
    /// Gives back what came.
    async fn several(&self, all: Vec<View<u8>>) -> Vec<View<u8>>;
    /// What two looks at each come to: see [`looks`].
    async fn looks(&self, all: Vec<View<u8>>) -> Vec<(u64, u64)>;
    /// How long each is.
    async fn lengths(&self, all: Vec<View<u8>>) -> Vec<u64>;
    /// Computes on a thread that may block.
    #[rpc(blocking)]
    fn blocking_sum(&self, values: View<f32>) -> f64;
    /// Keeps a section.
    async fn keep(&self, key: u64, bytes: View<u8>);
    /// Gives back what was kept.
    async fn kept(&self, key: u64) -> Option<View<u8>>;
    /// Drops what was kept, on another thread.
    async fn forget(&self, key: u64) -> bool;
    /// Drops what was kept, and says nothing.
    #[rpc(oneway)]
    async fn let_go(&self, key: u64);
    /// Waits for ever.
    async fn hold(&self, bytes: View<u8>);
    /// Remembers the length and the last byte.
    #[rpc(oneway)]
    async fn note(&self, bytes: View<u8>);
    /// Waits until so many were noted, and gives them.
    async fn until_noted(&self, count: u64) -> Vec<(u64, u8)>;
    /// Adds one to each word, so many times, and says what the first was before.
    async fn tick(&self, words: (SharedMut<u32>, u32)) -> Option<u32>;
    /// Waits until the first word says 1, and says 2 in the second then.
    async fn reply_in(&self, words: &SharedMut<u8>);
    /// Memory of the server's, which both sides write, or why there is none.
    async fn board(&self, context: &Context, count: u64) -> Result<SharedMut<i64>, String>;
    /// What the server sees in the memory that it gave last.
    async fn on_board(&self, index: u64) -> i64;
    /// What the server has sent and received on this connection, and the bytes of its sections that are in use.
    async fn traffic(&self, context: &Context) -> (Counted, Counted, u64);
}

/// Serves [`Samples`].
#[must_use]
pub fn server() -> SamplesServer<Store> {
    SamplesServer::new(Store::default())
}

/// What the server remembers.
#[derive(Debug)]
pub struct Store {
    kept: Arc<Mutex<HashMap<u64, View<u8>>>>,
    noted: watch::Sender<Vec<(u64, u8)>>,
    board: Mutex<Option<SharedMut<i64>>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kept: Arc::default(),
            noted: watch::Sender::new(Vec::new()),
            board: Mutex::default(),
        }
    }
}

/// The sums of the bytes of each, at two looks: they are the same, whoever has written what is looked at.
#[must_use]
pub fn looks(all: &[View<u8>]) -> Vec<(u64, u64)> {
    let look = |bytes: &[u8]| std::hint::black_box(bytes).iter().copied().map(u64::from).sum();
    all.iter().map(|bytes| (look(bytes), look(bytes))).collect()
}

fn sum(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum()
}

impl Samples for Store {
    async fn sum(&self, values: View<f32>) -> f64 {
        sum(&values)
    }

    async fn depth(&self, pixels: View<Pixel>) -> f64 {
        pixels.iter().map(|pixel| f64::from(pixel.depth)).sum()
    }

    async fn turn(&self, mut bytes: Section<u8>) -> Section<u8> {
        bytes.reverse();
        bytes
    }

    async fn make(&self, context: &Context, length: u64, sealed: bool) -> Section<u8> {
        let bytes = pattern(length);
        let section = if sealed {
            context.alloc_sealed(bytes.len())
        } else {
            context.alloc(bytes.len())
        };
        let mut section = section.expect("the pool has room");
        section.copy_from_slice(&bytes);
        section
    }

    async fn echo(&self, bytes: View<u8>) -> View<u8> {
        bytes
    }

    async fn frame(&self, frame: Frame) -> Frame {
        frame
    }

    async fn mixed(
        &self,
        first: Option<Section<u8>>,
        second: (View<u8>, u32),
    ) -> (Option<Section<u8>>, u32, View<u8>) {
        let first = first.map(|mut bytes| {
            bytes.reverse();
            bytes
        });
        (first, second.1, second.0)
    }

    async fn halve(&self, mut values: Section<f32>) -> Result<Section<f32>, Rejected> {
        if values.iter().any(|&value| value < 0.0) {
            return Err(Rejected {
                values: values.into(),
            });
        }
        values.iter_mut().for_each(|value| *value /= 2.0);
        Ok(values)
    }

    async fn several(&self, all: Vec<View<u8>>) -> Vec<View<u8>> {
        all
    }

    async fn looks(&self, all: Vec<View<u8>>) -> Vec<(u64, u64)> {
        looks(&all)
    }

    async fn lengths(&self, all: Vec<View<u8>>) -> Vec<u64> {
        all.iter().map(|bytes| bytes.len() as u64).collect()
    }

    fn blocking_sum(&self, values: View<f32>) -> f64 {
        sum(&values)
    }

    async fn keep(&self, key: u64, bytes: View<u8>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(key, bytes);
    }

    async fn kept(&self, key: u64) -> Option<View<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&key).cloned()
    }

    async fn forget(&self, key: u64) -> bool {
        let kept = self.kept.clone();
        let thread = std::thread::spawn(move || {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.remove(&key).is_some()
        });
        thread.join().expect("it does not panic")
    }

    async fn let_go(&self, key: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(&key);
    }

    async fn hold(&self, bytes: View<u8>) {
        std::future::pending::<()>().await;
        drop(bytes);
    }

    async fn note(&self, bytes: View<u8>) {
        let note = (bytes.len() as u64, bytes.last().copied().unwrap_or_default());
        self.noted.send_modify(|noted| noted.push(note));
    }

    async fn until_noted(&self, count: u64) -> Vec<(u64, u8)> {
        let mut noted = self.noted.subscribe();
        let noted = noted.wait_for(|noted| noted.len() as u64 >= count).await;
        noted.expect("its sender is here").clone()
    }

    async fn tick(&self, (words, times): (SharedMut<u32>, u32)) -> Option<u32> {
        let before = words.first().map(|word| word.load(Ordering::Relaxed));
        for _ in 0..times {
            for word in &*words {
                word.fetch_add(1, Ordering::Relaxed);
            }
        }
        before
    }

    async fn reply_in(&self, words: &SharedMut<u8>) {
        while words[0].load(Ordering::Acquire) != 1 {
            tokio::task::yield_now().await;
        }
        words[1].store(2, Ordering::Release);
    }

    async fn board(&self, context: &Context, count: u64) -> Result<SharedMut<i64>, String> {
        let board = context
            .alloc_shared(count as usize)
            .map_err(|error| error.to_string())?;
        let mut given = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        *given = Some(board.clone());
        Ok(board)
    }

    async fn on_board(&self, index: u64) -> i64 {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let words = board.as_ref().expect("there is a board");
        words[index as usize].load(Ordering::Relaxed)
    }

    async fn traffic(&self, context: &Context) -> (Counted, Counted, u64) {
        let traffic = context.traffic();
        (
            traffic.sent.into(),
            traffic.received.into(),
            traffic.pool_in_use as u64,
        )
    }
}
