//! Exit codes by name (sysexits.h where one fits), and how a panic that nobody may survive becomes one.

use std::sync::OnceLock;

/// A check found warnings, and they were denied.
pub const WARNINGS: u8 = 1;
/// The command line was wrong (clap's own code).
pub const USAGE: u8 = 2;
/// A live check failed, or the running process could not be reached.
pub const UNAVAILABLE: u8 = 69;
/// A long-lived task panicked or an invariant broke.
pub const SOFTWARE: u8 = 70;
/// The operating system refused something we need (a port, a descriptor).
pub const OS_ERROR: u8 = 71;
/// There is no certificate and a CA may not be asked for one now; nothing else is wrong.
pub const TRY_LATER: u8 = 75;
/// Missing permission.
pub const NO_PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;

/// Held by every long-lived thread or task: when it unwinds, the process ends with [`SOFTWARE`] instead of running on
/// without it. A connection task catches its own panic and holds none.
///
/// ```
/// let _guard = clawgate::exit::OnPanic::new("core 0");
/// ```
#[must_use = "the guard works while it is held"]
pub struct OnPanic {
    task: &'static str,
}

impl OnPanic {
    pub fn new(task: &'static str) -> OnPanic {
        OnPanic { task }
    }
}

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.task, "a long-lived task panicked, the process ends");
            last_words();
            std::process::exit(SOFTWARE.into());
        }
    }
}

static LAST_WORDS: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// What has to happen before an exit that comes from the middle of the program: the log is flushed. The first call
/// counts.
pub fn set_last_words(words: impl Fn() + Send + Sync + 'static) {
    let _ = LAST_WORDS.set(Box::new(words));
}

/// Runs what [`set_last_words`] set.
pub fn last_words() {
    if let Some(words) = LAST_WORDS.get() {
        words();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs itself in a child process, where the guard's exit code can be seen.
    #[test]
    fn a_panicking_long_lived_task_ends_the_process_with_70() {
        const CHILD: &str = "CLAWGATE_TEST_CHILD_PANICS";
        if std::env::var_os(CHILD).is_some() {
            set_last_words(|| eprintln!("flushed"));
            let _ = std::thread::spawn(|| {
                let _guard = OnPanic::new("core 0");
                panic!("the invariant broke");
            })
            .join();
            return;
        }
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "exit::tests::a_panicking_long_lived_task_ends_the_process_with_70", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(child.status.code(), Some(SOFTWARE.into()));
        assert!(String::from_utf8_lossy(&child.stderr).contains("flushed"));
    }

    #[test]
    fn a_guard_that_ends_in_peace_does_nothing() {
        drop(OnPanic::new("core 0"));
    }
}
