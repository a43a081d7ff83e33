//! The elements of a compound, on their way to the type.

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess};

use super::Seed;
use super::ledger::Place;
use crate::codec::path::Step;

/// The elements of a sequence, tuple or struct, or the entries of a map or of a struct that is written as one.
pub(super) struct Items<'l, 'de, A> {
    inner: A,
    place: Place<'l, 'de>,
    /// The names of the elements, if their number is fixed.
    fields: Option<&'static [&'static str]>,
    /// How many elements or entries are paid for as soon as their types are known; all, if their number is fixed.
    paid: usize,
    /// How many have been read.
    index: usize,
    /// The name of the field that is being read, where the message says it.
    name: Option<&'de str>,
}

impl<'l, 'de, A> Items<'l, 'de, A> {
    /// Of as many elements as the type has `fields`, or of which `paid` are counted.
    #[inline]
    pub(super) fn new(
        inner: A,
        place: Place<'l, 'de>,
        fields: Option<&'static [&'static str]>,
        paid: usize,
    ) -> Self {
        Self {
            inner,
            place,
            fields,
            paid,
            index: 0,
            name: None,
        }
    }

    /// Before all else: pays for as many elements as the message claims. Those of a fixed number are a part of their parent.
    #[inline]
    pub(super) fn afford<E: Error>(&mut self) -> Result<(), E> {
        if self.fields.is_none() {
            self.place.ledger.take_elements::<E>(self.paid)?;
        }
        Ok(())
    }

    /// What may be reserved before anything has been read: an element takes a byte of the message, or no memory.
    #[inline]
    fn hint(&self, claimed: Option<usize>) -> Option<usize> {
        match self.fields {
            Some(_) => claimed,
            None => claimed.map(|length| length.min(self.place.ledger.body)),
        }
    }

    /// Before the first element, key or value: pays for as many as the message claims.
    #[inline]
    fn claim<T, E: Error>(&mut self) -> Result<(), E> {
        if self.index == 0 && self.fields.is_none() {
            self.place
                .ledger
                .take_heap::<E>(self.paid.saturating_mul(size_of::<T>()))?;
        }
        Ok(())
    }

    /// After each element, key or value, before the type has it: pays for one beyond those claimed.
    #[inline]
    fn pay<T, E: Error>(&mut self, elements: usize, entries: bool) -> Result<(), E> {
        if self.index < self.paid {
            return Ok(());
        }
        let ledger = &mut *self.place.ledger;
        match ledger
            .take_elements::<E>(elements)
            .and_then(|()| ledger.take_heap::<E>(size_of::<T>()))
        {
            Ok(()) => Ok(()),
            Err(error) => Err(self.locate(error, entries)),
        }
    }

    /// Notes where an error came from.
    #[cold]
    #[inline(never)]
    fn locate<E>(&mut self, error: E, entries: bool) -> E {
        let step = match (self.fields, self.name) {
            (Some(fields), Some(name)) => match fields.iter().find(|field| **field == name) {
                Some(field) => Step::Field(field),
                None => return error,
            },
            (Some(fields), None) if !entries => Step::field(fields, self.index),
            (Some(_), None) => return error,
            (None, _) if entries => Step::Entry(self.index),
            (None, _) => Step::Index(self.index),
        };
        self.place.ledger.path.push(step);
        error
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, 'de, A> {
    type Error = A::Error;

    // Each result is taken apart rather than handed on: it was written a byte at a time, and to move it in one piece is
    // to wait for that.
    #[inline(always)]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.claim::<S::Value, A::Error>()?;
        match self.inner.next_element_seed(Seed::inside(seed, &mut self.place)) {
            Ok(Some(element)) => {
                self.pay::<S::Value, A::Error>(1, false)?;
                self.index += 1;
                Ok(Some(element))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(self.locate(error, false)),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Items<'_, 'de, A> {
    type Error = A::Error;

    #[inline(always)]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.claim::<S::Value, A::Error>()?;
        self.place.ledger.key = true;
        let result = self.inner.next_key_seed(Seed::inside(seed, &mut self.place));
        self.place.ledger.key = false;
        self.name = self.place.ledger.name.take();
        match result {
            Ok(Some(key)) => {
                self.pay::<S::Value, A::Error>(1, true)?;
                Ok(Some(key))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(self.locate(error, true)),
        }
    }

    #[inline(always)]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.claim::<S::Value, A::Error>()?;
        match self.inner.next_value_seed(Seed::inside(seed, &mut self.place)) {
            Ok(value) => {
                self.pay::<S::Value, A::Error>(0, true)?;
                self.index += 1;
                Ok(value)
            }
            Err(error) => Err(self.locate(error, true)),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint(self.inner.size_hint())
    }
}
