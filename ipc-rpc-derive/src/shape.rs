//! How a type of a signature travels: what it is encoded as, what the server decodes, and how that is lent to the
//! handler.
//!
//! The runtime knows a few *shapes*, zero-sized types that say how a value is put through serde so that byte strings
//! move as one piece. The macro picks a type's shape by its tokens, since it cannot see what a name stands for.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{GenericArgument, Lifetime, PathArguments, Type, TypePath, parse_quote_spanned};

use crate::model::generated;

/// A type that travels, as a tree of the parts that the macro understands.
pub(crate) struct Wire {
    pub(crate) form: Form,
    /// Of the type as written.
    pub(crate) span: Span,
}

pub(crate) enum Form {
    /// `&str`
    Text,
    /// `&[u8]`
    Bytes,
    /// `&[T]`, with the `T`.
    Slice(Box<Type>),
    /// `&T`, with the `T`, in which nothing is borrowed by reference.
    Lent(Box<Wire>),
    Option(Box<Wire>),
    /// `Result`, with the types that are written: an alias may hide some of them.
    Result {
        written: Box<Type>,
        ok: Box<Wire>,
        err: Option<Box<Wire>>,
    },
    Tuple(Vec<Wire>),
    /// Anything else, by value.
    Value(Box<Type>),
}

/// How much of a type is borrowed by reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Borrowed {
    Nothing,
    Some,
    Everything,
}

/// The most elements of a tuple that the runtime has a shape for.
pub(crate) const LONGEST_TUPLE: usize = 12;

impl Wire {
    pub(crate) fn borrowed(&self) -> Borrowed {
        match &self.form {
            Form::Text | Form::Bytes | Form::Slice(_) | Form::Lent(_) => Borrowed::Everything,
            Form::Option(inner) => inner.borrowed(),
            Form::Tuple(elements) => {
                let mut parts = elements.iter().map(Self::borrowed);
                let first = parts.next().unwrap_or(Borrowed::Nothing);
                if parts.all(|part| part == first) {
                    first
                } else {
                    Borrowed::Some
                }
            }
            Form::Result { .. } | Form::Value(_) => Borrowed::Nothing,
        }
    }

    /// Whether a struct that holds it needs a lifetime: for a reference, or for a type such as `Cow<'_, str>`.
    pub(crate) fn has_lifetime(&self) -> bool {
        match &self.form {
            Form::Text | Form::Bytes | Form::Slice(_) | Form::Lent(_) => true,
            Form::Option(inner) => inner.has_lifetime(),
            Form::Tuple(elements) => elements.iter().any(Self::has_lifetime),
            Form::Result { written, .. } | Form::Value(written) => lifetimes(written).borrowed,
        }
    }

    /// Whether its shape asks the compiler what a type is, for which a trait must be in scope.
    pub(crate) fn probes(&self) -> bool {
        match &self.form {
            Form::Text | Form::Bytes | Form::Slice(_) => false,
            Form::Lent(inner) => inner.probes(),
            Form::Option(inner) => inner.probes_nested(),
            Form::Tuple(elements) => elements.iter().any(Self::probes_nested),
            Form::Result { ok, err, .. } => ok.probes() || err.as_ref().is_some_and(|err| err.probes()),
            Form::Value(ty) => !lifetimes(ty).any,
        }
    }

    fn probes_nested(&self) -> bool {
        !matches!(self.form, Form::Lent(_)) && self.probes()
    }

