//! OCPP-J framing: CALL, CALLRESULT and CALLERROR as JSON arrays (OCPP-J 1.6 and 2.0.1 part 4, section 4).
//!
//! ```text
//! [2,"id","Action",{...}]   [3,"id",{...}]   [4,"id","Code","description",{...}]
//! ```

use crate::json::{Json, JsonError};
use crate::upgrade::Version;
use thiserror::Error;

/// The most bytes of one frame. OCA's signed meter values reach some 10 KiB; a full 2.0.1 report stays under 100 KiB.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// The most characters of a message id by the standard.
pub const MAX_ID_CHARS: usize = 36;

/// The most characters of a message id that is still answered, with a [`FrameFlaw::LongId`].
pub const MAX_TOLERATED_ID_CHARS: usize = 255;

/// One OCPP-J message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// A request.
    Call {
        /// The sender's message id, which the answer repeats.
        id: String,
        /// The action, such as `BootNotification`.
        action: String,
        /// The request.
        payload: Json,
    },
    /// An answer.
    Result {
        /// The id of the CALL.
        id: String,
        /// The answer.
        payload: Json,
    },
    /// A refusal.
    Error {
        /// The id of the CALL.
        id: String,
        /// One of the standard's codes, see [`ErrorCode`].
        code: String,
        /// Free text, at most 255 characters by the standard.
        description: String,
        /// Free details.
        details: Json,
    },
}

/// Something that the standard forbids and that is read nevertheless.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameFlaw {
    /// The message id is longer than [`MAX_ID_CHARS`].
    #[error("message id of {chars} characters; the standard allows {MAX_ID_CHARS}")]
    LongId {
        /// How long it is.
        chars: usize,
    },
    /// The message id is a number instead of a string.
    #[error("message id is a number")]
    NumericId,
    /// The message type is a string instead of a number.
    #[error("message type is a string")]
    TextType,
    /// The payload, or the description of an error, is absent or null.
    #[error("payload is absent")]
    NoPayload,
    /// The array has more elements than the message type knows.
    #[error("{extra} elements too many")]
    ExtraElements {
        /// How many more.
        extra: usize,
    },
}

/// Why a text is no OCPP-J frame.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// More than [`MAX_FRAME_BYTES`].
    #[error("frame of {bytes} bytes; the limit is {MAX_FRAME_BYTES}")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// Not JSON, too deep, or with a key twice.
    #[error("frame is not JSON: {0}")]
    Json(#[from] JsonError),
    /// JSON, but no array.
    #[error("frame is a JSON {found}, not an array")]
    NotAnArray {
        /// What it is.
        found: &'static str,
    },
    /// The array is too short for its message type.
    #[error("frame has {elements} elements, too few")]
    TooShort {
        /// How many it has.
        elements: usize,
    },
    /// The message type is none of 2, 3, 4.
    #[error("unknown message type {0}")]
    UnknownType(String),
    /// An element of the wrong JSON type.
    #[error("element {index} is a JSON {found}, not {expected}")]
    WrongType {
        /// Which element, from 0.
        index: usize,
        /// What it is.
        found: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// The message id is empty or longer than [`MAX_TOLERATED_ID_CHARS`].
    #[error("message id of {chars} characters")]
    BadId {
        /// How long it is.
        chars: usize,
    },
}

/// The standard's error codes (OCPP-J 1.6 section 4.2.3, 2.0.1 part 4 section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorCode {
    /// The action is not known here.
    NotImplemented,
    /// The action is known and not supported.
    NotSupported,
    /// An error inside the receiver.
    InternalError,
    /// The payload breaks the protocol.
    ProtocolError,
    /// The payload is not of the message's form.
    FormatViolation,
    /// A field has a value that is not allowed.
    PropertyConstraintViolation,
    /// A field is absent or comes too often.
    OccurrenceConstraintViolation,
    /// A field has the wrong type.
    TypeConstraintViolation,
    /// Anything else, a frame that cannot be read included.
    RpcFrameworkError,
}

