//! A method's signature as text: for people, and normalised for the fingerprint.
//!
//! The fingerprint tells whether two programs were built from the same signature, so it must not depend on the
//! compiler's way to print tokens, on how types were imported, or on how one side borrows. It is the hash of the
//! normal form of [`fingerprint_text`], for `put(&self, key: &str, value: &[u8]) -> store::Result<u64>`
//! `(String, Vec<u8>) -> Result<u64>`: the types of the arguments that travel, then the type of the result; where
//! - of a path only the last segment counts, and no lifetimes;
//! - `&T`, `Box<T>`, `Rc<T>`, `Arc<T>` and `Cow<T>` count as `T`, `str` as `String`, `Path` as
//!   `PathBuf` and so on, `[T]` as `Vec<T>`, `View<T>` as `Section<T>`: they are the same on the wire;
//! - `-> ()` counts as no result;
//! - a one-way method's text begins with `oneway `.
//!
//! Names of arguments and the name of the method do not count. It does not see into the types that it names.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{GenericArgument, Ident, PathArguments, PathSegment, Type};

/// The text for people: `put(&str, &[u8]) -> Result<Version, StoreError>`.
pub(crate) fn text<'a>(
    method: &Ident,
    arguments: impl Iterator<Item = &'a Type>,
    returns: &Type,
    one_way: bool,
) -> String {
    let prefix = if one_way { "oneway " } else { "" };
    format!(
        "{prefix}{}{}",
        method.unraw(),
        Form::AsWritten.types(arguments, returns)
    )
}

/// The text whose hash is the fingerprint.
pub(crate) fn fingerprint_text<'a>(
    arguments: impl Iterator<Item = &'a Type>,
    returns: &Type,
    one_way: bool,
) -> String {
    let prefix = if one_way { "oneway " } else { "" };
    format!("{prefix}{}", Form::Normal.types(arguments, returns))
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// As the user wrote it, paths cut to their last segment.
    AsWritten,
    /// What different ways to write the same wire form have in common.
    Normal,
}

impl Form {
    fn types<'a>(self, arguments: impl Iterator<Item = &'a Type>, returns: &Type) -> String {
        let arguments = self.list(arguments);
        match returns {
            Type::Tuple(tuple) if tuple.elems.is_empty() => format!("({arguments})"),
            returns => format!("({arguments}) -> {}", self.ty(returns)),
        }
    }

    fn list<'a>(self, types: impl Iterator<Item = &'a Type>) -> String {
        types.map(|ty| self.ty(ty)).collect::<Vec<_>>().join(", ")
    }

    fn ty(self, ty: &Type) -> String {
        match ty {
            Type::Group(group) => self.ty(&group.elem),
            Type::Paren(paren) => self.ty(&paren.elem),
            Type::Reference(reference) if self == Self::Normal => self.ty(&reference.elem),
            Type::Reference(reference) => format!("&{}", self.ty(&reference.elem)),
            Type::Slice(slice) if self == Self::Normal => format!("Vec<{}>", self.ty(&slice.elem)),
            Type::Slice(slice) => format!("[{}]", self.ty(&slice.elem)),
            Type::Array(array) => format!(
                "[{}; {}]",
                self.ty(&array.elem),
                spaced(array.len.to_token_stream())
            ),
            Type::Tuple(tuple) => {
                let comma = if tuple.elems.len() == 1 { "," } else { "" };
                format!("({}{comma})", self.list(tuple.elems.iter()))
            }
            Type::Path(path) => match path.path.segments.last() {
                Some(segment) => self.segment(segment),
                None => String::new(),
            },
            other => spaced(other.to_token_stream()),
        }
    }

    fn segment(self, segment: &PathSegment) -> String {
        let name = segment.ident.unraw().to_string();
        let arguments = match &segment.arguments {
            PathArguments::AngleBracketed(arguments) => &arguments.args,
            PathArguments::None if self == Self::Normal => return owned_name(&name).to_owned(),
            PathArguments::None => return name,
            PathArguments::Parenthesized(arguments) => return name + &spaced(arguments.to_token_stream()),
        };
        if self == Self::Normal && matches!(name.as_str(), "Box" | "Rc" | "Arc" | "Cow") {
            if let Some(GenericArgument::Type(inner)) = arguments.last() {
                return self.ty(inner);
            }
        }
        let name = match (self, name.as_str(), arguments.len()) {
            (Self::Normal, "View", 1) => "Section".to_owned(),
            _ => name,
        };
        let arguments: Vec<String> = arguments
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Lifetime(_) if self == Self::Normal => None,
                GenericArgument::Type(ty) => Some(self.ty(ty)),
                other => Some(spaced(other.to_token_stream())),
            })
            .collect();
        if arguments.is_empty() {
            name
        } else {
            format!("{name}<{}>", arguments.join(", "))
        }
    }
}

/// What the standard library calls the owned form of a type that can only be lent.
fn owned_name(name: &str) -> &str {
    match name {
        "str" => "String",
        "Path" => "PathBuf",
        "OsStr" => "OsString",
        "CStr" => "CString",
        name => name,
    }
}

