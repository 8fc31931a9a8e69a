//! A test in a network of its own: nothing but loopback, and whatever addresses it wants there; and with mounts of its
//! own, which nobody else sees; where it is about users, with accounts of its own too.

use std::{fs, path::Path, process::Command, sync::Mutex};

use crate::{cached::cache, certified::as_root};

/// Set for the test's second self.
const INSIDE: &str = "CLAWGATE_TEST_ALONE";

/// Runs the test called `name` once more, in a network namespace whose loopback has `addresses`; `story` is told there.
///
/// # Panics
/// When the story does, or where the kernel allows no user namespaces.
pub fn alone(name: &str, addresses: &[&str], story: impl AsyncFnOnce()) {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--kill-child", "env"]);
    tell(name, addresses, command, story);
}

/// The same by root itself, with all users of this machine and those that the story adds: `/etc` is a copy, which goes with
/// the story. Everybody may read what `tests/setup/install` has put into its cache.
///
/// # Panics
/// When the story does, or where neither this process is root nor `sudo -n` works.
pub fn among_users(name: &str, addresses: &[&str], story: impl AsyncFnOnce()) {
    let cached = std::env::var_os(CACHE).map_or_else(cache, Into::into);
    let mut command = as_root("unshare");
    command.args(["--net", "--mount", "--kill-child", "env", "XDG_CACHE_HOME=/mnt"]);
    command.arg(format!("{CACHE}={}", cached.display()));
    // What `sudo` takes away.
    for variable in ["PATH", "CLAWGATE_BIN", "TMPDIR"] {
        command.args(std::env::var(variable).ok().map(|value| format!("{variable}={value}")));
    }
    let accounts = || fs::read("/etc/passwd").expect("everybody may read it");
    let before = accounts();
    tell(name, addresses, command, async || {
        run("mount", &["-t", "tmpfs", "none", "/mnt"]);
        show(&cached, Path::new("/mnt/clawgate-test"));
        run("cp", &["-a", "/etc", "/mnt/etc"]);
        run("mount", &["--bind", "/mnt/etc", "/etc"]);
        // What the tools for accounts write beside.
        for path in ["/var/log", "/var/mail"].into_iter().filter(|path| Path::new(path).is_dir()) {
            run("mount", &["-t", "tmpfs", "none", path]);
        }
        story().await;
    });
    assert!(is_inside() || accounts() == before, "the machine's own accounts are as they were");
}

/// Whoever may not enter the cache, or one of its folders, sees at `to` what is in them.
fn show(cached: &Path, to: &Path) {
    let inside = |path: &Path| fs::read_dir(path).expect("a folder").map(|entry| entry.expect("it is there").path());
    for folder in inside(cached).filter(|path| path.is_dir()) {
        let shown = to.join(folder.file_name().expect("an entry has a name"));
        fs::create_dir_all(&shown).expect("a file system of ours");
        for entry in inside(&folder).filter(|path| path.is_dir() && !path.is_symlink()) {
            let shown = shown.join(entry.file_name().expect("an entry has a name"));
            fs::create_dir(&shown).expect("a file system of ours");
            run("mount", &["--bind", entry.to_str().expect("text"), shown.to_str().expect("text")]);
        }
    }
}

/// Where the cache is outside.
const CACHE: &str = "CLAWGATE_TEST_CACHE";

/// Has `command` run the second self, or is it.
fn tell(name: &str, addresses: &[&str], mut command: Command, story: impl AsyncFnOnce()) {
    if is_inside() {
        run("ip", &["link", "set", "lo", "up"]);
        for address in addresses {
            run("ip", &["address", "add", address, "dev", "lo"]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(story());
    }
    let own = std::env::current_exe().expect("a running program has a path");
    command.arg(format!("{INSIDE}=1")).arg(own).args(["--exact", name, "--nocapture"]);
    let output = command.output().expect("unshare can be run");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

/// Whether this is the second self.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Inside: `path` of this machine reads `text` until the story ends, and nobody outside sees it.
///
/// # Panics
/// Where there is no such file to stand before, or outside of a story.
pub fn instead(path: &str, text: &str) {
    assert!(is_inside(), "it would change the real machine");
    static STANDING: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut standing = STANDING.lock().expect("nobody panics in here and goes on");
    if !standing.iter().any(|other| other == path) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file").into_temp_path();
        run("mount", &["--bind", file.to_str().expect("a path of ours is text"), path]);
        // The mount holds it.
        file.close().expect("it can be unlinked");
        standing.push(path.to_owned());
    }
    std::fs::write(path, text).expect("it can be written");
}

/// Where programs for the administrator are too.
pub(crate) const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// Runs a program that changes this network.
///
/// # Panics
/// When it does not succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).env("PATH", PATH).status().expect("a program of the system");
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
