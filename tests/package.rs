//! The Debian package: what is in it, and what installing, upgrading, removing and purging it does to a machine.
//!
//! It is installed for real, in a copy of this machine that is gone afterwards (an overlay in a mount namespace), which
//! needs root, or `sudo -n`. Where a tool or a right is missing, the test fails and says which.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn ran(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// A test that did not look is not green.
fn needs(tools: &[&str]) {
    for tool in tools {
        let there = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
        assert!(there, "{tool} is not installed: tests/setup/install");
    }
}

/// Packs the binary under test.
fn package(directory: &Path) -> PathBuf {
    needs(&["dpkg-deb", "readelf", "strip"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/deb");
    let mut command = Command::new(script);
    command.args(["--fast", "--binary", env!("CARGO_BIN_EXE_clawgate"), "--output"]).arg(directory);
    let (ok, said) = ran(&mut command);
    assert!(ok, "{said}");
    said.lines().last().unwrap().into()
}

#[test]
fn the_package_holds_what_it_promises_and_no_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let package = package(directory.path());
    let name = package.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(concat!("clawgate_", env!("CARGO_PKG_VERSION"), "_")) && name.ends_with(".deb"), "{name}");
    let (ok, about) = ran(Command::new("dpkg-deb").arg("-I").arg(&package));
    assert!(ok, "{about}");
    for line in
        [" Package: clawgate\n", concat!(" Version: ", env!("CARGO_PKG_VERSION"), "\n"), " Depends: libc6 (>= 2."]
    {
        assert!(about.contains(line), "{line} in {about}");
    }
    // Nothing below /etc is the package's own, so an upgrade has nothing to overwrite.
    assert!(!about.contains("conffiles"), "{about}");
    let (ok, list) = ran(Command::new("dpkg-deb").arg("-c").arg(&package));
    assert!(ok, "{list}");
    for (mode, path) in [
        ("-rwxr-xr-x", "./usr/bin/clawgate"),
        ("-rw-r--r--", "./usr/lib/systemd/system/clawgate.service"),
        ("-rw-r--r--", "./usr/lib/systemd/system/clawgate.socket"),
        ("-rw-r--r--", "./usr/lib/sysusers.d/clawgate.conf"),
        ("-rw-r--r--", "./usr/lib/tmpfiles.d/clawgate.conf"),
        ("drwxr-xr-x", "./etc/clawgate/conf.d/"),
        ("-rw-r--r--", "./usr/share/man/man1/clawgate.1.gz"),
        ("-rw-r--r--", "./usr/share/man/man1/clawgate-init.1.gz"),
        ("-rw-r--r--", "./usr/share/bash-completion/completions/clawgate"),
        ("-rw-r--r--", "./usr/share/zsh/vendor-completions/_clawgate"),
        ("-rw-r--r--", "./usr/share/fish/vendor_completions.d/clawgate.fish"),
        ("-rw-r--r--", "./usr/share/doc/clawgate/copyright"),
        ("-rw-r--r--", "./usr/share/doc/clawgate/examples/config.example.toml"),
    ] {
        let line =
            list.lines().find(|line| line.ends_with(&format!(" {path}"))).unwrap_or_else(|| panic!("{path} in {list}"));
        assert!(line.starts_with(mode) && line.contains(" root/root "), "{line}");
    }
    let in_etc: Vec<&str> = list.lines().filter(|line| line.contains(" ./etc/") && !line.starts_with('d')).collect();
    assert!(in_etc.is_empty(), "{in_etc:?}");
}

/// Told inside of the copy, step by step; the first that fails ends it.
const STORY: &str = r#"
set -eux
dpkg -i /package.deb
clawgate version
test ! -e /etc/clawgate/config.toml
test "$(stat -c '%U %a' /etc/clawgate /etc/clawgate/conf.d /var/lib/clawgate | tr '\n' ,)" = 'root 755,root 755,clawgate 700,'
# Nothing starts before there is a configuration.
test -z "$(find /etc/systemd /run/systemd/system -name 'clawgate*' 2>/dev/null)"
man -w clawgate >/dev/null 2>&1 || test -e /usr/share/man/man1/clawgate.1.gz
HOME=/nowhere clawgate init chat.example.com --clients 198.51.100.7 >/dev/null
test "$(stat -c '%U %a' /etc/clawgate/config.toml)" = 'root 644'
clawgate check --only config
cp /etc/clawgate/config.toml /before.toml
echo kept > /var/lib/clawgate/ledger
# An upgrade asks nothing and changes nothing.
dpkg -i /package.deb < /dev/null
cmp /before.toml /etc/clawgate/config.toml
dpkg -r clawgate
test ! -e /usr/bin/clawgate
cmp /before.toml /etc/clawgate/config.toml
test -e /var/lib/clawgate/ledger
dpkg -P clawgate
test ! -e /etc/clawgate
test ! -e /var/lib/clawgate
"#;

#[test]
fn the_package_installs_upgrades_and_goes_without_touching_what_is_the_operators() {
    let directory = tempfile::tempdir().unwrap();
    needs(&["unshare", "systemd-sysusers", "systemd-tmpfiles"]);
    let (_, id) = ran(Command::new("id").arg("-u"));
    // `env` is nobody's privilege: it only stands where `sudo -n` would.
    let as_root: &[&str] = if id.trim() == "0" { &["env"] } else { &["sudo", "-n", "env"] };
    let package = package(directory.path());
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let script = format!(
        "set -eu\nmount -t tmpfs none {copy}\ncd {copy}\nmkdir upper work root\n\
         mount -t overlay none -o lowerdir=/,upperdir={copy}/upper,workdir={copy}/work root\n\
         mount -t proc none root/proc\nmount --rbind /dev root/dev\nmount -t tmpfs none root/run\n\
         cp {package} root/package.deb\nexec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot root sh -c \"$STORY\"\n",
        copy = copy.display(),
        package = package.display(),
    );
    // Private, so that nothing of it is seen outside; the kernel takes the mounts away with the last process.
    let (ok, said) = ran(Command::new(as_root[0]).args(&as_root[1..]).arg(format!("STORY={STORY}")).args([
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
    ]));
    assert!(ok, "{said}");
}
