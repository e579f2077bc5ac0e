//! What another process on this machine has used.

use std::fs;

use nix::{time::clock_getcpuclockid, unistd::Pid};

use super::LoadError;

/// A reading.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time in user and kernel mode, of all threads, since the process began.
    pub cpu_us: u64,
    /// Resident memory.
    pub rss_kb: u64,
}

/// Reads what `pid` has used so far. The processor time is that of the process's own clock, in nanoseconds: `/proc/PID/stat`
/// counts in hundredths of a second, which is a lot for a server that has little to do.
pub fn usage(pid: u32) -> Result<Usage, LoadError> {
    let unreadable = |error: String| LoadError::new(format!("cannot look at process {pid}: {error}"));
    let number = i32::try_from(pid).map_err(|error| unreadable(error.to_string()))?;
    let clock = clock_getcpuclockid(Pid::from_raw(number)).map_err(|error| unreadable(error.to_string()))?;
    let spent = clock.now().map_err(|error| unreadable(error.to_string()))?;
    let cpu_us = spent.tv_sec() as u64 * 1_000_000 + spent.tv_nsec() as u64 / 1_000;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| unreadable(error.to_string()))?;
    let rss_kb = rss_kb(&status).ok_or_else(|| unreadable("it has no memory".to_owned()))?;
    Ok(Usage { cpu_us, rss_kb })
}

/// Reads what this process has used so far.
pub fn own_usage() -> Result<Usage, LoadError> {
    usage(std::process::id())
}

fn rss_kb(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let before = own_usage().unwrap();
        let until = before.cpu_us + 3_000;
        while own_usage().unwrap().cpu_us < until {}
        assert!(before.rss_kb > 0);
        assert!(usage(u32::MAX).is_err() && usage(i32::MAX as u32).is_err());
    }
}
