//! Messages that no honest peer sends.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::hash::{Hash, Hasher};
use std::num::NonZeroU16;

use bytes::Bytes;
use ipc_rpc::__private::codec::{Budget, CodecErrorKind, decode, encode};
use ipc_rpc::__private::{Blob, Leaf, OptionOf, Owned, ResultOf, Text, TupleOf};
use ipc_rpc::Codec;
use serde::{Deserialize, Serialize};

use crate::meter::cost;
use crate::values::{Colour, Even, Pair, Record, Shape, Unit};

const CODECS: [Codec; 2] = [Codec::Bincode, Codec::Json];
const MIB: usize = 1 << 20;

/// Why the message is refused, and the most memory that it took to see that.
#[track_caller]
fn refused<'de, T: Deserialize<'de>>(codec: Codec, body: &'de [u8]) -> (String, usize) {
    within::<T>(codec, body, &Budget::for_body(body.len()))
}

#[track_caller]
fn within<'de, T: Deserialize<'de>>(codec: Codec, body: &'de [u8], budget: &Budget) -> (String, usize) {
    let (result, cost) = cost(|| decode::<T>(codec, body, budget).map(|_| ()));
    let error = result.expect_err("the message is accepted");
    assert_eq!(error.kind, CodecErrorKind::Decode, "{error}");
    (error.message, cost.peak)
}

/// A message of the default budget's own making: lengths as bincode writes them.
fn lengths(lengths: &[u64]) -> Vec<u8> {
    lengths.iter().flat_map(|length| length.to_le_bytes()).collect()
}

#[test]
fn nine_bytes_cannot_claim_memory() {
    fn claims<T>()
    where
        T: for<'de> Deserialize<'de>,
    {
        let claims = [
            1 << 63,
            1 << 62,
            u64::MAX,
            u64::MAX - 7,
            1 << 40,
            1 << 32,
            (16 << 20) + 1,
            16 << 20,
            1 << 16,
            3,
        ];
        for claim in claims {
            let mut body = claim.to_le_bytes().to_vec();
            body.push(1);
            let (error, peak) = refused::<T>(Codec::Bincode, &body);
            assert!(
                peak <= 4096,
                "{}: {peak} bytes for a claim of {claim}: {error}",
                std::any::type_name::<T>()
            );
        }
    }
    claims::<Vec<u8>>();
    claims::<Vec<u64>>();
    claims::<Vec<[u64; 32]>>();
    claims::<Vec<String>>();
    claims::<Vec<Vec<u8>>>();
    claims::<Vec<Record>>();
    claims::<Box<[u64]>>();
    claims::<VecDeque<u32>>();
    claims::<LinkedList<u32>>();
    claims::<BinaryHeap<u32>>();
    claims::<BTreeSet<u32>>();
    claims::<HashSet<u32>>();
    claims::<HashMap<u64, [u64; 16]>>();
    claims::<BTreeMap<u64, u64>>();
    claims::<HashMap<String, String>>();
    claims::<String>();
    claims::<Box<str>>();
    claims::<std::path::PathBuf>();
    claims::<std::ffi::CString>();
    claims::<Bytes>();
    claims::<serde_bytes::ByteBuf>();
    claims::<Owned<Leaf<true>, Vec<u8>>>();
    claims::<Owned<Leaf<true>, Bytes>>();
    claims::<Owned<Leaf<true>, Box<[u8]>>>();
    claims::<Owned<TupleOf<(Leaf<true>, Leaf<true>)>, (Vec<u8>, Vec<u8>)>>();
}

#[test]
fn lent_text_and_bytes_cannot_claim_memory_either() {
    for claim in [u64::MAX, 1 << 63, 1 << 32, 2] {
        let mut body = claim.to_le_bytes().to_vec();
        body.push(b'x');
        for (error, peak) in [
            refused::<Owned<Text, Cow<'_, str>>>(Codec::Bincode, &body),
            refused::<Owned<Blob, Cow<'_, [u8]>>>(Codec::Bincode, &body),
            refused::<&str>(Codec::Bincode, &body),
            refused::<&[u8]>(Codec::Bincode, &body),
        ] {
            assert!(error.starts_with("the message ends too early"), "{error}");
            assert!(peak <= 4096, "{peak}");
        }
    }
}

