//! One method of the trait.

use syn::ext::IdentExt;
use syn::{
    FnArg, GenericParam, Ident, Pat, PatType, Receiver, ReceiverKind, ReturnType, Safety, Signature,
    TraitItemFn, Type,
};

use super::options::{self, MethodOptions};
use super::{Hash, wire};
use crate::attributes::{self, Docs};
use crate::errors::Errors;
use crate::model::{Argument, ArgumentKind, Failure, Method, Mode, Returns, generated_type};
use crate::signature;
use crate::types::{self, bare, type_arguments};

/// The most arguments that travel with one call: as many as the runtime encodes tuples of.
const MOST_ARGUMENTS: usize = 16;

/// Reads a method; nothing if it cannot be called across processes, in which case `errors` says why.
pub(super) fn read(
    function: &TraitItemFn,
    service: &Ident,
    service_name: &str,
    hash: Hash,
    errors: &mut Errors,
) -> Option<Method> {
    let before = errors.count();
    let signature = &function.sig;
    let options = options::of_method(&function.attrs, errors);
    check_qualifiers(function, errors);
    check_receiver(signature, errors);
    let arguments = arguments(signature, errors);
    let mode = mode(signature, &options, errors);
    let returns = returns(signature, &options, errors);
    if errors.count() != before {
        return None;
    }

    let ident = &signature.ident;
    let one_way = options.one_way.is_some();
    let name = format!("{service_name}.{}", ident.unraw());
    let mut method = Method {
        ident: ident.clone(),
        ordinal: hash(&name),
        name,
        fingerprint: 0,
        signature: String::new(),
        call: generated_type(service, &camel_case(ident), ident.span()),
        docs: Docs::of(&function.attrs),
        attributes: attributes::of_method(&function.attrs),
        mode,
        one_way,
        arguments,
        returns,
    };
    let types = || method.wires().map(|(argument, _)| &argument.ty);
    let fingerprint = signature::fingerprint_text(types(), &method.returns.ty, one_way);
    let text = signature::text(ident, types(), &method.returns.ty, one_way);
    method.fingerprint = hash(&fingerprint);
    method.signature = text;
    Some(method)
}

fn check_qualifiers(function: &TraitItemFn, errors: &mut Errors) {
    let signature = &function.sig;
    if let Some(token) = &signature.constness {
        errors.at(
            token,
            "a method of a service cannot be `const`: it runs in another process",
        );
    }
    match &signature.safety {
        Safety::Unsafe(token) => errors.at(
            token,
            "a method of a service cannot be `unsafe`: whoever calls it from another process promises nothing",
        ),
        Safety::Safe(token) => errors.at(token, "`safe` has no meaning here"),
        Safety::Default => {}
    }
    if let Some(abi) = &signature.abi {
        errors.at(
            abi,
            "a method of a service cannot be `extern`: calls travel as messages, not by an ABI",
        );
    }
    if let Some(token) = &function.modifiers.defaultness {
        errors.at(
            token,
            "`default` has no meaning here: a method with a body has a default already",
        );
    }
    if let Some(variadic) = &signature.variadic {
        errors.at(
            variadic,
            "a method of a service takes a fixed number of arguments: pass a `Vec`",
        );
    }
    for parameter in &signature.generics.params {
        match parameter {
            GenericParam::Lifetime(lifetime) => errors.at(
                lifetime,
                "a method of a service cannot name lifetimes: leave them out, `&str` and `Cow<'_, str>` are \
                 borrowed from the call on both sides",
            ),
            other => errors.at(
                other,
                "a method of a service cannot be generic: client and server are built apart and must agree on \
                 each type; write the type itself, or an enum of those you need",
            ),
        }
    }
    if let Some(clause) = &signature.generics.where_clause {
        errors.at(
            clause,
            "a method of a service cannot have a where clause: it has no type parameters to bound",
        );
    }
}

fn check_receiver(signature: &Signature, errors: &mut Errors) {
    let Some(Receiver {
        mutability,
        self_token,
        kind,
        ..
    }) = signature.receiver()
    else {
        let message = "a method of a service begins with `&self`: a call goes to the value that is served";
        match signature.inputs.first() {
            Some(first) => errors.at(first, message),
            None => errors.at(&signature.ident, message),
        }
        return;
    };
    const AT_ONCE: &str = "calls run at once, so a method of a service takes `&self`; keep what changes behind a \
                           `Mutex` or another kind of interior mutability";
    match kind {
        ReceiverKind::Reference(_, None, None) => {}
        ReceiverKind::Reference(_, Some(lifetime), None) => {
            // One that is declared is refused where it is.
            if lifetime.ident == "static" || lifetime.ident == "_" {
                errors.at(
                    lifetime,
                    "a method of a service takes plain `&self`: a call borrows the value while it runs",
                );
            }
        }
        ReceiverKind::Reference(_, _, Some(token)) => errors.at(token, AT_ONCE),
        ReceiverKind::Value => match mutability {
            Some(token) => errors.at(token, AT_ONCE),
            None => errors.at(self_token, AT_ONCE),
        },
        ReceiverKind::Typed(_, ty) => errors.at(ty, AT_ONCE),
        _ => errors.at(self_token, AT_ONCE),
    }
}

