//! A shape changes how fast a value moves, and nothing else.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::RangeInclusive;

use bytes::Bytes;
use ipc_rpc::__private::codec::{Budget, decode, encode};
use ipc_rpc::__private::{
    Blob, DecodeAs, EncodeAs, Leaf, OptionOf, Owned, Probe, ProbeFallback as _, Ref, ResultOf, Text, TupleOf,
};
use ipc_rpc::Codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::meter::cost;

const CODECS: [Codec; 2] = [Codec::Bincode, Codec::Json];

fn written<T: Serialize + ?Sized>(codec: Codec, value: &T) -> Vec<u8> {
    let mut body = Vec::new();
    encode(codec, value, &mut body, usize::MAX).unwrap();
    body
}

fn read<'de, S: DecodeAs<'de, T>, T>(codec: Codec, body: &'de [u8]) -> T {
    decode::<Owned<S, T>>(codec, body, &Budget::for_body(body.len()))
        .unwrap()
        .into_inner()
}

/// With and without the shape: the same bytes, and each reads what the other wrote.
fn same<S, T>(value: T)
where
    S: EncodeAs<T> + for<'de> DecodeAs<'de, T>,
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    for codec in CODECS {
        let plain = written(codec, &value);
        let shaped = written(codec, &Ref::<S, T>::new(&value));
        assert_eq!(plain, shaped, "{codec}");
        assert_eq!(read::<S, T>(codec, &plain), value, "{codec}");
        let budget = Budget::for_body(plain.len());
        assert_eq!(decode::<T>(codec, &shaped, &budget).unwrap(), value, "{codec}");
    }
}

#[test]
fn the_wire_is_the_same_with_and_without_a_shape() {
    let bytes = vec![0_u8, 1, 127, 128, 255];
    same::<Leaf<true>, Vec<u8>>(bytes.clone());
    same::<Leaf<true>, Vec<u8>>(Vec::new());
    same::<Leaf<true>, Bytes>(bytes.clone().into());
    same::<Leaf<true>, Box<[u8]>>(bytes.clone().into());
    same::<Leaf<false>, Vec<u64>>(vec![1, 2, 3]);
    same::<Leaf<false>, String>("text".into());
    same::<OptionOf<Leaf<true>>, Option<Vec<u8>>>(Some(bytes.clone()));
    same::<OptionOf<Leaf<true>>, Option<Vec<u8>>>(None);
    same::<OptionOf<OptionOf<Leaf<true>>>, Option<Option<Bytes>>>(Some(Some(Bytes::from_static(b"x"))));
    same::<ResultOf<Leaf<true>, Leaf<false>>, Result<Vec<u8>, String>>(Ok(bytes.clone()));
    same::<ResultOf<Leaf<true>, Leaf<false>>, Result<Vec<u8>, String>>(Err("no".into()));
    same::<ResultOf<TupleOf<()>, Leaf<true>>, Result<(), Vec<u8>>>(Ok(()));
    same::<TupleOf<()>, ()>(());
    same::<TupleOf<(Leaf<true>,)>, (Vec<u8>,)>((bytes.clone(),));
    same::<TupleOf<(Leaf<false>, Leaf<true>)>, (u8, Vec<u8>)>((1, bytes.clone()));
    same::<
        TupleOf<(
            OptionOf<TupleOf<(Leaf<true>, Leaf<false>)>>,
            ResultOf<OptionOf<Leaf<true>>, Leaf<false>>,
        )>,
        (Option<(Bytes, u8)>, Result<Option<Box<[u8]>>, u8>),
    >((
        Some((Bytes::from_static(b"abc"), 1)),
        Ok(Some(bytes.clone().into())),
    ));
    type L = Leaf<false>;
    same::<
        TupleOf<(L, L, L, L, L, L, L, L, L, L, L, Leaf<true>)>,
        (u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, Vec<u8>),
    >((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, bytes));
}

