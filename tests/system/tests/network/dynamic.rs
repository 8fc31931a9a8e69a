//! A service whose user systemd makes at its start (`DynamicUser=`).

use std::{fs, os::unix::fs as unix, path::Path, process::Command};

use clawgate_system::{
    alone::{among_users, instead, run},
    machine::{HOST, report},
    process::say,
    proxy,
};

const STATE: &str = "/var/lib/clawgate";
/// Of those that systemd gives to such users.
const MADE: u32 = 61_184;

#[test]
fn a_user_that_is_made_at_the_start_is_no_false_alarm_and_what_only_the_start_shows_is_unknown() {
    const NAME: &str =
        "dynamic::a_user_that_is_made_at_the_start_is_no_false_alarm_and_what_only_the_start_shows_is_unknown";
    among_users(NAME, &[], async || {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let at = folder.path().display();
        let text = format!(
            "state_dir = \"{STATE}\"\nadmin_socket = \"{at}/admin.sock\"\n[[site]]\nhost = \"{HOST}\"\n\
             certificate = \"internal\"\nclients = [\"198.51.100.0/24\"]\n"
        );
        fs::write(&config, text).unwrap();
        for directory in ["/etc/systemd/system", "/var/lib"] {
            run("mount", &["-t", "tmpfs", "-o", "mode=755", "none", directory]);
        }
        instead("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        let unit = |lines: &str| {
            let text = format!("[Service]\nExecStart=/usr/bin/clawgate run\nDynamicUser=yes\n{lines}");
            fs::write("/etc/systemd/system/clawgate.service", text).unwrap();
        };
        let look = || {
            let found = report(&say(Command::new(proxy::binary())
                .arg("--config")
                .arg(&config)
                .args(["check", "--json", "--only", "state"])));
            let told = found.json["findings"].as_array().expect("a list").iter().map(|finding| {
                ["code", "severity", "seen"].map(|key| finding[key].as_str().expect("text").to_owned()).join(" ")
            });
            // The namespace's own directory is on a tmpfs.
            let told: Vec<String> = told.filter(|text| !text.starts_with("state/not-durable")).collect();
            (found.code, told)
        };
        let made = "state/user-unknown unknown systemd makes the user clawgate at the start (DynamicUser=)";

        unit("StateDirectory=clawgate\n");
        let at_start = format!("state/made-at-start ok {STATE} is not there yet; systemd makes it at the first start");
        assert_eq!(look(), (Some(0), vec![at_start, made.to_owned()]));

        // As systemd leaves it behind after a stop.
        fs::create_dir_all("/var/lib/private/clawgate").unwrap();
        unix::chown("/var/lib/private/clawgate", Some(MADE), Some(MADE)).unwrap();
        run("chmod", &["700", "/var/lib/private", "/var/lib/private/clawgate"]);
        unix::symlink("private/clawgate", Path::new(STATE)).unwrap();
        let good = format!("state/good ok systemd gives {STATE} to clawgate at the start");
        assert_eq!(look(), (Some(0), vec![good, made.to_owned()]));

        unit("");
        assert_eq!(look(), (Some(0), vec![format!("{made}, and does not make the state directory")]));

        // A user of that name is taken, and none made.
        instead("/etc/passwd", "root:x:0:0::/root:/bin/sh\nclawgate:x:990:990::/:/usr/sbin/nologin\n");
        let (code, told) = look();
        assert_eq!(code, Some(69));
        assert!(told[0].starts_with("state/not-writable error"), "{told:?}");
    });
}
