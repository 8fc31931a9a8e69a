//! What the configuration promises: every finding has its exact text, the example cannot drift, nothing panics.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clawgate::config::{
    self, Code, Config, Loaded, Lookup, NoSecrets, Severity, Source,
    interpolate::Kind,
    model::{Certificate, Endpoint, IdentityRule, PathMatch, UpstreamId, UpstreamKind},
};
use proptest::prelude::*;

#[path = "config/anything.rs"]
mod anything;
#[path = "config/cases.rs"]
mod cases;
#[path = "config/example.rs"]
mod example;

const EXAMPLE: &str = include_str!("../config.example.toml");
const REFERENCE: &str = include_str!("../docs/CONFIG.md");

fn source(text: &str) -> Source {
    Source { name: "config.toml".into(), text: text.into() }
}

fn parse(text: &str) -> Loaded {
    config::parse(&[source(text)], &secrets()).unwrap_or_else(|findings| panic!("{findings}"))
}

fn findings(text: &str) -> String {
    config::parse(&[source(text)], &secrets()).expect_err("an error").to_string()
}

fn secrets() -> BTreeMap<(Kind, String), Lookup> {
    BTreeMap::from([
        ((Kind::Env, "DOMAIN".into()), Lookup::Value("gateway.example.com".into())),
        ((Kind::Cred, "token".into()), Lookup::Value("hunter2".into())),
        ((Kind::Cred, "two-lines".into()), Lookup::Value("hunter2\nX: y".into())),
        (
            (Kind::File, "/etc/clawgate/open".into()),
            Lookup::Exposed { value: "hunter2".into(), cure: "chmod o-rwx /etc/clawgate/open".into() },
        ),
        ((Kind::Env, "ETC".into()), Lookup::Value("/etc/clawgate".into())),
        ((Kind::File, "/etc/clawgate/clients-ca.pem".into()), Lookup::Value(a_ca())),
        // A certificate is everybody's to read.
        ((Kind::File, "/etc/clawgate/ca.pem".into()), Lookup::Exposed { value: a_ca(), cure: String::new() }),
        (
            (Kind::File, "/etc/clawgate/gone.pem".into()),
            Lookup::Unset("cannot read /etc/clawgate/gone.pem: no such file or directory".into()),
        ),
        ((Kind::File, "/etc/clawgate/sealed.pem".into()), Lookup::Unknown("this user may not read it".into())),
        ((Kind::Cred, "sealed".into()), Lookup::Unknown("only systemd can decrypt or expand it".into())),
    ])
}

fn a_ca() -> String {
    let case = include_str!("config_cases/forward_auth.toml");
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n");
    let at = |text| case.find(text).expect("the case has a certificate");
    case[at(begin)..at(end) + end.len()].to_owned()
}

#[test]
fn every_key_is_read() {
    // A datetime is good for nothing, so every key that is read complains about it.
    for key in config::schema_keys() {
        let (table, key) = key.rsplit_once('.').unwrap_or(("", &key));
        let text = match table {
            "" => format!("{key} = 1979-05-27"),
            "listen" => format!("[[listen]]\n{key} = 1979-05-27"),
            "site.route" => format!("[[site]]\n[[site.route]]\n{key} = 1979-05-27"),
            table => match table.strip_prefix("site.route.").or(table.strip_prefix("site")) {
                Some(inner) if table.starts_with("site.route.") => {
                    format!("[[site]]\n[[site.route]]\n{inner} = {{ {key} = 1979-05-27 }}")
                }
                Some("") => format!("[[site]]\n{key} = 1979-05-27"),
                Some(inner) => format!("[[site]]\n{} = {{ {key} = 1979-05-27 }}", &inner[1..]),
                None => format!("[{table}]\n{key} = 1979-05-27"),
            },
        };
        assert!(findings(&text).contains("found a date or time"), "{table}.{key}: {}", findings(&text));
    }
}

#[test]
fn a_ca_is_the_same_by_its_path_its_file_and_its_text() {
    let with = |ca: &str| {
        let text =
            format!("forward_auth = {{ url = \"https://a.test/\", ca = {ca} }}\nclient_certificate = {{ ca = {ca} }}");
        parse(&format!("[[site]]\nhost = \"a.example.com\"\n{text}\n")).config
    };
    let expected = with(&format!("'''\n{}'''", a_ca()));
    for ca in
        ["/etc/clawgate/ca.pem", "/etc/clawgate/clients-ca.pem", "${file:/etc/clawgate/ca.pem}", "${env:ETC}/ca.pem"]
    {
        assert_eq!(with(&format!("\"{ca}\"")), expected, "{ca}");
    }
}

