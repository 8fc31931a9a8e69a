//! What this process and its machine use, from the kernel: processor time, memory, descriptors, disk.

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
    // The clock ticks of /proc/self/stat are too coarse: a process may be ready before its first.
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Usage {
        cpu_seconds: Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9),
        resident_bytes: resident.map(|pages| pages * page),
        open_fds: fds,
        max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
    }
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
    fn this_process_uses_something() {
        let usage = usage();
        assert!(usage.cpu_seconds.unwrap() > 0.0, "{usage:?}");
        assert!(usage.resident_bytes.unwrap() > 100_000, "{usage:?}");
        assert!(usage.open_fds.unwrap() >= 3, "{usage:?}");
        assert!(usage.max_fds.unwrap() >= usage.open_fds.unwrap(), "{usage:?}");
        let (total, left) = disk(Path::new("/")).unwrap();
        assert!(total >= left && total > 0);
        let (total, available) = memory().unwrap();
        assert!(total >= available && available > 0);
    }
}
