//! `clawgate init`, in a home of its own.

use super::*;

#[test]
fn init_writes_a_configuration_that_holds_and_names_what_the_gateway_lacks() {
    let fresh = Fresh::with(Some(OTHERS), WRITES_DOWN);
    let clients = "198.51.100.7,2001:db8::/48,::ffff:192.0.2.1";
    let ran = fresh.run(&["chat.example.com", "--clients", clients, "--email", "me@example.com"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let config = fresh.config();
    // An address alone stays one.
    let clients = "clients = [\"198.51.100.7\", \"2001:db8::/48\", \"192.0.2.1\"]\n";
    for line in ["host = \"chat.example.com\"\n", clients, "email = \"me@example.com\""] {
        assert!(config.contains(line), "{line} in {config}");
    }
    let path = fresh.path("etc/clawgate/config.toml");
    let checked = clawgate(&["--config", path.to_str().unwrap(), "check", "--only", "config"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let formatted = clawgate(&["--config", path.to_str().unwrap(), "fmt", "--check"]);
    assert_eq!(formatted.code, Some(0), "{}", formatted.stdout);
    for line in [
        r#"  openclaw config set gateway.trustedProxies '["127.0.0.2"]'"#,
        r#"  openclaw config set gateway.controlUi.allowedOrigins '["https://old.test","https://chat.example.com"]'"#,
        "nothing of this was run; --apply does it",
        "run      # starts it here, until Ctrl-C; the service reads /etc/clawgate/config.toml",
    ] {
        assert!(ran.stdout.contains(line), "{line} in {}", ran.stdout);
    }
    assert!(ran.stdout.starts_with("the gateway is taken to be at 127.0.0.1:18789: "), "{}", ran.stdout);
    assert_eq!(fresh.calls(), "");
}

#[test]
fn init_says_where_the_gateway_is_taken_to_be_and_why() {
    let fresh = Fresh::with(Some(&OTHERS.replace("18789", "1")), WRITES_DOWN);
    let ran = fresh.run(&["chat.example.com"]);
    let file = fresh.path(".openclaw/openclaw.json");
    let expected = format!(
        "the gateway is taken to be at 127.0.0.1:1: gateway.port in {} says so, and no openclaw listens yet\n",
        file.display()
    );
    assert!(ran.stdout.starts_with(&expected), "{}", ran.stdout);
    let written = "# Where openclaw.json says that the gateway listens.\nupstream = \"127.0.0.1:1\"\n";
    assert!(fresh.config().contains(written), "{}", fresh.config());
}

#[test]
fn init_apply_runs_each_line_as_the_gateways_user_and_shows_how_it_went() {
    let fresh = Fresh::with(Some(OTHERS), WRITES_DOWN);
    let ran = fresh.run(&["chat.example.com", "--apply"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let calls = fresh.calls();
    let lines: Vec<&str> = calls.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        lines,
        [
            r#"config set gateway.trustedProxies ["127.0.0.2"]"#,
            r#"config set gateway.controlUi.allowedOrigins ["https://old.test","https://chat.example.com"]"#,
        ]
    );
    assert_eq!(ran.stdout.matches("    done: Updated. Restart the gateway to apply.\n").count(), 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("  systemctl --user restart openclaw-gateway "), "{}", ran.stdout);
    assert!(ran.stdout.contains("no --clients: until"), "{}", ran.stdout);
}

#[test]
fn a_gateway_line_that_fails_is_told_and_the_rest_is_done() {
    let fails = "case $3 in gateway.trustedProxies) echo 'no such key' >&2; exit 3;; esac";
    let fresh = Fresh::with(Some(OTHERS), &format!("{fails}\n{WRITES_DOWN}"));
    let ran = fresh.run(&["chat.example.com", "--apply"]);
    assert_eq!(ran.code, Some(69), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("    failed: openclaw failed (exit status: 3): no such key\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("    done: Updated."), "{}", ran.stdout);
    assert_eq!(fresh.calls().lines().count(), 1, "{}", fresh.calls());
    assert!(fresh.config().contains("chat.example.com"));
}

#[test]
fn a_gateway_line_that_ends_well_and_wrote_nothing_is_not_done_and_is_said_again_to_be_typed() {
    let forgets = "case $3 in gateway.trustedProxies) echo 'Updated gateway.trustedProxies.'; exit 0;; esac";
    let fresh = Fresh::with(Some(OTHERS), &format!("{forgets}\n{WRITES_DOWN}"));
    let ran = fresh.run(&["chat.example.com", "--apply"]);
    assert_eq!(ran.code, Some(69), "{}{}", ran.stdout, ran.stderr);
    let file = fresh.path(".openclaw/openclaw.json");
    let failed = format!(
        "    failed: openclaw reported no error, and {} does not have it; it said: Updated gateway.trustedProxies.\n",
        file.display()
    );
    assert!(ran.stdout.contains(&failed), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("    done: ").count(), 1, "{}", ran.stdout);
    let (_, left) = ran.stdout.split_once("\nstill missing, to be run by hand as ").unwrap();
    let left: Vec<&str> = left.lines().skip(1).take(2).collect();
    let line = r#"  openclaw config set gateway.trustedProxies '["127.0.0.2"]'"#;
    assert!(left[0] == line && !left[1].contains("openclaw"), "{}", ran.stdout);
    // A file that is broken afterwards proves nothing.
    let breaks = Fresh::with(Some(OTHERS), r#"echo '{' > "$OPENCLAW_CONFIG_PATH"; echo Updated."#);
    let ran = breaks.run(&["chat.example.com", "--apply"]);
    assert_eq!((ran.code, ran.stdout.matches("    done: ").count()), (Some(69), 0), "{}", ran.stdout);
}

#[test]
fn init_overwrites_nothing_and_runs_nothing_blindly() {
    let fresh = Fresh::with(None, WRITES_DOWN);
    let first = fresh.run(&["chat.example.com", "--apply"]);
    assert_eq!(first.code, Some(69), "{}", first.stdout);
    assert!(
        first.stdout.contains("no openclaw.json was found") && first.stdout.contains("--openclaw-config"),
        "{}",
        first.stdout
    );
    assert_eq!(fresh.calls(), "");
    let before = fresh.config();
    let again = fresh.run(&["chat.example.com"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(
        again.stdout.contains("is there already and serves chat.example.com; it stays as it is"),
        "{}",
        again.stdout
    );
    let other = fresh.run(&["other.example.com"]);
    assert_eq!(other.code, Some(78));
    for word in ["is there already, serves chat.example.com", "host = \"other.example.com\"", "mv "] {
        assert!(other.stderr.contains(word), "{word} in {}", other.stderr);
    }
    assert_eq!(fresh.config(), before);
}

#[test]
fn init_refuses_what_would_not_hold() {
    let fresh = Fresh::with(Some(OTHERS), WRITES_DOWN);
    for (args, code, complaint) in [
        (&["https://chat.example.com/"][..], 2, "without scheme"),
        (&["chat.example.com", "--clients", "198.51.100.7/24"], 2, "did you mean \"198.51.100.0/24\"?"),
        (&["chat.example.com", "--clients", "backend"], 2, "not a network: an address, or"),
        (&["chat.example.com", "--email", "nobody"], 78, "value/email"),
        (&["*.example.com"], 78, "site/wildcard-needs-dns"),
    ] {
        let ran = fresh.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(complaint), "{args:?}: {}", ran.stderr);
    }
    assert!(!fresh.path("etc").exists());
}
