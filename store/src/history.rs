//! What became of messages, for operators: `history/{year}-{month}-{day}.jsonl`, a line an event
//! ([`rmail_core::relay::history::Record`]), by the day of the event in UTC.
//!
//! Files are only appended to, by all processes on the mail_root, each batch of lines with one write. Nothing here has to
//! survive: nothing is synced, and a line that cannot be written, or that is torn, is lost and nothing else. Days that are older
//! than `delivery.history_days` are removed by the servers. All of it may be deleted at any time.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memchr::memmem::Finder;
use rmail_core::relay::history::{MAX_LINE, Record};
use rmail_core::text::date::{civil_from_days, days_from_civil};
use rmail_core::time::Unix;

use crate::disk::{Disk, Mode};
use crate::file::io::{found, open_or_make_dir};

const DIR: &str = "history";
/// Octets of lines that wait to be written; more are lost.
const MAX_WAITING: usize = 4 << 20;
/// Octets of one day's file; what would come behind them is lost.
const MAX_DAY: u64 = 1 << 30;
/// Octets that are read at once.
const PIECE: usize = 1 << 20;
const DAY: u64 = 86_400;

/// Called when there is something to be written, on the thread that has brought it: it must only wake somebody.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The side of a process that writes.
pub struct History<D: Disk> {
    disk: Arc<D>,
    waiting: Mutex<Waiting>,
    /// Held while lines are written, so that they keep their order.
    writing: async_lock::Mutex<Failed>,
}

#[derive(Default)]
struct Waiting {
    /// Lines by their day, counted from 1970.
    days: BTreeMap<u64, String>,
    octets: usize,
    lost: u64,
    wake: Option<Wake>,
}

/// What was logged, once.
#[derive(Default)]
struct Failed {
    error: bool,
    full: Option<u64>,
}

impl<D: Disk> History<D> {
    /// With nothing to be written.
    #[must_use]
    pub fn new(disk: Arc<D>) -> Self {
        Self {
            disk,
            waiting: Mutex::default(),
            writing: async_lock::Mutex::default(),
        }
    }

    /// Who is to be woken when there is something to be written.
    pub fn set_wake(&self, wake: Wake) {
        self.lock().wake = Some(wake);
    }

    /// Takes a line; [`History::flush`] writes it. Looks at memory only.
    pub fn push(&self, record: &Record) {
        let line = record.line();
        let mut waiting = self.lock();
        if waiting.octets + line.len() > MAX_WAITING {
            waiting.lost += 1;
            return;
        }
        let first = waiting.octets == 0;
        waiting.octets += line.len();
        waiting
            .days
            .entry(record.secs() / DAY)
            .or_default()
            .push_str(&line);
        let wake = waiting.wake.clone().filter(|_| first);
        drop(waiting);
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Writes what waits.
    pub async fn flush(&self) {
        let mut failed = self.writing.lock().await;
        let (days, lost) = {
            let mut waiting = self.lock();
            waiting.octets = 0;
            let days = core::mem::take(&mut waiting.days);
            (days, core::mem::take(&mut waiting.lost))
        };
        if lost > 0 {
            log::warn!("{DIR}: {lost} line(s) are lost: the disk is too slow for them");
        }
        let mut result = Ok(());
        for (day, lines) in days {
            match self.write(day, &lines).await {
                Ok(true) => {}
                Ok(false) if failed.full == Some(day) => {}
                Ok(false) => {
                    failed.full = Some(day);
                    log::warn!(
                        "{DIR}/{}: no more of this day is kept: it is long enough",
                        name_of(day)
                    );
                }
                Err(error) => result = Err(error),
            }
        }
        match result {
            Ok(()) => failed.error = false,
            Err(error) => {
                if !core::mem::replace(&mut failed.error, true) {
                    log::warn!("{DIR}: {error}; `rmail trace` does not know what happens now");
                }
            }
        }
    }

    /// False: the file is full.
    async fn write(&self, day: u64, lines: &str) -> io::Result<bool> {
        let dir = open_or_make_dir(&*self.disk, self.disk.root(), DIR).await?;
        let file = self.disk.open(&dir, &name_of(day), Mode::Create).await?;
        if self.disk.stat(&file).await?.size > MAX_DAY {
            return Ok(false);
        }
        self.disk.append(&file, lines.as_bytes()).await?;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> core::fmt::Debug for History<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "History({} octets wait)", self.lock().octets)
    }
}

