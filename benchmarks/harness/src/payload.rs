//! What callers send, and whether the right thing came back.

use crate::job::Call;
use crate::system::Error;

/// Bytes between two that [`Call::Sum`] looks at: a page of memory.
const PAGE: usize = 4096;

/// What one worker sends: a pattern, so that a reply that is shifted or cut is noticed.
#[derive(Clone, Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    round: u8,
}

impl Payload {
    /// `size` bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let pattern = |at: usize| (at.wrapping_mul(167) ^ (at >> 8)) as u8;
        Self {
            bytes: (0..size).map(pattern).collect(),
            round: 0,
        }
    }

    /// What to send in this turn. For a [`Call::Sum`], one byte of each page is new.
    pub fn next(&mut self, call: Call) -> &[u8] {
        if call == Call::Sum {
            let value = self.next_value();
            Self::write(value, &mut self.bytes);
        }
        &self.bytes
    }

    /// The same for a system that lends the memory it sends from: writes one byte of each page of `lent`.
    pub fn fill(&mut self, lent: &mut [u8]) {
        let value = self.next_value();
        Self::write(value, lent);
    }

    /// The byte that a sum of this turn is made of.
    pub fn next_value(&mut self) -> u8 {
        self.round = self.round.wrapping_add(1);
        self.round
    }

    /// Checks the answer to a [`Call::Sum`] of the bytes last written.
    ///
    /// # Errors
    /// If it is another number.
    pub fn check_sum(&self, sum: u64) -> Result<(), Error> {
        let expected = u64::from(self.round) * self.bytes.len().div_ceil(PAGE) as u64;
        if sum == expected {
            Ok(())
        } else {
            Err(format!("the sum {sum} came back in place of {expected}").into())
        }
    }

    /// Checks an answer that is bytes.
    ///
    /// # Errors
    /// If it is not what was sent.
    pub fn check_echo(&self, reply: &[u8]) -> Result<(), Error> {
        check_echo(&self.bytes, reply)
    }

    /// The bytes, unchanged.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn write(value: u8, bytes: &mut [u8]) {
        for at in (0..bytes.len()).step_by(PAGE) {
            bytes[at] = value;
        }
    }
}

/// What a server answers to a [`Call::Sum`].
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(PAGE).map(|&byte| u64::from(byte)).sum()
}

/// Checks that `reply` is the echo of `body`: its length and both ends. Not every byte: comparing 1 MiB would add
/// 20 µs to a call of 400.
///
/// # Errors
/// If the reply is not the echo.
pub fn check_echo(body: &[u8], reply: &[u8]) -> Result<(), Error> {
    let ends = body.len().min(16);
    let same = reply.len() == body.len()
        && reply[..ends] == body[..ends]
        && reply[reply.len() - ends..] == body[body.len() - ends..];
    if same {
        Ok(())
    } else {
        Err(format!("{} bytes came back for {}, or others", reply.len(), body.len()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_of_the_bytes_of_this_turn() {
        let mut payload = Payload::new(2 * PAGE + 1);
        for _ in 0..300 {
            let answer = sum(payload.next(Call::Sum));
            payload.check_sum(answer).unwrap();
            payload.check_sum(answer + 1).unwrap_err();
        }
    }

    #[test]
    fn a_cut_reply_is_noticed() {
        let payload = Payload::new(100);
        payload.check_echo(payload.bytes()).unwrap();
        payload.check_echo(&payload.bytes()[1..]).unwrap_err();
        payload.check_echo(&[0; 100]).unwrap_err();
    }
}
