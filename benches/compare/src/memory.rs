//! How much memory a proxy has for itself.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::cpu;

/// KiB of `root` and of everything it started: what is shared counts by halves, thirds and so on (`Pss`, proc(5)), so
/// a sum over processes counts nothing twice.
pub fn pss_kib(root: u32) -> Result<u64> {
    let mut sum = 0;
    for pid in cpu::tree(root)? {
        // It may have ended between the listing and the reading.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        sum += pss_in(&text).with_context(|| format!("no Pss in /proc/{pid}/smaps_rollup"))?;
    }
    ensure!(sum > 0, "the memory of process {root} cannot be read");
    Ok(sum)
}

/// How many files and sockets `root` and everything it started have open.
pub fn descriptors(root: u32) -> Result<usize> {
    let mut sum = 0;
    for pid in cpu::tree(root)? {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        sum += open.count();
    }
    ensure!(sum > 0, "the descriptors of process {root} cannot be read");
    Ok(sum)
}

fn pss_in(smaps_rollup: &str) -> Option<u64> {
    let value = smaps_rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_a_descriptor_more() {
        let before = descriptors(std::process::id()).unwrap();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(descriptors(std::process::id()).unwrap() >= before + files.len() / 2);
    }

    #[test]
    fn the_sum_is_read_and_not_one_of_its_parts() {
        let text = "7ffd-7ffe ---p 00000000 00:00 0 [rollup]\nRss:    9000 kB\nPss:    5120 kB\nPss_Anon:  77 kB\n";
        assert_eq!(pss_in(text), Some(5120));
        assert_eq!(pss_in("Pss_Anon:  77 kB\n"), None);
        assert!(pss_kib(std::process::id()).unwrap() > 100);
    }
}
