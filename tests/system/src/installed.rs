//! The real gateway on a [`Machine`], as the guide installs it: in root's home, and in its service as far as the records
//! of systemd tell that. Only for tests that are [`alone`](crate::alone).

use std::{fs, os::unix::fs::symlink};

use crate::{
    Gateway, Machine,
    alone::{instead, run},
    gateway::Options,
    seats::Seats,
};

/// Where a login of root's is.
pub const SCOPE: &str = "user.slice/user-0.slice/session-1.scope";
/// Where OpenClaw's own installation puts it.
pub const SERVICE: &str = "user.slice/user-0.slice/user@0.service/app.slice/openclaw-gateway.service";

/// Runs from a login of root's; the machine's site is before it.
pub async fn by_hand(machine: &Machine, seats: &Seats, options: Options) -> Gateway {
    let mut gateway = options.at_home().stopped();
    move_in(&gateway);
    seats.sit(std::process::id(), SCOPE);
    gateway.start().await;
    machine.forward(gateway.port);
    gateway
}

/// Runs in a service that lasts.
pub async fn as_service(machine: &Machine, seats: &Seats, options: Options) -> Gateway {
    let gateway = by_hand(machine, seats, options).await;
    seats.sit(gateway.id(), SERVICE);
    linger();
    enable(&gateway);
    gateway
}

/// Its home is root's on this machine.
pub fn move_in(gateway: &Gateway) {
    instead("/etc/passwd", &format!("root:x:0:0::{}:/bin/sh\n", gateway.home().display()));
    run("mount", &["-t", "tmpfs", "none", "/var/lib/systemd"]);
}

/// As `loginctl enable-linger root` does it.
pub fn linger() {
    fs::create_dir_all("/var/lib/systemd/linger").expect("a file system of ours");
    fs::write("/var/lib/systemd/linger/root", "").expect("a file system of ours");
}

/// As `systemctl --user enable` does it.
pub fn enable(gateway: &Gateway) {
    let wants = gateway.home().join(".config/systemd/user/default.target.wants");
    fs::create_dir_all(&wants).expect("its home is ours");
    symlink("../openclaw-gateway.service", wants.join("openclaw-gateway.service")).expect("its home is ours");
}

/// The unit, with these lines in its `[Service]`.
pub fn unit(gateway: &Gateway, lines: &str) {
    let folder = gateway.home().join(".config/systemd/user");
    fs::create_dir_all(&folder).expect("its home is ours");
    fs::write(folder.join("openclaw-gateway.service"), format!("[Service]\n{lines}\n")).expect("its home is ours");
}
