//! JSON as chargers write it: bounded depth, no duplicate keys, and numbers kept as the decimal text they came in.
//!
//! A general parser turns `12.345` into a float and keeps the last of two equal keys. A meter reading must stay exact
//! and a key that comes twice must be named, so this crate reads RFC 8259 itself. One leniency: an unpaired surrogate
//! escape becomes U+FFFD instead of losing the whole message.

use std::fmt::Write as _;
use thiserror::Error;

/// The deepest nesting that is read. OCPP's own messages nest at most ten levels.
pub const MAX_DEPTH: usize = 24;

/// One JSON value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as the text it was written in (RFC 8259 section 6).
    Number(String),
    /// A string, unescaped.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object: members in the order they were written, keys unique.
    Object(Vec<(String, Json)>),
}

/// Why a text is not JSON that this crate reads. Positions are byte offsets.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum JsonError {
    /// The text ends inside a value.
    #[error("JSON ends early")]
    EndsEarly,
    /// A byte that cannot stand here.
    #[error("unexpected byte 0x{byte:02x} at {at}")]
    Unexpected {
        /// The byte.
        byte: u8,
        /// Where.
        at: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} at {at}")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// An object names a key twice.
    #[error("key {key:?} comes twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// An escape sequence that JSON does not have.
    #[error("bad escape at {at}")]
    BadEscape {
        /// Where.
        at: usize,
    },
    /// A second value after the first.
    #[error("text goes on after the value at {at}")]
    Trailing {
        /// Where.
        at: usize,
    },
}

