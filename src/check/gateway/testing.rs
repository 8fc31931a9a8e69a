//! A machine made of files.

use std::{cell::RefCell, collections::BTreeSet, fs, os::unix::fs::symlink, path::PathBuf};

use super::world::{User, World};

pub(super) struct Machine(tempfile::TempDir, RefCell<BTreeSet<String>>);

pub(super) fn user() -> User {
    User { name: "claw".into(), uid: 1000, home: "/home/claw".into(), logs_in: true }
}

impl Machine {
    /// With the accounts `root` and `claw`, and nobody who listens.
    pub(super) fn new() -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap(), RefCell::default());
        machine.file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nclaw:x:1000:1000::/home/claw:/bin/bash\n");
        machine.file("/proc/net/tcp", "  sl  local_address rem_address\n");
        machine
    }

    /// In the environment of the check.
    pub(super) fn set_here(&self, variable: &str) {
        self.1.borrow_mut().insert(variable.to_owned());
    }

    pub(super) fn world(&self) -> World {
        World {
            root: self.0.path().to_owned(),
            home: None,
            config_path: None,
            port: None,
            variables: self.1.borrow().clone(),
            looker: 0,
        }
    }

    pub(super) fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.world().at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn link(&self, path: &str, to: &str) {
        let path = self.world().at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(to, path).unwrap();
    }

    /// Process 4242 listens on 127.0.0.1:18789.
    pub(super) fn gateway(&self, group: &str, uid: u32, environment: &[&str]) {
        self.listener("0100007F", group, uid, environment);
    }

    /// The same at an address as `/proc/net/tcp` writes it.
    pub(super) fn listener(&self, address: &str, group: &str, uid: u32, environment: &[&str]) {
        let line = format!(
            "   0: {address}:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000  {uid}        0 4711 1 0 100 0 0 10 0\n"
        );
        self.file("/proc/net/tcp", &format!("  sl  local_address rem_address\n{line}"));
        self.file("/proc/4242/comm", "openclaw-gatewa\n");
        self.file("/proc/4242/cgroup", &format!("0::{group}\n"));
        self.file("/proc/4242/status", &format!("Name:\topenclaw-gatewa\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"));
        self.file("/proc/4242/environ", &environment.join("\0"));
        self.link("/proc/4242/fd/19", "socket:[4711]");
    }
}