#[test]
fn nested_lengths_do_not_multiply() {
    type Nest<T> = Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<T>>>>>>>>;
    let (_, peak) = refused::<Nest<u64>>(Codec::Bincode, &lengths(&[255; 8]));
    assert!(peak <= 64 * 1024, "{peak}");

    // The same with a body large enough that every level may claim a million elements.
    let mut body = lengths(&[1 << 20; 8]);
    body.resize(MIB, 0);
    let budget = Budget::for_body(body.len());
    let (error, peak) = refused::<Nest<u64>>(Codec::Bincode, &body);
    assert!(error.contains("of memory"), "{error}");
    assert!(peak <= budget.heap + MIB, "{peak}");

    // And with a type that nests without end: a group of groups, each claiming more than there is.
    let mut body: Vec<u8> = (0..60)
        .flat_map(|_| [4_u32.to_le_bytes().to_vec(), lengths(&[30_000])].concat())
        .collect();
    body.resize(MIB, 0);
    let (error, peak) = refused::<Shape>(Codec::Bincode, &body);
    assert!(error.contains("of memory"), "{error}");
    assert!(peak <= budget.heap + MIB, "{peak}");
}

/// A type that takes no bytes on the wire, and a lot here.
#[derive(Debug, Default, Deserialize)]
struct Weightless {
    #[serde(skip)]
    _filler: [u64; 16],
}

#[test]
fn elements_without_bytes_are_counted() {
    for claim in [1 << 40, (16 << 20) + 1, u64::MAX] {
        let (error, peak) = refused::<Vec<()>>(Codec::Bincode, &lengths(&[claim]));
        assert_eq!(error, "more than 16777216 elements in one message");
        assert!(peak <= 4096, "{peak}");
        refused::<HashSet<()>>(Codec::Bincode, &lengths(&[claim]));
        refused::<HashMap<(), ()>>(Codec::Bincode, &lengths(&[claim]));
        refused::<Vec<Weightless>>(Codec::Bincode, &lengths(&[claim]));
        refused::<Vec<[(); 32]>>(Codec::Bincode, &lengths(&[claim]));
    }
    let all: Vec<()> = decode(Codec::Bincode, &lengths(&[16 << 20]), &Budget::for_body(8)).unwrap();
    assert_eq!(all.len(), 16 << 20);
    // In all, not in each.
    let budget = Budget {
        elements: 1000,
        ..Budget::for_body(16)
    };
    let (error, _) = within::<(Vec<()>, Vec<()>)>(Codec::Bincode, &lengths(&[1000, 1]), &budget);
    assert_eq!(error, "[1]: more than 1000 elements in one message");

    let (error, peak) = refused::<Vec<Weightless>>(Codec::Bincode, &lengths(&[16 << 20]));
    assert!(error.contains("of memory"), "{error}");
    assert!(peak <= 4096, "{peak}");
}

