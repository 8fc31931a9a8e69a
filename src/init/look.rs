//! What is on this machine already.

use std::path::{Path, PathBuf};

use super::plan::{Gateway, Seen};
use crate::{
    check::gateway::{self, File, Openclaw, World},
    config::{defaults, model::Endpoint},
};

const CADDY: &str = "/var/lib/caddy/.local/share/caddy";
const CADDY_UNITS: [&str; 3] = [
    "/etc/systemd/system/multi-user.target.wants/caddy.service",
    "/etc/systemd/system/caddy.service",
    "/lib/systemd/system/caddy.service",
];

/// `named` is the gateway's `openclaw.json`, where somebody has said so.
pub fn look(world: &World, named: Option<&Path>) -> Seen {
    let there = |path: &str| world.exists(path).unwrap_or(false);
    Seen {
        gateway: gateway(world, named),
        caddy: there(CADDY).then(|| CADDY.into()),
        caddy_serves: CADDY_UNITS.iter().any(|unit| there(unit)),
    }
}

/// The file that the check would find for a new configuration.
fn gateway(world: &World, named: Option<&Path>) -> Gateway {
    let Endpoint::Address(address) = defaults::endpoint() else { return Gateway::Missing { looked: Vec::new() } };
    let unreadable = |path: PathBuf, why: String| Gateway::Unreadable { path, why };
    match gateway::file(world, named, address) {
        // A list that is set replaces the one of the included file, which nobody has read.
        File::Read { path, openclaw, .. } if openclaw.includes => {
            unreadable(path, "it takes parts of itself from other files ($include)".into())
        }
        File::Read { path, openclaw, .. } => read(path, *openclaw),
        File::Wrong { path, error } => unreadable(path, format!("it is no JSON5: {error}")),
        File::Hidden { path } => unreadable(path, "not permitted; run it as root".into()),
        File::Missing { looked } => Gateway::Missing { looked },
    }
}

fn read(path: PathBuf, openclaw: Openclaw) -> Gateway {
    Gateway::Read {
        path,
        port: openclaw.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
        trusted_proxies: openclaw.trusted_proxies.unwrap_or_default(),
        allowed_origins: openclaw.allowed_origins.unwrap_or_default(),
        without_auth: openclaw.mode.as_deref() == Some("none"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn world(files: &[(&str, &str)]) -> (tempfile::TempDir, World) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let world = World { root: root.path().into(), home: Some("/root".into()), config_path: None };
        (root, world)
    }

    const PASSWD: (&str, &str) = ("etc/passwd", "root:x:0:0::/root:/bin/sh\nclaw:x:1000:1000::/home/claw:/bin/sh\n");

    #[test]
    fn the_gateways_file_is_found_in_any_home_and_read_as_json5() {
        let text = "{ // a comment\n gateway: { port: 19000, trustedProxies: ['10.0.0.1',], auth: { mode: 'none' },\n\
                    controlUi: { allowedOrigins: [\"https://a.test\"] } } }";
        let (_root, world) = world(&[PASSWD, ("home/claw/.openclaw/openclaw.json", text)]);
        assert_eq!(
            look(&world, None).gateway,
            Gateway::Read {
                path: "/home/claw/.openclaw/openclaw.json".into(),
                port: Some(19000),
                trusted_proxies: vec!["10.0.0.1".into()],
                allowed_origins: vec!["https://a.test".into()],
                without_auth: true,
            }
        );
    }

    /// Root has tried it once, and `claw` runs it.
    #[test]
    fn of_several_files_it_is_the_one_whose_gateway_listens_here() {
        let (_root, world) = world(&[
            PASSWD,
            ("root/.openclaw/openclaw.json", "{ gateway: { port: 19000 } }"),
            ("home/claw/.openclaw/openclaw.json", "{ gateway: { trustedProxies: ['127.0.0.2'] } }"),
        ]);
        let Gateway::Read { path, port, .. } = look(&world, None).gateway else { panic!() };
        assert_eq!((path.as_path(), port), (Path::new("/home/claw/.openclaw/openclaw.json"), None));
    }

    #[test]
    fn a_file_with_parts_elsewhere_is_not_taken_for_the_whole() {
        let text = "{ gateway: { $include: './gateway.json5' } }";
        let (_root, world) = world(&[PASSWD, ("root/.openclaw/openclaw.json", text)]);
        let Gateway::Unreadable { why, .. } = look(&world, None).gateway else { panic!() };
        assert!(why.contains("$include"), "{why}");
    }

    #[test]
    fn a_file_that_is_none_is_told() {
        let (_root, world) = world(&[PASSWD, ("root/.openclaw/openclaw.json", "{ nonsense")]);
        let Gateway::Unreadable { path, why } = look(&world, None).gateway else { panic!() };
        assert_eq!(path, Path::new("/root/.openclaw/openclaw.json"));
        assert!(why.starts_with("it is no JSON5: "), "{why}");
    }

    #[test]
    fn nothing_is_made_up_where_nothing_is() {
        let (_root, world) = world(&[PASSWD]);
        let looked = ["/root/.openclaw/openclaw.json", "/home/claw/.openclaw/openclaw.json"].map(PathBuf::from).into();
        assert_eq!(look(&world, None), Seen { gateway: Gateway::Missing { looked }, caddy: None, caddy_serves: false });
    }

    #[test]
    fn caddy_is_seen() {
        let (_root, world) = world(&[
            ("var/lib/caddy/.local/share/caddy/certificates/x", ""),
            ("etc/systemd/system/multi-user.target.wants/caddy.service", ""),
        ]);
        let seen = look(&world, None);
        assert_eq!((seen.caddy.as_deref(), seen.caddy_serves), (Some(Path::new(CADDY)), true));
    }
}
