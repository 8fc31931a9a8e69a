//! What is on this machine already.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::plan::{Gateway, Place, Seen, Written};
use crate::{
    check::gateway::{self, File, Openclaw, Owner, World},
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
    let Endpoint::Address(default) = defaults::endpoint() else { unreachable!("the default is an address") };
    let mut running = gateway::running(world);
    if named.is_some() {
        // One gateway is meant, and it may be another than the one that runs.
        let port = gateway(world, named, default).port.unwrap_or(default.port());
        running.retain(|one| one.addresses.iter().any(|address| address.port() == port));
    }
    // The process that listens there says which file is its own.
    let unit = gateway::port_of_unit(world).filter(|_| named.is_none());
    let written = Written { variable: world.port, unit, file: None };
    let first = Place::find(&running, &written, default);
    let Found { gateway, port, owner } = gateway(world, named, first.address);
    let file = match &gateway {
        Gateway::Read { path, .. } => port.map(|port| (path.as_path(), port)),
        Gateway::Unreadable { .. } | Gateway::Missing { .. } => None,
    };
    let place = Place::find(&running, &Written { file, ..written }, default);
    Seen {
        gateway,
        owner,
        place,
        caddy: there(CADDY).then(|| CADDY.into()),
        caddy_serves: CADDY_UNITS.iter().any(|unit| there(unit)),
    }
}

/// What the file at `path` has now.
pub fn again(world: &World, path: &Path) -> Gateway {
    let Endpoint::Address(default) = defaults::endpoint() else { unreachable!("the default is an address") };
    gateway(world, Some(path), default).gateway
}

/// The file that the check would find for a new configuration.
struct Found {
    gateway: Gateway,
    /// In the file.
    port: Option<u16>,
    owner: Owner,
}

fn gateway(world: &World, named: Option<&Path>, address: SocketAddr) -> Found {
    let unreadable = |path: PathBuf, why: String| (Gateway::Unreadable { path, why }, None);
    let (file, owner) = gateway::file(world, named, address);
    let (gateway, port) = match file {
        // A list that is set replaces the one of the included file, which nobody has read.
        File::Read { path, openclaw, .. } if openclaw.includes => {
            unreadable(path, "it takes parts of itself from other files ($include)".into())
        }
        File::Read { path, openclaw, .. } => {
            let port = openclaw.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
            (read(path, *openclaw), port)
        }
        File::Wrong { path, error } => unreadable(path, format!("it is no JSON5: {error}")),
        File::Hidden { path } => unreadable(path, "not permitted; run it as root".into()),
        File::Unreadable { path, why } => unreadable(path, why),
        File::Missing { looked } => (Gateway::Missing { looked }, None),
    };
    Found { gateway, port, owner }
}