impl ErrorCode {
    /// The code as `version` spells it. Version 1.6 spells two differently and has no framework error.
    pub fn as_str(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::NotImplemented, _) => "NotImplemented",
            (Self::NotSupported, _) => "NotSupported",
            (Self::InternalError, _) => "InternalError",
            (Self::ProtocolError, _) => "ProtocolError",
            (Self::FormatViolation, Version::V16) => "FormationViolation",
            (Self::FormatViolation, Version::V201) => "FormatViolation",
            (Self::PropertyConstraintViolation, _) => "PropertyConstraintViolation",
            (Self::OccurrenceConstraintViolation, Version::V16) => "OccurenceConstraintViolation",
            (Self::OccurrenceConstraintViolation, Version::V201) => "OccurrenceConstraintViolation",
            (Self::TypeConstraintViolation, _) => "TypeConstraintViolation",
            (Self::RpcFrameworkError, Version::V16) => "GenericError",
            (Self::RpcFrameworkError, Version::V201) => "RpcFrameworkError",
        }
    }
}

impl Frame {
    /// Reads a frame, and what of it the standard forbids. Checks the size before anything is allocated.
    pub fn parse(text: &str) -> Result<(Self, Vec<FrameFlaw>), FrameError> {
        if text.len() > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge { bytes: text.len() });
        }
        let elements = match Json::parse(text)? {
            Json::List(elements) => elements,
            other => return Err(FrameError::NotAnArray { found: other.kind() }),
        };
        let mut flaws = Vec::new();
        let count = elements.len();
        let mut elements = elements.into_iter();
        let kind = message_type(elements.next(), &mut flaws)?;
        let id = message_id(elements.next().ok_or(FrameError::TooShort { elements: count })?, &mut flaws)?;
        let full = match kind {
            2 => 4,
            3 => 3,
            _ => 5,
        };
        let mut text_at = |index: usize| match elements.next() {
            Some(Json::Text(text)) => Ok(text),
            Some(other) => Err(FrameError::WrongType { index, found: other.kind(), expected: "a string" }),
            None => Err(FrameError::TooShort { elements: count }),
        };
        let frame = match kind {
            2 => {
                let action = text_at(2)?;
                Self::Call { id, action, payload: payload(3, elements.next(), &mut flaws)? }
            }
            3 => Self::Result { id, payload: payload(2, elements.next(), &mut flaws)? },
            _ => {
                let code = text_at(2)?;
                let description = match elements.next() {
                    Some(Json::Text(text)) => text,
                    Some(Json::Null) | None => {
                        flaws.push(FrameFlaw::NoPayload);
                        String::new()
                    }
                    Some(other) => {
                        let found = other.kind();
                        return Err(FrameError::WrongType { index: 3, found, expected: "a string" });
                    }
                };
                Self::Error {
                    id,
                    code,
                    description,
                    details: elements.next().unwrap_or(Json::Object(vec![])),
                }
            }
        };
        if let extra @ 1.. = count.saturating_sub(full) {
            flaws.push(FrameFlaw::ExtraElements { extra });
        }
        Ok((frame, flaws))
    }

    /// The frame as text.
    pub fn emit(&self) -> String {
        let text = |text: &String| Json::Text(text.clone());
        Json::List(match self {
            Self::Call { id, action, payload } => vec![2.into(), text(id), text(action), payload.clone()],
            Self::Result { id, payload } => vec![3.into(), text(id), payload.clone()],
            Self::Error { id, code, description, details } => {
                vec![4.into(), text(id), text(code), text(description), details.clone()]
            }
        })
        .to_string()
    }
}

fn message_type(element: Option<Json>, flaws: &mut Vec<FrameFlaw>) -> Result<u8, FrameError> {
    let text = match element {
        Some(Json::Number(text)) => text,
        Some(Json::Text(text)) => {
            flaws.push(FrameFlaw::TextType);
            text
        }
        Some(other) => {
            return Err(FrameError::WrongType { index: 0, found: other.kind(), expected: "a number" });
        }
        None => return Err(FrameError::TooShort { elements: 0 }),
    };
    match text.as_str() {
        "2" => Ok(2),
        "3" => Ok(3),
        "4" => Ok(4),
        _ => Err(FrameError::UnknownType(text.chars().take(MAX_ID_CHARS).collect())),
    }
}

