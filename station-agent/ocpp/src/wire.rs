//! How one typed message is read tolerantly and written strictly.
//!
//! Reading goes on past what it can understand: every departure from the schema becomes a [`Flaw`] with its path, and
//! only a field without which the message means nothing stops it. Writing refuses whatever the schema forbids.
//!
//! ```text
//!   Json --Wire::read--> message + flaws        message --Wire::write--> Json | Unfit
//! ```

mod decimal;
mod time;

pub use decimal::Decimal;
pub use time::parse_time;

use crate::json::Json;
use ohmesh_units::Timestamp;
use std::fmt;
use thiserror::Error;

/// The most flaws that are reported of one message; more are counted nowhere.
pub const MAX_FLAWS: usize = 32;

/// A request or an answer, or a part of one.
pub trait Wire: Sized {
    /// Reads tolerantly. `None`, with at least one flaw noted, if nothing useful is left.
    fn read(json: &Json, reader: &mut Reader) -> Option<Self>;

    /// Writes strictly, or says which field breaks the schema.
    fn write(&self) -> Result<Json, Unfit>;

    /// Reads a member that may be absent.
    fn read_field(found: Option<&Json>, reader: &mut Reader) -> Option<Self> {
        match found {
            Some(json) => Self::read(json, reader),
            None => {
                reader.note(FlawKind::Missing);
                None
            }
        }
    }

    /// Writes a member, or nothing if it is to be absent.
    fn write_field(&self) -> Result<Option<Json>, Unfit> {
        self.write().map(Some)
    }
}

/// A request: a message with an action and an answer.
pub trait Request: Wire {
    /// The action's name on the wire.
    const ACTION: &'static str;
    /// The answer's type.
    type Answer: Wire;
}

/// One departure of a received message from its schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// Where, such as `meterValue[0].timestamp`.
    pub at: String,
    /// What.
    pub kind: FlawKind,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.kind)
    }
}

/// The kinds of departure.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FlawKind {
    /// A required field is absent.
    #[error("missing")]
    Missing,
    /// A field is null.
    #[error("null")]
    Null,
    /// A field has another JSON type than it should.
    #[error("a JSON {found} instead of {expected}")]
    WrongType {
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A text is longer than the schema allows; it is kept whole.
    #[error("{chars} characters; the schema allows {max}")]
    TooLong {
        /// How long it is.
        chars: usize,
        /// What is allowed.
        max: usize,
    },
    /// A word that the schema does not list.
    #[error("unknown word {0:?}")]
    UnknownWord(String),
    /// A number with a fraction where whole ones are due; it is rounded by the house's rule.
    #[error("not a whole number: {0}")]
    NotWhole(String),
    /// A number that does not fit, or no number at all.
    #[error("not a number that fits: {0:?}")]
    NotANumber(String),
    /// A time without a zone; it is read as UTC.
    #[error("time without a zone: {0:?}")]
    NoZone(String),
    /// Not a time.
    #[error("not an RFC 3339 time: {0:?}")]
    NotATime(String),
}

/// Collects the flaws of one message while it is read.
#[derive(Debug, Default)]
pub struct Reader {
    path: Vec<String>,
    flaws: Vec<Flaw>,
}

impl Reader {
    /// Reads a whole message and what was wrong with it.
    pub fn message<M: Wire>(json: &Json) -> (Option<M>, Vec<Flaw>) {
        let mut reader = Self::default();
        let message = M::read(json, &mut reader);
        (message, reader.flaws)
    }

    /// Notes a flaw at the current place.
    pub fn note(&mut self, kind: FlawKind) {
        if self.flaws.len() < MAX_FLAWS {
            self.flaws.push(Flaw { at: self.path.concat(), kind });
        }
    }

    /// Reads member `key` of `object`.
    pub fn field<T: Wire>(&mut self, object: &Json, key: &str) -> Option<T> {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path.push(format!("{dot}{key}"));
        let value = T::read_field(object.member(key), self);
        self.path.pop();
        value
    }

    /// Notes the flaw and answers `None` if `json` is no object.
    pub fn object<'a>(&mut self, json: &'a Json) -> Option<&'a Json> {
        match json {
            Json::Object(_) => Some(json),
            other => {
                self.note(FlawKind::WrongType { found: other.kind(), expected: "an object" });
                None
            }
        }
    }
}

/// A message of ours that the schema forbids, and so is not sent.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{at}: {why}")]
pub struct Unfit {
    /// The field's path, such as `idTag`.
    pub at: String,
    /// What is wrong with it.
    pub why: String,
}

impl Unfit {
    /// An unfit value, its place still to be named.
    pub fn new(why: impl Into<String>) -> Self {
        Self { at: String::new(), why: why.into() }
    }

    /// Adds the enclosing field's name.
    pub fn within(mut self, key: &str) -> Self {
        self.at = if self.at.is_empty() { key.to_owned() } else { format!("{key}.{}", self.at) };
        self
    }
}