#[test]
fn lent_text_and_bytes_are_written_as_owned_ones() {
    for codec in CODECS {
        assert_eq!(
            written(codec, &Ref::<Text, str>::new("tëxt")),
            written(codec, "tëxt")
        );
        assert_eq!(
            written(codec, &Ref::<Text, &str>::new(&"tëxt")),
            written(codec, "tëxt")
        );
        let bytes = vec![0_u8, 1, 255];
        assert_eq!(
            written(codec, &Ref::<Blob, [u8]>::new(&bytes)),
            written(codec, &bytes)
        );
        assert_eq!(
            written(codec, &Ref::<Blob, &[u8]>::new(&&bytes[..])),
            written(codec, &bytes)
        );
        let pair: Option<(&str, &[u8])> = Some(("k", &bytes));
        assert_eq!(
            written(codec, &Ref::<OptionOf<TupleOf<(Text, Blob)>>, _>::new(&pair)),
            written(codec, &Some(("k", bytes.clone()))),
        );
        // A slice and a reference to any type, as the macro lends them.
        assert_eq!(
            written(codec, &Ref::<Leaf<false>, [u32]>::new(&[1, 2])),
            written(codec, &vec![1_u32, 2])
        );
        assert_eq!(
            written(codec, &Ref::<OptionOf<Leaf<false>>, _>::new(&Some(&5_u8))),
            written(codec, &Some(5_u8))
        );
    }
}

fn lies_in(part: &[u8], whole: &[u8]) -> bool {
    whole.as_ptr_range().contains(&part.as_ptr())
}

