//! The types of a signature: which can travel, and what the others should be.

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{GenericArgument, Path, PathArguments, Type, TypePath, TypeReference};

use crate::errors::Errors;
use crate::shape::{Borrowed, Form, LONGEST_TUPLE, Wire, is_section};
use crate::types::{bare, is_word, type_arguments};

/// The type of an argument: it may borrow, at its top, in an `Option` and in a tuple.
pub(super) fn argument(ty: &Type, errors: &mut Errors) -> Wire {
    if let Some(name) = client_name(ty) {
        errors.at(
            ty,
            format!(
                "not supported yet: `{name}` would pass a client, which comes with a later version \
                 (a type of yours needs a name that does not end in `Client`)"
            ),
        );
    }
    Reader {
        references: References::Lent,
        errors,
    }
    .read(ty)
}

/// The type of a result: it is owned.
pub(super) fn returned(ty: &Type, errors: &mut Errors) -> Wire {
    Reader {
        references: References::Refused(IN_RESULT),
        errors,
    }
    .read(ty)
}

const IN_RESULT: &str = "a result comes from another process, so there is nothing to borrow it from: return the owned \
                         type, such as `String` for `&str`";
const IN_REFERENCE: &str =
    "only one reference at a time can be lent to the handler: write the owned type inside";
const IN_VALUE: &str = "a reference inside this type cannot be lent to the handler: write the owned type, such as \
                        `String` for `&str`";

/// What to do about a reference that stands where the reader is.
#[derive(Clone, Copy)]
enum References {
    /// It is lent to the handler.
    Lent,
    Refused(&'static str),
}

struct Reader<'e> {
    references: References,
    errors: &'e mut Errors,
}

impl Reader<'_> {
    fn read(&mut self, ty: &Type) -> Wire {
        let ty = bare(ty);
        let form = match ty {
            Type::Reference(reference) => self.reference(reference),
            Type::Tuple(tuple) if !tuple.elems.is_empty() && tuple.elems.len() <= LONGEST_TUPLE => {
                Form::Tuple(tuple.elems.iter().map(|element| self.read(element)).collect())
            }
            Type::Path(path) => self.path(ty, path),
            other => self.value(other),
        };
        Wire { ty: ty.clone(), form }
    }

    fn reference(&mut self, reference: &TypeReference) -> Form {
        if let References::Refused(why) = self.references {
            self.errors.at(reference, why);
            return Form::Value;
        }
        if let Some(token) = &reference.mutability {
            self.errors.at(
                token,
                "an argument cannot be changed by the handler, which runs in another process: return the new value",
            );
        }
        if let Some(lifetime) = &reference.lifetime {
            if lifetime.ident == "static" {
                self.errors.at(
                    lifetime,
                    "the handler borrows from the call, which ends: leave the lifetime out, or take the owned type",
                );
            }
        }
        match bare(&reference.elem) {
            elem if is_word(elem, "str") => Form::Text,
            Type::Slice(slice) if is_word(&slice.elem, "u8") => Form::Bytes,
            Type::Slice(slice) => {
                self.refusing(IN_REFERENCE).value(&slice.elem);
                Form::Slice(slice.elem.clone())
            }
            elem => Form::Lent(Box::new(self.refusing(IN_REFERENCE).read(elem))),
        }
    }

    fn path(&mut self, ty: &Type, path: &TypePath) -> Form {
        if let Some([inner]) = type_arguments(path, "Option").as_deref() {
            let inner = self.read(inner);
            if inner.borrowed() == Borrowed::Some {
                self.errors.at(
                    ty,
                    "what is inside an `Option` is lent to the handler as a whole: make all of it references, or none",
                );
            }
            return Form::Option(Box::new(inner));
        }
        if is_section(ty, "Section") {
            self.value(ty);
            return Form::Section;
        }
        let (ok, err) = match type_arguments(path, "Result").as_deref() {
            Some([ok, err]) => (*ok, Some(*err)),
            Some([ok]) => (*ok, None),
            _ => return self.value(ty),
        };
        let mut inside = self.refusing(IN_VALUE);
        Form::Result(
            Box::new(inside.read(ok)),
            err.map(|err| Box::new(inside.read(err))),
        )
    }

    /// A type that serde handles as a whole.
    fn value(&mut self, ty: &Type) -> Form {
        let references = match self.references {
            References::Lent => IN_VALUE,
            References::Refused(why) => why,
        };
        Refuse {
            references,
            returned: references == IN_RESULT,
            errors: self.errors,
        }
        .visit_type(ty);
        Form::Value
    }

    /// A reader for what is inside. A result refuses references for its own reason, however deep they are.
    fn refusing(&mut self, why: &'static str) -> Reader<'_> {
        let references = match self.references {
            References::Lent => References::Refused(why),
            refused => refused,
        };
        Reader {
            references,
            errors: self.errors,
        }
    }
}

