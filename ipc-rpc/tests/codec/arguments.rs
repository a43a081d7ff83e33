//! Arguments: by position in bincode, by name in JSON, and clear words for what does not fit.

use std::borrow::Cow;
use std::marker::PhantomData;

use ipc_rpc::__private::codec::{Budget, CodecErrorKind, decode_seed, encode};
use ipc_rpc::__private::{ArgumentTuple, Arguments, Blob, Leaf, OptionOf, Owned, Ref, Text};
use ipc_rpc::Codec;
use serde::Serialize;

const PUT: &[&str] = &["key", "value", "ttl"];
type Put<'de> = (
    Owned<Text, Cow<'de, str>>,
    Owned<Blob, Cow<'de, [u8]>>,
    Owned<OptionOf<Leaf<false>>, Option<u32>>,
);

fn written(codec: Codec, value: &impl Serialize) -> Vec<u8> {
    let mut body = Vec::new();
    encode(codec, value, &mut body, usize::MAX).unwrap();
    body
}

fn read<'de, A: ArgumentTuple<'de>>(
    codec: Codec,
    names: &'static [&'static str],
    body: &'de [u8],
) -> Result<A::Values, String> {
    let seed = Arguments::<PhantomData<A>>::expecting(names);
    decode_seed(codec, body, seed, &Budget::for_body(body.len())).map_err(|error| {
        assert_eq!(error.kind, CodecErrorKind::Decode);
        error.message
    })
}

fn put<'de>(body: &'de [u8]) -> Result<<Put<'de> as ArgumentTuple<'de>>::Values, String> {
    read::<Put<'de>>(Codec::Json, PUT, body)
}

fn put_error(body: &str) -> String {
    put(body.as_bytes()).unwrap_err()
}

#[test]
fn bincode_writes_the_arguments_and_nothing_else() {
    let values = (
        Ref::<Text, str>::new("k"),
        Ref::<Blob, [u8]>::new(b"vv"),
        Ref::<OptionOf<Leaf<false>>, _>::new(&Some(7_u32)),
    );
    let body = written(Codec::Bincode, &Arguments::new(PUT, &values));
    assert_eq!(body, b"\x01\0\0\0\0\0\0\0k\x02\0\0\0\0\0\0\0vv\x01\x07\0\0\0");
    assert_eq!(body, written(Codec::Bincode, &Arguments::new(PUT, values)));
    let (key, value, ttl) = read::<Put<'_>>(Codec::Bincode, PUT, &body).unwrap();
    assert!(matches!(key, Cow::Borrowed("k")));
    assert!(matches!(value, Cow::Borrowed(b"vv")));
    assert_eq!(ttl, Some(7));
}

