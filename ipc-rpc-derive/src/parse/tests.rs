//! The model of a trait, and refusals that a compile-fail test cannot show.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{ItemTrait, parse_quote};

use super::service;
use crate::errors::Errors;
use crate::hash::fnv1a_64;
use crate::model::{Codec, Failure, Mode, Service};
use crate::shape::Borrowed;

fn read(options: TokenStream, written: &ItemTrait) -> Service {
    let mut errors = Errors::default();
    let service = service(options, written, fnv1a_64, &mut errors);
    assert_eq!(errors.messages(), [""; 0]);
    service.expect("a trait without errors is a service")
}

fn messages(written: &ItemTrait) -> Vec<String> {
    messages_with(fnv1a_64, written)
}

fn messages_with(hash: super::Hash, written: &ItemTrait) -> Vec<String> {
    let mut errors = Errors::default();
    let _ = service(TokenStream::new(), written, hash, &mut errors);
    errors.messages()
}

#[test]
fn options_have_defaults() {
    let written = parse_quote!(
        trait Store {}
    );
    let service = read(quote!(), &written);
    assert_eq!(
        (service.name.as_str(), service.version, service.codec),
        ("Store", 1, Codec::Bincode)
    );
    let service = read(quote!(version = 3, codec = "json", name = "shop",), &written);
    assert_eq!(
        (service.name.as_str(), service.version, service.codec),
        ("shop", 3, Codec::Json)
    );
}

