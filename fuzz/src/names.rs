//! Anything as the file of what names on allow lists were: whoever is let in by it stands there, and not for long.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    time::{Duration, Instant},
};

use clawgate::{
    allow::{
        file::FileError,
        names::{Answer, Answers, COUNTS, Names, Now, file},
    },
    config::model::Hostname,
};
use serde_json::Value;

/// When the corpus was written, in seconds since 1970.
const NOW: u64 = 1_795_371_472;

/// Anything as `allow-names.json`.
pub fn allow_names(data: &[u8]) {
    let state = super::state::directory();
    let path = state.path().join("allow-names.json");
    fs::write(&path, data).expect("written");
    let read = file::read(state.path());
    let host = |name: &str| Hostname::try_from(name).expect("a host name");
    let one = Answer { addresses: vec![[203, 0, 113, 7].into()], seen: NOW };
    let some = match &read {
        Ok(all) => all.clone(),
        Err(_) => Answers::from([(host("vpn.example.net"), one)]),
    };
    let written = file::write(state.path(), &some);
    match read {
        Err(FileError::Newer { .. }) => {
            assert!(written.is_err() && fs::read(&path).is_ok_and(|now| now == data));
            return;
        }
        Err(FileError::Damaged { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(all) => {
            let stands = entries(data);
            assert_eq!(all.len(), stands.len());
            for (name, addresses, seen) in &stands {
                let answer = &all[&host(name)];
                assert_eq!((&answer.addresses, answer.seen), (addresses, *seen));
            }
            // Two names are on a list, and the machine has just started.
            let mut names = Names::default();
            names.want(BTreeSet::from(["vpn.example.net", "home.example.net"].map(host)));
            let steady = Instant::now();
            names.recall(&all, Now { wall: NOW, steady });
            for (name, addresses) in names.known() {
                let fresh = |seen: u64| Duration::from_secs(seen.abs_diff(NOW)) < COUNTS;
                assert!(stands.iter().any(|s| s.0 == name.as_str() && s.1 == addresses && fresh(s.2)), "{name}");
            }
            names.expire(steady + COUNTS);
            assert!(names.known().is_empty());
        }
    }
    written.expect("written");
    assert!(file::read(state.path()).is_ok_and(|now| now == some));
}

/// Another reader's view. A struct may come as an array, its fields in their order.
fn entries(data: &[u8]) -> Vec<(String, Vec<IpAddr>, u64)> {
    let value: Value = serde_json::from_slice(data).expect("JSON");
    let field = |value: &Value, name: &str, at: usize| value.get(name).or(value.get(at)).cloned().unwrap_or_default();
    let list = |value: Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: Value| value.as_str().expect("a string").to_owned();
    let entry = |entry: &Value| {
        let addresses = list(field(entry, "addresses", 1)).into_iter().map(text);
        let addresses = addresses.map(|text| text.parse().expect("an address")).collect();
        (text(field(entry, "name", 0)), addresses, field(entry, "seen", 2).as_u64().expect("a time"))
    };
    list(field(&value, "names", 1)).iter().map(entry).collect()
}