#[test]
fn json_writes_names_and_reads_names_in_any_order_or_an_array_in_order() {
    let values = (
        Ref::<Text, str>::new("k"),
        Ref::<Blob, [u8]>::new(b"vv"),
        Ref::<OptionOf<Leaf<false>>, _>::new(&None::<u32>),
    );
    let body = written(Codec::Json, &Arguments::new(PUT, &values));
    assert_eq!(body, br#"{"key":"k","value":[118,118],"ttl":null}"#);
    for body in [
        &body[..],
        br#"{"ttl":null,"value":[118,118],"key":"k"}"#,
        br#" [ "k" , [118,118] , null ] "#,
        br#"{"key":"k","val\u0075e":"vv","ttl":null}"#,
    ] {
        let (key, value, ttl) = put(body).unwrap();
        assert_eq!((&*key, &*value, ttl), ("k", &b"vv"[..], None));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let cases = [
        (r#"{"key":"k","ttl":1}"#, "missing argument `value`"),
        (r#"{"key":"k","value":[]}"#, "missing argument `ttl`"),
        (
            r#"{"key":"k","value":[],"ttl":1,"x":2}"#,
            "unknown argument `x`, expected `key`, `value`, `ttl`",
        ),
        (
            r#"{"key":"k","key":"k","value":[],"ttl":1}"#,
            "argument `key` is there twice",
        ),
        (
            r#"["k",[]]"#,
            "invalid length 2, expected 3 arguments: `key`, `value`, `ttl`",
        ),
        (r#"["k",[],1,1]"#, "more than 3 arguments"),
        (
            r#"{"key":"k","value":[],"ttl":"soon"}"#,
            "ttl: invalid type: string \"soon\", expected u32",
        ),
        (r#"["k",[],-1]"#, "ttl: invalid value: integer `-1`, expected u32"),
        (
            r#"{"key":"k","value":[1,256],"ttl":1}"#,
            "value[1]: invalid value: integer `256`, expected u8",
        ),
        (
            "null",
            "invalid type: null, expected 3 arguments: `key`, `value`, `ttl`",
        ),
        (r#"{"key":"k","value":[],"ttl":1} {}"#, "trailing characters"),
    ];
    for (body, text) in cases {
        let error = put_error(body);
        assert!(error.starts_with(text), "{body}: {error}");
    }
    let long = put_error(&format!(r#"{{"{}":1}}"#, "x".repeat(1 << 20)));
    assert!(long.len() < 500, "{long}");
    let short = read::<Put<'_>>(Codec::Bincode, PUT, b"\x01\0\0\0\0\0\0\0k\x02\0\0\0\0\0\0\0v").unwrap_err();
    assert_eq!(
        short,
        "value: the message ends too early: 1 more bytes are needed here"
    );
}

#[test]
fn no_arguments_are_no_bytes_and_an_empty_object() {
    assert_eq!(written(Codec::Bincode, &Arguments::new(&[], ())), b"");
    assert_eq!(written(Codec::Json, &Arguments::new(&[], ())), b"{}");
    read::<()>(Codec::Bincode, &[], b"").unwrap();
    assert_eq!(
        read::<()>(Codec::Bincode, &[], b"x").unwrap_err(),
        "1 bytes are left over after the value"
    );
    for body in ["{}", "[]", "null", " { } "] {
        read::<()>(Codec::Json, &[], body.as_bytes()).unwrap();
    }
    let error = |body: &'static str| read::<()>(Codec::Json, &[], body.as_bytes()).unwrap_err();
    assert!(
        error("[1]").starts_with("more than 0 arguments"),
        "{}",
        error("[1]")
    );
    assert!(
        error(r#"{"a":1}"#).starts_with("unknown argument `a`, there are none"),
        "{}",
        error(r#"{"a":1}"#)
    );
    assert!(
        error("1").starts_with("invalid type: integer `1`, expected no arguments"),
        "{}",
        error("1")
    );
}

#[test]
fn one_argument_is_no_different_from_many() {
    const ONE: &[&str] = &["n"];
    type One = (Owned<Leaf<false>, u64>,);
    let values = (Ref::<Leaf<false>, u64>::new(&5),);
    assert_eq!(
        written(Codec::Bincode, &Arguments::new(ONE, &values)),
        5_u64.to_le_bytes()
    );
    assert_eq!(written(Codec::Json, &Arguments::new(ONE, &values)), br#"{"n":5}"#);
    assert_eq!(read::<One>(Codec::Json, ONE, br#"{"n":5}"#), Ok((5,)));
    assert_eq!(read::<One>(Codec::Json, ONE, b"[5]"), Ok((5,)));
    assert!(
        read::<One>(Codec::Json, ONE, b"5")
            .unwrap_err()
            .contains("expected 1 argument: `n`")
    );
}

#[test]
fn sixteen_arguments_fit() {
    const NAMES: &[&str] = &[
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p",
    ];
    type A = Owned<Leaf<false>, u8>;
    type All = (A, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A);
    let numbers: [u8; 16] = std::array::from_fn(|index| index as u8);
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] =
        numbers.each_ref().map(Ref::<Leaf<false>, u8>::new);
    let values = (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
    for codec in [Codec::Bincode, Codec::Json] {
        let body = written(codec, &Arguments::new(NAMES, &values));
        let (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) = read::<All>(codec, NAMES, &body).unwrap();
        assert_eq!([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p], numbers);
    }
}

#[test]
fn a_wrong_number_of_names_is_an_error_on_both_sides() {
    let values = (Ref::<Leaf<false>, u8>::new(&1),);
    for codec in [Codec::Bincode, Codec::Json] {
        let error = encode(codec, &Arguments::new(PUT, &values), &mut Vec::new(), 100).unwrap_err();
        assert_eq!(error.kind, CodecErrorKind::Encode);
        assert!(error.message.contains("not as many argument names"), "{error}");
        let error = read::<(Owned<Leaf<false>, u8>,)>(codec, PUT, b"1").unwrap_err();
        assert!(error.contains("not as many argument names"), "{error}");
    }
}

#[test]
fn an_argument_that_cannot_be_written_is_named() {
    let values = (
        Ref::<Leaf<false>, _>::new(&1_u8),
        Ref::<Leaf<false>, _>::new(&[1.0, f64::NAN]),
    );
    let error = encode(
        Codec::Json,
        &Arguments::new(&["id", "scores"], &values),
        &mut Vec::new(),
        100,
    )
    .unwrap_err();
    assert_eq!(error.kind, CodecErrorKind::Encode);
    assert_eq!(
        error.message,
        "scores[1]: JSON has no NaN and no infinity; use bincode, or an Option"
    );
}