impl Json {
    /// Reads one value that fills the whole text.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let mut parser = Parser { bytes: text.as_bytes(), at: 0 };
        let value = parser.value(0)?;
        parser.skip_space();
        if parser.at < parser.bytes.len() {
            return Err(JsonError::Trailing { at: parser.at });
        }
        Ok(value)
    }

    /// An object with these members.
    pub fn object<const N: usize>(members: [(&str, Json); N]) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// The member `key` of an object; `None` for other values.
    pub fn member(&self, key: &str) -> Option<&Json> {
        match self {
            Self::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// What kind of value this is, in JSON's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Object(_) => "object",
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(text) => out.push_str(text),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Compact JSON text.
impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self::Number(number.to_string())
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || c == '\u{7f}' => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes every write");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep { at: self.at });
        }
        self.skip_space();
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.text().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number().map(Json::Number),
            b't' => self.word(b"true", Json::Bool(true)),
            b'f' => self.word(b"false", Json::Bool(false)),
            b'n' => self.word(b"null", Json::Null),
            _ => Err(self.unexpected()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek()? != b'"' {
                return Err(self.unexpected());
            }
            let key = self.text()?;
            self.skip_space();
            self.expect(b':')?;
            members.push((key, self.value(depth + 1)?));
            self.skip_space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    refuse_duplicates(&members)?;
                    return Ok(Json::Object(members));
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(Json::List(items));
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn text(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(
                        String::from_utf8(out).expect("runs between ASCII bytes of a str, and whole chars")
                    );
                }
                b'\\' => {
                    let c = self.escape()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                0..=0x1f => return Err(self.unexpected()),
                byte => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        self.at += 1;
        let byte = self.peek()?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex4(at)?;
                if !(0xd800..0xdc00).contains(&high) {
                    return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                    return Ok(char::REPLACEMENT_CHARACTER);
                }
                let resume = self.at;
                self.at += 2;
                let low = self.hex4(at)?;
                if !(0xdc00..0xe000).contains(&low) {
                    self.at = resume;
                    return Ok(char::REPLACEMENT_CHARACTER);
                }
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                    .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(JsonError::BadEscape { at }),
        })
    }

    fn hex4(&mut self, escape_at: usize) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit =
                char::from(self.peek()?).to_digit(16).ok_or(JsonError::BadEscape { at: escape_at })?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<String, JsonError> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.bytes[start..self.at].iter().map(|&byte| char::from(byte)).collect())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.unexpected());
        }
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8], value: Json) -> Result<Json, JsonError> {
        for &byte in word {
            self.expect(byte)?;
        }
        Ok(value)
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek()? != byte {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&self) -> Result<u8, JsonError> {
        self.bytes.get(self.at).copied().ok_or(JsonError::EndsEarly)
    }

    fn unexpected(&self) -> JsonError {
        match self.bytes.get(self.at) {
            Some(&byte) => JsonError::Unexpected { byte, at: self.at },
            None => JsonError::EndsEarly,
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// Sorting keeps this n log n: comparing each key with each would let one frame of 40,000 keys stall the agent.
fn refuse_duplicates(members: &[(String, Json)]) -> Result<(), JsonError> {
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(JsonError::DuplicateKey { key: pair[0].to_owned() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// serde_json's float of a number may be a few last bits off (its default trades exactness for speed); ours keeps the text.
    fn same_number(ours: &str, theirs: &serde_json::Number) -> bool {
        match (ours.parse::<f64>(), theirs.as_f64()) {
            (Ok(ours), Some(theirs)) => (ours - theirs).abs() <= ours.abs() * (4.0 * f64::EPSILON),
            _ => false,
        }
    }

    /// serde_json's reading of the same text, with numbers compared as floats.
    fn same(ours: &Json, theirs: &serde_json::Value) -> bool {
        use serde_json::Value;
        match (ours, theirs) {
            (Json::Null, Value::Null) => true,
            (Json::Bool(a), Value::Bool(b)) => a == b,
            (Json::Number(a), Value::Number(b)) => same_number(a, b),
            (Json::Text(a), Value::String(b)) => a == b,
            (Json::List(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Json::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
            }
            _ => false,
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i64>().prop_map(Json::from),
            (any::<i32>(), 1..999_u32).prop_map(|(whole, part)| Json::Number(format!("{whole}.{part:03}"))),
            any::<String>().prop_map(Json::Text),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::List),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote_and_so_does_serde_json(json in any_json()) {
            let text = json.to_string();
            prop_assert_eq!(Json::parse(&text), Ok(json.clone()));
            prop_assert!(same(&json, &serde_json::from_str(&text).unwrap()), "{}", text);
        }

        /// On texts one edit away from JSON the two parsers agree, but for what this one refuses or forgives on purpose.
        #[test]
        fn agrees_with_serde_json_on_damaged_text(json in any_json(), at in any::<prop::sample::Index>(), c in "[\\[\\]{},:\"\\\\0-9eE+.tfn -]") {
            let mut text: Vec<char> = json.to_string().chars().collect();
            let place = at.index(text.len());
            text[place] = c.chars().next().unwrap();
            let text: String = text.into_iter().collect();
            match (Json::parse(&text), serde_json::from_str::<serde_json::Value>(&text)) {
                (Ok(ours), Ok(theirs)) => prop_assert!(same(&ours, &theirs), "{}", text),
                (Err(_), Err(_)) => (),
                (Err(JsonError::DuplicateKey { .. }), Ok(_)) => (),
                (Ok(_), Err(error)) => prop_assert!(
                    error.to_string().contains("surrogate")
                        || error.to_string().contains("hex escape")
                        || error.to_string().contains("out of range"),
                    "{} {}", text, error
                ),
                (Err(error), Ok(_)) => prop_assert!(false, "{} {}", text, error),
            }
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let deep = "[".repeat(100_000);
        let cases = [
            ("", JsonError::EndsEarly),
            ("[1,", JsonError::EndsEarly),
            ("[01]", JsonError::Unexpected { byte: b'1', at: 2 }),
            ("[1.]", JsonError::Unexpected { byte: b']', at: 3 }),
            ("\"a\nb\"", JsonError::Unexpected { byte: b'\n', at: 2 }),
            ("\"\\x\"", JsonError::BadEscape { at: 1 }),
            ("{} {}", JsonError::Trailing { at: 3 }),
            (r#"{"a":1,"\u0061":2}"#, JsonError::DuplicateKey { key: "a".into() }),
            (&deep, JsonError::TooDeep { at: MAX_DEPTH + 1 }),
        ];
        for (text, error) in cases {
            assert_eq!(Json::parse(text), Err(error));
        }
    }

    #[test]
    fn keeps_numbers_exact_and_forgives_lone_surrogates() {
        let text = r#"[910083.100000000000000001,1e400,"\ud800x\ud83d\ude00"]"#;
        assert_eq!(
            Json::parse(text),
            Ok(Json::List(vec![
                Json::Number("910083.100000000000000001".into()),
                Json::Number("1e400".into()),
                Json::Text("\u{fffd}x😀".into())
            ]))
        );
    }
}