    /// The shape, as a type of the runtime.
    pub(crate) fn shape(&self) -> TokenStream {
        let span = generated(self.span);
        match &self.form {
            Form::Text => quote_spanned!(span=> ::ipc_rpc::__private::Text),
            Form::Bytes => quote_spanned!(span=> ::ipc_rpc::__private::Blob),
            Form::Slice(_) => quote_spanned!(span=> ::ipc_rpc::__private::Leaf<false>),
            Form::Lent(inner) => inner.shape(),
            Form::Option(inner) => {
                let inner = inner.nested_shape();
                quote_spanned!(span=> ::ipc_rpc::__private::OptionOf<#inner>)
            }
            Form::Result { ok, err, .. } => {
                let ok = ok.shape();
                let err = match err {
                    Some(err) => err.shape(),
                    None => quote_spanned!(span=> ::ipc_rpc::__private::Leaf<false>),
                };
                quote_spanned!(span=> ::ipc_rpc::__private::ResultOf<#ok, #err>)
            }
            Form::Tuple(elements) => {
                let elements = elements.iter().map(Self::nested_shape);
                quote_spanned!(span=> ::ipc_rpc::__private::TupleOf<(#(#elements,)*)>)
            }
            // A constant in a type may not depend on a lifetime.
            Form::Value(ty) if lifetimes(ty).any => quote_spanned!(span=> ::ipc_rpc::__private::Leaf<false>),
            Form::Value(ty) => {
                let probe = quote_spanned!(span=> ::ipc_rpc::__private::Probe<#ty>);
                quote_spanned!(span=> ::ipc_rpc::__private::Leaf<{ <#probe>::BYTES }>)
            }
        }
    }

    /// Inside another shape what is encoded is the reference itself, which is a serde type like any other.
    fn nested_shape(&self) -> TokenStream {
        match self.form {
            Form::Lent(_) => quote_spanned!(generated(self.span)=> ::ipc_rpc::__private::Leaf<false>),
            _ => self.shape(),
        }
    }

    /// The type that the server decodes.
    pub(crate) fn decoded(&self) -> TokenStream {
        let span = generated(self.span);
        match &self.form {
            Form::Text => quote_spanned!(span=> ::std::borrow::Cow<'_, str>),
            Form::Bytes => quote_spanned!(span=> ::std::borrow::Cow<'_, [u8]>),
            Form::Slice(element) => quote_spanned!(span=> ::std::vec::Vec<#element>),
            Form::Lent(inner) => inner.decoded(),
            Form::Option(inner) => {
                let inner = inner.decoded();
                quote_spanned!(span=> ::core::option::Option<#inner>)
            }
            Form::Tuple(elements) => {
                let elements = elements.iter().map(Self::decoded);
                quote_spanned!(span=> (#(#elements,)*))
            }
            Form::Result { written, .. } | Form::Value(written) => quote!(#written),
        }
    }

    /// How the value that the server decoded becomes what the handler's signature says: the pattern that takes it
    /// apart, where owned and borrowed parts stand side by side, and the expression that lends it.
    pub(crate) fn lend(&self, name: &Ident) -> (TokenStream, TokenStream) {
        self.lend_from(name, false)
    }

    /// `by_reference`: what the pattern meets are references to the decoded values.
    fn lend_from(&self, name: &Ident, by_reference: bool) -> (TokenStream, TokenStream) {
        let span = generated(self.span);
        let plain = quote!(#name);
        match &self.form {
            Form::Text | Form::Bytes | Form::Slice(_) if by_reference => {
                (plain, quote_spanned!(span=> &**#name))
            }
            Form::Text | Form::Bytes | Form::Slice(_) => (plain, quote_spanned!(span=> &*#name)),
            Form::Lent(_) if by_reference => (plain.clone(), plain),
            Form::Lent(_) => (plain, quote_spanned!(span=> &#name)),
            Form::Option(inner) if inner.borrowed() == Borrowed::Everything => match inner.form {
                Form::Lent(_) => (plain, quote_spanned!(span=> #name.as_ref())),
                Form::Text | Form::Bytes | Form::Slice(_) => (plain, quote_spanned!(span=> #name.as_deref())),
                _ => {
                    let (pattern, lent) = inner.lend_from(name, true);
                    (plain, quote_spanned!(span=> #name.as_ref().map(|#pattern| #lent)))
                }
            },
            Form::Tuple(elements) if self.borrowed() != Borrowed::Nothing => {
                let (patterns, lent): (Vec<_>, Vec<_>) = elements
                    .iter()
                    .enumerate()
                    .map(|(index, element)| {
                        element.lend_from(&format_ident!("{name}_{index}", span = name.span()), by_reference)
                    })
                    .unzip();
                (quote!((#(#patterns,)*)), quote_spanned!(span=> (#(#lent,)*)))
            }
            _ => (plain.clone(), plain),
        }
    }
}

/// The type without invisible groups and parentheses around it.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        ty => ty,
    }
}

/// The type arguments of the last segment of a path, if its name is `name` and it has no other arguments.
pub(crate) fn type_arguments<'a>(path: &'a TypePath, name: &str) -> Option<Vec<&'a Type>> {
    if path.qself.is_some() {
        return None;
    }
    let segment = path.path.segments.last()?;
    if segment.ident != name {
        return None;
    }
    match &segment.arguments {
        PathArguments::None => Some(Vec::new()),
        PathArguments::Parenthesized(_) => None,
        PathArguments::AngleBracketed(arguments) => arguments
            .args
            .iter()
            .map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })
            .collect(),
    }
}

/// Whether a path is the one word `name`.
pub(crate) fn is_word(ty: &Type, name: &str) -> bool {
    matches!(bare(ty), Type::Path(path) if path.qself.is_none() && path.path.is_ident(name))
}

/// The type with each lifetime that the signature leaves open, in references and in types, set to `lifetime`.
pub(crate) fn with_lifetime(ty: &Type, lifetime: &Lifetime) -> Type {
    let mut ty = ty.clone();
    Fill(lifetime).visit_type_mut(&mut ty);
    ty
}

struct Fill<'a>(&'a Lifetime);

impl VisitMut for Fill<'_> {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            let span = lifetime.span();
            *lifetime = self.0.clone();
            lifetime.set_span(generated(span));
        }
    }

    fn visit_type_reference_mut(&mut self, reference: &mut syn::TypeReference) {
        let span = reference.and_token.span;
        reference
            .lifetime
            .get_or_insert_with(|| Lifetime::new("'_", span));
        visit_mut::visit_type_reference_mut(self, reference);
    }

    // As in `Lifetimes`.
    fn visit_type_fn_ptr_mut(&mut self, _: &mut syn::TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut syn::ParenthesizedGenericArguments) {}
}

/// The lifetimes that a type shows.
#[derive(Default)]
struct Lifetimes {
    any: bool,
    /// One besides `'static`.
    borrowed: bool,
}

fn lifetimes(ty: &Type) -> Lifetimes {
    let mut found = Lifetimes::default();
    found.visit_type(ty);
    found
}

impl<'ast> Visit<'ast> for Lifetimes {
    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        self.any = true;
        self.borrowed |= lifetime.ident != "static";
    }

    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
        self.any = true;
        self.borrowed |= reference.lifetime.is_none();
        visit::visit_type_reference(self, reference);
    }

    // What a function's type leaves open is its caller's to choose.
    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments(&mut self, _: &'ast syn::ParenthesizedGenericArguments) {}
}

/// `()`, for a signature that writes no result.
pub(crate) fn unit(at: Span) -> Type {
    parse_quote_spanned!(at=> ())
}