fn message_id(element: Json, flaws: &mut Vec<FrameFlaw>) -> Result<String, FrameError> {
    let id = match element {
        Json::Text(text) => text,
        Json::Number(text) => {
            flaws.push(FrameFlaw::NumericId);
            text
        }
        other => return Err(FrameError::WrongType { index: 1, found: other.kind(), expected: "a string" }),
    };
    match id.chars().count() {
        1..=MAX_ID_CHARS => Ok(id),
        chars @ 1..=MAX_TOLERATED_ID_CHARS => {
            flaws.push(FrameFlaw::LongId { chars });
            Ok(id)
        }
        chars => Err(FrameError::BadId { chars }),
    }
}

fn payload(index: usize, element: Option<Json>, flaws: &mut Vec<FrameFlaw>) -> Result<Json, FrameError> {
    match element {
        Some(object @ Json::Object(_)) => Ok(object),
        Some(Json::Null) | None => {
            flaws.push(FrameFlaw::NoPayload);
            Ok(Json::Object(vec![]))
        }
        Some(other) => Err(FrameError::WrongType { index, found: other.kind(), expected: "an object" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_three_kinds() {
        for text in [
            r#"[2,"19223201","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]"#,
            r#"[3,"19223201",{"interval":300}]"#,
            r#"[4,"19223201","NotImplemented","no \"x\"",{}]"#,
        ] {
            let (frame, flaws) = Frame::parse(text).unwrap();
            assert_eq!((frame.emit().as_str(), flaws), (text, vec![]));
        }
    }

    #[test]
    fn names_each_error() {
        let long = "x".repeat(256);
        let huge = format!("[2,\"1\",\"{}\",{{}}]", "x".repeat(MAX_FRAME_BYTES));
        let cases = [
            ("{}".to_owned(), FrameError::NotAnArray { found: "object" }),
            ("[]".into(), FrameError::TooShort { elements: 0 }),
            ("[2]".into(), FrameError::TooShort { elements: 1 }),
            ("[2,\"1\"]".into(), FrameError::TooShort { elements: 2 }),
            ("[9,\"1\",{}]".into(), FrameError::UnknownType("9".into())),
            ("[2.0,\"1\",\"A\",{}]".into(), FrameError::UnknownType("2.0".into())),
            (
                "[null,\"1\",{}]".into(),
                FrameError::WrongType { index: 0, found: "null", expected: "a number" },
            ),
            (
                "[2,{},\"A\",{}]".into(),
                FrameError::WrongType { index: 1, found: "object", expected: "a string" },
            ),
            (
                "[2,\"1\",5,{}]".into(),
                FrameError::WrongType { index: 2, found: "number", expected: "a string" },
            ),
            (
                "[2,\"1\",\"A\",[]]".into(),
                FrameError::WrongType { index: 3, found: "array", expected: "an object" },
            ),
            ("[2,\"\",\"A\",{}]".into(), FrameError::BadId { chars: 0 }),
            (format!("[2,\"{long}\",\"A\",{{}}]"), FrameError::BadId { chars: 256 }),
            (
                "[2,\"1\",\"A\",{\"a\":1,\"a\":2}]".into(),
                FrameError::Json(JsonError::DuplicateKey { key: "a".into() }),
            ),
            (huge.clone(), FrameError::TooLarge { bytes: huge.len() }),
        ];
        for (text, error) in cases {
            assert_eq!(Frame::parse(&text).map(|_| ()), Err(error));
        }
    }

    #[test]
    fn reports_what_it_tolerates() {
        let id = "x".repeat(40);
        let cases = [
            (format!("[2,\"{id}\",\"Heartbeat\",{{}}]"), FrameFlaw::LongId { chars: 40 }),
            ("[2,17,\"Heartbeat\",{}]".into(), FrameFlaw::NumericId),
            ("[\"2\",\"1\",\"Heartbeat\",{}]".into(), FrameFlaw::TextType),
            ("[2,\"1\",\"Heartbeat\"]".into(), FrameFlaw::NoPayload),
            ("[2,\"1\",\"Heartbeat\",{},{}]".into(), FrameFlaw::ExtraElements { extra: 1 }),
        ];
        for (text, flaw) in cases {
            let (frame, flaws) = Frame::parse(&text).unwrap();
            assert!(matches!(frame, Frame::Call { action, .. } if action == "Heartbeat"));
            assert_eq!(flaws, [flaw]);
        }
    }
}
