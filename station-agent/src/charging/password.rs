//! Chargers' passwords: made here, shown once, kept as a hash.
//!
//! A fast hash is enough because nobody chooses a password: 120 random bits cannot be searched, whatever a guess costs. It
//! is bound to the charger's name, so that two chargers with one password would not show it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eyre::{Result, eyre};
use ohmesh_ocpp::{ChargerName, MAX_HEADER_BYTES, UpgradeError, check_basic};
use ohmesh_units::{Domain, HexError, from_hex, to_hex};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A fresh password from the operating system's randomness: [`PASSWORD_CHARS`] letters, digits, `-` and `_`.
pub fn generate() -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0_u8; PASSWORD_CHARS]);
    getrandom::fill(&mut *bytes).map_err(|error| eyre!("no randomness from the system: {error}"))?;
    // 64 characters: six bits of each byte, none more likely than another.
    Ok(Zeroizing::new(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect()))
}

/// What is kept of a charger's password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash([u8; 32]);

impl PasswordHash {
    /// Of a charger's password.
    pub fn of(name: &ChargerName, password: &[u8]) -> Self {
        const PASSWORD: Domain = Domain::new("ohmesh/1 charger password");
        let length = (name.as_str().len() as u64).to_be_bytes();
        Self(PASSWORD.hash(&[&length, name.as_str().as_bytes(), password]).0)
    }

    /// From 64 hexadecimal digits, as the configuration has it.
    pub fn from_hex(text: &str) -> Result<Self, HexError> {
        from_hex(text).map(Self)
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// Checks an `Authorization` header against what is kept: `None` for a charger that is not known, which takes as long and
/// fails.
pub(super) fn check(
    header: Option<&str>,
    name: &ChargerName,
    kept: Option<&PasswordHash>,
) -> Result<(), UpgradeError> {
    let given = header.and_then(password_in).unwrap_or_default();
    check_basic(header, name, Some(&given))?;
    let kept_or_none = kept.map_or([0; 32], |hash| hash.0);
    let same = bool::from(PasswordHash::of(name, &given).0.ct_eq(&kept_or_none));
    if same && kept.is_some() { Ok(()) } else { Err(UpgradeError::WrongCredentials) }
}

/// The password in a Basic header, if it is one; [`check_basic`] says what is wrong if not.
fn password_in(header: &str) -> Option<Zeroizing<Vec<u8>>> {
    let encoded = header.get(..header.len().min(MAX_HEADER_BYTES))?.trim().split_once(' ')?.1.trim();
    let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some(Zeroizing::new(decoded[colon + 1..].to_vec()))
}

/// 120 bits; every version's passwords may have 20 characters (1.6 `AuthorizationKey`: 16 to 20 bytes; 2.0.1: 16 to 40).
pub const PASSWORD_CHARS: usize = 20;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn only_the_right_password_of_the_right_charger_opens() {
        let (one, two) = (ChargerName::new("CP1").unwrap(), ChargerName::new("CP2").unwrap());
        let password = generate().unwrap();
        let kept = PasswordHash::of(&one, password.as_bytes());
        let header = basic(&format!("CP1:{}", *password));
        assert_eq!(check(Some(&header), &one, Some(&kept)), Ok(()));
        assert_eq!(check(Some(&header), &one, None), Err(UpgradeError::WrongCredentials), "unknown charger");
        assert_eq!(
            check(Some(&header), &two, Some(&kept)),
            Err(UpgradeError::WrongCredentials),
            "other path"
        );
        let other = basic(&format!("CP2:{}", *password));
        assert_eq!(
            check(Some(&other), &two, Some(&kept)),
            Err(UpgradeError::WrongCredentials),
            "the hash is CP1's"
        );
        for wrong in ["CP1:", "CP1:guess", &format!("CP1:{}x", *password)] {
            assert_eq!(check(Some(&basic(wrong)), &one, Some(&kept)), Err(UpgradeError::WrongCredentials));
        }
        assert_eq!(check(None, &one, Some(&kept)), Err(UpgradeError::NoCredentials));
        for not in ["Bearer x", "Basic !", "ä", &"Basic é".repeat(300)] {
            assert!(check(Some(not), &one, Some(&kept)).is_err(), "{not}");
        }
    }

    #[test]
    fn passwords_are_fresh_and_long_enough() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_ne!(*one, *two);
        assert_eq!((one.len(), two.len()), (PASSWORD_CHARS, PASSWORD_CHARS));
        assert!(one.bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
