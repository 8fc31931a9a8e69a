//! `clawgate pin`: the device keys that connected lately, and the line that pins one.

use std::{fmt::Write as _, sync::Arc, time::SystemTime};

use time::{OffsetDateTime, macros::format_description};

use crate::{
    admin::Answer,
    app::App,
    config::{Config, model::DeviceId},
    gateway::{
        approved,
        seen::{Outcome, Seen},
    },
};

pub(super) fn answer(app: &App) -> Answer {
    Answer::done(text(&app.config(), &app.seen_keys()))
}

/// For a terminal. What a client said of itself is shown as a string with escapes, whatever it contains.
fn text(config: &Config, seen: &[(Arc<str>, Vec<Seen>)]) -> String {
    let mut text = String::new();
    for (upstream, keys) in seen.iter().filter(|(_, keys)| !keys.is_empty()) {
        let _ = writeln!(text, "device keys that connected to {upstream} lately, the last one first:");
        for key in keys {
            one(&mut text, config, key);
        }
    }
    if text.is_empty() {
        return "no device key has connected since the start; let the backend connect, and ask again".into();
    }
    text.truncate(text.trim_end().len());
    text
}

fn one(text: &mut String, config: &Config, Seen { shown, address, at, outcome }: &Seen) {
    let pins = pins(config, shown.id);
    let pinned = if pins.is_empty() { "not pinned".to_owned() } else { format!("pinned as {}", pins.join(", ")) };
    let outcome = match outcome {
        Outcome::Approved => "approved by the gateway".to_owned(),
        Outcome::NotPaired => "the gateway waits for somebody to approve it: openclaw devices list".to_owned(),
        Outcome::Refused(why) => format!("refused: {why}"),
    };
    let scopes: Vec<&str> = shown.scopes.iter().map(|scope| &**scope).collect();
    let _ = write!(
        text,
        "\n{id}: {pinned}\n  at      {at}, from {address}\n  client  {client:?}, mode {mode:?}, role {role:?}\n  \
         scopes  {scopes:?}\n  last    {outcome}\n",
        id = shown.id,
        at = moment(*at),
        address = address.to_canonical(),
        client = shown.client,
        mode = shown.mode,
        role = shown.role,
    );
    if pins.is_empty() {
        let quoted = |word: &str| toml::Value::String(word.to_owned()).to_string();
        let scopes: Vec<String> = scopes.into_iter().map(quoted).collect();
        let _ = writeln!(
            text,
            "  to pin it, in its [[site]]:\n  device_keys = [{{ name = \"platform\", key = {key}, scopes = [{scopes}], {fence} }}]",
            key = quoted(&shown.key),
            scopes = scopes.join(", "),
            fence = approved::clients(*address),
        );
    }
}

/// Under which names a key is pinned, and where.
fn pins(config: &Config, id: DeviceId) -> Vec<String> {
    let mut pins = Vec::new();
    for site in &config.sites {
        let policies = std::iter::once(&site.policy).chain(site.routes.iter().map(|route| &route.policy));
        for key in policies.flat_map(|policy| policy.device_keys.iter()).filter(|key| key.id == id) {
            let pin = format!("{:?} at {}", key.name, site.hosts.first().map_or("", |host| host.as_str()));
            if !pins.contains(&pin) {
                pins.push(pin);
            }
        }
    }
    pins
}

fn moment(at: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from(at).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{config, gateway::pin::Shown};

    fn config(more: &str) -> Config {
        let text = format!("[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\n{more}");
        config::parse(&[config::Source { name: "test".into(), text }], &config::NoSecrets).unwrap().config
    }

    fn seen(client: &str) -> Seen {
        let shown = Shown {
            id: DeviceId::of(&[7; 32]),
            key: "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc".into(),
            client: client.into(),
            mode: "backend".into(),
            role: "operator".into(),
            scopes: vec!["operator.read".into(), "operator.admin".into()],
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_371_472);
        Seen { shown, address: "::ffff:203.0.113.7".parse().unwrap(), at, outcome: Outcome::Approved }
    }

    fn listed(config: &Config, client: &str) -> String {
        text(config, &[("127.0.0.1:18789".into(), vec![seen(client)])])
    }

    #[test]
    fn a_key_is_listed_with_the_line_that_pins_it() {
        let id = seen("x").shown.id;
        let expected = format!(
            "device keys that connected to 127.0.0.1:18789 lately, the last one first:\n\n{id}: not pinned\n  \
             at      2026-11-22 18:17:52 UTC, from 203.0.113.7\n  \
             client  \"gateway-client\", mode \"backend\", role \"operator\"\n  \
             scopes  [\"operator.read\", \"operator.admin\"]\n  last    approved by the gateway\n  \
             to pin it, in its [[site]]:\n  device_keys = [{{ name = \"platform\", \
             key = \"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\", scopes = [\"operator.read\", \"operator.admin\"], \
             clients = [\"203.0.113.7/32\"] }}]"
        );
        assert_eq!(listed(&config(""), "gateway-client"), expected);
    }

    #[test]
    fn the_line_that_is_printed_is_one_that_loads_and_pins_the_key() {
        let listed = listed(&config(""), "gateway-client");
        let line = listed.lines().find(|line| line.trim_start().starts_with("device_keys")).expect("the line");
        let config = config(line);
        let key = &config.sites[0].policy.device_keys[0];
        assert_eq!(key.id, seen("x").shown.id);
        assert!(text(&config, &[("u".into(), vec![seen("x")])]).contains(": pinned as \"platform\" at chat.test\n"));
    }

    #[test]
    fn what_a_client_says_cannot_reach_the_terminal_as_it_is() {
        let listed = listed(&config(""), "\u{1b}]0;owned\u{7}\nnot pinned");
        assert!(!listed.contains('\u{1b}') && !listed.contains('\u{7}'));
        assert_eq!(listed.lines().filter(|line| line.starts_with("not pinned")).count(), 0);
    }

    #[test]
    fn where_nobody_connected_that_is_said() {
        assert!(text(&config(""), &[("u".into(), vec![])]).starts_with("no device key has connected"));
    }
}
