//! Who may use which verb of the admin socket: the real binary as a service user, and callers with uids and gids of
//! their own. Only root can become others, so it needs root.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, fs::chown, net::UnixStream, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::service::{CLAWGATE, Service, write_config};

/// Nobody's: the service, its group, somebody else.
const SERVICE: u32 = 64_990;
const MEMBER: u32 = 64_991;
pub const STRANGER: u32 = 64_992;

const LOOK: [&str; 7] = ["certs", "look", "status", "metrics", "top", "pin", "allow-list"];

fn changes() -> [Value; 6] {
    [
        json!({ "verb": "reload" }),
        json!({ "verb": "renew", "name": "chat.test" }),
        json!({ "verb": "revoke", "name": "chat.test" }),
        json!({ "verb": "rehearse" }),
        json!({ "verb": "allow", "network": "198.51.100.7", "seconds": 60 }),
        json!({ "verb": "allow-remove", "network": "198.51.100.7" }),
    ]
}

/// The service as a user of its own.
fn start() -> Service {
    let home = tempfile::tempdir().unwrap();
    write_config(
        &home,
        "[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\nallow = [\"127.0.0.0/8\"]\nupstream = \
         \"127.0.0.1:9\"\n",
    );
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(home.path(), Some(SERVICE), Some(SERVICE)).unwrap();
    let mut command = Command::new(CLAWGATE);
    command.uid(SERVICE).gid(SERVICE);
    Service::start(home, command)
}

/// What a process of this uid and gid is answered; its pid.
fn asked(service: &Service, uid: u32, gid: u32, request: &Value) -> (Value, u32) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "verbs::the_caller", "--ignored", "--nocapture"])
        .env("CALL_AT", service.path("admin.sock"))
        .env("CALL", request.to_string())
        .uid(uid)
        .gid(gid)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = text.lines().find_map(|line| line.split_once("ANSWER ")).unwrap_or_else(|| panic!("{text}"));
    (serde_json::from_str(answer.1).unwrap(), pid)
}

/// Not a test: what [`asked`] runs as somebody else.
#[test]
#[ignore = "run by the other test, as another user"]
fn the_caller() {
    let (Ok(at), Ok(request)) = (std::env::var("CALL_AT"), std::env::var("CALL")) else { return };
    let answer = UnixStream::connect(Path::new(&at)).and_then(|mut stream| {
        stream.write_all(request.as_bytes())?;
        stream.write_all(b"\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    match answer {
        Ok(answer) => println!("\nANSWER {}", answer.trim()),
        Err(error) => println!("\nANSWER {}", json!({ "io": error.kind().to_string() })),
    }
}

/// Only root can become others: whoever may be root by `sudo -n` is that for this test, and for everybody else it fails.
pub fn as_root(test: &str) {
    let mut again = Command::new("sudo");
    again.arg("-n").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = again.output().expect("this test has to be root: run it as root, or install sudo");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "this test has to be root: run it as root, or let `sudo -n` work; it says: {said}"
    );
}

#[test]
fn verbs_that_look_are_for_the_group_and_verbs_that_change_for_root_and_the_service_user() {
    if !rustix::process::geteuid().is_root() {
        return as_root("verbs::verbs_that_look_are_for_the_group_and_verbs_that_change_for_root_and_the_service_user");
    }
    let service = start();

    // The lists above are all verbs there are.
    let (unknown, _) = asked(&service, 0, 0, &json!({ "verb": "?" }));
    let said = unknown["text"].as_str().unwrap().split_once("expected one of ").unwrap().1.to_owned();
    let mut all: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
    let changes = changes();
    let mut own: Vec<&str> = LOOK.into_iter().chain(changes.iter().map(|c| c["verb"].as_str().unwrap())).collect();
    all.sort_unstable();
    own.sort_unstable();
    assert_eq!(own, all);

    for verb in LOOK {
        let request = json!({ "verb": verb });
        let (answer, pid) = asked(&service, MEMBER, SERVICE, &request);
        assert_eq!(answer["ok"], true, "{verb}: {answer}");
        let line = service.logs("admin request");
        assert_eq!((&line["verb"], &line["uid"], &line["pid"]), (&verb.into(), &MEMBER.into(), &pid.into()), "{line}");
        let (answer, _) = asked(&service, STRANGER, STRANGER, &request);
        assert_eq!(answer["io"], "permission denied", "{verb}: {answer}");
    }
    for request in &changes {
        let verb = &request["verb"];
        let (answer, pid) = asked(&service, MEMBER, SERVICE, request);
        let text = answer["text"].as_str().unwrap();
        assert_eq!(answer["error"], "forbidden", "{verb}: {answer}");
        assert!(text.contains("you are uid 64991: run it with sudo"), "{text}");
        let line = service.logs("admin request refused");
        assert_eq!((&line["verb"], &line["uid"], &line["pid"]), (verb, &MEMBER.into(), &pid.into()), "{line}");
        let (answer, _) = asked(&service, STRANGER, STRANGER, request);
        assert_eq!(answer["io"], "permission denied", "{verb}: {answer}");
        for (uid, gid) in [(SERVICE, SERVICE), (0, 0)] {
            let (answer, pid) = asked(&service, uid, gid, request);
            assert_ne!(answer["error"], "forbidden", "{verb}: {answer}");
            assert!(answer["text"].is_string(), "{verb}: {answer}");
            let line = service.logs("admin request");
            assert_eq!((&line["verb"], &line["uid"], &line["pid"]), (verb, &uid.into(), &pid.into()), "{line}");
        }
    }

    // The command says the way out.
    let says = |verb: &str| {
        let mut command = Command::new(CLAWGATE);
        command.arg("--config").arg(service.path("config.toml")).arg(verb).uid(STRANGER).gid(STRANGER);
        let said = command.output().unwrap();
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(77), "{error}");
        assert!(error.contains("run this as root (sudo)"), "{error}");
        error
    };
    // Whose it is stands at the socket; the group has no name here.
    assert!(says("status").contains("`usermod -aG 64990 YOU`"), "{}", says("status"));
    // It would not help.
    assert!(!says("reload").contains("usermod"), "{}", says("reload"));
}

/// What an agent with a shell may be: a process of the service's own user. It gets nothing out of the running proxy.
#[test]
fn a_process_of_the_same_user_cannot_read_the_running_one() {
    // SAFETY: reads a number that the process has.
    if unsafe { libc::geteuid() } != 0 {
        return as_root("verbs::a_process_of_the_same_user_cannot_read_the_running_one");
    }
    let service = start();
    let read = |pid: u32, what: &str| {
        let mut cat = Command::new("cat");
        cat.arg(format!("/proc/{pid}/{what}")).uid(SERVICE).gid(SERVICE).stdout(Stdio::null()).stderr(Stdio::null());
        cat.status().unwrap().success()
    };
    let mut other = Command::new("sleep").arg("60").uid(SERVICE).gid(SERVICE).spawn().unwrap();
    let (own, theirs) = (service.id(), other.id());
    let seen = ["environ", "maps", "auxv"].map(|what| (read(theirs, what), read(own, what)));
    let limits = fs::read_to_string(format!("/proc/{own}/limits")).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(seen, [(true, false); 3], "another process of that user can be read, this one cannot");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}
