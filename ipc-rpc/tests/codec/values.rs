//! One list of every kind of type that serde knows, with values at its edges and the codecs that cannot carry it.
//!
//! [`for_each_type!`] hands the list to a macro of yours, as entries of the form
//! `name: Type = [value, ..], not(codec, kind, "part of the message");`, so that a suite may write a test or a method
//! of a service for each. `kind` is `Encode` or `Decode`: the side on which the codec refuses. All types are owned,
//! `PartialEq` and `Debug`.

use std::collections::{BTreeSet, HashMap, HashSet, LinkedList, VecDeque};
use std::fmt::Debug;
// The list names these; whoever uses it imports all of this module.
pub(crate) use std::collections::BTreeMap;
pub(crate) use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What the list promises of its types.
pub(crate) trait Value: Serialize + DeserializeOwned + PartialEq + Debug {}

impl<T: Serialize + DeserializeOwned + PartialEq + Debug> Value for T {}

/// A float that is equal to itself also where it is not a number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bits(pub(crate) f64);

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// The same for the short one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ShortBits(pub(crate) f32);

impl PartialEq for ShortBits {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Unit;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Newtype(pub(crate) u32);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pair(pub(crate) u8, pub(crate) String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) parent: Option<Box<Record>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Empty {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generic<T> {
    pub(crate) value: T,
    pub(crate) kind: PhantomData<T>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Colour {
    Red,
    Green,
    Blue = 77,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Shape {
    Nothing,
    Circle(f64),
    Line(i32, i32),
    Named { name: String, of: Box<Shape> },
    Group(Vec<Shape>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Untagged {
    Number(u64),
    Text(String),
    Object { a: u8 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Internal {
    Nothing,
    Named { name: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "content")]
pub(crate) enum Adjacent {
    Nothing,
    Number(u64),
    Named { name: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flat {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sparse {
    pub(crate) first: u8,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) second: Option<u8>,
    pub(crate) third: u8,
}

/// [`Sparse`] with the field there: the type alone is no reason to refuse.
pub(crate) type Dense = Sparse;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub(crate) first: u8,
    #[serde(skip)]
    pub(crate) never: u64,
    #[serde(rename = "drei")]
    pub(crate) third: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Blocks {
    #[serde(with = "serde_bytes")]
    pub(crate) content: Vec<u8>,
    pub(crate) slow: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub(crate) struct Even(pub(crate) u8);

impl TryFrom<u8> for Even {
    type Error = String;

    fn try_from(value: u8) -> Result<Self, String> {
        if value & 1 == 0 {
            Ok(Self(value))
        } else {
            Err(format!("{value} is odd"))
        }
    }
}

impl From<Even> for u8 {
    fn from(even: Even) -> Self {
        even.0
    }
}

/// A tree that is as deep as asked for.
pub(crate) fn nested(levels: u32) -> Shape {
    (0..levels).fold(Shape::Nothing, |of, level| Shape::Named {
        name: level.to_string(),
        of: Box::new(of),
    })
}

pub(crate) fn record() -> Record {
    let root = Record {
        id: 1,
        name: "root".into(),
        tags: vec![],
        parent: None,
    };
    Record {
        id: u64::MAX,
        name: "blatt ✓".into(),
        tags: vec!["a".into(), String::new()],
        parent: Some(Box::new(root)),
    }
}

pub(crate) fn set<C: FromIterator<T>, T, const N: usize>(elements: [T; N]) -> C {
    elements.into_iter().collect()
}

/// Types that hold others; names that would be long in the list.
pub(crate) type Table = HashMap<String, BTreeMap<u16, Vec<Option<i8>>>>;
pub(crate) type Deep = Vec<Vec<Vec<Vec<u8>>>>;
pub(crate) type Wide = (
    u8,
    u16,
    u64,
    i8,
    i64,
    f32,
    bool,
    char,
    String,
    (),
    Option<u8>,
    [u8; 3],
);
pub(crate) type Numbers = VecDeque<i64>;
pub(crate) type Words = LinkedList<String>;
pub(crate) type Points = HashMap<(i32, i32), u8>;
pub(crate) type Colours = BTreeMap<Colour, u8>;
pub(crate) type Names = BTreeSet<String>;
pub(crate) type Ids = HashSet<u32>;

/// See the module.
macro_rules! for_each_type {
    ($callback:ident) => {
        $callback! {
            boolean: bool = [false, true];
            u8_: u8 = [0, 1, u8::MAX];
            u16_: u16 = [0, 1, u16::MAX];
            u32_: u32 = [0, 1, u32::MAX];
            u64_: u64 = [0, 1, u64::MAX];
            u128_: u128 = [0, 1, u128::MAX];
            usize_: usize = [0, 1, usize::MAX];
            i8_: i8 = [0, -1, i8::MIN, i8::MAX];
            i16_: i16 = [0, -1, i16::MIN, i16::MAX];
            i32_: i32 = [0, -1, i32::MIN, i32::MAX];
            i64_: i64 = [0, -1, i64::MIN, i64::MAX];
            i128_: i128 = [0, -1, i128::MIN, i128::MAX];
            isize_: isize = [0, -1, isize::MIN, isize::MAX];
            f32_: ShortBits = [ShortBits(0.0), ShortBits(-0.0), ShortBits(0.1), ShortBits(f32::MIN_POSITIVE), ShortBits(f32::MAX), ShortBits(16_777_217.0), ShortBits(7.038_531e-26)];
            f64_: Bits = [Bits(0.0), Bits(-0.0), Bits(0.1), Bits(f64::MIN_POSITIVE), Bits(f64::MAX), Bits(1.0 / 3.0), Bits(5e-324)];
            nan: Bits = [Bits(f64::NAN), Bits(f64::from_bits(0x7ff8_dead_beef_0001)), Bits(f64::INFINITY), Bits(f64::NEG_INFINITY)], not(Json, Encode, "JSON has no NaN");
            short_nan: ShortBits = [ShortBits(f32::NAN), ShortBits(f32::INFINITY)], not(Json, Encode, "JSON has no NaN");
            char_: char = ['a', '\0', 'ß', '\u{d7ff}', '\u{e000}', '\u{10ffff}'];
            string: String = [String::new(), "text".into(), "\"\\\n\0\u{1f980}".into(), "x".repeat(300)];
            boxed_str: Box<str> = ["".into(), "boxed".into()];
            cow: std::borrow::Cow<'static, str> = ["cow".into()];
            bytes_: bytes::Bytes = [bytes::Bytes::new(), bytes::Bytes::from_static(&[0, 1, 254, 255])];
            byte_vec: Vec<u8> = [vec![], vec![0, 1, 254, 255], vec![7; 300]];
            byte_box: Box<[u8]> = [Box::from([1_u8, 2, 3].as_slice())];
            serde_bytes_field: Blocks = [Blocks { content: vec![1, 2, 3], slow: vec![4, 5] }];
            unit: () = [()];
            unit_struct: Unit = [Unit];
            phantom: PhantomData<String> = [PhantomData];
            empty_struct: Empty = [Empty {}];
            newtype: Newtype = [Newtype(5)];
            tuple_struct: Pair = [Pair(1, "zwei".into())];
            record_: Record = [record()];
            generic: Generic<Vec<u8>> = [Generic { value: vec![1], kind: PhantomData }];
            skipped_field: Skipped = [Skipped { first: 1, never: 0, third: 3 }];
            try_from: Even = [Even(0), Even(254)];
            one_tuple: (u8,) = [(1,)];
            pair: (u8, String) = [(1, "zwei".into())];
            wide_tuple: Wide = [(1, 2, 4, -1, -4, 0.5, true, 'c', "s".into(), (), Some(1), [1, 2, 3])];
            array: [u16; 4] = [[1, 2, 3, 4]];
            long_array: [u8; 32] = [[9; 32]];
            empty_array: [u8; 0] = [[]];
            option: Option<u32> = [None, Some(0), Some(u32::MAX)];
            option_text: Option<String> = [None, Some(String::new()), Some("x".into())];
            option_option: Option<Option<u8>> = [None, Some(Some(3))];
            some_none: Option<Option<u8>> = [Some(None)], not(Json, Encode, "null is read as None");
            some_unit: Option<()> = [Some(())], not(Json, Encode, "null is read as None");
            some_newtype_none: Option<Generic<Option<u8>>> = [Some(Generic { value: None, kind: PhantomData })];
            result: Result<u8, String> = [Ok(1), Err("nein".into())];
            unit_result: Result<(), ()> = [Ok(()), Err(())];
            colour: Colour = [Colour::Red, Colour::Green, Colour::Blue];
            shape: Shape = [Shape::Nothing, Shape::Circle(0.5), Shape::Line(-1, 1), nested(3), Shape::Group(vec![Shape::Nothing, nested(1)])];
            untagged: Untagged = [Untagged::Number(1), Untagged::Text("x".into()), Untagged::Object { a: 1 }], not(Bincode, Decode, "#[serde(untagged)]");
            internally_tagged: Internal = [Internal::Nothing, Internal::Named { name: "n".into() }], not(Bincode, Decode, "#[serde(tag)]");
            adjacently_tagged: Adjacent = [Adjacent::Nothing, Adjacent::Number(1), Adjacent::Named { name: "n".into() }], not(Bincode, Decode, "#[serde(tag)]");
            flattened: Flat = [Flat { id: 1, rest: set([("a".into(), "b".into())]) }], not(Bincode, Encode, "#[serde(flatten)]");
            skipped_if: Sparse = [Sparse { first: 1, second: None, third: 3 }], not(Bincode, Encode, "second: bincode has no names");
            not_skipped: Dense = [Sparse { first: 1, second: Some(2), third: 3 }];
            json_value: serde_json::Value = [serde_json::json!({"a": [1, -1, 0.5, null, true, "s"]}), serde_json::Value::Null], not(Bincode, Decode, "JSON codec");
            vector: Vec<u64> = [vec![], vec![1, 2, 3]];
            texts: Vec<String> = [vec![], vec![String::new(), "a".into()]];
            units: Vec<()> = [vec![], vec![(); 20]];
            deep: Deep = [vec![vec![vec![vec![1], vec![]], vec![]]]];
            boxed_slice: Box<[String]> = [Box::from(["a".to_owned()].as_slice())];
            deque: Numbers = [set([1, -2, 3])];
            list: Words = [set(["a".into(), "b".into()])];
            tree_set: Names = [set(["a".into(), "b".into()])];
            hash_set: Ids = [set([1, 2, 3])];
            map: BTreeMap<String, u8> = [BTreeMap::new(), set([("a".into(), 1), (String::new(), 2)])];
            number_map: BTreeMap<i64, String> = [set([(-1, "a".into()), (i64::MAX, "b".into())])];
            bool_map: BTreeMap<bool, u8> = [set([(false, 1), (true, 2)])];
            char_map: BTreeMap<char, u8> = [set([('a', 1), ('"', 2)])];
            newtype_map: BTreeMap<Newtype, u8> = [set([(Newtype(7), 1)])];
            variant_map: Colours = [set([(Colour::Red, 1), (Colour::Blue, 2)])];
            tuple_map: Points = [set([((1, -1), 7)])], not(Json, Encode, "key must be a string");
            unit_map: BTreeMap<(), u8> = [set([((), 7)])], not(Json, Encode, "key must be a string");
            table: Table = [set([("k".into(), set([(1, vec![Some(-1), None])]))])];
            boxed: Box<Record> = [Box::new(record())];
            reference_counted: std::rc::Rc<Record> = [record().into()];
            atomically_counted: std::sync::Arc<[u16]> = [vec![1, 2, 3].into()];
            cell: std::cell::RefCell<u8> = [5.into()];
            wrapping: std::num::Wrapping<u8> = [std::num::Wrapping(255)];
            reverse: std::cmp::Reverse<u8> = [std::cmp::Reverse(1)];
            non_zero: std::num::NonZeroU32 = [std::num::NonZeroU32::MIN, std::num::NonZeroU32::MAX];
            signed_non_zero: std::num::NonZeroI128 = [std::num::NonZeroI128::MIN, std::num::NonZeroI128::MAX];
            option_non_zero: Option<std::num::NonZeroU8> = [None, std::num::NonZeroU8::new(255)];
            range: std::ops::Range<u32> = [1..5];
            range_inclusive: std::ops::RangeInclusive<i8> = [-1..=1];
            range_from: std::ops::RangeFrom<u8> = [3..];
            bound: std::ops::Bound<u8> = [std::ops::Bound::Unbounded, std::ops::Bound::Included(1)];
            duration: std::time::Duration = [std::time::Duration::ZERO, std::time::Duration::MAX, std::time::Duration::from_nanos(1)];
            system_time: std::time::SystemTime = [std::time::SystemTime::UNIX_EPOCH, std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 5)];
            early_time: std::time::SystemTime = [std::time::SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(1)], not(Bincode, Encode, "UNIX_EPOCH"), not(Json, Encode, "UNIX_EPOCH");
            path: std::path::PathBuf = ["/tmp/ä".into(), std::path::PathBuf::new()];
            c_string: std::ffi::CString = [c"text".into()];
            os_string: std::ffi::OsString = ["text".into()];
            ip: std::net::IpAddr = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
            socket_address: std::net::SocketAddr = [(std::net::Ipv4Addr::LOCALHOST, 80).into(), (std::net::Ipv6Addr::LOCALHOST, 80).into()];
        }
    };
}

pub(crate) use for_each_type;
