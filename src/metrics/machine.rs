//! What this process and its machine use, from `/proc`: processor time, memory, descriptors, disk.

use std::{fs, path::Path};

/// As of the moment it was asked; what the system does not tell is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
}

/// What this process uses.
pub fn usage() -> Usage {
    let page = rustix::param::page_size() as u64;
    let statm = fs::read_to_string("/proc/self/statm").ok();
    let resident = statm.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    // The directory itself is open while it is read.
    let fds = fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1));
    let stat = fs::read_to_string("/proc/self/stat").ok();
    Usage {
        cpu_seconds: stat
            .and_then(|text| ticks(&text))
            .map(|n| n as f64 / rustix::param::clock_ticks_per_second() as f64),
        resident_bytes: resident.map(|pages| pages * page),
        open_fds: fds,
        max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
    }
}

/// User and system time of proc_pid_stat(5), in clock ticks.
fn ticks(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// A file system: bytes in total, and what is left for this user.
pub fn disk(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

/// The machine's memory: bytes in total, and what is available without swapping.
pub fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    Some((line("MemTotal:")?, line("MemAvailable:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (x) S"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage();
        assert!(usage.resident_bytes.unwrap() > 100_000, "{usage:?}");
        assert!(usage.open_fds.unwrap() >= 3, "{usage:?}");
        assert!(usage.max_fds.unwrap() >= usage.open_fds.unwrap(), "{usage:?}");
        let (total, left) = disk(Path::new("/")).unwrap();
        assert!(total >= left && total > 0);
        let (total, available) = memory().unwrap();
        assert!(total >= available && available > 0);
    }
}
