//! What is decided before the WebSocket upgrade: the subprotocol, the charger's name in the path, its password.
//!
//! ```text
//!   path segment --ChargerName::from_path--> name        400 if it fails
//!   Authorization --check_basic(name, password)--> ok    401 if it fails
//!   Sec-WebSocket-Protocol --negotiate--> version        refused before the upgrade if none fits
//! ```

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

/// The most characters of a charger's name (OCPP 2.0.1 part 4 section 3.1.1).
pub const MAX_NAME_CHARS: usize = 48;

/// The most bytes of a Basic password (OCPP 2.0.1, `SecurityCtrlr.BasicAuthPassword`: 40; 1.6 chargers send up to 64).
pub const MAX_PASSWORD_BYTES: usize = 64;

/// The most bytes of a header that are looked at.
pub const MAX_HEADER_BYTES: usize = 1024;

/// The OCPP versions spoken here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Version {
    /// OCPP 1.6 with JSON.
    V16,
    /// OCPP 2.0.1.
    V201,
}

impl Version {
    /// The WebSocket subprotocol that names it (IANA's registry).
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::V16 => "ocpp1.6",
            Self::V201 => "ocpp2.0.1",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.subprotocol())
    }
}

/// The version to speak, and what the answer's `Sec-WebSocket-Protocol` header is to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// The version.
    pub version: Version,
    /// The header's value; `None` if the charger sent no such header: RFC 6455 forbids to answer one then.
    pub header: Option<&'static str>,
}

/// Why an upgrade is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum UpgradeError {
    /// The charger offers subprotocols, and none is spoken here.
    #[error("no common subprotocol; this side speaks ocpp2.0.1 and ocpp1.6")]
    NoCommonVersion,
    /// A header is longer than [`MAX_HEADER_BYTES`].
    #[error("header of {bytes} bytes; the limit is {MAX_HEADER_BYTES}")]
    HeaderTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The path's last segment is empty, too long, badly escaped, or has a character that no name may have.
    #[error("the path names no valid charger")]
    BadName,
    /// No `Authorization` header.
    #[error("no credentials")]
    NoCredentials,
    /// The header is not `Basic` with base64 of `user:password`.
    #[error("credentials are not HTTP Basic")]
    NotBasic,
    /// User or password are wrong. It is not said which.
    #[error("wrong credentials")]
    WrongCredentials,
}

/// Chooses the version from the values of the `Sec-WebSocket-Protocol` headers, each a comma-separated list: the newest
/// that both speak. Many old chargers send no such header and speak 1.6; they get it.
///
/// ```
/// use ohmesh_ocpp::{Version, negotiate};
/// assert_eq!(negotiate(&["ocpp1.6, ocpp2.0.1"]).map(|n| n.version), Ok(Version::V201));
/// assert!(negotiate(&["ocpp1.5"]).is_err());
/// ```
pub fn negotiate(headers: &[&str]) -> Result<Negotiated, UpgradeError> {
    let bytes = headers.iter().map(|header| header.len()).sum();
    if bytes > MAX_HEADER_BYTES {
        return Err(UpgradeError::HeaderTooLong { bytes });
    }
    let mut offered =
        headers.iter().flat_map(|header| header.split(',')).map(str::trim).filter(|o| !o.is_empty());
    if offered.clone().next().is_none() {
        return Ok(Negotiated { version: Version::V16, header: None });
    }
    let version = offered
        .by_ref()
        .filter_map(|name| {
            [Version::V16, Version::V201].into_iter().find(|version| version.subprotocol() == name)
        })
        .max()
        .ok_or(UpgradeError::NoCommonVersion)?;
    Ok(Negotiated { version, header: Some(version.subprotocol()) })
}

/// A charger's name: the last segment of its URL and its Basic user. 1 to [`MAX_NAME_CHARS`] characters out of
/// letters, digits and `*-_=|@.` (OCPP 2.0.1's identifierString without the colon, which Basic cannot carry, plus
/// the dot).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChargerName(String);

impl ChargerName {
    /// The name in a path segment, percent-decoded.
    pub fn from_path(segment: &str) -> Result<Self, UpgradeError> {
        if segment.len() > 3 * MAX_NAME_CHARS {
            return Err(UpgradeError::BadName);
        }
        let mut name = String::new();
        let mut bytes = segment.bytes();
        while let Some(byte) = bytes.next() {
            name.push(match byte {
                b'%' => {
                    let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                    let (high, low) = (digit(), digit());
                    let code = high.zip(low).map(|(high, low)| high * 16 + low);
                    code.and_then(char::from_u32).ok_or(UpgradeError::BadName)?
                }
                byte => char::from(byte),
            });
        }
        Self::new(&name)
    }