fn arguments(signature: &Signature, errors: &mut Errors) -> Vec<Argument> {
    let mut arguments = Vec::<Argument>::new();
    let mut context = false;
    let mut travelling = 0;
    for input in &signature.inputs {
        let FnArg::Typed(input) = input else { continue };
        let Some(ident) = argument_name(input, errors) else {
            continue;
        };
        if arguments.iter().any(|other| other.ident == ident) {
            errors.at(&input.pat, format!("two arguments are named `{ident}`"));
        }
        let kind = if is_context(&input.ty, errors) {
            if context {
                errors.at(&input.ty, "a call has one `Context`: this is the second");
            }
            context = true;
            ArgumentKind::Context
        } else {
            travelling += 1;
            if travelling == MOST_ARGUMENTS + 1 {
                errors.at(
                    input,
                    format!("a method of a service takes at most {MOST_ARGUMENTS} arguments: put some into a struct"),
                );
            }
            ArgumentKind::Wire(wire::argument(&input.ty, errors))
        };
        arguments.push(Argument {
            ident,
            ty: (*input.ty).clone(),
            kind,
        });
    }
    arguments
}

fn argument_name(input: &PatType, errors: &mut Errors) -> Option<Ident> {
    options::refuse_rpc(&input.attrs, "arguments have no `rpc` options", errors);
    for attribute in &input.attrs {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            errors.at(
                &attribute.meta,
                "an argument cannot be conditional: both programs must agree on it; put the `cfg` on two versions \
                 of the method",
            );
        }
    }
    match &*input.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.mutability.is_none() && pat.subpat.is_none() => {
            Some(pat.ident.clone())
        }
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
            errors.at(
                pat.mutability,
                "an argument is a plain name here: write `let mut` in the body",
            );
            None
        }
        other => {
            errors.at(
                other,
                "an argument needs a plain name: it travels under it, where arguments travel by name",
            );
            None
        }
    }
}

/// Whether the argument is the call's context, which the server gives. By value it is an error.
fn is_context(ty: &Type, errors: &mut Errors) -> bool {
    let named = |ty: &Type| matches!(bare(ty), Type::Path(path) if type_arguments(path, "Context").is_some_and(|arguments| arguments.is_empty()));
    match bare(ty) {
        Type::Reference(reference) if reference.mutability.is_none() => named(&reference.elem),
        ty if named(ty) => {
            errors.at(
                ty,
                "a handler borrows its `Context`: write `&Context` (a type of yours needs another name)",
            );
            true
        }
        _ => false,
    }
}

fn mode(signature: &Signature, options: &MethodOptions, errors: &mut Errors) -> Mode {
    match (&signature.asyncness, &options.blocking) {
        (Some(_), None) => Mode::Async,
        (None, Some(_)) => Mode::Blocking,
        (Some(_), Some(blocking)) => {
            errors.at(
                blocking,
                "an `async fn` does not block: remove `blocking`, or remove `async` if the handler is to run on a \
                 thread where it may block",
            );
            Mode::Async
        }
        (None, None) => {
            // What is written there is refused by a sentence of its own.
            if !matches!(&signature.output, ReturnType::Type(_, ty) if matches!(bare(ty), Type::ImplTrait(_)))
            {
                errors.at(
                    signature.fn_token,
                    "a method of a service is an `async fn`; one that blocks or computes for long is a plain `fn` \
                     under `#[rpc(blocking)]`, and runs on a thread of its own",
                );
            }
            Mode::Async
        }
    }
}

fn returns(signature: &Signature, options: &MethodOptions, errors: &mut Errors) -> Returns {
    let ty = match &signature.output {
        ReturnType::Type(_, ty) => bare(ty).clone(),
        ReturnType::Default => types::unit(signature.ident.span()),
    };
    let is_unit = matches!(&ty, Type::Tuple(tuple) if tuple.elems.is_empty());
    if let Some(option) = &options.one_way {
        if !is_unit {
            errors.at(
                &ty,
                "nobody waits for a `oneway` method, so it cannot return anything",
            );
        }
        if let Some(result) = &options.result {
            errors.at(
                result,
                format!(
                    "`result` and `{}` exclude each other: a one-way call has none",
                    word(option)
                ),
            );
        }
    } else if let (Some(option), true) = (&options.result, is_unit) {
        errors.at(
            option,
            "`result` is for a method that returns an alias of `Result`; this one returns nothing",
        );
    }
    let failure = failure(&ty, options.result.is_some());
    Returns {
        wire: wire::returned(&ty, errors),
        ty,
        failure,
    }
}

fn word(path: &syn::Path) -> String {
    path.get_ident().map_or_else(String::new, ToString::to_string)
}

fn failure(ty: &Type, alias: bool) -> Failure {
    let Type::Path(path) = ty else {
        return if alias { Failure::Alias } else { Failure::Never };
    };
    match path.path.segments.last() {
        Some(last) if last.ident == "Result" => match type_arguments(path, "Result").as_deref() {
            Some([ok, err]) => Failure::Result {
                ok: (*ok).clone(),
                err: (*err).clone(),
            },
            _ => Failure::Alias,
        },
        _ if alias => Failure::Alias,
        _ => Failure::Never,
    }
}

/// `get_all` becomes `GetAll`.
fn camel_case(name: &Ident) -> String {
    let name = name.unraw().to_string();
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        letters
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .chain(letters)
            .collect::<String>()
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::camel_case;

    #[test]
    fn names_of_methods_become_names_of_types() {
        for (method, ty) in [
            (parse_quote!(get), "Get"),
            (parse_quote!(get_all), "GetAll"),
            (parse_quote!(_private__2nd), "Private2nd"),
            (parse_quote!(r#type), "Type"),
            (parse_quote!(größe_ändern), "GrößeÄndern"),
        ] {
            assert_eq!(camel_case(&method), ty);
        }
    }
}