/// A text of at most `MAX` characters. A received one may be longer: it is kept whole and the flaw is noted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> From<&str> for Text<MAX> {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<const MAX: usize> From<String> for Text<MAX> {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl<const MAX: usize> Wire for Text<MAX> {
    fn read(json: &Json, reader: &mut Reader) -> Option<Self> {
        let text = match json {
            Json::Text(text) => text.clone(),
            Json::Number(text) => {
                reader.note(FlawKind::WrongType { found: "number", expected: "a string" });
                text.clone()
            }
            Json::Null => {
                reader.note(FlawKind::Null);
                return None;
            }
            other => {
                reader.note(FlawKind::WrongType { found: other.kind(), expected: "a string" });
                return None;
            }
        };
        let chars = text.chars().count();
        if chars > MAX {
            reader.note(FlawKind::TooLong { chars, max: MAX });
        }
        Some(Self(text))
    }

    fn write(&self) -> Result<Json, Unfit> {
        let chars = self.0.chars().count();
        if chars > MAX {
            return Err(Unfit::new(format!("{chars} characters; the schema allows {MAX}")));
        }
        Ok(Json::Text(self.0.clone()))
    }
}

impl Wire for i64 {
    fn read(json: &Json, reader: &mut Reader) -> Option<Self> {
        let decimal = Decimal::read(json, reader)?;
        if decimal.scaled_exactly(0).is_none() {
            reader.note(FlawKind::NotWhole(decimal.to_string()));
        }
        let whole = decimal.scaled(0);
        if whole.is_none() {
            reader.note(FlawKind::NotANumber(decimal.to_string()));
        }
        whole
    }

    fn write(&self) -> Result<Json, Unfit> {
        Ok(Json::from(*self))
    }
}

impl Wire for bool {
    fn read(json: &Json, reader: &mut Reader) -> Option<Self> {
        match json {
            Json::Bool(value) => Some(*value),
            Json::Text(text) if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => {
                reader.note(FlawKind::WrongType { found: "string", expected: "a boolean" });
                Some(text.eq_ignore_ascii_case("true"))
            }
            other => {
                reader.note(FlawKind::WrongType { found: other.kind(), expected: "a boolean" });
                None
            }
        }
    }

    fn write(&self) -> Result<Json, Unfit> {
        Ok(Json::Bool(*self))
    }
}

impl Wire for Timestamp {
    fn read(json: &Json, reader: &mut Reader) -> Option<Self> {
        let text = Text::<64>::read(json, reader)?.into_string();
        let Some((time, zoned)) = parse_time(&text) else {
            reader.note(FlawKind::NotATime(text));
            return None;
        };
        if !zoned {
            reader.note(FlawKind::NoZone(text));
        }
        Some(time)
    }

    fn write(&self) -> Result<Json, Unfit> {
        if *self > time::LAST_OF_FOUR_DIGITS {
            return Err(Unfit::new("a year of more than four digits"));
        }
        Ok(Json::Text(self.to_string()))
    }
}

/// Optional in the schema.
impl<T: Wire> Wire for Option<T> {
    fn read(json: &Json, reader: &mut Reader) -> Option<Self> {
        if *json == Json::Null {
            reader.note(FlawKind::Null);
            return Some(None);
        }
        Some(T::read(json, reader))
    }

    fn write(&self) -> Result<Json, Unfit> {
        self.as_ref().map_or(Ok(Json::Null), T::write)
    }

    fn read_field(found: Option<&Json>, reader: &mut Reader) -> Option<Self> {
        found.map_or(Some(None), |json| Self::read(json, reader))
    }

    fn write_field(&self) -> Result<Option<Json>, Unfit> {
        self.as_ref().map(T::write).transpose()
    }
}

/// Required by the schema, left out or garbled by real chargers in messages that must not be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Due<T>(pub Option<T>);

