//! Commands for the operator: what is put into them is his own, and still nothing that a shell would read otherwise.

use super::process::{Listener, Seat};

/// `openclaw config set KEY '["a","b"]'`: the list there is, with `add` and without `remove`.
pub fn set_list(key: &str, there: &[String], add: Option<&str>, remove: &[&str]) -> String {
    let kept = there.iter().map(String::as_str).filter(|entry| !remove.contains(entry) && Some(*entry) != add);
    let mut list: Vec<&str> = kept.chain(add).collect();
    // What could not stand between quotes is no address and no origin either.
    list.retain(|entry| is_plain(entry));
    let list: Vec<String> = list.iter().map(|entry| format!("\"{entry}\"")).collect();
    format!("openclaw config set {key} '[{}]'", list.join(","))
}

/// Whether it can stand in a command that is pasted into a shell.
pub fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/[]*@".contains(&b))
}

/// How this gateway is started anew.
pub fn restart(listener: &Listener) -> String {
    let Listener::Process(process) = listener else {
        return "systemctl --user restart openclaw-gateway".into();
    };
    match &process.seat {
        Seat::UserService { unit, .. } => format!("systemctl --user restart {}", name(unit)),
        Seat::SystemService { unit, .. } => format!("systemctl restart {}", name(unit)),
        Seat::Session { .. } | Seat::Elsewhere { .. } => "start the gateway anew".into(),
    }
}

/// A unit as one writes it.
pub fn name(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_what_is_in_it() {
        let there = ["10.0.0.1", "127.0.0.1", "it's"].map(str::to_owned);
        assert_eq!(
            set_list("gateway.trustedProxies", &there, Some("127.0.0.2"), &["127.0.0.1"]),
            r#"openclaw config set gateway.trustedProxies '["10.0.0.1","127.0.0.2"]'"#
        );
        assert_eq!(
            set_list("k", &[], Some("https://a.test:8443"), &[]),
            r#"openclaw config set k '["https://a.test:8443"]'"#
        );
    }
}
