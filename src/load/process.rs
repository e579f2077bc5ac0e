//! What another process on this machine has used, from `/proc`.

use std::fs;

use super::LoadError;

/// Ticks per second of the times in `/proc/PID/stat`: `USER_HZ`, which is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// A reading.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time in user and kernel mode, of all threads, since the process began.
    pub cpu_us: u64,
    /// Resident memory.
    pub rss_kb: u64,
}

/// Reads what `pid` has used so far.
pub fn usage(pid: u32) -> Result<Usage, LoadError> {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/{pid}/{name}"))
            .map_err(|error| LoadError::new(format!("cannot look at process {pid}: {error}")))
    };
    let unreadable = || LoadError::new(format!("cannot read /proc/{pid}"));
    let cpu_us = cpu_us(&read("stat")?).ok_or_else(unreadable)?;
    let rss_kb = rss_kb(&read("status")?).ok_or_else(unreadable)?;
    Ok(Usage { cpu_us, rss_kb })
}

/// Reads what this process has used so far.
pub fn own_usage() -> Result<Usage, LoadError> {
    usage(std::process::id())
}

/// proc(5): `utime` and `stime` are the 14th and 15th field. The second, the program's name, may hold spaces and brackets.
fn cpu_us(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks * 1_000_000 / TICKS_PER_SECOND)
}

fn rss_kb(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_move_the_fields() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 9 0 100 1000 200";
        assert_eq!(cpu_us(stat), Some(2_000_000));
        assert_eq!(cpu_us("nonsense"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(usage(std::process::id()).unwrap().rss_kb > 0);
        assert!(usage(u32::MAX).is_err());
    }
}
