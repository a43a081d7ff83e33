//! How the server gives a handler what it decoded.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use crate::shape::{Borrowed, Form, Wire};

impl Wire {
    /// How the value that the server decoded becomes what the handler's signature says: the pattern that takes it
    /// apart, where owned and borrowed parts stand side by side, and the expression that lends it.
    pub(crate) fn lend(&self, name: &Ident) -> (TokenStream, TokenStream) {
        self.lend_from(name, false)
    }

    /// `by_reference`: what the pattern meets are references to the decoded values.
    fn lend_from(&self, name: &Ident, by_reference: bool) -> (TokenStream, TokenStream) {
        let span = self.span();
        let plain = quote!(#name);
        match &self.form {
            Form::Text | Form::Bytes | Form::Slice(_) if by_reference => {
                (plain, quote_spanned!(span=> &**#name))
            }
            Form::Text | Form::Bytes | Form::Slice(_) => (plain, quote_spanned!(span=> &*#name)),
            Form::Lent(inner) => {
                let decoded = if by_reference {
                    plain.clone()
                } else {
                    quote_spanned!(span=> &#name)
                };
                if !inner.may_be_unsized() {
                    return (plain, decoded);
                }
                let ty = &inner.ty;
                (
                    plain,
                    quote_spanned!(span=> <#ty as ::ipc_rpc::__private::Lend>::lend(#decoded)),
                )
            }
            Form::Option(inner) if inner.borrowed() == Borrowed::Everything => match &inner.form {
                Form::Lent(inner) if !inner.may_be_unsized() => {
                    (plain, quote_spanned!(span=> #name.as_ref()))
                }
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
