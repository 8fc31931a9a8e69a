use std::{
    net::ToSocketAddrs as _,
    os::unix::{fs::symlink, net::UnixListener},
    process::Command,
};

use super::*;
use crate::process::load;

fn config(text: &str) -> Config {
    let site = "[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\n";
    load::parse("test", format!("{text}\n{site}")).unwrap().config
}

/// A world in which everything is where it is named, but for these links.
fn rules_of(text: &str, links: &[(&str, &str)], files: &[&str]) -> Vec<(String, Right)> {
    let real = |path: &Path| {
        let link = links.iter().find(|(from, _)| Path::new(from) == path);
        Some(link.map_or_else(|| path.to_owned(), |(_, to)| PathBuf::from(to)))
    };
    let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    let world = World {
        config: Path::new("/etc/clawgate/config.toml"),
        files: &files,
        credentials: Some(Path::new("/run/credentials/clawgate.service")),
        temp: Path::new("/tmp"),
        real: &real,
    };
    let rules = rules::all(&config(text), &world);
    rules.into_iter().map(|rule| (rule.path.display().to_string(), rule.right)).collect()
}

fn has(rules: &[(String, Right)], path: &str, right: Right) -> bool {
    rules.contains(&(path.to_owned(), right))
}

const COMMAND: &str = "[acme]\non_event = { command = [\"/srv/hooks/tell\"] }\n";

#[test]
fn only_the_state_is_written_and_nothing_is_run() {
    let rules = rules_of("", &[], &[]);
    let written: Vec<&str> =
        rules.iter().filter(|(_, right)| *right == Right::Write).map(|(path, _)| path.as_str()).collect();
    assert_eq!(written, ["/var/lib/clawgate"]);
    assert!(has(&rules, "/run/clawgate", Right::Socket) && has(&rules, "/etc", Right::Read));
    assert!(has(&rules, "/run/credentials/clawgate.service", Right::Read));
    assert!(!rules.iter().any(|(path, right)| *right == Right::Run || path == "/" || path.starts_with("/root")));
}

#[test]
fn a_command_brings_programs_and_scratch_with_it() {
    let rules = rules_of(COMMAND, &[], &[]);
    for path in ["/usr", "/bin", "/opt", "/srv/hooks"] {
        assert!(has(&rules, path, Right::Run), "{path}: {rules:?}");
    }
    assert!(has(&rules, "/tmp", Right::Write));
}

#[test]
fn a_file_brings_its_directories_where_it_is_named_and_where_it_is() {
    let live = "/srv/tls/live/a/fullchain.pem";
    let links = [(live, "/srv/tls/archive/a/fullchain7.pem"), ("/etc/resolv.conf", "/run/net/resolv.conf")];
    let text = format!("[[site]]\nhost = \"b.test\"\ncertificate = \"{live}\"\nkey = \"/key.pem\"\n");
    let rules = rules_of(&text, &links, &["/home/op/token"]);
    for path in ["/srv/tls/live/a", "/srv/tls/archive/a", "/home/op", "/run/net"] {
        assert!(has(&rules, path, Right::Read), "{path}: {rules:?}");
    }
    // The root's directory would be everything.
    assert!(has(&rules, "/key.pem", Right::Read) && !rules.iter().any(|(path, _)| path == "/"), "{rules:?}");
}

#[test]
fn what_is_beneath_is_covered_by_as_much_and_not_by_less() {
    let rule = |path: &str, right| Rule { path: path.into(), right };
    let have = [rule("/srv/a", Right::Read), rule("/usr", Right::Run), rule("/state", Right::Write)];
    for (path, right) in [
        ("/srv/a", Right::Read),
        ("/srv/a/b", Right::Read),
        ("/usr/bin", Right::Run),
        ("/usr/x", Right::Read),
        ("/state/x", Right::Read),
    ] {
        assert!(rules::covered(&have, &rule(path, right)), "{path}");
    }
    for (path, right) in [
        ("/srv", Right::Read),
        ("/srv/ab", Right::Read),
        ("/srv/a", Right::Run),
        ("/srv/a", Right::Write),
        ("/state", Right::Run),
        ("/usr", Right::Write),
    ] {
        assert!(!rules::covered(&have, &rule(path, right)), "{path}");
    }
}

/// Set for the test's second self: a sandbox is for ever.
const INSIDE: &str = "CLAWGATE_TEST_SANDBOX";

