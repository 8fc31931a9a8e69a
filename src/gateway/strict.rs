//! JSON in which nothing can be read in two ways.
//!
//! What is verified here and read again by the gateway has to mean the same to both. Parsers differ most about members
//! that are there twice, so that is an error at any depth.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text is not one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStrict {
    Utf8,
    Json,
    /// A member is there twice.
    Twice,
}

/// The text as one JSON object, all of it.
pub fn object(text: &[u8]) -> Result<Map<String, Value>, NotStrict> {
    let text = std::str::from_utf8(text).map_err(|_| NotStrict::Utf8)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let mut twice = false;
    match (Strict { twice: &mut twice }.deserialize(&mut json), json.end()) {
        (Ok(Value::Object(object)), Ok(())) => Ok(object),
        _ if twice => Err(NotStrict::Twice),
        _ => Err(NotStrict::Json),
    }
}

/// Builds a [`Value`]; serde_json's own takes the last of two members.
struct Strict<'t> {
    twice: &'t mut bool,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict { twice: &mut *self.twice })? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(Name(name)) = members.next_key()? {
            let value = members.next_value_seed(Strict { twice: &mut *self.twice })?;
            if object.insert(name, value).is_some() {
                *self.twice = true;
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// A member's name, its escapes resolved: `"a"` and `"\u0061"` are one.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
        String::deserialize(from).map(Name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_object_and_nothing_else() {
        for text in
            ["", "1", "[]", "\"{}\"", "null", "{", "{}{}", "{} x", "{\"a\":1,}", "{'a':1}", "{\"a\":NaN}", "{a:1}"]
        {
            assert_eq!(object(text.as_bytes()), Err(NotStrict::Json), "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(NotStrict::Utf8));
        // Half a surrogate pair is no character, whatever JavaScript makes of it.
        assert_eq!(object(br#"{"a":"\ud800"}"#), Err(NotStrict::Json));
        assert_eq!(object(b"\xef\xbb\xbf{}"), Err(NotStrict::Json));
        assert_eq!(object(b" {} \r\n"), Ok(Map::new()));
        let deep = format!("{}{}", "{\"a\":".repeat(4000), "}".repeat(4000));
        assert_eq!(object(deep.as_bytes()), Err(NotStrict::Json), "no stack is lost");
    }

    #[test]
    fn a_member_that_is_there_twice_is_found_at_any_depth_and_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":{"c":1,"c":2}}}"#,
            r#"{"a":[1,{"b":[{"c":null,"d":1,"c":null}]}]}"#,
        ] {
            assert_eq!(object(text.as_bytes()), Err(NotStrict::Twice), "{text}");
        }
        assert!(object(br#"{"a":{"a":[{"a":1},{"a":1}]},"A":1}"#).is_ok());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let array = prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from);
            let object = prop::collection::btree_map("[a-c]{1,2}", inner, 0..5);
            prop_oneof![array, object.prop_map(|members| Value::Object(members.into_iter().collect()))]
        })
    }

    proptest! {
        #[test]
        fn what_is_well_formed_is_read_as_it_was_written(inner in value()) {
            let written = serde_json::json!({ "params": inner });
            prop_assert_eq!(object(written.to_string().as_bytes()).map(Value::Object), Ok(written));
        }
    }
}