#[test]
fn text_and_bytes_are_borrowed_from_the_message() {
    let body = written(Codec::Bincode, &("tëxt", vec![1_u8, 2, 3]));
    let ((text, bytes), cost) =
        cost(|| read::<TupleOf<(Text, Blob)>, (Cow<'_, str>, Cow<'_, [u8]>)>(Codec::Bincode, &body));
    assert_eq!((&*text, &*bytes), ("tëxt", &[1, 2, 3][..]));
    assert!(matches!((&text, &bytes), (Cow::Borrowed(_), Cow::Borrowed(_))));
    assert!(lies_in(text.as_bytes(), &body) && lies_in(&bytes, &body));
    assert_eq!(cost.calls, 0);

    let (text, cost) = crate::meter::cost(|| read::<Text, Cow<'_, str>>(Codec::Json, "\"tëxt\"".as_bytes()));
    assert!(matches!(text, Cow::Borrowed("tëxt")));
    assert_eq!(cost.calls, 0);
    let option: Option<Cow<'_, str>> = read::<OptionOf<Text>, _>(Codec::Json, b"\"plain\"");
    assert!(matches!(option, Some(Cow::Borrowed("plain"))));
    let escaped: Cow<'_, str> = read::<Text, _>(Codec::Json, b"\"a\\nb\"");
    assert!(matches!(escaped, Cow::Owned(text) if text == "a\nb"));
    let array: Cow<'_, [u8]> = read::<Blob, _>(Codec::Json, b"[1, 2, 255]");
    assert_eq!(&*array, [1, 2, 255]);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Lent<'a> {
    text: &'a str,
    bytes: &'a [u8],
    #[serde(borrow)]
    either: Cow<'a, str>,
}

#[test]
fn fields_borrow_as_serde_lets_them() {
    let value = Lent {
        text: "a",
        bytes: &[1, 2],
        either: "b".into(),
    };
    let body = written(Codec::Bincode, &value);
    let budget = Budget::for_body(body.len());
    let (copy, cost) = cost(|| decode::<Lent<'_>>(Codec::Bincode, &body, &budget).unwrap());
    assert_eq!(copy, value);
    assert!(lies_in(copy.text.as_bytes(), &body) && lies_in(copy.bytes, &body));
    assert!(matches!(copy.either, Cow::Borrowed("b")));
    assert_eq!(cost.calls, 0);
}

#[test]
fn json_text_stands_for_its_bytes() {
    assert_eq!(read::<Leaf<true>, Vec<u8>>(Codec::Json, b"\"hello\""), b"hello");
    assert_eq!(
        read::<Leaf<true>, Vec<u8>>(Codec::Json, "\"h\\u00e4\"".as_bytes()),
        "hä".as_bytes()
    );
    assert_eq!(&*read::<Blob, Cow<'_, [u8]>>(Codec::Json, b"\"hello\""), b"hello");
    assert_eq!(
        read::<OptionOf<Leaf<true>>, Option<Vec<u8>>>(Codec::Json, b"null"),
        None
    );
}

#[test]
fn a_byte_string_is_decoded_by_one_copy() {
    let content = vec![7_u8; 100_000];
    let body = written(Codec::Bincode, &Ref::<Leaf<true>, _>::new(&content));
    assert_eq!(body.len(), content.len() + 8);
    fn one_copy<T: AsRef<[u8]>>(body: &[u8], content: &[u8])
    where
        Leaf<true>: for<'de> DecodeAs<'de, T>,
    {
        let (value, cost) = cost(|| read::<Leaf<true>, T>(Codec::Bincode, body));
        assert_eq!(value.as_ref(), content);
        assert_eq!((cost.calls, cost.peak), (1, content.len()));
    }
    one_copy::<Vec<u8>>(&body, &content);
    one_copy::<Box<[u8]>>(&body, &content);
    one_copy::<Bytes>(&body, &content);
    let (_, cost) = cost(|| decode::<String>(Codec::Bincode, &body, &Budget::for_body(body.len())).unwrap());
    assert_eq!((cost.calls, cost.peak), (1, content.len()));
}

#[test]
fn a_byte_string_is_made_of_its_message_without_another() {
    fn no_copy<T: AsRef<[u8]>>(content: &[u8])
    where
        Leaf<true>: for<'de> DecodeAs<'de, T>,
    {
        let body = [b"before", content].concat();
        let (value, cost) = cost(|| <Leaf<true> as DecodeAs<'_, T>>::from_bytes(body, 6).unwrap());
        assert_eq!(value.as_ref(), content);
        // `Bytes` may keep a count of its owners.
        assert!(cost.peak < 100, "{} bytes", cost.peak);
    }
    no_copy::<Vec<u8>>(&[7; 100_000]);
    no_copy::<Bytes>(&[7; 100_000]);
    // A box has no spare room, so the allocator has a say.
    let boxed: Box<[u8]> =
        <Leaf<true> as DecodeAs<'_, _>>::from_bytes(b"before the body".to_vec(), 11).unwrap();
    assert_eq!(*boxed, *b"body");
    let other = <Leaf<false> as DecodeAs<'_, String>>::from_bytes(b"body".to_vec(), 1);
    assert_eq!(other.unwrap_err(), b"body");
}

#[test]
fn a_byte_string_gives_itself_away_if_its_length_is_right() {
    fn given<T>(value: T, lengths: RangeInclusive<usize>) -> Result<Vec<u8>, T>
    where
        Leaf<true>: EncodeAs<T>,
    {
        <Leaf<true> as EncodeAs<T>>::into_bytes(value, lengths)
    }
    let content = vec![7; 1000];
    let place = content.as_ptr();
    let content = given(content, 1001..=2000).unwrap_err();
    let content = given(content, 0..=999).unwrap_err();
    let content = given(content, 1000..=1000).unwrap();
    let content = given(Bytes::from(content), 1..=1000).unwrap();
    let content = given(content.into_boxed_slice(), 1..=1000).unwrap();
    assert_eq!((content.len(), content.as_ptr()), (1000, place));
    assert_eq!(<Leaf<false> as EncodeAs<u8>>::into_bytes(7, 0..=1000), Err(7));
}

#[test]
fn the_probe_knows_byte_strings() {
    let bytes = [
        <Probe<Vec<u8>>>::BYTES,
        <Probe<Bytes>>::BYTES,
        <Probe<Box<[u8]>>>::BYTES,
    ];
    assert_eq!(bytes, [true; 3]);
    let others = [
        <Probe<Vec<u16>>>::BYTES,
        <Probe<String>>::BYTES,
        <Probe<[u8]>>::BYTES,
        <Probe<Option<Vec<u8>>>>::BYTES,
    ];
    assert_eq!(others, [false; 4]);
    // As the macro writes it, also behind a name that hides the type.
    type Blob = Vec<u8>;
    same::<Leaf<{ <Probe<Blob>>::BYTES }>, Blob>(vec![1, 2]);
    same::<Leaf<{ <Probe<u32>>::BYTES }>, u32>(5);
}
