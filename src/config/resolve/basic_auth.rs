//! `basic_auth`: who has to log in before anything is passed on.

use std::sync::Arc;

use crate::config::{
    file,
    finding::{At, Code, Place, Report},
    model::{BasicAuth, User},
    password::{PasswordHash, Realm},
    read::{Key, OneOrMany, OrOff},
    value::Value as _,
};

/// The login, or the inherited one where nothing is said.
pub(super) fn resolve(
    key: Key<OrOff<file::BasicAuth>>,
    base: &Option<Arc<BasicAuth>>,
    report: &mut Report<'_>,
) -> Option<Arc<BasicAuth>> {
    let (table, place) = match key {
        Key::Absent => return base.clone(),
        Key::Broken(_) => return None,
        Key::Given(At { value: OrOff::Off, .. }) => return None,
        Key::Given(At { value: OrOff::On(table), place }) => (table, place),
    };
    let broken = matches!(table.users, Key::Broken(_));
    let tables = table.users.value().map(|OneOrMany(tables)| tables).unwrap_or_default();
    let nobody = tables.is_empty() && !broken;
    let mut users = Vec::new();
    for at in tables {
        user(at, &mut users, report);
    }
    if nobody {
        let way_out =
            "add users = [{ name = \"ann\", password_hash = \"...\" }]; `clawgate hash-password` makes the hash";
        report.add(Code::LoginIncomplete, place, "a login without users lets nobody in", way_out);
    }
    same_cost(&users, report);
    let realm = table.realm.value().unwrap_or_else(|| Realm::placeholder(0));
    let users = users.into_iter().map(|(user, _)| user).collect();
    Some(Arc::new(BasicAuth { realm: realm.text, challenge: realm.challenge, users }))
}

/// An unknown name is looked at with somebody's hash, and has to take as long as any other.
fn same_cost(users: &[(User, Place)], report: &mut Report<'_>) {
    // What cannot be read from here costs nothing that is known.
    let unseen = PasswordHash::placeholder(0);
    let mut seen = users.iter().filter(|(user, _)| user.hash != unseen);
    let Some((first, its_place)) = seen.next() else { return };
    if let Some((_, place)) = seen.find(|(user, _)| user.hash.cost() != first.hash.cost()) {
        let also = [(*its_place, "the first is here")];
        let way_out = "make both anew with `clawgate hash-password`";
        let message =
            "a hash that costs more or less than the first: how long an answer takes tells which names there are";
        report.add_also(Code::LoginMixed, *place, message, way_out, &also);
    }
}

fn user(At { value: file, place }: At<file::User>, users: &mut Vec<(User, Place)>, report: &mut Report<'_>) {
    for (name, lacks) in [("name", file.name.is_absent()), ("password_hash", file.password_hash.is_absent())] {
        if lacks {
            let way_out =
                "such as { name = \"ann\", password_hash = \"...\" }; `clawgate hash-password` makes the hash";
            report.add(Code::LoginIncomplete, place, format!("the user has no {name}"), way_out);
        }
    }
    let (Some(name), Some(hash)) = (file.name.value(), file.password_hash.value()) else { return };
    if let Some((_, first)) = users.iter().find(|(other, _)| other.name == name.0) {
        let also = [(*first, "the first is here")];
        report.add_also(Code::LoginTwice, place, "a user is there twice", "remove one of the two", &also);
    }
    users.push((User { name: name.0, hash }, place));
}
