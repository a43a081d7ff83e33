//! What the attribute macro makes of a service's method, and how the values of one call are encoded and decoded.

use std::marker::PhantomData;

use transports::Lease;

use super::lending::Gap;
use crate::codec::arguments::{ArgumentValues, Arguments};
use crate::codec::shape::{DecodeAs, Owned};
use crate::codec::{Budget, CodecErrorKind, Extras, LENT, MOVED};
use crate::section::{Attached, Delivered, Lender};
use crate::{Codec, Error, ErrorKind, Limits, MethodInfo, Outcome};

/// A method with the arguments of one call; the attribute macro implements it.
pub trait Method: Send {
    /// What the trait's method returns.
    type Returns;
    /// What the caller gets: that, and what may go wrong on the way.
    type Output;
    /// What the trait declares.
    const INFO: &'static MethodInfo;
    /// Gets sections among the arguments ready to be sent.
    #[doc(hidden)]
    fn settle(&mut self) {}
    /// Encodes the arguments.
    #[doc(hidden)]
    fn encode(&self, arguments: Encode<'_>) -> Result<(), Error>;
    /// Decodes the reply.
    #[doc(hidden)]
    fn decode(reply: Decode<'_>) -> Result<Self::Returns, Error>;
    /// Puts the service's own errors and ours together.
    #[doc(hidden)]
    fn finish(result: Result<Self::Returns, Error>) -> Self::Output;
}

/// What a call's arguments are wanted for.
pub struct Encode<'a>(pub(super) Purpose<'a>);

pub(super) enum Purpose<'a> {
    /// To be encoded.
    Body {
        codec: Codec,
        limit: usize,
        info: &'static MethodInfo,
        body: &'a mut Vec<u8>,
        /// What goes beside the body, and where memory for that comes from.
        attached: &'a mut Attached,
        lender: Option<&'a Lender>,
        /// Where to note that the longest byte string was left out, if it may be.
        gap: Option<&'a mut Option<Gap>>,
    },
    /// To be shown the longest byte string among them, which was left out.
    Longest(&'a mut dyn FnMut(&[u8])),
}

impl Encode<'_> {
    /// Encodes all arguments, a tuple of references with their shapes.
    ///
    /// # Errors
    /// `Encode` if a value refuses, `TooLarge` if it does not fit into a message of this connection.
    pub fn write<A: ArgumentValues>(self, values: A) -> Result<(), Error> {
        let longest = values.longest().filter(|bytes| bytes.len() >= LENT);
        let (codec, limit, info, body, attached, lender, gap) = match self.0 {
            Purpose::Body {
                codec,
                limit,
                info,
                body,
                attached,
                lender,
                gap,
            } => (codec, limit, info, body, attached, lender, gap),
            Purpose::Longest(show) => {
                if let Some(longest) = longest {
                    show(longest);
                }
                return Ok(());
            }
        };
        let lent = longest.filter(|_| gap.is_some());
        let beside = codec
            .encode_with(
                &Arguments::new(info.arguments, &values),
                body,
                limit,
                Extras { lent, lender },
            )
            .map_err(|error| match error.kind {
                CodecErrorKind::TooLarge { .. } => Error::new(
                    ErrorKind::TooLarge,
                    format!(
                        "{} argument is {error} on this connection; raise Endpoint::max_message",
                        info.name
                    ),
                ),
                _ => Error::new(ErrorKind::Encode, format!("{}: {error}", info.name)),
            })?;
        if let (Some(gap), Some(at), Some(lent)) = (gap, beside.gap, lent) {
            let length = lent.len();
            *gap = Some(Gap { at, length });
        }
        *attached = beside.attached;
        Ok(())
    }
}

/// The encoded value of a reply.
pub struct Decode<'a> {
    pub(super) codec: Codec,
    pub(super) limits: &'a Limits,
    pub(super) info: &'static MethodInfo,
    /// Empty afterwards if the value was made of it.
    pub(super) body: &'a mut Vec<u8>,
    pub(super) sections: Vec<Lease>,
    /// The number of the connection that it came on.
    pub(super) origin: u64,
}

impl Decode<'_> {
    /// Decodes the value.
    ///
    /// # Errors
    /// `Decode`: the reply is not what the signature says, or breaks the decoder's budget.
    pub fn read<S, T>(self) -> Result<T, Error>
    where
        S: for<'de> DecodeAs<'de, T>,
    {
        let budget = self.limits.budget(self.body.len());
        if self.may_move(&budget) {
            if let Some(start) = self.codec.bytes_start(self.body) {
                match S::from_bytes(std::mem::take(self.body), start) {
                    Ok(value) => return Ok(value),
                    Err(body) => *self.body = body,
                }
            }
        }
        let sections = delivered(self.sections, self.origin, self.limits);
        let seed = PhantomData::<Owned<S, T>>;
        let value = self.codec.decode_seed(self.body, seed, &budget, sections);
        let value = value.map_err(|error| {
            let sentence = format!(
                "{}: the reply does not match {}: {error}",
                self.info.name, self.info.signature
            );
            Error::new(ErrorKind::Decode, sentence).with_outcome(Outcome::Unknown)
        })?;
        Ok(value.into_inner())
    }
}

impl Decode<'_> {
    /// Whether the caller may have the body's own memory: not if most of it is spare.
    fn may_move(&self, budget: &Budget) -> bool {
        let length = self.body.len();
        self.sections.is_empty()
            && length >= MOVED
            && length <= budget.heap
            && self.body.capacity() / 2 <= length
    }
}

/// What came beside a body on the connection `origin`, for the decoder: as much of it may be copied as of a body of that size.
pub(crate) fn delivered(sections: Vec<Lease>, origin: u64, limits: &Limits) -> Option<Delivered> {
    if sections.is_empty() {
        return None;
    }
    let bytes = sections.iter().map(Lease::len).sum();
    Some(Delivered::new(sections, origin, limits.budget(bytes).heap))
}

/// Tells the two types of a `Result` that the macro sees only under an alias.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`",
    label = "the method is said to return an alias of `Result`",
    note = "only an alias of `Result` may end in that word, and only its methods may be `#[rpc(result)]`"
)]
pub trait ResultType {
    /// The value.
    type Ok;
    /// The service's own error.
    type Err;
}

impl<T, E> ResultType for Result<T, E> {
    type Ok = T;
    type Err = E;
}

/// Puts a service's own error and ours into one type.
pub fn flatten<T, E>(result: Result<Result<T, E>, Error>) -> Result<T, crate::CallError<E>> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(crate::CallError::Service(error)),
        Err(error) => Err(crate::CallError::Rpc(error)),
    }
}
