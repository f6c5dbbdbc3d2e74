//! Messages that end in a part which only some of them have: what comes before says whether it is there. Postcard
//! writes fields one after the other, so a message without that part has the bytes it would have if the part did not
//! exist.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
    ser::SerializeTuple as _,
};
use std::{fmt, marker::PhantomData};

/// Writes the head, and the tail if there is one.
pub(crate) fn serialize<S: Serializer>(
    serializer: S,
    head: &impl Serialize,
    tail: Option<&impl Serialize>,
) -> Result<S::Ok, S::Error> {
    let mut tuple = serializer.serialize_tuple(1 + usize::from(tail.is_some()))?;
    tuple.serialize_element(head)?;
    if let Some(tail) = tail {
        tuple.serialize_element(tail)?;
    }
    tuple.end()
}

/// Reads the head, and the tail if `has_tail` says so.
pub(crate) fn deserialize<'de, H: Deserialize<'de>, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    has_tail: fn(&H) -> bool,
) -> Result<(H, Option<T>), D::Error> {
    struct Parts<H, T>(fn(&H) -> bool, PhantomData<T>);

    impl<'de, H: Deserialize<'de>, T: Deserialize<'de>> Visitor<'de> for Parts<H, T> {
        type Value = (H, Option<T>);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a message of one or two parts")
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
            let missing = |_| S::Error::custom("the message ends early");
            let head: H = seq.next_element()?.ok_or(()).map_err(missing)?;
            let tail = match (self.0)(&head) {
                true => Some(seq.next_element()?.ok_or(()).map_err(missing)?),
                false => None,
            };
            Ok((head, tail))
        }
    }

    deserializer.deserialize_tuple(2, Parts(has_tail, PhantomData))
}
