//! The options of `#[ipc_rpc::service(..)]` and of `#[rpc(..)]`.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Path, Token};

use crate::attributes::conditional;
use crate::errors::Errors;
use crate::model::Codec;

/// `#[ipc_rpc::service(name = "..", version = N, codec = "..")]`
#[derive(Default)]
pub(super) struct ServiceOptions {
    pub(super) name: Option<String>,
    pub(super) version: Option<u32>,
    pub(super) codec: Option<Codec>,
}

pub(super) fn of_service(tokens: TokenStream, errors: &mut Errors) -> ServiceOptions {
    let mut options = ServiceOptions::default();
    let mut seen = Seen::default();
    for meta in metas(tokens, errors) {
        if !seen.first(meta.path(), errors) {
            continue;
        }
        match meta.path().get_ident().map(ToString::to_string).as_deref() {
            Some("name") => options.name = name(&meta, errors),
            Some("version") => options.version = version(&meta, errors),
            Some("codec") => options.codec = codec(&meta, errors),
            _ => errors.at(
                meta.path(),
                format!(
                    "unknown option `{}`: a service takes `name = \"..\"`, `version = N` and `codec = \"..\"`",
                    shown(meta.path())
                ),
            ),
        }
    }
    options
}

/// What the handshake carries.
const LONGEST_NAME: usize = 255;

fn name(meta: &Meta, errors: &mut Errors) -> Option<String> {
    let text = string(meta, "name = \"..\"", errors)?;
    let name = text.value();
    if name.is_empty() {
        errors.at(
            text,
            "a service needs a name: leave the option out to take the trait's",
        );
    } else if name.len() > LONGEST_NAME {
        errors.at(
            text,
            format!("the name of a service has at most {LONGEST_NAME} bytes"),
        );
    } else if name
        .chars()
        .any(|letter| letter.is_whitespace() || letter.is_control())
    {
        errors.at(
            text,
            "the name of a service cannot hold spaces or control characters: people type it",
        );
    } else {
        return Some(name);
    }
    None
}

fn version(meta: &Meta, errors: &mut Errors) -> Option<u32> {
    if let Some(Lit::Int(number)) = literal(meta) {
        return number
            .base10_parse()
            .map_err(|_| {
                errors.at(
                    number,
                    "the version of a service is a number from 0 to 4294967295",
                )
            })
            .ok();
    }
    errors.at(meta, "the version of a service is a number: `version = 2`");
    None
}

fn codec(meta: &Meta, errors: &mut Errors) -> Option<Codec> {
    let text = string(meta, "codec = \"json\"", errors)?;
    match text.value().as_str() {
        "bincode" => Some(Codec::Bincode),
        "json" => Some(Codec::Json),
        other => {
            errors.at(
                &text,
                format!("unknown codec `{other}`: there are \"bincode\" and \"json\""),
            );
            None
        }
    }
}

/// `#[rpc(oneway, blocking, result)]`, each with the token that says so.
#[derive(Default)]
pub(super) struct MethodOptions {
    pub(super) one_way: Option<Path>,
    pub(super) blocking: Option<Path>,
    pub(super) result: Option<Path>,
}

pub(super) fn of_method(attributes: &[Attribute], errors: &mut Errors) -> MethodOptions {
    let mut options = MethodOptions::default();
    let mut seen = Seen::default();
    for attribute in attributes {
        refuse_conditional_rpc(&attribute.meta, errors);
        if !attribute.path().is_ident("rpc") {
            continue;
        }
        let Meta::List(list) = &attribute.meta else {
            errors.at(
                &attribute.meta,
                "say what about it: `#[rpc(oneway)]`, `#[rpc(blocking)]` or `#[rpc(result)]`",
            );
            continue;
        };
        for meta in metas(list.tokens.clone(), errors) {
            let path = meta.path();
            let slot = match path.get_ident().map(ToString::to_string).as_deref() {
                Some("oneway") => &mut options.one_way,
                Some("blocking") => &mut options.blocking,
                Some("result") => &mut options.result,
                _ => {
                    errors.at(
                        path,
                        format!(
                            "unknown option `{}`: a method takes `oneway`, `blocking` and `result`",
                            shown(path)
                        ),
                    );
                    continue;
                }
            };
            if !matches!(meta, Meta::Path(_)) {
                errors.at(
                    &meta,
                    format!("`{}` stands alone: it takes no value", shown(path)),
                );
            }
            if seen.first(path, errors) {
                *slot = Some(path.clone());
            }
        }
    }
    options
}

/// Refuses `#[rpc(..)]` where it has no meaning.
pub(super) fn refuse_rpc(attributes: &[Attribute], message: &str, errors: &mut Errors) {
    for attribute in attributes {
        if attribute.path().is_ident("rpc") {
            errors.at(&attribute.meta, message);
        }
    }
}

/// Both programs must see the same trait, and the macro cannot know the condition.
fn refuse_conditional_rpc(meta: &Meta, errors: &mut Errors) {
    for meta in conditional(meta).into_iter().flat_map(|(_, inner)| inner) {
        if meta.path().is_ident("rpc") {
            errors.at(
                &meta,
                "`rpc` options cannot be conditional: put a `cfg` on two versions of the method",
            );
        }
        refuse_conditional_rpc(&meta, errors);
    }
}

fn metas(tokens: TokenStream, errors: &mut Errors) -> Punctuated<Meta, Token![,]> {
    Punctuated::parse_terminated
        .parse2(tokens)
        .unwrap_or_else(|error| {
            errors.push(error);
            Punctuated::new()
        })
}

fn string(meta: &Meta, example: &str, errors: &mut Errors) -> Option<LitStr> {
    match literal(meta) {
        Some(Lit::Str(text)) => Some(text.clone()),
        _ => {
            errors.at(meta, format!("this option is written `{example}`"));
            None
        }
    }
}

fn literal(meta: &Meta) -> Option<&Lit> {
    let Meta::NameValue(pair) = meta else { return None };
    let mut value = &pair.value;
    // Around a literal that came through a macro.
    while let Expr::Group(group) = value {
        value = &group.expr;
    }
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        _ => None,
    }
}

fn shown(path: &Path) -> String {
    path.to_token_stream().to_string()
}

/// The options seen so far.
#[derive(Default)]
struct Seen(Vec<String>);

impl Seen {
    /// Whether this is the first time; an error if not.
    fn first(&mut self, path: &Path, errors: &mut Errors) -> bool {
        let name = shown(path);
        if self.0.contains(&name) {
            errors.at(path, format!("`{name}` is given twice"));
            return false;
        }
        self.0.push(name);
        true
    }
}
