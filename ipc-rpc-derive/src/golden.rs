//! Expansions as a person reads them, compared with the files in `tests/golden`. `BLESS=1 cargo test -p
//! ipc-rpc-derive` rewrites those; the difference is for a reviewer to judge. That the inputs compile, and what they
//! then do, the package `tests` shows.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use syn::{File, Item, ItemTrait, Meta};

use crate::rewrite;

#[test]
fn expansions_are_as_recorded() {
    let mut stale = Vec::new();
    let mut seen = 0;
    for path in inputs() {
        seen += 1;
        let source = fs::read_to_string(&path).expect("the input can be read");
        let expanded = expand_file(&source);
        let golden = path.with_extension("expanded");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &expanded).expect("the golden file can be written");
        } else if fs::read_to_string(&golden).ok().as_deref() != Some(expanded.as_str()) {
            stale.push(format!("{}:\n{expanded}", golden.display()));
        }
    }
    assert!(seen >= 6, "only {seen} inputs were found");
    assert!(
        stale.is_empty(),
        "not as recorded (BLESS=1 records them):\n{}",
        stale.join("\n")
    );
}

fn inputs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let entries = fs::read_dir(directory).expect("the directory of golden files can be read");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The expansion of each service in a file.
fn expand_file(source: &str) -> String {
    let file = syn::parse_file(source).expect("the input is Rust");
    let services = file.items.into_iter().filter_map(|item| match item {
        Item::Trait(item) => Some(pretty(expand_trait(item))),
        _ => None,
    });
    services.collect::<Vec<_>>().join("\n")
}

fn expand_trait(mut item: ItemTrait) -> TokenStream {
    let position = item.attrs.iter().position(|attribute| {
        attribute
            .path()
            .segments
            .last()
            .is_some_and(|last| last.ident == "service")
    });
    let attribute = item
        .attrs
        .remove(position.expect("each trait of an input is a service"));
    let options = match attribute.meta {
        Meta::List(list) => list.tokens,
        _ => TokenStream::new(),
    };
    rewrite(options, quote::quote!(#item))
}

/// Formats items; those inside `__with_server!`, too, which a formatter would leave alone.
fn pretty(items: TokenStream) -> String {
    let file: File = syn::parse2(items).expect("the expansion is Rust");
    let mut text = String::new();
    for item in file.items {
        text += &match item {
            Item::Macro(call) => {
                let name = call
                    .mac
                    .path
                    .segments
                    .last()
                    .expect("a path has a segment")
                    .ident
                    .to_string();
                format!("::ipc_rpc::{name}! {{\n{}}}\n", pretty(call.mac.tokens))
            }
            item => prettyplease::unparse(&File {
                shebang: None,
                attrs: Vec::new(),
                items: vec![item],
                frontmatter: None,
            }),
        };
    }
    text
}
