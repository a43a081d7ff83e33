//! Where in a value something went wrong. Nothing is recorded while all goes well: the steps are collected as the
//! error passes through them on its way out.

use std::fmt;

/// The most steps that are printed; more would bury the rest of the sentence.
const PRINTED: usize = 12;

/// One step from a value to one inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the field or argument of that name.
    Field(&'static str),
    /// To the element at that position of a sequence or tuple.
    Index(usize),
    /// To the entry at that position of a map; its key belongs to whoever wrote it.
    Entry(usize),
}

impl Step {
    /// The step to the field at `index`, by name where there are names.
    pub(super) fn field(names: &'static [&'static str], index: usize) -> Self {
        names
            .get(index)
            .map_or(Self::Index(index), |name| Self::Field(name))
    }
}

/// A way through a value, the innermost step first.
#[derive(Debug, Default)]
pub(super) struct Path(Vec<Step>);

impl Path {
    pub(super) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().rev().enumerate() {
            if position == PRINTED {
                return formatter.write_str("…");
            }
            match step {
                Step::Field(name) if position == 0 => formatter.write_str(name)?,
                Step::Field(name) => write!(formatter, ".{name}")?,
                Step::Index(index) => write!(formatter, "[{index}]")?,
                Step::Entry(index) => write!(formatter, "{{entry {index}}}")?,
            }
        }
        Ok(())
    }
}
