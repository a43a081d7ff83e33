//! How much memory the sections of one side of a connection may take.

use super::Pool;
use crate::{Error, ErrorKind};

/// From this size on, one section may go beyond what a pool holds otherwise. Smaller ones must not take that place.
const LARGE: usize = 1 << 20;

/// The account of a pool.
pub(crate) struct Budget {
    /// The largest section, in bytes.
    largest: usize,
    within: usize,
    beyond: usize,
    high_water: usize,
}

/// What was taken from a [`Budget`], and has to go back to it.
#[derive(Debug)]
#[must_use = "it has to be given back"]
pub(crate) enum Charge {
    Within(usize),
    /// The one that goes beyond the rest.
    Beyond,
}

impl Budget {
    pub(crate) fn new(largest: usize) -> Self {
        Self {
            largest,
            within: 0,
            beyond: 0,
            high_water: 0,
        }
    }

    /// What is set aside for a section of `bytes` bytes.
    ///
    /// # Errors
    /// `TooLarge` for one that is never possible.
    pub(crate) fn class(&self, bytes: usize) -> Result<usize, Error> {
        if bytes <= self.largest {
            return Ok(bytes.max(Pool::SMALLEST).next_power_of_two());
        }
        let message = format!(
            "a section of {bytes} bytes is above the limit of {} bytes; raise Endpoint::max_message",
            self.largest
        );
        Err(Error::new(ErrorKind::TooLarge, message))
    }

    /// Takes `bytes` bytes for what [`Budget::class`] said: as many, or more, for several of that class.
    ///
    /// # Errors
    /// `Resource` if there is not so much left.
    pub(crate) fn take(&mut self, bytes: usize, class: usize) -> Result<Charge, Error> {
        let charge = if bytes <= Pool::BUDGET - self.within {
            self.within += bytes;
            Charge::Within(bytes)
        } else if class >= LARGE && self.beyond == 0 {
            self.beyond = bytes;
            Charge::Beyond
        } else {
            let message = format!(
                "no room for a section: {} bytes are in use and at most {} are allowed. Wait until the other side has \
                 given some back, or send smaller parts in bodies",
                self.in_use(),
                Pool::BUDGET
            );
            return Err(Error::new(ErrorKind::Resource, message));
        };
        self.high_water = self.high_water.max(self.in_use());
        Ok(charge)
    }

    pub(crate) fn give_back(&mut self, charge: &Charge) {
        match *charge {
            Charge::Within(bytes) => self.within -= bytes,
            Charge::Beyond => self.beyond = 0,
        }
    }

    pub(crate) fn in_use(&self) -> usize {
        self.within + self.beyond
    }

    pub(crate) fn high_water(&self) -> usize {
        self.high_water
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Charge, LARGE, Pool};
    use crate::ErrorKind;

    #[test]
    fn sizes_are_rounded_up_to_powers_of_two() {
        let budget = Budget::new(100 << 20);
        let smallest = Pool::SMALLEST;
        for (bytes, class) in [
            (0, smallest),
            (1, smallest),
            (smallest, smallest),
            (smallest + 1, 2 * smallest),
            ((1 << 20) - 1, 1 << 20),
            ((1 << 20) + 1, 2 << 20),
            (100 << 20, 128 << 20),
        ] {
            assert_eq!(budget.class(bytes).unwrap(), class, "{bytes}");
        }
        let error = budget.class((100 << 20) + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn one_large_section_goes_beyond() {
        let mut budget = Budget::new(1 << 30);
        let all: Vec<_> = (0..64).map(|_| budget.take(1 << 20, 1 << 20).unwrap()).collect();
        assert_eq!(
            budget.take(Pool::SMALLEST, Pool::SMALLEST).unwrap_err().kind(),
            ErrorKind::Resource
        );
        let beyond = budget.take(1 << 30, 1 << 30).unwrap();
        assert!(matches!(beyond, Charge::Beyond));
        assert_eq!(budget.take(LARGE, LARGE).unwrap_err().kind(), ErrorKind::Resource);
        assert_eq!(budget.in_use(), Pool::BUDGET + (1 << 30));
        all.iter().for_each(|charge| budget.give_back(charge));
        assert_eq!(budget.in_use(), 1 << 30);
        // A second one has room among the others.
        let within = budget.take(Pool::BUDGET, Pool::BUDGET).unwrap();
        assert_eq!(
            budget.take(Pool::SMALLEST, Pool::SMALLEST).unwrap_err().kind(),
            ErrorKind::Resource
        );
        budget.give_back(&beyond);
        budget.give_back(&within);
        assert_eq!(
            (budget.in_use(), budget.high_water()),
            (0, Pool::BUDGET + (1 << 30))
        );
    }
}