#[test]
fn json_elements_are_counted_one_by_one() {
    let budget = Budget {
        elements: 1000,
        ..Budget::for_body(10_000)
    };
    let nulls = |count: usize| format!("[{}]", vec!["null"; count].join(","));
    let body = nulls(1000);
    assert_eq!(
        decode::<Vec<()>>(Codec::Json, body.as_bytes(), &budget)
            .unwrap()
            .len(),
        1000
    );
    let body = nulls(1001);
    let (error, _) = within::<Vec<()>>(Codec::Json, body.as_bytes(), &budget);
    assert_eq!(error, "[1000]: more than 1000 elements in one message");
    let (error, _) = within::<serde_json::Value>(Codec::Json, body.as_bytes(), &budget);
    assert!(error.contains("more than 1000 elements"), "{error}");
    let body = format!(
        "{{{}}}",
        (0..1001)
            .map(|n| format!("\"{n}\":null"))
            .collect::<Vec<_>>()
            .join(",")
    );
    let (error, _) = within::<BTreeMap<u32, ()>>(Codec::Json, body.as_bytes(), &budget);
    assert!(error.contains("more than 1000 elements"), "{error}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum List {
    End,
    More(Box<List>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Options(Option<Box<Options>>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Vectors(Vec<Vectors>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain {
    next: Option<Box<Chain>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Maps(BTreeMap<String, Maps>);

/// Runs where there is a quarter of the room that a thread has by default.
fn on_a_small_stack(code: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(code)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_million_levels_do_not_overflow_the_stack() {
    const LEVELS: usize = 1_000_000;
    on_a_small_stack(|| {
        let too_deep = |(error, _): (String, usize)| {
            // JSON's own limit, 128 levels, is never reached.
            assert!(error.contains("nested deeper than 64 levels"), "{error}");
        };
        let variant: Vec<u8> = 1_u32.to_le_bytes().repeat(LEVELS);
        too_deep(refused::<List>(Codec::Bincode, &variant));
        too_deep(refused::<Options>(Codec::Bincode, &vec![1; LEVELS]));
        too_deep(refused::<Chain>(Codec::Bincode, &vec![1; LEVELS]));
        too_deep(refused::<Vectors>(Codec::Bincode, &lengths(&[1]).repeat(LEVELS)));
        let entry = [lengths(&[1, 1]), vec![b'k']].concat();
        too_deep(refused::<Maps>(Codec::Bincode, &entry.repeat(LEVELS)));
        too_deep(refused::<Shape>(
            Codec::Bincode,
            &[&4_u32.to_le_bytes()[..], &lengths(&[1])].concat().repeat(LEVELS),
        ));

        too_deep(refused::<Vectors>(Codec::Json, "[".repeat(LEVELS).as_bytes()));
        too_deep(refused::<serde_json::Value>(
            Codec::Json,
            "[".repeat(LEVELS).as_bytes(),
        ));
        too_deep(refused::<serde_json::Value>(
            Codec::Json,
            r#"{"a":"#.repeat(LEVELS).as_bytes(),
        ));
        too_deep(refused::<Chain>(
            Codec::Json,
            r#"{"next":"#.repeat(LEVELS).as_bytes(),
        ));
        too_deep(refused::<List>(
            Codec::Json,
            r#"{"More":"#.repeat(LEVELS).as_bytes(),
        ));
        too_deep(refused::<Maps>(Codec::Json, r#"{"a":"#.repeat(LEVELS).as_bytes()));
        // What is skipped is skipped without recursion.
        let body = format!(r#"{{"x":{}"#, "[".repeat(LEVELS));
        refused::<Chain>(Codec::Json, body.as_bytes());
    });
}

#[test]
fn sixty_four_levels_are_allowed_and_sixty_five_are_not() {
    for codec in CODECS {
        let list = |levels| (0..levels).fold(List::End, |list, _| List::More(Box::new(list)));
        let vectors = |levels| (1..levels).fold(Vectors(vec![]), |inner, _| Vectors(vec![inner]));
        let mut body = Vec::new();
        encode(codec, &list(64), &mut body, MIB).unwrap();
        assert_eq!(
            decode::<List>(codec, &body, &Budget::for_body(body.len())).unwrap(),
            list(64)
        );
        body.clear();
        encode(codec, &list(65), &mut body, MIB).unwrap();
        assert!(
            refused::<List>(codec, &body)
                .0
                .contains("nested deeper than 64 levels")
        );
        body.clear();
        encode(codec, &vectors(64), &mut body, MIB).unwrap();
        assert_eq!(
            decode::<Vectors>(codec, &body, &Budget::for_body(body.len())).unwrap(),
            vectors(64)
        );
        body.clear();
        encode(codec, &vectors(65), &mut body, MIB).unwrap();
        assert!(
            refused::<Vectors>(codec, &body)
                .0
                .contains("nested deeper than 64 levels")
        );
    }
}

#[test]
fn nothing_may_follow_the_value() {
    assert_eq!(
        refused::<u8>(Codec::Bincode, &[1, 2]).0,
        "1 bytes are left over after the value"
    );
    assert_eq!(
        refused::<()>(Codec::Bincode, &[0]).0,
        "1 bytes are left over after the value"
    );
    assert!(
        refused::<u8>(Codec::Json, b"1 2")
            .0
            .starts_with("trailing characters")
    );
    assert!(
        refused::<Vec<u8>>(Codec::Json, b"[1]]")
            .0
            .starts_with("trailing characters")
    );
    assert_eq!(
        decode::<u8>(Codec::Json, b" 1\n", &Budget::for_body(3)).unwrap(),
        1
    );
}

#[test]
fn an_empty_message_is_only_an_empty_value() {
    decode::<()>(Codec::Bincode, b"", &Budget::for_body(0)).unwrap();
    assert!(
        refused::<u8>(Codec::Bincode, b"")
            .0
            .starts_with("the message ends too early")
    );
    assert!(refused::<()>(Codec::Json, b"").0.starts_with("EOF"));
}

#[test]
fn each_value_has_one_encoding() {
    let cases: [(&[u8], String); 9] = [
        (&[2], refused::<bool>(Codec::Bincode, &[2]).0),
        (&[255], refused::<bool>(Codec::Bincode, &[255]).0),
        (&[2], refused::<Option<u8>>(Codec::Bincode, &[2, 0]).0),
        (&[3], refused::<Colour>(Codec::Bincode, &3_u32.to_le_bytes()).0),
        (&[77], refused::<Colour>(Codec::Bincode, &77_u32.to_le_bytes()).0),
        (
            &[2],
            refused::<Result<u8, u8>>(Codec::Bincode, &[2, 0, 0, 0, 1]).0,
        ),
        (&[0], refused::<NonZeroU16>(Codec::Bincode, &[0, 0]).0),
        (&[0xed], refused::<char>(Codec::Bincode, &[0xed, 0xa0, 0x80]).0),
        (
            &[0xff],
            refused::<String>(Codec::Bincode, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).0,
        ),
    ];
    let words = [
        "2 is not a bool",
        "255 is not a bool",
        "2 is not a tag",
        "`3`",
        "`77`",
        "`2`",
        "nonzero",
        "char",
        "UTF-8",
    ];
    for ((bytes, error), word) in cases.iter().zip(words) {
        assert!(error.contains(word), "{bytes:?}: {error}");
    }
    let (error, _) = refused::<Owned<ResultShape, Result<u8, u8>>>(Codec::Bincode, &[2, 0, 0, 0, 1]);
    assert!(error.contains("`2`"), "{error}");
    assert!(refused::<Even>(Codec::Bincode, &[3]).0.contains("3 is odd"));
    assert!(
        refused::<std::time::Duration>(Codec::Bincode, &[255; 12])
            .0
            .contains("overflow")
    );
    // A char cut in the middle, and a continuation byte first.
    refused::<char>(Codec::Bincode, &[0xc3]);
    refused::<char>(Codec::Bincode, &[0x80]);
    refused::<char>(Codec::Bincode, &[0xf7, 0xbf, 0xbf, 0xbf]);
}

type ResultShape = ResultOf<Leaf<false>, Leaf<false>>;

#[test]
fn json_is_as_strict() {
    for (body, word) in [
        (r#""\ud800""#, "hex escape"),
        (r#""\ud800\u0041""#, "surrogate"),
        (r#""\udc00""#, "surrogate"),
        (r#""\u00"  "#, "escape"),
        ("\"\u{1}\"", "control character"),
        (r#""open"#, "EOF"),
    ] {
        let (error, _) = refused::<String>(Codec::Json, body.as_bytes());
        assert!(error.contains(word), "{body}: {error}");
    }
    assert!(refused::<String>(Codec::Json, b"\"\xff\"").0.contains("unicode"));
    assert!(refused::<u8>(Codec::Json, b"256").0.contains("256"));
    refused::<u64>(Codec::Json, b"1e400");
    refused::<f64>(Codec::Json, b"1e400");
    refused::<f64>(Codec::Json, b"NaN");
    assert!(refused::<NonZeroU16>(Codec::Json, b"0").0.contains("nonzero"));
    assert!(
        refused::<char>(Codec::Json, br#""ab""#)
            .0
            .contains("expected a character")
    );
    assert!(
        refused::<Colour>(Codec::Json, br#""Pink""#)
            .0
            .contains("unknown variant `Pink`")
    );
    assert!(
        refused::<Owned<ResultShape, Result<u8, u8>>>(Codec::Json, br#"{"Maybe":1}"#)
            .0
            .contains("`Maybe`")
    );
    assert!(
        refused::<Record>(Codec::Json, br#"{"id":1,"id":1}"#)
            .0
            .contains("duplicate field `id`")
    );
    assert!(
        refused::<Record>(Codec::Json, br#"{"id":1}"#)
            .0
            .contains("missing field `name`")
    );
    assert!(
        refused::<&[u8]>(Codec::Json, b"[1]")
            .0
            .contains("borrowed byte array")
    );
    assert!(
        refused::<&str>(Codec::Json, br#""\n""#)
            .0
            .contains("borrowed string")
    );
}

#[test]
fn errors_say_where_and_never_repeat_the_message() {
    let mut body = Vec::new();
    let tags = vec!["a".to_owned(), "b".to_owned()];
    let value = vec![Record {
        id: 1,
        name: "n".into(),
        tags,
        parent: None,
    }];
    encode(Codec::Bincode, &value, &mut body, MIB).unwrap();
    let last_tag = body.len() - 2;
    body[last_tag] = 0xff;
    let (error, _) = refused::<Vec<Record>>(Codec::Bincode, &body);
    assert!(error.starts_with("[0].tags[1]: a string is not UTF-8"), "{error}");
    let (error, _) =
        refused::<BTreeMap<String, Record>>(Codec::Json, br#"{"k":{"id":1,"name":"n","tags":[0]}}"#);
    assert!(
        error.starts_with("{entry 0}.tags[0]: invalid type: integer `0`, expected a string"),
        "{error}"
    );

    // A complaint that quotes what it was given, which may be escaped to six times its length.
    let text = format!("\"{}\"", "\u{7f}".repeat(MIB));
    #[track_caller]
    fn brief<T: for<'de> Deserialize<'de>>(text: &str) {
        let (error, peak) = refused::<T>(Codec::Json, text.as_bytes());
        assert!(
            error.len() < 500 && error.contains("invalid type: string"),
            "{error}"
        );
        assert!(peak < 4096, "{peak}");
    }
    brief::<u8>(&text);
    brief::<i64>(&text);
    brief::<f64>(&text);
    brief::<bool>(&text);
    brief::<()>(&text);
    brief::<Unit>(&text);
    brief::<Option<u32>>(&text);
    brief::<(u8, u8)>(&text);
    brief::<[u8; 4]>(&text);
    brief::<Vec<u8>>(&text);
    brief::<Pair>(&text);
    brief::<Record>(&text);
    brief::<HashMap<u8, u8>>(&text);
    let (error, peak) = refused::<Vec<Colour>>(Codec::Json, format!("[{text}]").as_bytes());
    assert!(error.len() < 500 && error.contains("unknown variant"), "{error}");
    assert!(peak < 8192, "{peak}");
}

thread_local! {
    static COMPARED: Cell<usize> = const { Cell::new(0) };
}

/// A key that counts how often it is compared.
#[derive(Debug, Eq, Serialize, Deserialize)]
struct Key(u64);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.set(COMPARED.get() + 1);
        self.0 == other.0
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn colliding_keys_do_not_make_a_map_slow() {
    // Keys that fall into one bucket of a table that masks or multiplies: std's hasher has a random key of its own.
    const KEYS: u64 = 100_000;
    for codec in CODECS {
        let body = if codec == Codec::Bincode {
            let mut body = lengths(&[KEYS]);
            (0..KEYS).for_each(|key| body.extend(lengths(&[key << 44, 0])));
            body
        } else {
            format!(
                "{{{}}}",
                (0..KEYS)
                    .map(|key| format!("\"{}\":0", key << 44))
                    .collect::<Vec<_>>()
                    .join(",")
            )
            .into_bytes()
        };
        COMPARED.set(0);
        let map: HashMap<Key, u64> = decode(codec, &body, &Budget::for_body(body.len())).unwrap();
        assert_eq!(map.len() as u64, KEYS);
        assert!(
            COMPARED.get() < 2 * KEYS as usize,
            "{codec}: {} comparisons",
            COMPARED.get()
        );
    }
}

#[test]
fn small_on_the_wire_is_not_large_in_memory() {
    #[track_caller]
    fn amplified<T: for<'de> Deserialize<'de>>(codec: Codec, body: &[u8]) {
        let budget = Budget::for_body(body.len());
        let (error, peak) = refused::<T>(codec, body);
        assert!(error.contains("of memory, the limit for a body of"), "{error}");
        // A vector that grows has up to twice the room it needs, and the old room while it moves.
        assert!(peak <= 3 * budget.heap, "{peak} of {}", budget.heap);
    }
    let array = |element: &str| format!("[{}]", vec![element; MIB].join(",")).into_bytes();
    // 24 bytes each: 3 in JSON, and 8 in bincode, which is allowed.
    amplified::<Vec<String>>(Codec::Json, &array("\"\""));
    amplified::<Vec<Vec<u8>>>(Codec::Json, &array("[]"));
    amplified::<Vec<Weightless>>(Codec::Json, &array("{}"));
    amplified::<serde_json::Value>(Codec::Json, &array("1"));
    // The same behind a pointer, whose place says nothing of its size.
    amplified::<Vec<Option<Box<Weightless>>>>(Codec::Json, &array("{}"));
    let claim = lengths(&[MIB as u64]);
    let texts = [claim.clone(), vec![0; 8 * MIB]].concat();
    assert_eq!(
        decode::<Vec<String>>(Codec::Bincode, &texts, &Budget::for_body(texts.len()))
            .unwrap()
            .len(),
        MIB
    );
    amplified::<Vec<Option<[u64; 2]>>>(Codec::Bincode, &[claim.clone(), vec![0; MIB]].concat());
    amplified::<Vec<Option<Box<Weightless>>>>(Codec::Bincode, &[claim.clone(), vec![1; MIB]].concat());
    amplified::<Vec<Owned<OptionOf<Leaf<false>>, Option<[u64; 2]>>>>(
        Codec::Bincode,
        &[claim.clone(), vec![0; MIB]].concat(),
    );
    amplified::<HashMap<u8, [u64; 8]>>(Codec::Bincode, &lengths(&[MIB as u64]).repeat(1000));
}

#[test]
fn a_large_honest_body_is_not_refused() {
    // Each of these is above the megabyte that any message may take, and within four times its body.
    let numbers: Vec<u64> = (0..200_000).collect();
    let records: Vec<Record> = (0..10_000)
        .map(|id| Record {
            id,
            name: format!("record {id}"),
            tags: vec!["x".into()],
            parent: None,
        })
        .collect();
    let map: BTreeMap<u64, String> = (0..20_000).map(|id| (id, format!("value {id}"))).collect();
    let pairs: Vec<(u8, u64)> = vec![(1, 2); 100_000];
    for codec in CODECS {
        carried(codec, &numbers);
        carried(codec, &records);
        carried(codec, &map);
        carried(codec, &pairs);
        carried(codec, &"x".repeat(4 * MIB));
        carried(codec, &vec![200_u8; MIB]);
        carried(codec, &vec![Some(1_u32); 100_000]);
    }
    #[track_caller]
    fn carried<T: Serialize + for<'de> Deserialize<'de> + PartialEq>(codec: Codec, value: &T) {
        let mut body = Vec::new();
        encode(codec, value, &mut body, usize::MAX).unwrap();
        let copy = decode::<T>(codec, &body, &Budget::for_body(body.len()));
        assert!(copy.unwrap() == *value);
    }
}
