//! Places where systemd puts processes, made by hand: a test's process sits in a session's scope or in a user's service
//! as it would on a server, as far as its cgroup tells. Only for tests that are `alone`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{alone, certified::as_root, process::say};

/// One tree in each hierarchy that says where a process belongs; it goes with the last process in it.
pub struct Seats {
    /// The tree, and where this process was before.
    trees: Vec<(PathBuf, PathBuf)>,
}

impl Seats {
    /// Makes these seats; to be called before [`alone`](alone::alone), whose second self finds them.
    ///
    /// # Panics
    /// Where neither this process is root nor `sudo -n` works.
    pub fn of(name: &str, seats: &[&str]) -> Seats {
        let own = fs::read_to_string("/proc/self/cgroup").expect("a process knows its cgroups");
        let tree = |(mount, mark): (PathBuf, &str)| {
            let was = own.lines().find(|line| line.contains(mark)).and_then(|line| line.splitn(3, ':').nth(2));
            let was = mount.join(was.unwrap_or("/").trim_start_matches('/'));
            // The second self was born into the tree that the first one has made.
            let mine = format!("{PREFIX}{name}-");
            let born =
                was.ancestors().find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&mine)));
            let tree = match born.filter(|_| alone::is_inside()) {
                Some(tree) => tree.to_owned(),
                None => mount.join(format!("{mine}{}", std::process::id())),
            };
            (tree, was)
        };
        let trees: Vec<_> = hierarchies().into_iter().map(tree).collect();
        assert!(!trees.is_empty(), "no hierarchy of systemd's is mounted");
        if !alone::is_inside() {
            for (tree, _) in &trees {
                clear(tree.parent().expect("a tree is below its hierarchy"));
                let folders = seats.iter().map(|seat| tree.join(seat));
                let said = say(as_root("mkdir").arg("-p").args(folders));
                assert_eq!(said.code, Some(0), "{said:?}");
                // SAFETY: reads a number that the process has.
                let uid = unsafe { libc::geteuid() };
                say(as_root("chown").args(["-R", &uid.to_string()]).arg(tree));
                // Who is in the tree may move about in it.
                enter(&tree.clone());
            }
        }
        Seats { trees }
    }

    /// Puts a process there.
    pub fn sit(&self, process: u32, seat: &str) {
        for (tree, _) in &self.trees {
            fs::write(tree.join(seat).join("cgroup.procs"), process.to_string()).expect("it may move there");
        }
    }
}

const PREFIX: &str = "clawgate-test-";

/// Takes away the trees of tests that were killed: their names end with the number of a process that is no more. What
/// somebody still sits in stays, because the kernel keeps it.
fn clear(hierarchy: &Path) {
    for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('-')).map(|(_, id)| id);
        let is_gone = |id: &str| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists();
        if maker.is_some_and(is_gone) {
            remove(&entry.path());
        }
    }
}

fn remove(tree: &Path) {
    say(as_root("find").arg(tree).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]));
}

fn enter(group: &Path) {
    let line = format!("echo {} > '{}/cgroup.procs'", std::process::id(), group.display());
    let said = say(as_root("sh").args(["-c", &line]));
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// cgroup2, and where systemd has its own beside or instead, that one; with what marks it in `/proc/PID/cgroup`.
fn hierarchies() -> Vec<(PathBuf, &'static str)> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("a process knows its mounts");
    let one = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[..] {
            [_, at, "cgroup2", ..] => Some((at.into(), "0::")),
            [_, at, "cgroup", options, ..] if options.contains("name=systemd") => Some((at.into(), ":name=systemd:")),
            _ => None,
        }
    };
    mounts.lines().filter_map(one).collect()
}

impl Drop for Seats {
    fn drop(&mut self) {
        if alone::is_inside() {
            return;
        }
        for (tree, was) in &self.trees {
            enter(was);
            // Those who sat there were killed; the kernel takes them out in its own time.
            let late = Instant::now() + Duration::from_secs(5);
            while tree.exists() && Instant::now() < late {
                remove(tree);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_test_has_left_is_gone_when_the_next_begins() {
        let mut gone = std::process::Command::new("true").spawn().expect("a process");
        gone.wait().expect("it ends");
        let left: Vec<PathBuf> =
            hierarchies().iter().map(|(at, _)| at.join(format!("{PREFIX}killed-{}", gone.id()))).collect();
        for tree in &left {
            let said = say(as_root("mkdir").arg("-p").arg(tree.join("user.slice/session-1.scope")));
            assert_eq!(said.code, Some(0), "{said:?}");
        }
        let seats = Seats::of("killed", &["user.slice/session-1.scope"]);
        assert!(left.iter().all(|tree| !tree.exists()), "{left:?}");
        let own: Vec<PathBuf> = seats.trees.iter().map(|(tree, _)| tree.clone()).collect();
        assert!(own.iter().all(|tree| tree.exists()), "those of tests that run stay: {own:?}");
        drop(seats);
        assert!(own.iter().all(|tree| !tree.exists()), "{own:?}");
    }
}