/// Runs the test called `name` once more, as a process of its own.
fn inside(name: &str, story: impl FnOnce(&Path)) {
    if let Some(home) = env::var_os(INSIDE) {
        return story(Path::new(&home));
    }
    kernel().expect("these tests need a kernel with landlock");
    let home = tempfile::tempdir().unwrap();
    for directory in ["etc", "tls", "outside"] {
        fs::create_dir(home.path().join(directory)).unwrap();
        fs::write(home.path().join(directory).join("file"), directory).unwrap();
    }
    let name = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let mut own = Command::new(env::current_exe().unwrap());
    let output = own.args(["--exact", &name, "--nocapture"]).env(INSIDE, home.path()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn enter(home: &Path, text: &str) -> Sandbox {
    let at = home.display();
    let text = format!(
        "state_dir = \"{at}/state\"\nadmin_socket = \"{at}/run/admin.sock\"\n{text}\n\
         [[site]]\nhost = \"b.test\"\ncertificate = \"{at}/tls/file\"\nkey = \"{at}/tls/file\"\n"
    );
    let sandbox = Sandbox::enter(&config(&text), &home.join("etc/file"), &[]);
    assert!(sandbox.text().starts_with("landlock ABI "), "{}", sandbox.text());
    sandbox
}

fn denied<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.expect_err("it is outside").kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn inside_there_is_all_that_is_needed_and_nothing_else() {
    inside("inside_there_is_all_that_is_needed_and_nothing_else", |home| {
        let sandbox = enter(home, "");
        let outside = home.join("outside/file");
        denied(fs::read(&outside));
        denied(fs::write(home.join("etc/new"), ""));
        denied(fs::write(home.join("tls/file"), ""));
        denied(fs::remove_file(&outside));
        denied(fs::read_dir("/"));
        denied(Command::new("/bin/true").status());
        // By a link in the own directory neither.
        symlink(&outside, home.join("state/link")).unwrap();
        denied(fs::read(home.join("state/link")));
        // A thread that comes later is inside, too.
        std::thread::spawn(move || denied(fs::read(&outside))).join().unwrap();
        assert!(sandbox.hides(&home.join("outside/file")) && sandbox.hides(&home.join("state/link")));
        assert!(!sandbox.hides(&home.join("tls/file")) && !sandbox.hides(&home.join("nowhere")));

        assert_eq!(fs::read(home.join("etc/file")).unwrap(), b"etc");
        assert_eq!(fs::read(home.join("tls/file")).unwrap(), b"tls");
        let state = home.join("state");
        fs::create_dir_all(state.join("a/b")).unwrap();
        fs::write(state.join("a/b/one"), "1").unwrap();
        // From one directory into another, as an aside copy is made.
        fs::rename(state.join("a/b/one"), state.join("one")).unwrap();
        fs::OpenOptions::new().write(true).truncate(true).open(state.join("one")).unwrap();
        fs::remove_dir_all(state.join("a")).unwrap();
        drop(UnixListener::bind(home.join("run/admin.sock")).unwrap());
        fs::remove_file(home.join("run/admin.sock")).unwrap();
        assert!(("localhost", 80).to_socket_addrs().unwrap().next().is_some());
        fs::read("/proc/self/statm").unwrap();
        fs::read("/etc/passwd").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    });
}

#[test]
fn a_command_runs_inside_too() {
    inside("a_command_runs_inside_too", |home| {
        let sandbox = enter(home, "[acme]\non_event = { command = [\"/bin/sh\"] }\n");
        let sh = |script: String| Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
        let at = home.display();
        assert!(sh(format!("cat {at}/tls/file > {at}/state/copy && ls /usr >/dev/null")).status.success());
        let output = sh("cat /root/.bashrc /boot/* /home/*".into());
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(sandbox.lacks(&config("[acme]\non_event = { command = [\"/bin/ls\"] }\n")).is_empty());
        let elsewhere = config("[acme]\non_event = { command = [\"/boot/hook\"] }\n");
        assert_eq!(sandbox.lacks(&elsewhere), [Rule { path: "/boot".into(), right: Right::Run }]);
    });
}

#[test]
fn a_command_that_comes_with_a_reload_needs_a_restart() {
    inside("a_command_that_comes_with_a_reload_needs_a_restart", |home| {
        let sandbox = enter(home, "");
        let lacks = sandbox.lacks(&config("[acme]\non_event = { command = [\"/bin/sh\"] }\n"));
        assert!(!lacks.is_empty() && lacks.iter().all(|rule| rule.right == Right::Run), "{lacks:?}");
        assert!(sandbox.lacks(&config("")).is_empty());
    });
}

#[test]
fn without_a_sandbox_nothing_is_hidden_and_the_reason_is_said() {
    let sandbox = Sandbox::enter(&config("sandbox = \"off\""), Path::new("/etc/clawgate/config.toml"), &[]);
    assert_eq!(sandbox.text(), "none: switched off in the configuration");
    assert!(!sandbox.hides(Path::new("/root")) && sandbox.lacks(&config(COMMAND)).is_empty());
}
