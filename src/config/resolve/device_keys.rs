//! `device_keys`: whose key may be D1.

use std::sync::Arc;

use super::values;
use crate::config::{
    file,
    finding::{At, Code, Place, Report},
    model::PinnedKey,
    read::{Key, OneOrMany},
};

/// A name stands in logs and close reasons.
const LONGEST_NAME: usize = 64;

/// The keys, or the inherited ones where nothing is said.
pub(super) fn resolve(
    key: Key<OneOrMany<file::DeviceKey>>,
    base: &Arc<[PinnedKey]>,
    report: &mut Report<'_>,
) -> Arc<[PinnedKey]> {
    let Some(OneOrMany(tables)) = key.value() else { return base.clone() };
    let mut seen = Vec::new();
    tables.into_iter().filter_map(|at| device_key(at, &mut seen, report)).collect()
}

fn device_key(
    At { value: file, place }: At<file::DeviceKey>,
    seen: &mut Vec<(PinnedKey, Place)>,
    report: &mut Report<'_>,
) -> Option<PinnedKey> {
    for (name, lacks) in [("name", file.name.is_absent()), ("key", file.key.is_absent())] {
        if lacks {
            let way_out = "such as { name = \"platform\", key = \"...\" }; `clawgate pin` prints the line";
            report.add(Code::DeviceKeysIncomplete, place, format!("the device key has no {name}"), way_out);
        }
    }
    if let Some(at) = file.name.given() {
        let fits = (1..=LONGEST_NAME).contains(&at.value.len()) && !at.value.contains(char::is_control);
        if !fits {
            let message = "a device key's name stands in the log";
            report.add(Code::DeviceKeysIncomplete, at.place, message, "1 to 64 characters, such as \"platform\"");
        }
    }
    let key = PinnedKey {
        name: file.name.value()?.into(),
        id: file.key.value()?,
        scopes: file.scopes.value().map(|scopes| values(scopes).into_iter().map(|scope| scope.0).collect()),
        clients: file.clients.value().map(values).unwrap_or_default(),
    };
    if let Some((_, first)) = seen.iter().find(|(other, _)| other.id == key.id || other.name == key.name) {
        let message = "a device key's name or key is there twice";
        report.add_also(
            Code::DeviceKeysTwice,
            place,
            message,
            "remove one of the two",
            &[(*first, "the first is here")],
        );
    }
    seen.push((key.clone(), place));
    Some(key)
}
