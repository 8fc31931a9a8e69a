//! Child processes that never outlive the test.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// A running program in a process group of its own, with what it prints in a file.
///
/// It ends with the guard, by SIGKILL to the whole group; and because the kernel is told to end it with the thread that
/// started it, also when the test itself is killed. Start it on the test's own thread, therefore.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints is appended to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &'static str, command: &mut Command, log: &Path) -> Process {
        let out = File::options().create(true).append(true).open(log).expect("the log file can be opened");
        let err = out.try_clone().expect("a file handle can be doubled");
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        // SAFETY: prctl is async-signal-safe and touches no memory of ours.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name} ({command:?}): {e}"));
        Process { name, child, log: log.to_owned() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` to the process alone, not to its group.
    pub fn signal(&self, signal: i32) {
        // SAFETY: plain system call; the child is not reaped yet, so the id is still its own.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0, "{} can be sent signal {signal}", self.name);
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Ends the whole group and all that descends from it at once, and reaps the child.
    pub fn kill(&mut self) {
        let group = self.child.id() as i32;
        // The gateway's workers have groups of their own; they end by themselves, but only after writing a little more
        // into a folder that is about to go.
        let workers = descendants(group);
        for target in workers.into_iter().chain([-group]) {
            // SAFETY: plain system call on this child's group and on what came from it. Where the child was reaped, the
            // group is gone or holds only what it left.
            unsafe { libc::kill(target, libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}

/// How a command that ends by itself ended, and what it said.
#[derive(Debug)]
pub struct Said {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs `command` to its end.
pub fn say(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let text = |bytes: &[u8]| plain(&String::from_utf8_lossy(bytes), command);
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// What `command` printed, with our own commands in it as they are beside the default configuration: every one names the
/// one that was given (tests/cli.rs has that), which is another folder each time.
pub fn plain(text: &str, command: &Command) -> String {
    let given = command.get_args().skip_while(|word| *word != "--config").nth(1);
    given.map_or(text.to_owned(), |config| text.replace(&format!(" --config {}", config.display()), ""))
}

fn descendants(of: i32) -> Vec<i32> {
    let mut found = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|id| id.parse::<i32>().ok()));
        }
    }
    found.split_off(1)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<_> = output.lines().rev().take(60).collect();
            eprintln!("--- last lines of {} ---", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