fn read(path: PathBuf, openclaw: Openclaw) -> Gateway {
    let wants_origins = openclaw.wants_origins();
    Gateway::Read {
        path,
        trusted_proxies: openclaw.trusted_proxies.unwrap_or_default(),
        allowed_origins: openclaw.allowed_origins.unwrap_or_default(),
        wants_origins,
        without_auth: openclaw.mode.as_deref() == Some("none"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::plan::Why, *};

    fn world(files: &[(&str, &str)]) -> (tempfile::TempDir, World) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let home = Some("/root".into());
        let world = World {
            root: root.path().into(),
            home,
            config_path: None,
            port: None,
            variables: Default::default(),
            looker: 0,
        };
        (root, world)
    }

    const PASSWD: (&str, &str) = ("etc/passwd", "root:x:0:0::/root:/bin/sh\nclaw:x:1000:1000::/home/claw:/bin/sh\n");

    #[test]
    fn the_gateways_file_is_found_in_any_home_and_read_as_json5() {
        let text = "{ // a comment\n gateway: { port: 19000, trustedProxies: ['10.0.0.1',], auth: { mode: 'none' },\n\
                    controlUi: { allowedOrigins: [\"https://a.test\"] } } }";
        let (_root, world) = world(&[PASSWD, ("home/claw/.openclaw/openclaw.json", text)]);
        assert_eq!(
            (look(&world, None).gateway, look(&world, None).place),
            (
                Gateway::Read {
                    path: "/home/claw/.openclaw/openclaw.json".into(),
                    trusted_proxies: vec!["10.0.0.1".into()],
                    allowed_origins: vec!["https://a.test".into()],
                    wants_origins: true,
                    without_auth: true,
                },
                Place {
                    address: "127.0.0.1:19000".parse().unwrap(),
                    why: Why::File("/home/claw/.openclaw/openclaw.json".into()),
                }
            )
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
        let seen = look(&world, None);
        let set = "su - claw -c 'openclaw config set gateway.bind loopback'";
        assert_eq!(seen.owner.openclaw("openclaw config set gateway.bind loopback"), set, "its lines are for its user");
        let Gateway::Read { path, .. } = seen.gateway else { panic!() };
        assert_eq!((path.as_path(), seen.place.why), (Path::new("/home/claw/.openclaw/openclaw.json"), Why::Default));
    }

    /// `/proc` of a machine on which Node runs a gateway on 19002, beside an editor that has its file open.
    #[test]
    fn a_gateway_that_runs_is_found_by_its_name_and_says_which_file_is_its_own() {
        let socket = |port: &str, inode: &str| {
            format!(
                "   0: 0100007F:{port} 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0 100 0 0 10 0\n"
            )
        };
        let table = format!("  sl  local_address\n{}{}", socket("4A3A", "4711"), socket("1F90", "4712"));
        let (root, mut world) = world(&[
            PASSWD,
            ("root/.openclaw/openclaw.json", "{ gateway: { port: 19000 } }"),
            ("srv/claw/openclaw.json", "{ gateway: { port: 19001, trustedProxies: ['127.0.0.2'] } }"),
            ("proc/net/tcp", &table),
            ("proc/42/comm", "node\n"),
            ("proc/42/cmdline", "node\0/usr/lib/node_modules/openclaw/openclaw.mjs\0gateway\0"),
            ("proc/42/status", "Name:\tnode\nUid:\t1000\t1000\t1000\t1000\n"),
            ("proc/42/environ", "OPENCLAW_STATE_DIR=/srv/claw\0"),
            ("proc/43/comm", "vim\n"),
            ("proc/43/cmdline", "vim\0/root/.openclaw/openclaw.json\0"),
        ]);
        for (pid, inode) in [(42, 4711), (43, 4712)] {
            let fd = root.path().join(format!("proc/{pid}/fd"));
            fs::create_dir(&fd).unwrap();
            std::os::unix::fs::symlink(format!("socket:[{inode}]"), fd.join("19")).unwrap();
        }
        let seen = look(&world, None);
        let listens = Why::Listens { name: "node".into(), pid: 42 };
        assert_eq!(seen.place, Place { address: "127.0.0.1:19002".parse().unwrap(), why: listens.clone() });
        let Gateway::Read { path, .. } = seen.gateway else { panic!("{seen:?}") };
        assert_eq!(path, Path::new("/srv/claw/openclaw.json"));
        // Who names a file means its gateway, whatever else runs.
        let named = look(&world, Some(Path::new("/root/.openclaw/openclaw.json")));
        assert_eq!(named.place.address.port(), 19000);
        // A variable of the shell does not hide what runs.
        world.port = Some(19003);
        assert_eq!(look(&world, None).place.why, listens);
        fs::remove_dir_all(root.path().join("proc")).unwrap();
        let unit = root.path().join("home/claw/.config/systemd/user/openclaw-gateway.service");
        fs::create_dir_all(unit.parent().unwrap()).unwrap();
        fs::write(unit, "[Service]\nEnvironment=OPENCLAW_GATEWAY_PORT=19004\n").unwrap();
        assert_eq!(look(&world, None).place.why, Why::Variable);
        world.port = None;
        let place = look(&world, None).place;
        assert_eq!((place.address.port(), place.why), (19004, Why::Unit));
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
        let place = Place { address: "127.0.0.1:18789".parse().unwrap(), why: Why::Default };
        let (gateway, owner) = (Gateway::Missing { looked }, Owner::default());
        let expected = Seen { gateway, owner, place, caddy: None, caddy_serves: false };
        assert_eq!(look(&world, None), expected);
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
