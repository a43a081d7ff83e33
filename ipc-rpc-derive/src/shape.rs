//! How a type of a signature travels: what it is encoded as, and what the server decodes.
//!
//! The runtime knows a few *shapes*, zero-sized types that say how a value is put through serde so that byte strings
//! move as one piece. The macro picks a type's shape by its tokens; what a name stands for it cannot see, so where
//! that matters the shape asks the compiler.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use crate::model::generated;
use crate::types::{lifetimes, type_arguments};

/// A type that travels, as a tree of the parts that the macro understands.
pub(crate) struct Wire {
    /// As written.
    pub(crate) ty: Type,
    pub(crate) form: Form,
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
    /// `Result`, with the types that are written: an alias hides the second.
    Result(Box<Wire>, Option<Box<Wire>>),
    Tuple(Vec<Wire>),
    /// `Section<T>`
    Section,
    /// Anything else, by value.
    Value,
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
            Form::Result(..) | Form::Section | Form::Value => Borrowed::Nothing,
        }
    }

    /// Whether a caller may pass what can be made into it.
    pub(crate) fn converts(&self) -> bool {
        match &self.form {
            Form::Section => true,
            Form::Value => is_section(&self.ty, "View") || is_section(&self.ty, "SharedMut"),
            _ => false,
        }
    }

    /// Whether there is a `Section` in it that has to be made ready to be sent.
    pub(crate) fn settles(&self) -> bool {
        match &self.form {
            Form::Section => true,
            Form::Option(inner) => inner.settles(),
            Form::Result(ok, err) => ok.settles() || err.as_ref().is_some_and(|err| err.settles()),
            Form::Tuple(elements) => elements.iter().any(Self::settles),
            _ => false,
        }
    }

    /// Whether a struct that holds it needs a lifetime: for a reference, or for a type such as `Cow<'_, str>`.
    pub(crate) fn has_lifetime(&self) -> bool {
        lifetimes(&self.ty).borrowed
    }

    /// Whether its shape asks the compiler what a type is, for which traits must be in scope.
    pub(crate) fn probes(&self) -> bool {
        self.leaves().iter().any(|leaf| leaf.probes)
    }

    /// The types in it that serde handles as a whole.
    pub(crate) fn leaves(&self) -> Vec<Leaf> {
        match &self.form {
            Form::Text | Form::Bytes => Vec::new(),
            Form::Slice(element) => vec![Leaf::of(element)],
            Form::Lent(inner) => inner
                .lent_leaf()
                .map_or_else(|| inner.leaves(), |leaf| vec![leaf]),
            Form::Option(inner) => inner.leaves(),
            Form::Tuple(elements) => elements.iter().flat_map(Self::leaves).collect(),
            Form::Result(ok, Some(err)) => ok.leaves().into_iter().chain(err.leaves()).collect(),
            Form::Section => vec![Leaf {
                probes: false,
                ..Leaf::of(&self.ty)
            }],
            // What the alias hides can be asked for in the whole only.
            Form::Result(_, None) | Form::Value => vec![Leaf::of(&self.ty)],
        }
    }

    /// The shape, as a type of the runtime.
    pub(crate) fn shape(&self) -> TokenStream {
        let span = self.span();
        match &self.form {
            Form::Text => quote_spanned!(span=> ::ipc_rpc::__private::Text),
            Form::Bytes => quote_spanned!(span=> ::ipc_rpc::__private::Blob),
            Form::Slice(element) => Leaf::of(element).shape_of_more(),
            Form::Lent(inner) => inner
                .lent_leaf()
                .map_or_else(|| inner.shape(), |leaf| leaf.shape()),
            Form::Option(inner) => {
                let inner = inner.nested_shape();
                quote_spanned!(span=> ::ipc_rpc::__private::OptionOf<#inner>)
            }
            Form::Result(ok, err) => {
                let ok = ok.shape();
                let err = match err {
                    Some(err) => err.shape(),
                    None => Leaf::of(&self.ty).shape_of_more(),
                };
                quote_spanned!(span=> ::ipc_rpc::__private::ResultOf<#ok, #err>)
            }
            Form::Tuple(elements) => {
                let elements = elements.iter().map(Self::nested_shape);
                quote_spanned!(span=> ::ipc_rpc::__private::TupleOf<(#(#elements,)*)>)
            }
            Form::Section => quote_spanned!(span=> ::ipc_rpc::__private::SectionOf),
            Form::Value => Leaf::of(&self.ty).shape(),
        }
    }

    /// Inside another shape what is encoded is the reference itself, which is a serde type like any other.
    fn nested_shape(&self) -> TokenStream {
        match &self.form {
            Form::Lent(inner) => {
                let leaf = inner.lent_leaf().unwrap_or_else(|| Leaf::of(&inner.ty));
                leaf.shape_of_more()
            }
            _ => self.shape(),
        }
    }

    /// The type that the server decodes.
    pub(crate) fn decoded(&self) -> TokenStream {
        let span = self.span();
        match &self.form {
            Form::Text => quote_spanned!(span=> ::std::borrow::Cow<'_, str>),
            Form::Bytes => quote_spanned!(span=> ::std::borrow::Cow<'_, [u8]>),
            Form::Slice(element) => quote_spanned!(span=> ::std::vec::Vec<#element>),
            Form::Lent(inner) => inner.lent_leaf().map_or_else(|| inner.decoded(), |leaf| leaf.ty),
            Form::Option(inner) => {
                let inner = inner.decoded();
                quote_spanned!(span=> ::core::option::Option<#inner>)
            }
            Form::Tuple(elements) => {
                let elements = elements.iter().map(Self::decoded);
                quote_spanned!(span=> (#(#elements,)*))
            }
            Form::Result(..) | Form::Section | Form::Value => self.ty.to_token_stream(),
        }
    }

    /// Where the type is written.
    pub(crate) fn span(&self) -> Span {
        generated(self.ty.span())
    }

    /// What is decoded for a reference to this, if that is one type to serde.
    fn lent_leaf(&self) -> Option<Leaf> {
        match self.form {
            Form::Value if self.may_be_unsized() => {
                let ty = &self.ty;
                let owned = quote_spanned!(self.span()=> <#ty as ::ipc_rpc::__private::Lend>::Owned);
                Some(Leaf {
                    ty: owned,
                    ..Leaf::of(ty)
                })
            }
            Form::Value => Some(Leaf::of(&self.ty)),
            _ => None,
        }
    }

    /// Whether the type has the name of one that the standard library can only lend. Its owned form is then left to
    /// a trait, since a type of the user's may have that name, too.
    pub(crate) fn may_be_unsized(&self) -> bool {
        const NAMES: [&str; 3] = ["Path", "OsStr", "CStr"];
        matches!(&self.ty, Type::Path(path) if NAMES.iter().any(|name| {
            type_arguments(path, name).is_some_and(|arguments| arguments.is_empty())
        }))
    }
}

/// Whether a type has this name, and one type as its argument.
pub(crate) fn is_section(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if type_arguments(path, name).is_some_and(|arguments| arguments.len() == 1))
}

/// A type that serde handles as a whole.
pub(crate) struct Leaf {
    span: Span,
    /// As the server decodes it.
    pub(crate) ty: TokenStream,
    /// A constant in a type may not depend on a lifetime, so of a type that has one nothing is asked.
    probes: bool,
}

impl Leaf {
    fn of(ty: &Type) -> Self {
        Self {
            span: generated(ty.span()),
            ty: ty.to_token_stream(),
            probes: !lifetimes(ty).any,
        }
    }

    /// The shape of this type: whether it is a byte string is asked.
    fn shape(&self) -> TokenStream {
        let ty = &self.ty;
        self.shape_with(quote_spanned!(self.span=> { <::ipc_rpc::__private::Probe<#ty>>::BYTES }))
    }

    /// The shape of a type that is made of this one and is no byte string.
    fn shape_of_more(&self) -> TokenStream {
        self.shape_with(quote_spanned!(self.span=> false))
    }

    /// That serde knows the type is asked, too: where it does not, one error is enough.
    fn shape_with(&self, bytes: TokenStream) -> TokenStream {
        let ty = &self.ty;
        if self.probes {
            quote_spanned!(self.span=> ::ipc_rpc::__private::Checked<{ <::ipc_rpc::__private::Probe<#ty>>::SERDE }, #bytes>)
        } else {
            quote_spanned!(self.span=> ::ipc_rpc::__private::Leaf<false>)
        }
    }

    /// A statement that is an error, with a sentence about this type, if it cannot travel.
    pub(crate) fn assertion(&self, function: TokenStream) -> TokenStream {
        let ty = &self.ty;
        quote_spanned!(self.span=> ::ipc_rpc::__private::#function::<#ty>();)
    }
}