impl<T> From<T> for Due<T> {
    fn from(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T: Wire> Wire for Due<T> {
    fn read(json: &Json, reader: &mut Reader) -> Option<Self> {
        Some(Self(T::read(json, reader)))
    }

    fn write(&self) -> Result<Json, Unfit> {
        self.0.as_ref().ok_or_else(|| Unfit::new("missing"))?.write()
    }

    fn read_field(found: Option<&Json>, reader: &mut Reader) -> Option<Self> {
        if found.is_none() {
            reader.note(FlawKind::Missing);
        }
        Some(Self(found.and_then(|json| T::read(json, reader))))
    }
}

/// A list. A received single value counts as a list of one; items that cannot be read are left out.
impl<T: Wire> Wire for Vec<T> {
    fn read(json: &Json, reader: &mut Reader) -> Option<Self> {
        let items = match json {
            Json::List(items) => items.as_slice(),
            Json::Object(_) => {
                reader.note(FlawKind::WrongType { found: "object", expected: "an array" });
                std::slice::from_ref(json)
            }
            other => {
                reader.note(FlawKind::WrongType { found: other.kind(), expected: "an array" });
                return None;
            }
        };
        let mut read = Self::new();
        for (index, item) in items.iter().enumerate() {
            reader.path.push(format!("[{index}]"));
            read.extend(T::read(item, reader));
            reader.path.pop();
        }
        Some(read)
    }

    fn write(&self) -> Result<Json, Unfit> {
        if self.is_empty() {
            return Err(Unfit::new("an empty list"));
        }
        Ok(Json::List(self.iter().map(T::write).collect::<Result<_, _>>()?))
    }
}

/// Any JSON at all (vendor data).
impl Wire for Json {
    fn read(json: &Json, _: &mut Reader) -> Option<Self> {
        Some(json.clone())
    }

    fn write(&self) -> Result<Json, Unfit> {
        Ok(self.clone())
    }
}

/// Defines a message: its fields with their keys, [`Wire`] for it, and [`Request`] if it names an action and an answer.
macro_rules! message {
    ($(#[$meta:meta])* $name:ident $(($action:literal => $answer:ty))? {
        $($(#[$field_meta:meta])* $field:ident: $kind:ty = $key:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $kind,)*
        }

        impl $crate::wire::Wire for $name {
            fn read(json: &$crate::json::Json, reader: &mut $crate::wire::Reader) -> Option<Self> {
                let _object = reader.object(json)?;
                // All fields are read before one may stop it, so that all flaws are reported.
                $(let $field = reader.field::<$kind>(_object, $key);)*
                Some(Self { $($field: $field?,)* })
            }

            fn write(&self) -> Result<$crate::json::Json, $crate::wire::Unfit> {
                #[allow(unused_mut, reason = "some messages have no field")]
                let mut members = Vec::new();
                $(if let Some(json) = self.$field.write_field().map_err(|unfit| unfit.within($key))? {
                    members.push(($key.to_owned(), json));
                })*
                Ok($crate::json::Json::Object(members))
            }
        }

        $(impl $crate::wire::Request for $name {
            const ACTION: &'static str = $action;
            type Answer = $answer;
        })?
    };
}

/// Defines a closed list of words. A received word in the wrong case is understood and noted.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`")] $variant,)*
        }

        impl $name {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl $crate::wire::Wire for $name {
            fn read(json: &$crate::json::Json, reader: &mut $crate::wire::Reader) -> Option<Self> {
                let text = $crate::wire::Text::<64>::read(json, reader)?.into_string();
                $(if text == $word {
                    return Some(Self::$variant);
                })*
                reader.note($crate::wire::FlawKind::UnknownWord(text.chars().take(64).collect()));
                $(if text.eq_ignore_ascii_case($word) {
                    return Some(Self::$variant);
                })*
                None
            }

            fn write(&self) -> Result<$crate::json::Json, $crate::wire::Unfit> {
                Ok(self.as_str().into())
            }
        }
    };
}

pub(crate) use {message, words};

#[cfg(test)]
mod tests {
    use super::*;

    message!(
        /// A message with one field of each temper.
        Sample {
            /// Strict.
            name: Text<3> = "name",
            /// Optional.
            note: Option<i64> = "note",
            /// Due.
            at: Due<Timestamp> = "at",
            /// List.
            items: Vec<i64> = "items",
        }
    );

    fn read(text: &str) -> (Option<Sample>, Vec<String>) {
        let (sample, flaws) = Reader::message(&Json::parse(text).unwrap());
        (sample, flaws.iter().map(Flaw::to_string).collect())
    }

    #[test]
    fn salvages_what_it_can_and_names_the_rest() {
        let (sample, flaws) = read(r#"{"name":"abcd","note":"12","at":"yesterday","items":[1,"x",2.5]}"#);
        let sample = sample.unwrap();
        assert_eq!((sample.name.as_str(), sample.note, sample.at.0), ("abcd", Some(12), None));
        assert_eq!(sample.items, [1, 3]);
        assert_eq!(
            flaws,
            [
                "name: 4 characters; the schema allows 3",
                "note: a JSON string instead of a number",
                "at: not an RFC 3339 time: \"yesterday\"",
                "items[1]: a JSON string instead of a number",
                "items[1]: not a number that fits: \"x\"",
                "items[2]: not a whole number: 2.5",
            ]
        );
        assert_eq!(
            sample.write(),
            Err(Unfit { at: "name".into(), why: "4 characters; the schema allows 3".into() })
        );
    }

    #[test]
    fn a_strict_field_stops_the_message_after_all_flaws_are_known() {
        let (sample, flaws) = read(r#"{"note":null,"items":[]}"#);
        assert_eq!(sample, None);
        assert_eq!(flaws, ["name: missing", "note: null", "at: missing"]);
    }

    #[test]
    fn writes_only_what_the_schema_allows() {
        let mut sample = Sample {
            name: "abc".into(),
            note: None,
            at: Timestamp::from_millis(1_795_300_496_789).into(),
            items: vec![1],
        };
        let text = r#"{"name":"abc","at":"2026-11-21T22:34:56.789Z","items":[1]}"#;
        assert_eq!(sample.write().unwrap().to_string(), text);
        sample.at = Timestamp::from_millis(253_402_300_800_000).into();
        assert_eq!(sample.write().unwrap_err().at, "at");
        sample.at = Due(None);
        assert_eq!(sample.write().unwrap_err().to_string(), "at: missing");
    }
}