#[test]
fn a_name_fits_the_handshake() {
    let written: ItemTrait = parse_quote!(
        trait Store {}
    );
    for (length, refused) in [(255, false), (256, true)] {
        let name = "x".repeat(length);
        let mut errors = Errors::default();
        let _ = service(quote!(name = #name), &written, fnv1a_64, &mut errors);
        assert_eq!(!errors.is_empty(), refused);
    }
}

#[test]
fn ordinals_come_from_the_name_on_the_wire() {
    let written = parse_quote!(
        trait Store {
            async fn r#type(&self);
        }
    );
    let method = &read(quote!(), &written).methods[0];
    assert_eq!(method.name, "Store.type");
    assert_eq!(method.ordinal, fnv1a_64("Store.type"));
    let method = &read(quote!(name = "shop"), &written).methods[0];
    assert_eq!(method.name, "shop.type");
    assert_eq!(method.ordinal, fnv1a_64("shop.type"));
}

#[test]
fn fingerprints_do_not_depend_on_how_it_is_written() {
    let service = read(
        quote!(),
        &parse_quote!(
            trait Store {
                async fn one(&self, key: &str, value: &[u8]) -> Result<Version, Failure>;
                async fn two(
                    &self,
                    k: String,
                    c: &Context,
                    v: Vec<u8>,
                ) -> std::result::Result<api::Version, Failure>;
                #[rpc(blocking)]
                fn three(&self, k: (&str), v: Box<[u8]>) -> Result<Box<Version>, Failure>;
                async fn four(&self, key: &str, value: &[u8]) -> Result<Failure, Version>;
            }
        ),
    );
    let fingerprints: Vec<u64> = service.methods.iter().map(|method| method.fingerprint).collect();
    assert_eq!(
        fingerprints[0],
        fnv1a_64("(String, Vec<u8>) -> Result<Version, Failure>")
    );
    assert_eq!(fingerprints[0], fingerprints[1]);
    assert_eq!(fingerprints[0], fingerprints[2]);
    assert_ne!(fingerprints[0], fingerprints[3]);
}

#[test]
fn methods_are_understood() {
    let service = read(
        quote!(),
        &parse_quote!(
            trait Store {
                async fn get(
                    &self,
                    a: &str,
                    context: &ipc_rpc::Context,
                    b: Option<Cow<'_, str>>,
                ) -> Option<u8>;
                #[rpc(blocking)]
                #[rpc(oneway)]
                fn work(&self, pair: (u8, &T)) -> ();
                async fn put(&self) -> std::io::Result<u8>;
                #[rpc(result)]
                async fn own(&self, owned: Vec<u8>) -> Answer;
                async fn two(&self) -> Result<u8, Failure>;
            }
        ),
    );
    let [get, work, put, own, two] = &service.methods[..] else {
        panic!("five methods")
    };
    assert_eq!(
        (get.mode, get.one_way, get.arguments.len(), get.wires().count()),
        (Mode::Async, false, 3, 2)
    );
    assert!(get.borrows() && matches!(get.returns.failure, Failure::Never));
    assert_eq!((work.mode, work.one_way), (Mode::Blocking, true));
    assert!(work.wires().all(|(_, wire)| wire.borrowed() == Borrowed::Some));
    assert!(matches!(put.returns.failure, Failure::Alias));
    assert!(!own.borrows() && matches!(own.returns.failure, Failure::Alias));
    assert!(matches!(two.returns.failure, Failure::Result(_)));
    // `T` is taken by the signature.
    assert_eq!(service.parameter, "Implementation");
}

#[test]
fn two_methods_with_one_ordinal_are_refused() {
    let written = parse_quote!(
        trait Store {
            async fn get(&self);
            async fn put(&self);
        }
    );
    assert_eq!(messages(&written), [""; 0]);
    let messages = messages_with(|_| 7, &written);
    assert_eq!(
        messages,
        ["`put` and `get` have the same number on the wire, which is made from their names: rename one"]
    );
}

#[test]
fn versions_under_cfg_may_share_a_name() {
    assert_eq!(
        messages(&parse_quote!(
            trait Store {
                #[cfg(unix)]
                async fn open(&self, mode: u32);
                #[cfg_attr(all(), cfg(windows))]
                async fn open(&self, share: bool);
            }
        )),
        [""; 0]
    );
    // The compiler would say so, too, but about generated code.
    assert_eq!(
        messages(&parse_quote!(
            trait Store {
                async fn open(&self, mode: u32);
                async fn open(&self, share: bool);
            }
        )),
        ["the arguments of `open` would be the type `StoreOpen`, as those of `open` are: rename the method"]
    );
}

#[test]
fn what_the_compiler_would_refuse_first_is_refused_here() {
    let unsized_self = messages(&parse_quote!(
        trait Store {
            async fn take(mut self) {}
        }
    ));
    assert!(unsized_self[0].starts_with("calls run at once, so a method of a service takes `&self`"));
    let auto: ItemTrait = syn::parse_str("auto trait Store {}").expect("it is a trait");
    assert_eq!(
        messages(&auto),
        ["a service cannot be an `auto` trait: it has methods"]
    );
    let constant: ItemTrait = syn::parse_str("trait Store { const fn get(&self); }").expect("it is a trait");
    assert!(messages(&constant)[0].contains("cannot be `const`"));
    let variadic: ItemTrait =
        syn::parse_str("trait Store { async fn get(&self, more: ...); }").expect("it is a trait");
    assert!(
        messages(&variadic)
            .iter()
            .any(|message| message.contains("fixed number of arguments"))
    );
}

/// Whatever stands under the attribute, half-typed or not, gives code or an error.
#[test]
fn no_input_panics() {
    for source in [
        include_str!("../../../tests/golden/borrowed.rs"),
        include_str!("../../../tests/golden/conditional.rs"),
        include_str!("../../../tests/golden/names.rs"),
    ] {
        let file = syn::parse_file(source).expect("the input is Rust");
        let written = file.items.iter().find(|item| matches!(item, syn::Item::Trait(_)));
        let tokens = written.expect("there is a trait").to_token_stream();
        let mut count = 0;
        for damaged in damaged(&tokens) {
            count += 1;
            let _ = crate::rewrite(quote!(name = "x"), damaged.clone());
            let _ = crate::rewrite(
                damaged,
                quote!(
                    trait Empty {}
                ),
            );
        }
        assert!(count > 300);
    }
}

/// The tokens with each one left out in turn, at every depth, and with each one doubled.
fn damaged(tokens: &TokenStream) -> Vec<TokenStream> {
    let all: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut damaged_streams = Vec::new();
    for (index, token) in all.iter().enumerate() {
        let mut replace = |with: Vec<TokenTree>| {
            let stream = all[..index]
                .iter()
                .cloned()
                .chain(with)
                .chain(all[index + 1..].iter().cloned());
            damaged_streams.push(stream.collect());
        };
        replace(Vec::new());
        replace(vec![token.clone(), token.clone()]);
        if let TokenTree::Group(group) = token {
            for inner in damaged(&group.stream()) {
                replace(vec![Group::new(group.delimiter(), inner).into()]);
            }
        }
    }
    damaged_streams
}
