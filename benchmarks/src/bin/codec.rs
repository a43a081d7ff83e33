//! What the codecs cost, with no connection around them.
//!
//! Byte strings of 1 KiB and 1 MiB through the bincode codec, beside a plain copy of as many bytes and beside the way
//! serde takes on its own, one step per byte; and a small struct with the decoder's budget and without. All
//! candidates of a table run by turns, so that they meet the same machine, and each figure is the median of their
//! turns. They share their buffers: where the pages of a megabyte fall in the cache alone makes a factor of three.
//!
//! `cargo run --release -p benchmarks --bin codec`

use std::borrow::Cow;
use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ipc_rpc::__private::codec::{Budget, CodecError, decode, encode};
use ipc_rpc::__private::{Blob, Leaf, Owned, Ref};
use ipc_rpc::Codec;
use serde::{Deserialize, Serialize};

/// How often each candidate has its turn.
const TURNS: usize = 101;
/// How long a turn takes, about. Long against the clock's own cost, short against what disturbs the machine.
const TURN: Duration = Duration::from_micros(500);

type Work<'a> = Box<dyn FnMut() -> Result<(), CodecError> + 'a>;

/// A small struct, as arguments and results often are.
#[derive(Debug, Serialize, Deserialize)]
struct Small {
    id: u64,
    kind: Kind,
    flags: u32,
    position: (f32, f32),
    parent: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    Node,
    Leaf { weight: f64 },
}

/// One with text on the heap.
#[derive(Debug, Serialize, Deserialize)]
struct Named {
    id: u64,
    name: String,
    tags: Vec<String>,
}

fn main() -> Result<(), CodecError> {
    for size in [1 << 10, 1 << 20] {
        byte_strings(size)?;
    }
    let small = Small {
        id: 7,
        kind: Kind::Leaf { weight: 0.5 },
        flags: 3,
        position: (1.0, 2.0),
        parent: Some(6),
    };
    structs("struct of 5 fields, nothing on the heap", &small)?;
    let tags = ["red", "green", "blue"].map(str::to_owned).to_vec();
    structs(
        "struct with 4 strings",
        &Named {
            id: 7,
            name: "a name".into(),
            tags,
        },
    )?;
    structs("1000 numbers", &(0..1000).collect::<Vec<u64>>())
}

fn byte_strings(size: usize) -> Result<(), CodecError> {
    let content: Vec<u8> = (0..size).map(|index| index as u8).collect();
    let mut body = Vec::new();
    encode(Codec::Bincode, &content, &mut body, usize::MAX)?;
    let budget = Budget::for_body(body.len());
    let out = RefCell::new(Vec::with_capacity(body.len()));
    report(
        &format!("{size} bytes"),
        vec![
            (
                "write: memcpy",
                Box::new(|| {
                    let mut out = out.borrow_mut();
                    out.clear();
                    out.extend_from_slice(black_box(&content));
                    black_box(&out);
                    Ok(())
                }),
            ),
            (
                "write: codec",
                Box::new(|| {
                    let mut out = out.borrow_mut();
                    out.clear();
                    encode(
                        Codec::Bincode,
                        &Ref::<Blob, [u8]>::new(black_box(&content)),
                        &mut out,
                        usize::MAX,
                    )?;
                    black_box(&out);
                    Ok(())
                }),
            ),
            (
                "write: byte by byte",
                Box::new(|| {
                    let mut out = out.borrow_mut();
                    out.clear();
                    encode(Codec::Bincode, black_box(&content), &mut out, usize::MAX)?;
                    black_box(&out);
                    Ok(())
                }),
            ),
            (
                "read: memcpy",
                Box::new(|| {
                    black_box(black_box(&body[body.len() - size..]).to_vec());
                    Ok(())
                }),
            ),
            (
                "read: codec, Vec<u8>",
                Box::new(|| {
                    black_box(decode::<Owned<Leaf<true>, Vec<u8>>>(
                        Codec::Bincode,
                        black_box(&body),
                        &budget,
                    )?);
                    Ok(())
                }),
            ),
            (
                "read: codec, &[u8]",
                Box::new(|| {
                    black_box(decode::<Owned<Blob, Cow<'_, [u8]>>>(
                        Codec::Bincode,
                        black_box(&body),
                        &budget,
                    )?);
                    Ok(())
                }),
            ),
            (
                "read: byte by byte",
                Box::new(|| {
                    black_box(decode::<Vec<u8>>(Codec::Bincode, black_box(&body), &budget)?);
                    Ok(())
                }),
            ),
        ],
    )
}