#[test]
fn what_opens_something_is_in_no_debug_of_a_configuration() {
    let text = "[probe]\ntoken = \"${cred:token}\"\nwebhook = \"https://hooks.test/hunter2\"\n\
                [acme]\nca = \"https://ca.test/\"\neab = { kid = \"k\", hmac = \"aHVudGVyMg\" }\n\
                on_event = { webhook = \"https://hooks.test/hunter2\" }\n\
                [[site]]\nhost = \"a.example.com\"\nrequest_headers = { set = { X-Key = \"${cred:token}\" } }\n\
                forward_auth = { url = \"http://127.0.0.1:9091/auth?key=hunter2\" }\n";
    let config = parse(text).config;
    for printed in [format!("{config:?}"), format!("{:?}", secrets())] {
        assert!(!printed.contains("hunter2") && !printed.contains("104, 117, 110"), "{printed}");
    }
    assert!(format!("{config:?}").contains("127.0.0.1:9091"));
}

#[test]
fn a_host_alone_is_the_setup_guides_configuration() {
    let config = parse("[[site]]\nhost = \"Gateway.Example.com\"").config;
    assert_eq!(config.listeners.len(), 4);
    let site = &config.sites[0];
    assert_eq!(site.hosts[0].as_str(), "gateway.example.com");
    assert_eq!(site.policy.identity, IdentityRule::Auto);
    assert_eq!(config.upstreams[site.upstream.0].endpoint.to_string(), "127.0.0.1:18789");
    let status = &site.routes[0];
    assert_eq!(status.matches, PathMatch::Exact("/api/status".into()));
    assert_eq!(status.rewrite.as_deref(), Some("/"));
}

#[test]
fn hosts_that_can_be_public_ask_a_public_ca_unless_the_site_says_otherwise() {
    let certificate = |hosts: &str, more: &str| {
        let config = parse(&format!("[[site]]\nhosts = {hosts}\n{more}")).config;
        let site = &config.sites[0];
        (site.certificate.clone(), site.hosts.iter().map(|host| site.wants_acme(host)).collect::<Vec<_>>())
    };
    assert_eq!(certificate("[\"a.example.com\"]", ""), (Certificate::Acme, vec![true]));
    assert_eq!(certificate("[\"a.example.com\"]", "certificate = \"internal\""), (Certificate::Internal, vec![false]));
    assert_eq!(certificate("[\"localhost\", \"10.0.0.1\"]", ""), (Certificate::Internal, vec![false, false]));
    assert_eq!(certificate("[\"a.example.com\", \"a.test\"]", ""), (Certificate::Acme, vec![true, false]));
}

#[test]
fn a_cas_own_settings_are_for_the_one_that_is_given_by_a_url() {
    let acme = parse(
        "[acme]\nca = [\"letsencrypt\", \"https://ca.example.com/dir\"]\nroot = \"/root.pem\"\n\
         eab = { kid = \"k\", hmac = \"AAEC\" }\nstaging = \"https://staging.example.com/dir\"\n\
         [[site]]\nhost = \"a.example.com\"",
    )
    .config
    .acme;
    assert_eq!((acme.cas[0].root.is_none(), acme.cas[0].eab.is_none()), (true, true));
    let eab = acme.cas[1].eab.as_ref().expect("an eab");
    assert_eq!((&*eab.kid, &eab.hmac[..]), ("k", &[0u8, 1, 2][..]));
    assert!(!format!("{acme:?}").contains("hmac"), "a key is never printed");
    let staging = acme.cas.iter().map(|ca| ca.staging.as_ref().map(|staging| staging.url()));
    let expected = ["https://acme-staging-v02.api.letsencrypt.org/directory", "https://staging.example.com/dir"];
    assert!(staging.eq(expected.map(Some)));
}

fn route_names(config: &Config) -> Vec<&str> {
    config.sites[0].routes.iter().map(|route| &*route.name).collect()
}

#[test]
fn routes_are_exact_then_built_in_then_prefixes_in_file_order() {
    let site = "[[site]]\nhost = \"a.test\"\n";
    let routes = "[[site.route]]\nprefix = \"/z\"\n[[site.route]]\npath = \"/y\"\n[[site.route]]\nprefix = \"/a\"\n\
                  [[site.route]]\npath = \"/b\"\n";
    assert_eq!(route_names(&parse(&format!("{site}{routes}")).config), ["/y", "/b", "/api/status", "/z", "/a"]);
    let without = format!("{site}builtin_status = false\n{routes}");
    assert_eq!(route_names(&parse(&without).config), ["/y", "/b", "/z", "/a"]);
    let generic = format!("{site}kind = \"generic\"\n");
    assert!(route_names(&parse(&generic).config).is_empty());
    assert_eq!(route_names(&parse(&format!("{generic}builtin_status = true")).config), ["/api/status"]);
}

