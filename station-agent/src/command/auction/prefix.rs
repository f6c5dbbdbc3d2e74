//! An auction's id as people give it: whole, or its first digits.

use ohmesh_units::AuctionId;
use std::{fmt, str::FromStr};

/// The first hex digits of an id, all of them or fewer; lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Prefix(String);

impl Prefix {
    /// Whether `id` begins so.
    pub(super) fn matches(&self, id: AuctionId) -> bool {
        id.to_string().starts_with(&self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not the beginning of an id.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum PrefixError {
    /// No digit, or more than an id has.
    #[error("1 to {DIGITS} hex digits are an auction's id, found {found}")]
    Length { found: usize },
    /// A character that is no digit.
    #[error("not a hex digit at position {at}")]
    Digit { at: usize },
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        if let Some(at) = text.chars().position(|character| !character.is_ascii_hexdigit()) {
            return Err(PrefixError::Digit { at });
        }
        if !(1..=DIGITS).contains(&text.len()) {
            return Err(PrefixError::Length { found: text.len() });
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// Digits of a whole id.
const DIGITS: usize = 64;
