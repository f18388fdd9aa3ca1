//! JSON as strictly as security needs it: bounded, no duplicate keys, nothing after the value.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::ProtocolError;
use super::limits::JSON_DEPTH_MAX;

/// Parses exactly one JSON object of at most `len_max` bytes.
///
/// # Errors
/// Duplicate keys anywhere, nesting deeper than [`JSON_DEPTH_MAX`], bytes after the value, or a
/// value that is not an object: two readers might disagree on such a document (P14).
pub fn parse_object(
    what: &'static str,
    bytes: &[u8],
    len_max: u64,
) -> Result<Map<String, Value>, ProtocolError> {
    if bytes.len() as u64 > len_max {
        return Err(ProtocolError::TooLarge { what, limit: len_max });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer).map_err(|error| {
        if error.to_string().starts_with(DUPLICATE) {
            ProtocolError::DuplicateKey
        } else {
            ProtocolError::NotJson { reason: "syntax" }
        }
    })?;
    deserializer
        .end()
        .map_err(|_source| ProtocolError::NotJson { reason: "bytes after the value" })?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(ProtocolError::NotJson { reason: "not an object" }),
    }
}

/// Our own marker, raised below in this file: serde's errors carry nothing but text.
const DUPLICATE: &str = "duplicate key in object";

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(seed)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(seed)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Map<String, Value>, ProtocolError> {
        parse_object("document", text.as_bytes(), 1 << 20)
    }

    #[test]
    fn one_object_is_accepted_and_anything_else_refused() {
        assert!(parse(r#"{"a":[1,-2,1.5,null,true,"x",{}]}"#).is_ok());
        for text in ["", "[]", "1", "{} {}", "{}x", "\u{feff}{}", "<html>", "{\"a\":NaN}"] {
            assert!(matches!(parse(text), Err(ProtocolError::NotJson { .. })), "{text}");
        }
        assert!(parse(r#"{"a":"\ud800"}"#).is_err());
        assert!(parse_object("document", b"{\"a\":\"\xff\"}", 100).is_err());
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        assert_eq!(parse(r#"{"a":1,"a":1}"#), Err(ProtocolError::DuplicateKey));
        assert_eq!(parse(r#"{"x":[{"a":1,"\u0061":2}]}"#), Err(ProtocolError::DuplicateKey));
    }

    #[test]
    fn deep_and_long_documents_are_refused_without_overflow() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));

        assert!(matches!(parse(&deep), Err(ProtocolError::NotJson { .. })));
        assert!(matches!(
            parse_object("document", b"{\"a\":1}", 6),
            Err(ProtocolError::TooLarge { limit: 6, .. })
        ));
    }
}
