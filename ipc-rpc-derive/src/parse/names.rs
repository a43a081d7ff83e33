//! What methods must not be called: names that generated code needs, and ordinals that are taken.

use std::collections::{HashMap, HashSet};

use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Ident, ItemTrait, TraitItem, TypePath};

use crate::errors::Errors;
use crate::model::{Method, generated_type};

/// What each client has besides the methods of its service, and why a method cannot have that name.
const RESERVED: [(&str, &str); 11] = [
    ("connect", "that is how a client connects"),
    ("with_timeout", "that gives a client a deadline"),
    ("alloc", "that gives memory for a section"),
    ("alloc_sealed", "that gives memory for a section"),
    ("alloc_shared", "that gives memory which both sides write"),
    ("alloc_waiting", "that gives memory for a section"),
    ("in_process", "that makes a client for tests"),
    ("from_client", "that makes a client from an untyped one"),
    ("as_client", "that gives the untyped client"),
    ("spawn", "that starts a server as a child process"),
    ("clone", "clients are `Clone`"),
];

/// Refuses methods whose names clash, and leaves them out.
pub(super) fn check(methods: &mut Vec<Method>, written: &ItemTrait, errors: &mut Errors) {
    let mut names = Names::new(written);
    methods.retain(|method| {
        let before = errors.count();
        if let Some((_, why)) = RESERVED.iter().find(|(name, _)| method.ident.unraw() == name) {
            errors.at(
                &method.ident,
                format!(
                    "each client has `{}` already, {why}: rename the method",
                    method.ident
                ),
            );
        }
        names.take_type(method, errors);
        names.take_ordinal(method, errors);
        errors.count() == before
    });
}

struct Names {
    /// The generated types that every service has, and what they are.
    fixed: [(Ident, &'static str); 3],
    /// The types that signatures name.
    mentioned: HashSet<String>,
    /// Whose arguments a type holds.
    types: HashMap<Ident, Owner>,
    ordinals: HashMap<u64, Owner>,
}

struct Owner {
    method: Ident,
    conditional: bool,
}

impl Owner {
    fn of(method: &Method) -> Self {
        Self {
            method: method.ident.clone(),
            conditional: !method.attributes.cfg.is_empty(),
        }
    }

    /// Two versions of one method under `cfg`, of which the compiler will see one; if not, it says so itself.
    fn is_version_of(&self, method: &Method) -> bool {
        self.method == method.ident && self.conditional && !method.attributes.cfg.is_empty()
    }
}

impl Names {
    fn new(written: &ItemTrait) -> Self {
        let fixed = [
            ("", "the trait"),
            ("Client", "the client"),
            ("Server", "the server"),
        ]
        .map(|(suffix, what)| (generated_type(&written.ident, suffix, written.ident.span()), what));
        Self {
            fixed,
            mentioned: mentioned(written),
            types: HashMap::new(),
            ordinals: HashMap::new(),
        }
    }

    fn take_type(&mut self, method: &Method, errors: &mut Errors) {
        let (name, call) = (&method.ident, &method.call);
        if let Some((_, what)) = self.fixed.iter().find(|(ident, _)| ident == call) {
            errors.at(
                name,
                format!(
                    "the arguments of `{name}` would be the type `{call}`, which is {what}: rename the method"
                ),
            );
        } else if self.mentioned.contains(&call.to_string()) {
            errors.at(
                name,
                format!(
                    "the arguments of `{name}` would be the type `{call}`, and the trait uses another type of that \
                     name: rename one of them"
                ),
            );
        }
        match self.types.get(call) {
            Some(other) if other.is_version_of(method) => {}
            Some(other) => errors.at(
                name,
                format!(
                    "the arguments of `{name}` would be the type `{call}`, as those of `{}` are: rename the method",
                    other.method
                ),
            ),
            None => {
                self.types.insert(call.clone(), Owner::of(method));
            }
        }
    }

    fn take_ordinal(&mut self, method: &Method, errors: &mut Errors) {
        match self.ordinals.get(&method.ordinal) {
            // By its type this is refused already, or is another version of it.
            Some(other) if other.method == method.ident => {}
            Some(other) => errors.at(
                &method.ident,
                format!(
                    "`{}` and `{}` have the same number on the wire, which is made from their names: rename one",
                    method.ident, other.method
                ),
            ),
            None => {
                self.ordinals.insert(method.ordinal, Owner::of(method));
            }
        }
    }
}

fn mentioned(written: &ItemTrait) -> HashSet<String> {
    #[derive(Default)]
    struct Mentioned(HashSet<String>);

    impl<'ast> Visit<'ast> for Mentioned {
        fn visit_type_path(&mut self, path: &'ast TypePath) {
            if let Some(name) = path.path.get_ident() {
                self.0.insert(name.unraw().to_string());
            }
            visit::visit_type_path(self, path);
        }
    }

    let mut mentioned = Mentioned::default();
    for item in &written.items {
        if let TraitItem::Fn(function) = item {
            mentioned.visit_signature(&function.sig);
        }
    }
    mentioned.0
}
