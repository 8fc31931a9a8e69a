//! What is on this machine already.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::plan::{Gateway, Seen};

/// Where to look: this machine, or a tree that stands for one.
#[derive(Debug, Clone)]
pub struct World {
    pub root: PathBuf,
    /// `HOME` of whoever asks.
    pub home: Option<PathBuf>,
    /// `OPENCLAW_CONFIG_PATH`, or what the command line says.
    pub openclaw: Option<PathBuf>,
}

const CADDY: &str = "/var/lib/caddy/.local/share/caddy";
const CADDY_UNITS: [&str; 3] = [
    "/etc/systemd/system/multi-user.target.wants/caddy.service",
    "/etc/systemd/system/caddy.service",
    "/lib/systemd/system/caddy.service",
];

impl World {
    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

pub fn look(world: &World) -> Seen {
    let there = |path: &str| world.at(Path::new(path)).exists();
    Seen {
        gateway: gateway(world),
        caddy: there(CADDY).then(|| CADDY.into()),
        caddy_serves: CADDY_UNITS.iter().any(|unit| there(unit)),
    }
}

/// The first `openclaw.json` of those that a gateway here would read.
fn gateway(world: &World) -> Gateway {
    let looked = candidates(world);
    for path in &looked {
        match fs::read_to_string(world.at(path)) {
            Ok(text) => return read(path, &text),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Gateway::Unreadable { path: path.clone(), why: "not permitted; run it as root".into() };
            }
            Err(_) => {}
        }
    }
    Gateway::Missing { looked }
}

fn candidates(world: &World) -> Vec<PathBuf> {
    if let Some(named) = &world.openclaw {
        return vec![named.clone()];
    }
    let in_home = |home: &Path| home.join(".openclaw/openclaw.json");
    let mut paths: Vec<PathBuf> = world.home.iter().map(|home| in_home(home)).collect();
    let passwd = fs::read_to_string(world.at(Path::new("/etc/passwd"))).unwrap_or_default();
    let homes = passwd.lines().filter_map(|line| line.split(':').nth(5)).filter(|home| home.starts_with('/'));
    for path in homes.map(|home| in_home(Path::new(home))) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

fn read(path: &Path, text: &str) -> Gateway {
    let value: Value = match json5::from_str(text) {
        Ok(value) => value,
        Err(error) => return Gateway::Unreadable { path: path.to_owned(), why: format!("it is no JSON5: {error}") },
    };
    let texts = |pointer: &str| {
        let list = value.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let port = value.pointer("/gateway/port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    Gateway::Read {
        path: path.to_owned(),
        port: port.filter(|port| *port != 0),
        trusted_proxies: texts("/gateway/trustedProxies"),
        allowed_origins: texts("/gateway/controlUi/allowedOrigins"),
        without_auth: value.pointer("/gateway/auth/mode").and_then(Value::as_str) == Some("none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(files: &[(&str, &str)]) -> (tempfile::TempDir, World) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let world = World { root: root.path().into(), home: Some("/root".into()), openclaw: None };
        (root, world)
    }

    const PASSWD: (&str, &str) = ("etc/passwd", "root:x:0:0::/root:/bin/sh\nclaw:x:1000:1000::/home/claw:/bin/sh\n");

    #[test]
    fn the_gateways_file_is_found_in_any_home_and_read_as_json5() {
        let text = "{ // a comment\n gateway: { port: 19000, trustedProxies: ['10.0.0.1',], auth: { mode: 'none' },\n\
                    controlUi: { allowedOrigins: [\"https://a.test\"] } } }";
        let (_root, world) = world(&[PASSWD, ("home/claw/.openclaw/openclaw.json", text)]);
        assert_eq!(
            look(&world).gateway,
            Gateway::Read {
                path: "/home/claw/.openclaw/openclaw.json".into(),
                port: Some(19000),
                trusted_proxies: vec!["10.0.0.1".into()],
                allowed_origins: vec!["https://a.test".into()],
                without_auth: true,
            }
        );
    }

    #[test]
    fn a_file_that_is_none_is_told() {
        let (_root, world) = world(&[PASSWD, ("root/.openclaw/openclaw.json", "{ nonsense")]);
        let Gateway::Unreadable { path, why } = look(&world).gateway else { panic!() };
        assert_eq!(path, Path::new("/root/.openclaw/openclaw.json"));
        assert!(why.starts_with("it is no JSON5: "), "{why}");
    }

    #[test]
    fn nothing_is_made_up_where_nothing_is() {
        let (_root, world) = world(&[PASSWD]);
        let looked = ["/root/.openclaw/openclaw.json", "/home/claw/.openclaw/openclaw.json"].map(PathBuf::from).into();
        assert_eq!(look(&world), Seen { gateway: Gateway::Missing { looked }, caddy: None, caddy_serves: false });
    }

    #[test]
    fn caddy_is_seen() {
        let (_root, world) = world(&[
            ("var/lib/caddy/.local/share/caddy/certificates/x", ""),
            ("etc/systemd/system/multi-user.target.wants/caddy.service", ""),
        ]);
        let seen = look(&world);
        assert_eq!((seen.caddy.as_deref(), seen.caddy_serves), (Some(Path::new(CADDY)), true));
    }
}