#[test]
fn a_route_inherits_what_it_does_not_say() {
    let config = parse(
        r#"
        [[site]]
        host = "a.test"
        clients = ["10.0.0.0/8"]
        body_limit = "1MiB"
        response_timeout = "5s"
        identity = "loopback"
        response_headers = { set = { A = "site", B = "site" } }
        [[site.route]]
        prefix = "/r"
        body_limit = "unlimited"
        identity = "attributed"
        response_headers = { set = { B = "route" } }
        "#,
    )
    .config;
    let (site, route) = (&config.sites[0].policy, &config.sites[0].routes[1].policy);
    assert_eq!((site.body_limit, route.body_limit), (Some(1 << 20), None));
    assert_eq!((&route.clients, route.response_timeout), (&site.clients, site.response_timeout));
    assert_eq!((site.identity, route.identity), (IdentityRule::Loopback, IdentityRule::Attributed));
    let set: Vec<_> = route.response_headers.set.iter().map(|(n, v)| (n.as_str(), v.to_str().expect("text"))).collect();
    assert_eq!(set, [("a", "site"), ("b", "route")]);
    assert_eq!(config.sites[0].routes[0].policy, *site, "the built-in route has the site's policy");
}

#[test]
fn one_address_is_one_upstream_however_it_is_written() {
    let config = parse(
        r#"
        [[site]]
        host = "a.test"
        [[site]]
        host = "b.test"
        upstream = "localhost:18789"
        hold = "7s"
        [[site.route]]
        prefix = "/x"
        upstream = "[::ffff:127.0.0.1]:18789"
        [[site.route]]
        prefix = "/y"
        upstream = "127.0.0.1:3000"
        [[site.route]]
        prefix = "/z"
        upstream = "tools"
        [upstream.tools]
        address = "127.0.0.1:3000"
        kind = "generic"
        "#,
    )
    .config;
    assert_eq!(config.upstreams.len(), 2);
    let gateway = config.sites[0].upstream;
    assert_eq!(config.upstreams[gateway.0].hold.as_secs(), 7);
    let of_routes: Vec<UpstreamId> = config.sites[1].routes.iter().map(|route| route.upstream).collect();
    assert_eq!((of_routes[0], of_routes[1]), (gateway, gateway));
    assert_eq!(of_routes[2], of_routes[3]);
    assert_eq!(config.upstreams[of_routes[2].0].kind, UpstreamKind::Generic);
}

#[test]
fn only_upstreams_without_a_gateways_rules_may_have_the_same_address() {
    let two = |first: &str, second: &str| {
        format!(
            "[[site]]\nhost = \"a.test\"\nupstream = \"a\"\n[[site.route]]\nprefix = \"/b\"\nupstream = \"b\"\n\
             [upstream.a]\naddress = \"127.0.0.1:1\"\nkind = \"{first}\"\n\
             [upstream.b]\naddress = \"127.0.0.1:1\"\nkind = \"{second}\"\nhold = \"1s\""
        )
    };
    assert_eq!(parse(&two("generic", "generic")).config.upstreams.len(), 2);
    for text in [two("generic", "openclaw"), two("openclaw", "generic"), two("openclaw", "openclaw")] {
        assert!(findings(&text).contains("[upstream/same-address]"));
    }
}

#[test]
fn auto_is_attributed_towards_what_is_not_ipv4_loopback() {
    for address in ["10.0.0.5:18789", "[::1]:18789", "gateway.internal:18789"] {
        let config = parse(&format!("[[site]]\nhost = \"a.test\"\nupstream = \"{address}\"")).config;
        assert_eq!(config.sites[0].policy.identity, IdentityRule::Attributed, "{address}");
    }
    let named = parse("[[site]]\nhost = \"a.test\"\nupstream = \"gateway.internal:80\"").config;
    assert_eq!(named.upstreams[0].endpoint, Endpoint::Name("gateway.internal".into(), 80));
}

#[test]
fn conf_d_appends_arrays_and_merges_tables() {
    let main = source("trusted_proxies = [\"10.0.0.0/8\"]\n[limits]\nheld = 5\n[[site]]\nhost = \"a.test\"\n");
    let more = Source {
        name: "conf.d/x.toml".into(),
        text: "trusted_proxies = [\"192.0.2.1\"]\n[limits]\nheader_fields = 7\n[[site]]\nhost = \"b.test\"\n".into(),
    };
    let config = config::parse(&[main, more], &NoSecrets).unwrap_or_else(|findings| panic!("{findings}")).config;
    assert_eq!((config.trusted_proxies.len(), config.sites.len()), (2, 2));
    assert_eq!((config.limits.held, config.limits.header_fields), (5, 7));
}

