//! What the macro understood of a trait. Everything here is valid: what was not is an error already, and left out.

use proc_macro2::Span;
use syn::{Attribute, Ident, Type, Visibility};

use crate::attributes::Docs;
use crate::shape::Wire;

/// A trait that is a service.
pub(crate) struct Service {
    pub(crate) vis: Visibility,
    /// The trait's name.
    pub(crate) ident: Ident,
    /// Its name on the wire: the trait's, or the one that the attribute gives.
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) codec: Codec,
    pub(crate) docs: Docs,
    pub(crate) attributes: TraitAttributes,
    pub(crate) methods: Vec<Method>,
    /// The type parameter of generated code, one that does not occur in the trait.
    pub(crate) parameter: Ident,
}

/// Which codec clients ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Codec {
    #[default]
    Bincode,
    Json,
}

/// The attributes that generated code takes over from the trait.
pub(crate) struct TraitAttributes {
    /// For the types of the client and the server.
    pub(crate) types: Vec<Attribute>,
    /// For what is implemented.
    pub(crate) implementations: Vec<Attribute>,
    /// The generated code must be allowed to mention the trait.
    pub(crate) deprecated: bool,
}

pub(crate) struct Method {
    /// As written, `r#` included.
    pub(crate) ident: Ident,
    /// `Store.get`.
    pub(crate) name: String,
    pub(crate) ordinal: u64,
    pub(crate) fingerprint: u64,
    /// `put(&str, &[u8]) -> Result<Version, StoreError>`.
    pub(crate) signature: String,
    /// The type that holds a call's arguments: `StoreGet`.
    pub(crate) call: Ident,
    pub(crate) docs: Docs,
    pub(crate) attributes: MethodAttributes,
    pub(crate) mode: Mode,
    pub(crate) one_way: bool,
    /// In the order of the trait, `&Context` among them.
    pub(crate) arguments: Vec<Argument>,
    pub(crate) returns: Returns,
}

/// The attributes that generated code takes over from the trait's method.
pub(crate) struct MethodAttributes {
    /// Where the method exists at all.
    pub(crate) cfg: Vec<Attribute>,
    /// For the client's method.
    pub(crate) client: Vec<Attribute>,
    /// For an implementation that forwards.
    pub(crate) forward: Vec<Attribute>,
    pub(crate) deprecated: bool,
}

/// How the server runs a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Async,
    /// On a thread where it may block.
    Blocking,
}

pub(crate) struct Argument {
    pub(crate) ident: Ident,
    /// As written.
    pub(crate) ty: Type,
    pub(crate) kind: ArgumentKind,
}

pub(crate) enum ArgumentKind {
    /// `&Context`: given by the server, never on the wire.
    Context,
    Wire(Wire),
}

pub(crate) struct Returns {
    /// As written; `()` where nothing is.
    pub(crate) ty: Type,
    pub(crate) wire: Wire,
    pub(crate) failure: Failure,
}

/// Whether the method itself can fail, as far as its signature shows.
pub(crate) enum Failure {
    Never,
    /// `Result<T, E>`.
    Result {
        ok: Type,
        err: Type,
    },
    /// A `Result` whose two types an alias hides.
    Alias,
}

impl Service {
    pub(crate) fn client(&self) -> Ident {
        self.generated("Client")
    }

    pub(crate) fn server(&self) -> Ident {
        self.generated("Server")
    }

    fn generated(&self, suffix: &str) -> Ident {
        generated_type(&self.ident, suffix, self.ident.span())
    }
}

impl Method {
    /// The arguments that travel.
    pub(crate) fn wires(&self) -> impl Iterator<Item = (&Argument, &Wire)> {
        self.arguments.iter().filter_map(|argument| match &argument.kind {
            ArgumentKind::Wire(wire) => Some((argument, wire)),
            ArgumentKind::Context => None,
        })
    }

    /// Whether a call borrows from its caller, so that its type has a lifetime.
    pub(crate) fn borrows(&self) -> bool {
        self.wires().any(|(_, wire)| wire.has_lifetime())
    }
}

/// The name of a generated type: the trait's, then `suffix`.
pub(crate) fn generated_type(service: &Ident, suffix: &str, at: Span) -> Ident {
    use syn::ext::IdentExt;
    Ident::new(&format!("{}{suffix}", service.unraw()), generated(at))
}

/// A span that is shown where `at` is, and yet marks its token as generated: lints that are about what the user
/// wrote stay away from it.
pub(crate) fn generated(at: Span) -> Span {
    Span::call_site().located_at(at)
}