    /// The name itself, already decoded.
    pub fn new(name: &str) -> Result<Self, UpgradeError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "*-_=|@.".contains(c);
        let dots = name.chars().all(|c| c == '.');
        if name.is_empty() || dots || name.len() > MAX_NAME_CHARS || !name.chars().all(allowed) {
            return Err(UpgradeError::BadName);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChargerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks an `Authorization` header: its user must be `name` and its password `password`. Both are compared in full and
/// without a branch on their bytes, so that the time taken tells neither. A charger that is not known here has the caller
/// pass `password: None`: that takes as long and always fails.
pub fn check_basic(
    header: Option<&str>,
    name: &ChargerName,
    password: Option<&[u8]>,
) -> Result<(), UpgradeError> {
    let header = header.ok_or(UpgradeError::NoCredentials)?;
    if header.len() > MAX_HEADER_BYTES {
        return Err(UpgradeError::HeaderTooLong { bytes: header.len() });
    }
    let (scheme, encoded) = header.trim().split_once(' ').ok_or(UpgradeError::NotBasic)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(UpgradeError::NotBasic);
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| UpgradeError::NotBasic)?;
    let colon = decoded.iter().position(|&byte| byte == b':').ok_or(UpgradeError::NotBasic)?;
    let (user, given) = (&decoded[..colon], &decoded[colon + 1..]);
    let known = Choice::from(u8::from(password.is_some()));
    let same =
        same_padded(user, name.0.as_bytes()) & same_padded(given, password.unwrap_or_default()) & known;
    if bool::from(same) { Ok(()) } else { Err(UpgradeError::WrongCredentials) }
}

/// Compares two byte strings as if both had [`MAX_PASSWORD_BYTES`]; longer ones are never equal.
fn same_padded(left: &[u8], right: &[u8]) -> Choice {
    let pad = |bytes: &[u8]| {
        let mut padded = [0_u8; MAX_PASSWORD_BYTES];
        let len = bytes.len().min(MAX_PASSWORD_BYTES);
        padded[..len].copy_from_slice(&bytes[..len]);
        padded
    };
    let fits = Choice::from(u8::from(left.len() <= MAX_PASSWORD_BYTES));
    pad(left).ct_eq(&pad(right)) & (left.len() as u64).ct_eq(&(right.len() as u64)) & fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn negotiates_the_newest_common_version() {
        let ok = |version: Version| Ok(Negotiated { version, header: Some(version.subprotocol()) });
        assert_eq!(negotiate(&["ocpp1.6"]), ok(Version::V16));
        assert_eq!(negotiate(&["ocpp2.1", " ocpp1.6 ,ocpp2.0.1"]), ok(Version::V201));
        assert_eq!(negotiate(&[]), Ok(Negotiated { version: Version::V16, header: None }));
        assert_eq!(negotiate(&["", " , "]), Ok(Negotiated { version: Version::V16, header: None }));
        assert_eq!(negotiate(&["ocpp1.5, soap"]), Err(UpgradeError::NoCommonVersion));
        assert_eq!(negotiate(&["ocpp1.6x"]), Err(UpgradeError::NoCommonVersion));
        assert_eq!(negotiate(&[&"a,".repeat(600)]), Err(UpgradeError::HeaderTooLong { bytes: 1200 }));
    }

    #[test]
    fn names_are_decoded_and_bounded() {
        assert_eq!(ChargerName::from_path("CP%2D01").unwrap().as_str(), "CP-01");
        let long = "x".repeat(49);
        for bad in [
            "", "%", "%4", "%zz", "a%2Fb", "a/b", "..", "a b", "a%00", "a:b", "ä", "%C3%A4", "<script>",
            &long,
        ] {
            assert_eq!(ChargerName::from_path(bad), Err(UpgradeError::BadName), "{bad}");
        }
    }

    #[test]
    fn basic_needs_the_name_of_the_path_and_the_password() {
        let name = ChargerName::new("CP1").unwrap();
        let check = |header: &str| check_basic(Some(header), &name, Some(b"secret:with colon"));
        assert_eq!(check(&basic("CP1:secret:with colon")), Ok(()));
        assert_eq!(check(&basic("CP1:secret:with colon").replace("Basic", "bAsIc")), Ok(()));
        for wrong in [
            "CP1:",
            "CP1:secret",
            "CP2:secret:with colon",
            ":",
            "CP1:secret:with colon\0",
            "cp1:secret:with colon",
        ] {
            assert_eq!(check(&basic(wrong)), Err(UpgradeError::WrongCredentials), "{wrong}");
        }
        for not in ["", "Basic", "Bearer abc", "Basic !!!", &basic("nocolon")] {
            assert_eq!(check(not), Err(UpgradeError::NotBasic), "{not}");
        }
        assert_eq!(check_basic(None, &name, Some(b"x")), Err(UpgradeError::NoCredentials));
        assert_eq!(check_basic(Some(&basic("CP1:")), &name, None), Err(UpgradeError::WrongCredentials));
        let huge = basic(&"x".repeat(2000));
        assert!(matches!(check(&huge), Err(UpgradeError::HeaderTooLong { .. })));
    }

    #[test]
    fn passwords_longer_than_the_bound_never_match() {
        let name = ChargerName::new("CP1").unwrap();
        let long = "p".repeat(65);
        let header = basic(&format!("CP1:{long}"));
        assert_eq!(
            check_basic(Some(&header), &name, Some(long.as_bytes())),
            Err(UpgradeError::WrongCredentials)
        );
    }

    proptest! {
        #[test]
        fn never_panics(header in ".{0,200}", path in ".{0,80}", offered in ".{0,80}") {
            let name = ChargerName::new("CP1").unwrap();
            prop_assert!(check_basic(Some(&header), &name, Some(b"a password of some length")).is_err());
            if let Ok(name) = ChargerName::from_path(&path) {
                prop_assert!(name.as_str().len() <= MAX_NAME_CHARS);
            }
            let _ = negotiate(&[&offered]);
        }
    }
}