/// Everything that is known of a message by its id, the oldest first.
///
/// # Errors
/// The directory or a file in it cannot be read.
pub async fn find<D: Disk>(disk: &D, id: &str) -> io::Result<Vec<Record>> {
    let Some(dir) = found(disk.open_dir(disk.root(), DIR).await)? else {
        return Ok(Vec::new());
    };
    let quoted = serde_json::to_string(id)?;
    let needle = format!("\"id\":{quoted},");
    let finder = Finder::new(needle.as_bytes());
    let mut days: Vec<String> = disk
        .list(&dir)
        .await?
        .entries
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    days.retain(|name| day_of(name).is_some());
    days.sort_unstable();
    let mut records = Vec::new();
    for name in days {
        if let Some(file) = found(disk.open(&dir, &name, Mode::Read).await)? {
            let mut take = |line: &[u8]| {
                let line = core::str::from_utf8(line).ok();
                records.extend(line.and_then(Record::parse).filter(|record| record.id == id));
            };
            search(disk, &file, &finder, &mut take).await?;
        }
    }
    records.sort_by_key(|record| record.at);
    Ok(records)
}

/// Gives the lines of a file that have the needle.
async fn search<D: Disk>(
    disk: &D,
    file: &D::File,
    finder: &Finder<'_>,
    take: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE + MAX_LINE];
    // Octets at the front of the buffer that begin a line whose end was not read yet.
    let mut kept = 0;
    let mut at = 0;
    loop {
        let Some(room) = buffer.get_mut(kept..kept + PIECE) else {
            return Ok(());
        };
        let read = disk.read_at(file, room, at).await?;
        at += read as u64;
        let text = buffer.get(..kept + read).unwrap_or_default();
        let whole = match memchr::memrchr(b'\n', text) {
            _ if read == 0 => text.len(),
            Some(end) => end + 1,
            None => 0,
        };
        let lines = text.get(..whole).unwrap_or_default();
        let mut from = 0;
        while let Some(hit) = lines.get(from..).and_then(|rest| finder.find(rest)) {
            let hit = from + hit;
            let begin = lines.get(..hit).and_then(|before| memchr::memrchr(b'\n', before));
            let begin = begin.map_or(0, |end| end + 1);
            let end = lines.get(hit..).and_then(|rest| memchr::memchr(b'\n', rest));
            let end = end.map_or(lines.len(), |end| hit + end);
            take(lines.get(begin..end).unwrap_or_default());
            from = end;
        }
        if read == 0 {
            return Ok(());
        }
        // What is longer is no line of ours.
        let begun = text.len() - whole;
        let from = if begun > MAX_LINE { text.len() } else { whole };
        let end = text.len();
        buffer.copy_within(from..end, 0);
        kept = end - from;
    }
}

/// Removes the files of days of which the youngest event is older than so many days.
///
/// # Errors
/// The directory cannot be read, or a file in it cannot be removed.
pub async fn remove_older<D: Disk>(disk: &D, days: u64, now: Unix) -> io::Result<()> {
    let Some(dir) = found(disk.open_dir(disk.root(), DIR).await)? else {
        return Ok(());
    };
    let first = (now.secs() / DAY).saturating_sub(days);
    for entry in disk.list(&dir).await?.entries {
        let old = day_of(&entry.name).is_some_and(|day| day < first || days == 0);
        if old && !entry.is_dir {
            found(disk.unlink(&dir, &entry.name).await)?;
        }
    }
    Ok(())
}

/// The file of a day, counted from 1970.
fn name_of(day: u64) -> String {
    let (year, month, day) = civil_from_days(i64::try_from(day).unwrap_or(i64::MAX));
    format!("{year:04}-{month:02}-{day:02}.jsonl")
}

/// The day of a file; `None`: it is none of ours.
fn day_of(name: &str) -> Option<u64> {
    let mut parts = name.strip_suffix(".jsonl")?.split('-');
    let mut number = || parts.next()?.parse::<u16>().ok();
    let (year, month, day) = (number()?, number()?, number()?);
    let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
    let count = (1..=12)
        .contains(&month)
        .then(|| days_from_civil(i64::from(year), month, day))?;
    u64::try_from(count).ok().filter(|count| name_of(*count) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_names_and_names_days() {
        assert_eq!(name_of(0), "1970-01-01.jsonl");
        assert_eq!(day_of("2026-11-22.jsonl"), Some(20_779));
        assert_eq!(name_of(20_779), "2026-11-22.jsonl");
        for other in [
            "2026-11-22",
            "2026-02-30.jsonl",
            "2026-1-2.jsonl",
            "2026-13-01.jsonl",
            "x.jsonl",
            "1-2-3-4.jsonl",
        ] {
            assert_eq!(day_of(other), None, "{other}");
        }
    }
}
