//! What the server's processes use, as `/proc` tells it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Clock ticks a second of `/proc/*/stat` (`sysconf(_SC_CLK_TCK)`, 100 on every Linux in use).
const TICKS: u64 = 100;

/// All processes with one of these names.
pub(crate) struct Processes<'a>(pub(crate) &'a [String]);

impl Processes<'_> {
    /// Time that they and their children that have ended have used; none without names.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let ticks: u64 = self.each(|dir| Self::ticks_of(&dir))?;
        Some(Duration::from_millis(ticks * 1000 / TICKS))
    }

    /// Clock ticks of the process with this directory in `/proc`, and of its children that have ended.
    pub(crate) fn ticks_of(dir: &Path) -> Option<u64> {
        let stat = fs::read_to_string(dir.join("stat")).ok()?;
        // Behind the name, which may hold anything: state is the first field, utime the 12th, then stime, cutime, cstime.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields = rest.split_ascii_whitespace().skip(11).take(4);
        fields.map(|field| field.parse::<u64>().ok()).sum()
    }

    /// Octets that are theirs alone and written to.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.each(|dir| {
            let rollup = fs::read_to_string(dir.join("smaps_rollup")).ok()?;
            let line = rollup
                .lines()
                .find_map(|line| line.strip_prefix("Private_Dirty:"))?;
            Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
        })
    }

    fn each(&self, value: impl Fn(PathBuf) -> Option<u64>) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        let dirs = fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .map(|entry| entry.path());
        let ours = dirs.filter(|dir| {
            let name = fs::read_to_string(dir.join("comm")).unwrap_or_default();
            self.0.iter().any(|wanted| wanted == name.trim())
        });
        Some(ours.filter_map(value).sum())
    }
}
