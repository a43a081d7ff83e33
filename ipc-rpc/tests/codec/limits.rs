//! Encoding: what it writes, where it stops and what it allocates.

use ipc_rpc::__private::codec::{CodecErrorKind, encode};
use ipc_rpc::__private::{Arguments, Blob, Ref, Text};
use ipc_rpc::Codec;
use serde::{Serialize, Serializer};

use crate::meter::cost;
use crate::values::{Shape, record};

const CODECS: [Codec; 2] = [Codec::Bincode, Codec::Json];

#[test]
fn integers_are_fixed_width_and_little_endian() {
    let mut body = Vec::new();
    encode(
        Codec::Bincode,
        &(1_u8, -2_i16, 3_u32, 4_u64, true, 'ß', "ab", Some(5_u16)),
        &mut body,
        100,
    )
    .unwrap();
    assert_eq!(
        body,
        b"\x01\xfe\xff\x03\0\0\0\x04\0\0\0\0\0\0\0\x01\xc3\x9f\x02\0\0\0\0\0\0\0ab\x01\x05\0"
    );
    body.clear();
    encode(Codec::Bincode, &Shape::Line(1, -1), &mut body, 100).unwrap();
    assert_eq!(body, b"\x02\0\0\0\x01\0\0\0\xff\xff\xff\xff");
}

#[test]
fn the_limit_is_the_length_of_what_is_appended() {
    for codec in CODECS {
        let mut body = Vec::new();
        encode(codec, &record(), &mut body, usize::MAX).unwrap();
        let length = body.len();
        let mut out = b"header".to_vec();
        encode(codec, &record(), &mut out, length).unwrap();
        assert_eq!(out[..6], *b"header");
        assert_eq!(out[6..], body);
        for limit in [0, 1, length / 2, length - 1] {
            let error = encode(codec, &record(), &mut out, limit).unwrap_err();
            let CodecErrorKind::TooLarge { needed, limit: said } = error.kind else {
                panic!("{error}")
            };
            assert_eq!(said, limit);
            assert!(
                needed == length || needed > 16 * limit,
                "{codec}: {needed} of {length}, limit {limit}"
            );
            assert_eq!(out.len(), 6 + length);
        }
    }
}

#[test]
fn what_is_too_large_is_measured_and_not_built() {
    let text = "x".repeat(12 << 20);
    for codec in CODECS {
        let (error, cost) = cost(|| encode(codec, &text, &mut Vec::new(), 8 << 20).unwrap_err());
        let needed = text.len() + if codec == Codec::Json { 2 } else { 8 };
        assert_eq!(
            error.kind,
            CodecErrorKind::TooLarge {
                needed,
                limit: 8 << 20
            }
        );
        assert_eq!(error.message, "12.1 MiB encoded, the limit is 8 MiB");
        assert!(cost.peak < 1024, "{cost:?}");
        let many = vec![1_u64; 1 << 20];
        let (error, cost) = cost_of(codec, &many, 1 << 20);
        assert!(error.contains("the limit is 1 MiB"), "{error}");
        assert!(cost <= 4 << 20, "{cost}");
    }
}

fn cost_of<T: Serialize>(codec: Codec, value: &T, limit: usize) -> (String, usize) {
    let (error, cost) = cost(|| encode(codec, value, &mut Vec::new(), limit).unwrap_err());
    (error.message, cost.peak)
}

/// A sequence without end.
struct Endless;

impl Serialize for Endless {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut sequence = serializer.serialize_seq(Some(usize::MAX))?;
        loop {
            sequence.serialize_element(&1_u64)?;
        }
    }
}

#[test]
fn an_endless_value_comes_to_an_end() {
    for codec in CODECS {
        let mut out = Vec::new();
        let error = encode(codec, &Endless, &mut out, 1000).unwrap_err();
        let CodecErrorKind::TooLarge { needed, limit: 1000 } = error.kind else {
            panic!("{error}")
        };
        assert!(needed > 16_000 && needed < 17_000, "{needed}");
        assert!(out.is_empty());
    }
}

#[test]
fn nothing_is_allocated_for_a_small_message_once_the_buffer_is_there() {
    let value = record();
    for codec in CODECS {
        let mut out = Vec::new();
        encode(codec, &value, &mut out, 1000).unwrap();
        let ((), cost) = cost(|| {
            for _ in 0..100 {
                out.clear();
                encode(codec, &value, &mut out, 1000).unwrap();
                out.clear();
                let arguments = (Ref::<Text, str>::new("key"), Ref::<Blob, [u8]>::new(b"value"));
                encode(
                    codec,
                    &Arguments::new(&["key", "value"], &arguments),
                    &mut out,
                    1000,
                )
                .unwrap();
            }
        });
        assert_eq!(cost.calls, 0, "{codec}");
    }
}

#[test]
fn a_value_that_refuses_is_an_encode_error_with_a_bounded_text() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no".repeat(100_000)))
        }
    }
    for codec in CODECS {
        let error = encode(codec, &(1, [Refuses]), &mut Vec::new(), 100).unwrap_err();
        assert_eq!(error.kind, CodecErrorKind::Encode);
        assert!(
            error.message.starts_with("[1][0]: nono") && error.message.len() < 300,
            "{error}"
        );
    }
}
