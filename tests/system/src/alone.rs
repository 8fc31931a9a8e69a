//! A test in a network of its own: nothing but loopback, and whatever addresses it wants there; and with mounts of its
//! own, which nobody else sees.

use std::{process::Command, sync::Mutex};

/// Set for the test's second self.
const INSIDE: &str = "CLAWGATE_TEST_ALONE";

/// Runs the test called `name` once more, in a network namespace whose loopback has `addresses`; `story` is told there.
///
/// # Panics
/// When the story does, or where the kernel allows no user namespaces.
pub fn alone(name: &str, addresses: &[&str], story: impl AsyncFnOnce()) {
    if is_inside() {
        run("ip", &["link", "set", "lo", "up"]);
        for address in addresses {
            run("ip", &["address", "add", address, "dev", "lo"]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(story());
    }
    let own = std::env::current_exe().expect("a running program has a path");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--kill-child"]).arg(own);
    let output = command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1").output().expect("unshare can be run");
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
