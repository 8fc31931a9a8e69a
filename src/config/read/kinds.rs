//! What can stand behind a key: a word, a number, one of either, many of them, tables by name.

use super::{FromNode, Reader};
use crate::config::{
    finding::{At, Code},
    tree::{Node, Value as NodeValue},
    value::Value,
};

impl<T: Value> FromNode for T {
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<T> {
        match &node.value {
            NodeValue::Text(text) => reader.parsed(text, node.place),
            NodeValue::Array(_) => {
                reader.wrong_type(node, T::EXPECTED, "write one value, without brackets");
                None
            }
            _ => {
                reader.wrong_type(node, T::EXPECTED, "write it as text, in quotes");
                None
            }
        }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<bool> {
        match node.value {
            NodeValue::Boolean(truth) => Some(truth),
            _ => {
                reader.wrong_type(node, "true or false", "write true or false, without quotes");
                None
            }
        }
    }
}

/// A whole number that is not negative.
impl FromNode for u64 {
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<u64> {
        match node.value {
            NodeValue::Integer(Some(number)) if number >= 0 => Some(number.unsigned_abs()),
            NodeValue::Integer(_) => {
                reader.report.add(Code::ValueOutOfRange, node.place, "out of range", "a number from 0, below 2^63");
                None
            }
            _ => {
                reader.wrong_type(node, "a whole number", "write a number, without quotes");
                None
            }
        }
    }
}

/// A number, or the word `auto`, which is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Auto(pub Option<u64>);

impl FromNode for Auto {
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<Auto> {
        match &node.value {
            NodeValue::Text(text) if text == "auto" => Some(Auto(None)),
            NodeValue::Integer(_) => u64::from_node(node, reader).map(|number| Auto(Some(number))),
            _ => {
                let message = format!("expected a whole number or \"auto\", found {}", node.value.type_name());
                reader.report.add(Code::ValueType, node.place, message, "a number without quotes, or \"auto\"");
                None
            }
        }
    }
}

/// A table, or the word `off`.
#[derive(Debug, Clone)]
pub enum OrOff<T> {
    Off,
    On(T),
}

impl<T: FromNode> FromNode for OrOff<T> {
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<OrOff<T>> {
        match &node.value {
            NodeValue::Text(text) if text == "off" => Some(OrOff::Off),
            NodeValue::Text(_) => {
                reader.wrong_type(node, "a table or \"off\"", "write \"off\", or a table as docs/CONFIG.md shows it");
                None
            }
            _ => T::from_node(node, reader).map(OrOff::On),
        }
    }

    fn keys(path: &str, keys: &mut Vec<String>) {
        T::keys(path, keys);
    }
}

/// An array. Broken items are reported and left out.
impl<T: FromNode> FromNode for Vec<At<T>> {
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<Vec<At<T>>> {
        let NodeValue::Array(items) = &node.value else {
            let mut keys = Vec::new();
            T::keys("", &mut keys);
            let way_out = match keys.is_empty() {
                true => "write it in brackets",
                false => "write each as a table of its own, under its name in double brackets, such as [[site]]",
            };
            reader.wrong_type(node, "an array", way_out);
            return None;
        };
        let good: Vec<At<T>> = items.iter().filter_map(|item| At::from_node(item, reader)).collect();
        // Of an array without one good item nobody should say that it is empty.
        (!good.is_empty() || items.is_empty()).then_some(good)
    }

    fn keys(path: &str, keys: &mut Vec<String>) {
        T::keys(path, keys);
    }
}

impl<T: FromNode> FromNode for At<T> {
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<At<T>> {
        T::from_node(node, reader).map(|value| At { value, place: node.place })
    }

    fn keys(path: &str, keys: &mut Vec<String>) {
        T::keys(path, keys);
    }
}

/// One value, or an array of them.
#[derive(Debug, Clone)]
pub struct OneOrMany<T>(pub Vec<At<T>>);

impl<T: FromNode> FromNode for OneOrMany<T> {
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<OneOrMany<T>> {
        match node.value {
            NodeValue::Array(_) => Vec::from_node(node, reader).map(OneOrMany),
            _ => At::from_node(node, reader).map(|one| OneOrMany(vec![one])),
        }
    }

    fn keys(path: &str, keys: &mut Vec<String>) {
        T::keys(path, keys);
    }
}

/// A table whose keys are the operator's, read as `K`, such as `[upstream.NAME]`.
#[derive(Debug, Clone)]
pub struct Named<K, T>(pub Vec<(At<K>, T)>);

impl<K: Value, T: FromNode> FromNode for Named<K, T> {
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<Named<K, T>> {
        let NodeValue::Table(table) = &node.value else {
            reader.wrong_type(node, "a table", "write it as a table of its own");
            return None;
        };
        let mut entries = Vec::new();
        for (key, node) in &table.0 {
            let name = K::parse(&key.value).map_err(|wrong| reader.wrong(wrong, key.place, true));
            let value = T::from_node(node, reader);
            if let (Ok(name), Some(value)) = (name, value) {
                entries.push((At { value: name, place: key.place }, value));
            }
        }
        Some(Named(entries))
    }

    fn keys(path: &str, keys: &mut Vec<String>) {
        T::keys(&format!("{path}.NAME"), keys);
    }
}