#[test]
fn a_value_from_outside_is_sensitive_and_one_that_is_unknown_here_stands_in() {
    let text =
        "[[site]]\nhost = \"${env:DOMAIN}\"\nrequest_headers = { set = { Authorization = \"Bearer ${cred:token}\" } }";
    let config = parse(text).config;
    let (_, value) = &config.sites[0].policy.request_headers.set[0];
    assert!(value.is_sensitive());
    assert_eq!(value, "Bearer hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));

    // Every kind of value has something to stand in for it, and no rule falls over it.
    let everywhere = r#"
        state_dir = "${cred:sealed}"
        drain = "${cred:sealed}"
        trusted_proxies = ["${cred:sealed}"]
        [log]
        level = "${cred:sealed}"
        [limits]
        header_block = "64KiB"
        [[listen]]
        address = "${cred:sealed}"
        serve = "${cred:sealed}"
        [upstream.x]
        address = "${cred:sealed}"
        [[site]]
        hosts = ["${cred:sealed}", "x${cred:sealed}"]
        upstream = "${cred:sealed}"
        certificate = "${cred:sealed}"
        clients = ["${cred:sealed}"]
        identity = "loopback"
        body_limit = "${cred:sealed}"
        request_headers = { set = { A = "${cred:sealed}" }, remove = ["${cred:sealed}"] }
        [[site]]
        host = "b.test"
        upstream = "x"
        [[site.route]]
        path = "${cred:sealed}"
        rewrite = "${cred:sealed}"
    "#;
    let loaded = parse(everywhere);
    assert!(
        loaded.warnings.iter().all(|finding| finding.code == Code::InterpolateUnknownHere),
        "{:#?}",
        loaded.warnings
    );
    assert_eq!(loaded.warnings.len(), 17);
}

#[test]
fn a_reload_names_what_waits_for_a_restart() {
    let config = |text: &str| parse(&format!("{text}\n[[site]]\nhost = \"a.test\"\n")).config;
    let old = config("");
    assert!(
        config::diff::needs_restart(&old, &config("drain = \"1s\"\n[[listen]]\naddress = \"127.0.0.1:1\"")).is_empty()
    );
    let new = config(
        "workers = 3\nsandbox = \"off\"\nstate_dir = \"/x\"\nadmin_socket = \"/y\"\nmetrics = \"[::1]:9180\"\n[log]\nlevel = \"debug\"\nformat = \"json\"",
    );
    let waits = ["state_dir", "admin_socket", "metrics", "workers", "sandbox", "log.format"];
    assert_eq!(config::diff::needs_restart(&old, &new), waits);
}

mod files {
    use super::*;

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("directories");
            fs::write(path, content).expect("write");
        }
        directory
    }

    fn load(directory: &tempfile::TempDir) -> Result<Loaded, String> {
        let name = format!("{}/", directory.path().display());
        config::load(&directory.path().join("config.toml"), &NoSecrets)
            .map_err(|findings| findings.to_string().replace(&name, ""))
    }

    #[test]
    fn conf_d_is_read_in_name_order_without_other_and_hidden_files() {
        let directory = directory(&[
            ("config.toml", b"[[site]]\nhost = \"a.test\"\n"),
            ("conf.d/20.toml", b"[[site]]\nhost = \"c.test\"\n"),
            ("conf.d/10.toml", b"[[site]]\nhost = \"b.test\"\n"),
            ("conf.d/30.toml~", b"nonsense"),
            ("conf.d/.40.toml", b"nonsense"),
        ]);
        let config = load(&directory).unwrap_or_else(|printed| panic!("{printed}")).config;
        let hosts: Vec<_> = config.sites.iter().map(|site| site.hosts[0].as_str()).collect();
        assert_eq!(hosts, ["a.test", "b.test", "c.test"]);
    }

    #[test]
    fn a_missing_file_is_a_finding_with_a_way_out() {
        let printed = load(&directory(&[])).expect_err("no file");
        assert_eq!(
            printed,
            "error[file/unreadable]: cannot be read: no such file or directory\n  --> config.toml\n   \
             = `clawgate init HOST` makes one, --config PATH names another\n"
        );
    }

    #[test]
    fn text_that_is_not_utf8_is_shown_and_the_other_files_are_checked_all_the_same() {
        let directory = directory(&[
            ("config.toml", b"# caf\xe9\n[[site]]\nhost = \"a.test\"\n"),
            ("conf.d/more.toml", b"drian = \"1s\"\n"),
        ]);
        let printed = load(&directory).expect_err("two findings");
        let expected = "error[file/not-utf8]: the file is not UTF-8 text\n  --> config.toml:1:6\n1 | # caf\u{fffd}\n  |      ^ save it as UTF-8\n\n\
             error[key/unknown]: unknown key `drian` at the top level\n  --> conf.d/more.toml:1:1\n1 | drian = \"1s\"\n  | ^^^^^ did you mean `drain`?\n";
        assert_eq!(printed, expected);
    }
}