/// Finds, at any depth, what cannot travel.
struct Refuse<'e> {
    /// Why a reference cannot.
    references: &'static str,
    returned: bool,
    errors: &'e mut Errors,
}

impl<'ast> Visit<'ast> for Refuse<'_> {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        self.errors.at(reference, self.references);
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast syn::TypeImplTrait) {
        let names = |name: &str| {
            ty.bounds.iter().any(|bound| match bound {
                syn::TypeParamBound::Trait(bound) => {
                    bound.path.segments.last().is_some_and(|last| last.ident == name)
                }
                _ => false,
            })
        };
        let message = if self.returned && names("Stream") {
            "not supported yet: streams come with a later version; return a `Vec` until then"
        } else if self.returned && names("Future") {
            "write `async fn`, and the future's output as the result"
        } else if self.returned {
            "a result is decoded by another program, which must know its type: write the type itself"
        } else {
            "an argument is decoded by another program, which must know its type: write the type itself"
        };
        self.errors.at(ty, message);
    }

    fn visit_type_trait_object(&mut self, ty: &'ast syn::TypeTraitObject) {
        self.errors.at(
            ty,
            "a trait object cannot cross a process boundary, code stays where it is: write a type with data, \
             such as an enum or a `String`",
        );
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if let Some(first) = path.segments.first() {
            if first.ident == "Self" {
                self.errors.at(
                    first,
                    "`Self` is the implementation, which stays in its process: write another type",
                );
                return;
            }
        }
        if let Some(last) = path.segments.last() {
            let what = match last.ident.to_string().as_str() {
                "Fd" => "handles",
                "Streaming" => "streams",
                _ => "",
            };
            let generic = matches!(last.arguments, PathArguments::AngleBracketed(_));
            if generic && !what.is_empty() {
                self.errors.at(
                    path,
                    format!(
                        "not supported yet: {what} as arguments and results come with a later version \
                         (a type of yours needs another name than `{}`)",
                        last.ident
                    ),
                );
                return;
            }
            if last.ident == "Cow" {
                self.cow(path, &last.arguments);
            }
        }
        visit::visit_path(self, path);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
        if self.returned && lifetime.ident != "static" {
            self.errors.at(lifetime, IN_RESULT);
        }
    }

    // Neither is data; that they cannot travel the compiler says.
    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments(&mut self, _: &'ast syn::ParenthesizedGenericArguments) {}
}

impl Refuse<'_> {
    /// Generated types hold the argument, and there a lifetime may not be left out.
    fn cow(&mut self, path: &Path, arguments: &PathArguments) {
        let PathArguments::AngleBracketed(arguments) = arguments else {
            return;
        };
        if !arguments
            .args
            .iter()
            .any(|argument| matches!(argument, GenericArgument::Lifetime(_)))
        {
            let inner = arguments.args.to_token_stream();
            let lifetime = if self.returned { "'static" } else { "'_" };
            self.errors.at(
                path,
                format!("show that it borrows: write `Cow<{lifetime}, {inner}>`"),
            );
        }
    }
}

/// The name of a type that ends in `Client`, also behind a reference or in an `Option`.
fn client_name(ty: &Type) -> Option<String> {
    match bare(ty) {
        Type::Reference(reference) => client_name(&reference.elem),
        Type::Path(path) => {
            if let Some([inner]) = type_arguments(path, "Option").as_deref() {
                return client_name(inner);
            }
            let name = path.path.segments.last()?.ident.to_string();
            name.ends_with("Client").then_some(name)
        }
        _ => None,
    }
}