/// The budget is what `decode` does more than the format's own crate.
fn structs<T>(title: &str, value: &T) -> Result<(), CodecError>
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    let (mut binary, mut text) = (Vec::new(), Vec::new());
    encode(Codec::Bincode, value, &mut binary, usize::MAX)?;
    encode(Codec::Json, value, &mut text, usize::MAX)?;
    let (binary_budget, text_budget) = (Budget::for_body(binary.len()), Budget::for_body(text.len()));
    let config = bincode::config::legacy();
    let (mut out, mut bare) = (Vec::new(), vec![0; binary.len()]);
    report(
        title,
        vec![
            (
                "bincode, write: codec",
                Box::new(|| {
                    out.clear();
                    encode(Codec::Bincode, black_box(value), &mut out, usize::MAX)?;
                    black_box(&out);
                    Ok(())
                }),
            ),
            (
                "bincode, write: the crate alone",
                Box::new(|| {
                    let written = bincode::serde::encode_into_slice(black_box(value), &mut bare, config);
                    assert!(black_box(written).is_ok());
                    Ok(())
                }),
            ),
            (
                "bincode, read: codec",
                Box::new(|| {
                    black_box(decode::<T>(Codec::Bincode, black_box(&binary), &binary_budget)?);
                    Ok(())
                }),
            ),
            (
                "bincode, read: the crate alone",
                Box::new(|| {
                    let read = bincode::serde::borrow_decode_from_slice::<T, _>(black_box(&binary), config);
                    assert!(black_box(read).is_ok());
                    Ok(())
                }),
            ),
            (
                "JSON, read: codec",
                Box::new(|| {
                    black_box(decode::<T>(Codec::Json, black_box(&text), &text_budget)?);
                    Ok(())
                }),
            ),
            (
                "JSON, read: the crate alone",
                Box::new(|| {
                    assert!(black_box(serde_json::from_slice::<T>(black_box(&text))).is_ok());
                    Ok(())
                }),
            ),
        ],
    )
}

/// Runs the candidates by turns and prints the median of each.
fn report(title: &str, mut candidates: Vec<(&str, Work<'_>)>) -> Result<(), CodecError> {
    let mut counts = Vec::new();
    for (_, work) in &mut candidates {
        counts.push(repetitions(work)?);
    }
    let mut times = vec![Vec::with_capacity(TURNS); candidates.len()];
    for _ in 0..TURNS {
        for (((_, work), count), times) in candidates.iter_mut().zip(&counts).zip(&mut times) {
            let start = Instant::now();
            for _ in 0..*count {
                work()?;
            }
            times.push(start.elapsed().as_secs_f64() / f64::from(*count));
        }
    }
    println!("{title}");
    for ((name, _), times) in candidates.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!("  {name:<34} {:>12.1} ns", times[TURNS / 2] * 1e9);
    }
    println!();
    Ok(())
}

/// How many repetitions fill a turn.
fn repetitions(work: &mut Work<'_>) -> Result<u32, CodecError> {
    let mut count = 1;
    loop {
        let start = Instant::now();
        for _ in 0..count {
            work()?;
        }
        if start.elapsed() >= TURN || count >= 1 << 24 {
            return Ok(count);
        }
        count *= 2;
    }
}
