//! Random histories of two people against the simplest mailbox that could be right.
//!
//! What happens is in [`step`], what should be there afterwards in [`reference`]; [`object`]
//! carries the steps out on the mailbox as an object, whose clock and repository the test owns, and
//! [`mounted`] through two mounts of the real program. [`drafts`] writes one file in every way that
//! programs use, and [`soak`] kills both sides again and again.

mod drafts;
mod mounted;
mod object;
mod reference;
mod soak;
mod step;

use std::str::FromStr;

/// Returns the number that a variable of the environment asks for.
fn wanted<T: FromStr>(variable: &str, default: T) -> T {
    let Some(text) = std::env::var_os(variable) else { return default };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{variable} is a number"))
}

/// A stream of numbers that a seed decides.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns the next number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number % limit as u64).unwrap()
    }
}
