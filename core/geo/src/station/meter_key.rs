//! Public keys of meters, in the forms that the German register holds: bare P-192 coordinates as hex with any
//! separators, and P-256 keys as base64 of an X.509 `SubjectPublicKeyInfo` (RFC 5480).

use ohmesh_units::to_hex;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The public key a meter signs its readings with: an ECDSA point as x then y, not checked to lie on the curve.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MeterKey {
    /// A point of NIST P-192 (secp192r1), 24 bytes a coordinate.
    P192([u8; 48]),
    /// A point of NIST P-256 (secp256r1), 32 bytes a coordinate.
    P256([u8; 64]),
}

/// Why a text is no meter key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeterKeyError {
    /// More text than any known form has.
    #[error("meter key of {0} characters: too long")]
    TooLong(usize),
    /// Neither hexadecimal nor base64.
    #[error("meter key is neither hexadecimal nor base64")]
    Encoding,
    /// The bytes are no key of a known curve in a known form.
    #[error("meter key of {bytes} bytes has no known form")]
    Form {
        /// How many bytes the text stands for.
        bytes: usize,
    },
}

impl MeterKey {
    /// x then y, each as long as the curve's field.
    pub fn coordinates(&self) -> &[u8] {
        match self {
            Self::P192(point) => point,
            Self::P256(point) => point,
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, MeterKeyError> {
        let point = bytes.strip_prefix(&SPKI_P256).unwrap_or(bytes);
        if let Ok(point) = point.try_into() {
            return Ok(Self::P256(point));
        }
        bytes.try_into().map(Self::P192).map_err(|_| MeterKeyError::Form { bytes: bytes.len() })
    }
}

impl FromStr for MeterKey {
    type Err = MeterKeyError;

    /// Reads hex or base64; spaces, line breaks, `;` and `:` between digits are skipped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(MeterKeyError::TooLong(text.len()));
        }
        let digits: String =
            text.chars().filter(|c| !c.is_whitespace() && !matches!(c, ';' | ':' | '-')).collect();
        let bytes = if digits.chars().all(|c| c.is_ascii_hexdigit()) {
            hex(digits.as_bytes())
        } else {
            base64(digits.as_bytes())
        };
        Self::from_bytes(&bytes.ok_or(MeterKeyError::Encoding)?)
    }
}

impl TryFrom<String> for MeterKey {
    type Error = MeterKeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MeterKey> for String {
    fn from(key: MeterKey) -> Self {
        to_hex(key.coordinates())
    }
}

impl fmt::Debug for MeterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let curve = if matches!(self, Self::P192(_)) { "P192" } else { "P256" };
        write!(f, "MeterKey::{curve}({}..)", to_hex(&self.coordinates()[..4]))
    }
}

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(value(high)? << 4 | value(low)?)).collect()
}

/// Standard alphabet with padding (RFC 4648, section 4), and no second way to write the same bytes.
fn base64(digits: &[u8]) -> Option<Vec<u8>> {
    let (quads, rest) = digits.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(quads.len() * 3);
    for (at, quad) in quads.iter().enumerate() {
        let kept =
            if at + 1 < quads.len() { 4 } else { 4 - quad.iter().rev().take_while(|&&c| c == b'=').count() };
        let mut word = 0u32;
        for &digit in &quad[..kept] {
            let value = ALPHABET.iter().position(|&c| c == digit)?;
            word = word << 6 | u32::try_from(value).ok()?;
        }
        word <<= 6 * (4 - kept);
        let [_, group @ ..] = word.to_be_bytes();
        let whole = kept * 6 / 8;
        if kept < 2 || group[whole..].iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend_from_slice(&group[..whole]);
    }
    Some(bytes)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The longest known form is 182 hex digits; separators may double it.
const TEXT_BYTES_MAX: usize = 512;

/// DER of a `SubjectPublicKeyInfo` for `id-ecPublicKey` on `secp256r1`, up to and including the 4 that says the
/// point is not compressed.
const SPKI_P256: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_known_answers_of_rfc_4648() {
        for (text, bytes) in [("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text.as_bytes()).unwrap(), bytes.as_bytes());
        }
        for bad in ["Zg=", "Zh==", "Z===", "====", "Zg==Zg==", "Zm9*"] {
            assert_eq!(base64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_key_survives_its_text() {
        let key = MeterKey::P256(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        assert_eq!(String::from(key.clone()).parse(), Ok(key.clone()));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<MeterKey>(&json).unwrap(), key);
    }
}
