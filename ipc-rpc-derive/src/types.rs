//! Questions about types as they are written.

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{GenericArgument, Lifetime, PathArguments, Type, TypePath, parse_quote_spanned};

use crate::model::generated;

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
pub(crate) struct Lifetimes {
    pub(crate) any: bool,
    /// One besides `'static`.
    pub(crate) borrowed: bool,
}

pub(crate) fn lifetimes(ty: &Type) -> Lifetimes {
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
