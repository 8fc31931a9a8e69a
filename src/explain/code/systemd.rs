//! What systemd could not do before there was a clawgate: the statuses of a unit that did not come as far as its program.

use super::wrapped;

/// As systemd.exec(5) has them: the number, its name, what was not done, and the way out. Those that our unit can end with.
const STATUSES: [(u8, &str, &str, &str); 19] = [
    (
        200,
        "CHDIR",
        "The unit's WorkingDirectory= is not there, or its user may not enter it.",
        "Make the directory, or take WorkingDirectory= out of the drop-in: `systemctl edit clawgate`",
    ),
    (
        203,
        "EXEC",
        "The program of ExecStart= is not there, may not be executed, or is for another kind of machine.",
        "`ls -l /usr/bin/clawgate` and `file /usr/bin/clawgate`; install it anew: `apt-get install --reinstall clawgate`",
    ),
    (
        204,
        "MEMORY",
        "There was not memory enough to start it.",
        "`free -h` shows what is left, and `journalctl -k` who was ended",
    ),
    (
        205,
        "LIMITS",
        "A Limit...= of the unit could not be set, as in a container that allows less.",
        "Take it back in a drop-in, such as LimitNOFILE= with a smaller number: `systemctl edit clawgate`",
    ),
    (
        209,
        "STDOUT",
        "What StandardOutput= names cannot be opened.",
        "Take StandardOutput= out of the drop-in, so that the log goes to the journal: `systemctl edit clawgate`",
    ),
    (
        216,
        "GROUP",
        "The unit's Group= is no group of this machine.",
        "`systemd-sysusers`, which makes it, then `systemctl restart clawgate`",
    ),
    (
        217,
        "USER",
        "The unit's User= is no user of this machine.",
        "`systemd-sysusers`, which makes it, then `systemctl restart clawgate`; `clawgate check --only state` says whether it is there",
    ),
    (
        218,
        "CAPABILITIES",
        "CAP_NET_BIND_SERVICE, which ports below 1024 need, could not be given: a container or a user's own systemd has not got it.",
        "In a container, give it that capability. A user's own systemd cannot: use the system's (`systemctl enable --now clawgate`)",
    ),
    (
        219,
        "CGROUP",
        "systemd could not make the unit's control group.",
        "`systemctl status` says whether systemd itself is well; a restart of the machine mends most",
    ),
    (
        226,
        "NAMESPACE",
        "The file system that the unit asks for could not be made: a path of ReadWritePaths=, BindPaths= and the like is not there, \
         or this container allows no mounts.",
        "The line before it in `journalctl -u clawgate` names the path: make it, or put `-` before it in the drop-in. In a container \
         without mounts: run clawgate without systemd's unit",
    ),
    (
        227,
        "NO_NEW_PRIVILEGES",
        "NoNewPrivileges= could not be set: the kernel is too old.",
        "Update the kernel (`uname -r`)",
    ),
    (
        228,
        "SECCOMP",
        "The filter of system calls could not be set: the kernel or the container has none.",
        "In a drop-in, SystemCallFilter= and SystemCallArchitectures= with nothing behind them: `systemctl edit clawgate`",
    ),
    (
        233,
        "RUNTIME_DIRECTORY",
        "systemd could not make /run/clawgate.",
        "`ls -ld /run/clawgate` and `df /run`: a file with that name, or a file system that is full or read-only",
    ),
    (
        237,
        "KEYRING",
        "The unit's keyring could not be made: the container allows none.",
        "In a drop-in, KeyringMode=inherit: `systemctl edit clawgate`",
    ),
    (
        238,
        "STATE_DIRECTORY",
        "systemd could not make or take over /var/lib/clawgate.",
        "`ls -ld /var/lib/clawgate` and `df /var/lib`: a file or a link with that name, or a disk that is full or read-only; \
         `clawgate check --only state` looks at it",
    ),
    (
        241,
        "CONFIGURATION_DIRECTORY",
        "systemd could not make /etc/clawgate.",
        "`ls -ld /etc/clawgate` and `df /etc`: a file with that name, or a disk that is full or read-only",
    ),
    (
        243,
        "CREDENTIALS",
        "A credential of the drop-in (LoadCredential=, SetCredential=) could not be read.",
        "The line before it in `journalctl -u clawgate` names it; the file has to be there, and is read as root",
    ),
    (
        244,
        "BPF",
        "The rules of SocketBindAllow= could not be put in force.",
        "Update systemd and the kernel, or take SocketBindAllow= and SocketBindDeny= back in a drop-in: `systemctl edit clawgate`",
    ),
    (
        255,
        "EXCEPTION",
        "systemd, or the program that it started, ended without a status of its own.",
        "`journalctl -u clawgate -n 50` has what was said before",
    ),
];

/// The page of `217/USER`, of the number or name alone, and of a line of systemd's log with the first.
pub(super) fn page(line: &str) -> Option<String> {
    let words = || line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '/');
    let is = |word: &str, (number, name, ..): &&(u8, &str, &str, &str)| {
        let pair = word.split_once('/').is_some_and(|(first, last)| {
            first.parse() == Ok(*number) && (last.is_empty() || last.eq_ignore_ascii_case(name))
        });
        // The other names and numbers stand for much else.
        pair || (word == line && word.parse() == Ok(*number))
    };
    let (number, name, what, way_out) = words().find_map(|word| STATUSES.iter().find(|status| is(word, status)))?;
    let why = "systemd ended before it came to clawgate, so clawgate has logged nothing. `journalctl -u clawgate -n 20` has \
               systemd's own line, which names the step and what was missing.";
    Some(format!(
        "{number}/{name}: status of a unit, of systemd's own\n\n{}\n{}\n\nWay out:\n  {way_out}\n",
        wrapped(what),
        wrapped(why)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_alone_and_in_a_line_of_systemds() {
        let begins = |line: &str| page(line).map(|text| text.split(':').next().unwrap().to_owned());
        for (number, name, ..) in STATUSES {
            for line in [format!("{number}/{name}"), number.to_string(), format!("{number}/{}", name.to_lowercase())] {
                assert_eq!(begins(&line), Some(format!("{number}/{name}")), "{line}");
            }
        }
        let line = "clawgate.service: Main process exited, code=exited, status=226/NAMESPACE";
        assert_eq!(begins(line).as_deref(), Some("226/NAMESPACE"));
        assert_eq!(begins("(code=exited, status=203/EXEC)").as_deref(), Some("203/EXEC"));
        for other in ["217/EXEC", "12/USER", "0", "user", "chat at 217 of them", "203.0.113.9", "10.0.0.0/8", "", "/"] {
            assert_eq!(begins(other), None, "{other}");
        }
    }
}
