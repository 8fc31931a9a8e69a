//! Which core runs what, and how much CPU time a proxy has used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The proxy has one core for itself; the load, the origin and the measuring share the other.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    pub proxy: usize,
    pub load: usize,
}

impl Cores {
    pub fn try_new(proxy: usize, load: usize) -> Result<Cores> {
        ensure!(proxy != load, "the proxy and the load need a core each, not both core {proxy}");
        let allowed = sched_getaffinity(None).context("cannot ask which cores may be used")?;
        for core in [proxy, load] {
            ensure!(
                core < CpuSet::MAX_CPU && allowed.is_set(core),
                "core {core} may not be used here; choose others with --proxy-core and --load-core"
            );
        }
        Ok(Cores { proxy, load })
    }

    /// Puts the calling thread on the load core, and with it all threads and processes it starts from now on.
    pub fn stay_on_load(self) -> io::Result<()> {
        pin(self.load)
    }

    /// What `start` spawns stays on the proxy's core: a child inherits the affinity of the thread that forks it.
    pub fn on_proxy<T>(self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        pin(self.proxy)?;
        let started = start();
        pin(self.load)?;
        started
    }
}

fn pin(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

/// CPU time used so far, by task of a process and of everything it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(BTreeMap<(u32, u32), u64>);

impl Usage {
    /// Nanoseconds on a core from `/proc/PID/task/TID/schedstat` (first field; Linux `Documentation/scheduler/sched-stats`).
    /// A task that runs at this moment is counted up to its last tick: let it become idle first.
    pub fn of_tree(root: u32) -> Result<Usage> {
        let mut used = BTreeMap::new();
        for pid in tree(root)? {
            // A process or task may end between the listing and the reading.
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for task in tasks.flatten() {
                let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
                let tid = task.file_name().to_string_lossy().parse().context("a task that is no number")?;
                let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
                used.insert((pid, tid), nanos.context("schedstat does not begin with a number")?);
            }
        }
        ensure!(!used.is_empty(), "process {root} is gone, or the kernel has no schedstat (CONFIG_SCHED_INFO)");
        Ok(Usage(used))
    }

    /// What was used since `earlier`, and how many tasks have ended meanwhile: their last share is not in it.
    pub fn since(&self, earlier: &Usage) -> (Duration, usize) {
        let share = |(task, now): (_, &u64)| now - earlier.0.get(task).copied().unwrap_or(0).min(*now);
        let nanos = self.0.iter().map(share).sum();
        let ended = earlier.0.keys().filter(|task| !self.0.contains_key(task)).count();
        (Duration::from_nanos(nanos), ended)
    }
}

/// CPU time of this whole process, ended threads included.
pub fn own() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// `root` and all its descendants.
pub fn tree(root: u32) -> Result<BTreeSet<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parent) = parent_of(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        if found.insert(pid) {
            next.extend(children.get(&pid).into_iter().flatten());
        }
    }
    Ok(found)
}

/// Field 4 of `/proc/PID/stat`. The name before it is in parentheses and may itself hold spaces and parentheses.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent_of("71 (nginx) S 7 71 71 0"), Some(7));
        assert_eq!(parent_of("71 (a ) S 9 (b)) S 7 71 71 0"), Some(7));
        assert_eq!(parent_of(""), None);
    }

    #[test]
    fn new_tasks_count_whole_and_ended_ones_are_reported() {
        let before = Usage(BTreeMap::from([((1, 1), 100), ((1, 2), 50)]));
        let after = Usage(BTreeMap::from([((1, 1), 130), ((1, 3), 5)]));
        assert_eq!(after.since(&before), (Duration::from_nanos(35), 1));
    }

    #[test]
    fn work_of_a_child_is_counted_with_its_parent() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read x'; true"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 5];
        io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut line).unwrap();
        let pids = tree(shell.id()).unwrap();
        let (used, ended) = Usage::of_tree(shell.id()).unwrap().since(&Usage(BTreeMap::new()));
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(pids.len(), 2);
        assert!(used > Duration::from_millis(1), "{used:?}");
        assert_eq!(ended, 0);
    }
}
