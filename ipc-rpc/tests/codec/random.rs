//! Random values go through unchanged; random bytes do no harm.

use std::collections::BTreeMap;

use ipc_rpc::__private::codec::{Budget, decode, encode};
use ipc_rpc::__private::{Leaf, OptionOf, Owned, Ref, ResultOf, TupleOf};
use ipc_rpc::Codec;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::meter::cost;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Nothing,
    Flag(bool),
    Number(i128),
    Float(f64),
    Letter(char),
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Maybe(Option<Box<Tree>>),
    Pair(Box<Tree>, u8),
    Many(Vec<Tree>),
    Named { name: String, value: Box<Tree> },
    Map(BTreeMap<u64, Tree>),
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Nothing),
        any::<bool>().prop_map(Tree::Flag),
        any::<i128>().prop_map(Tree::Number),
        proptest::num::f64::NORMAL.prop_map(Tree::Float),
        any::<char>().prop_map(Tree::Letter),
        any::<String>().prop_map(Tree::Text),
        vec(any::<u8>(), 0..64).prop_map(Tree::Bytes),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            proptest::option::of(inner.clone().prop_map(Box::new)).prop_map(Tree::Maybe),
            (inner.clone().prop_map(Box::new), any::<u8>()).prop_map(|(tree, byte)| Tree::Pair(tree, byte)),
            vec(inner.clone(), 0..8).prop_map(Tree::Many),
            (any::<String>(), inner.clone().prop_map(Box::new))
                .prop_map(|(name, value)| Tree::Named { name, value }),
            btree_map(any::<u64>(), inner, 0..8).prop_map(Tree::Map),
        ]
    })
}

type Shaped = (Vec<u8>, Option<Vec<u8>>, Result<(Vec<u8>, String), u32>);
type ShapeOf = TupleOf<(
    Leaf<true>,
    OptionOf<Leaf<true>>,
    ResultOf<TupleOf<(Leaf<true>, Leaf<false>)>, Leaf<false>>,
)>;

fn codecs() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::Bincode), Just(Codec::Json)]
}

proptest! {
    #[test]
    fn values_come_back_as_they_were(tree in trees(), codec in codecs()) {
        let mut body = Vec::new();
        encode(codec, &tree, &mut body, usize::MAX).unwrap();
        let copy: Tree = decode(codec, &body, &Budget::for_body(body.len())).unwrap();
        prop_assert_eq!(copy, tree);
    }

    #[test]
    fn shapes_are_invisible(
        value in (
            vec(any::<u8>(), 0..300),
            proptest::option::of(vec(any::<u8>(), 0..300)),
            proptest::result::maybe_ok((vec(any::<u8>(), 0..300), any::<String>()), any::<u32>()),
        ),
        codec in codecs(),
    ) {
        let (mut plain, mut shaped) = (Vec::new(), Vec::new());
        encode(codec, &value, &mut plain, usize::MAX).unwrap();
        encode(codec, &Ref::<ShapeOf, Shaped>::new(&value), &mut shaped, usize::MAX).unwrap();
        prop_assert_eq!(&plain, &shaped);
        let budget = Budget::for_body(plain.len());
        let copy = decode::<Owned<ShapeOf, Shaped>>(codec, &plain, &budget).unwrap().into_inner();
        prop_assert_eq!(copy, value);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200), codec in codecs()) {
        let budget = Budget::for_body(bytes.len());
        let (_, cost) = cost(|| {
            let _ = decode::<Tree>(codec, &bytes, &budget);
            let _ = decode::<Owned<ShapeOf, Shaped>>(codec, &bytes, &budget);
        });
        prop_assert!(cost.peak <= 64 * 1024, "{:?}", cost);
    }

    #[test]
    fn damaged_messages_do_no_harm(
        tree in trees(),
        codec in codecs(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut body = Vec::new();
        encode(codec, &tree, &mut body, usize::MAX).unwrap();
        for (index, byte) in damage {
            let at = index.index(body.len());
            body[at] = byte;
        }
        let budget = Budget::for_body(body.len());
        let (_, cost) = cost(|| decode::<Tree>(codec, &body, &budget).is_ok());
        prop_assert!(cost.peak <= 2 * budget.heap, "{:?} for {} bytes", cost, body.len());
    }
}