/// Tokens one by one: how the compiler would print them differs between its versions.
fn spaced(tokens: TokenStream) -> String {
    let mut text = String::new();
    for token in tokens {
        let token = match token {
            TokenTree::Ident(ident) => ident.unraw().to_string(),
            TokenTree::Group(group) => {
                let inner = spaced(group.stream());
                match group.delimiter() {
                    Delimiter::Parenthesis => format!("({inner})"),
                    Delimiter::Brace => format!("{{{inner}}}"),
                    Delimiter::Bracket => format!("[{inner}]"),
                    Delimiter::None => inner,
                }
            }
            // A lifetime is two tokens that belong together.
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                text.push_str(if text.is_empty() { "'" } else { " '" });
                continue;
            }
            other => other.to_string(),
        };
        if !text.is_empty() && !text.ends_with('\'') {
            text.push(' ');
        }
        text.push_str(&token);
    }
    text
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn normal(ty: Type) -> String {
        Form::Normal.ty(&ty)
    }

    fn written(ty: Type) -> String {
        Form::AsWritten.ty(&ty)
    }

    #[test]
    fn text_is_what_a_person_would_write() {
        let arguments: [Type; 2] = [parse_quote!(&str), parse_quote!(&[u8])];
        let returns = parse_quote!(Result<store::Version, StoreError>);
        let text = text(&parse_quote!(put), arguments.iter(), &returns, false);
        assert_eq!(text, "put(&str, &[u8]) -> Result<Version, StoreError>");
    }

    #[test]
    fn raw_names_and_empty_results_are_plain() {
        let nothing = parse_quote!(());
        assert_eq!(text(&parse_quote!(r#type), [].iter(), &nothing, false), "type()");
        assert_eq!(
            text(&parse_quote!(log), [parse_quote!(&str)].iter(), &nothing, true),
            "oneway log(&str)"
        );
    }

    #[test]
    fn a_reference_and_its_owned_form_are_one() {
        for (borrowed, owned) in [
            (parse_quote!(&str), parse_quote!(String)),
            (parse_quote!(&[u8]), parse_quote!(Vec<u8>)),
            (parse_quote!(&Version), parse_quote!(Version)),
            (parse_quote!(Option<&str>), parse_quote!(Option<String>)),
            (parse_quote!((&str, &[Item])), parse_quote!((String, Vec<Item>))),
            (parse_quote!(Box<str>), parse_quote!(String)),
            (parse_quote!(Arc<[u8]>), parse_quote!(Vec<u8>)),
            (parse_quote!(Cow<'_, str>), parse_quote!(String)),
            (parse_quote!(Box<Node>), parse_quote!(Node)),
            (parse_quote!(&Path), parse_quote!(std::path::PathBuf)),
            (parse_quote!(View<f32>), parse_quote!(ipc_rpc::Section<f32>)),
        ] {
            assert_eq!(normal(borrowed), normal(owned));
        }
    }

    #[test]
    fn only_the_last_segment_of_a_path_counts() {
        assert_eq!(
            normal(parse_quote!(::std::collections::BTreeMap<std::string::String, a::B>)),
            "BTreeMap<String, B>"
        );
        assert_eq!(normal(parse_quote!(<Vec<u8> as Trait>::Item)), "Item");
        assert_eq!(written(parse_quote!(std::vec::Vec<a::B>)), "Vec<B>");
    }

    #[test]
    fn what_differs_on_the_wire_differs() {
        let texts = [
            normal(parse_quote!(u8)),
            normal(parse_quote!(u16)),
            normal(parse_quote!(Option<u8>)),
            normal(parse_quote!(Vec<u8>)),
            normal(parse_quote!([u8; 4])),
            normal(parse_quote!([u8; 5])),
            normal(parse_quote!((u8,))),
            normal(parse_quote!((u8, u8))),
            normal(parse_quote!(())),
            normal(parse_quote!(Matrix<3>)),
            normal(parse_quote!(Matrix<{ 3 + 1 }>)),
        ];
        for (index, text) in texts.iter().enumerate() {
            assert!(!texts[..index].contains(text), "{text} twice");
        }
    }

    #[test]
    fn result_and_one_way_count_and_an_empty_result_is_none() {
        let number: Type = parse_quote!(u8);
        let unit: Type = parse_quote!(());
        let with = |returns, one_way| fingerprint_text([&number].into_iter(), returns, one_way);
        assert_eq!(with(&unit, false), "(u8)");
        assert_eq!(with(&unit, true), "oneway (u8)");
        assert_eq!(with(&number, false), "(u8) -> u8");
    }

    #[test]
    fn tokens_are_spaced_by_us() {
        assert_eq!(written(parse_quote!([u8; N * 2])), "[u8; N * 2]");
        assert_eq!(written(parse_quote!(Cow<'_, str>)), "Cow<'_, str>");
        assert_eq!(
            written(parse_quote!(fn(&'static str) -> u8)),
            "fn (& 'static str) - > u8"
        );
    }
}
