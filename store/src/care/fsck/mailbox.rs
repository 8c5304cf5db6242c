//! A mailbox: its numbers, its small files, and whether all of them agree with the names.

use std::io;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{Keywords, MailboxName, ModSeq, Row, Uid};

use crate::disk::Disk;
use crate::file::expunged::{self, RECORD};
use crate::file::keywords;
use crate::file::status::Status;

use super::super::image::{self, Image};
use super::super::places::{LevelDir, OpenLevel};
use super::account::{Patient, confirmed};
use super::repair::{Draft, Fix};
use super::{Code, NANOS, Run};

/// After so long (nanoseconds) without any change a mailbox that is not marked clean belongs to a dead process: a
/// living one marks it within a minute.
const IDLE: i128 = 3_600 * NANOS;

/// A mailbox that is being looked through.
pub(super) struct Subject<'l, D: Disk> {
    pub(super) level: &'l OpenLevel<D>,
    /// The user's directory.
    pub(super) user: &'l D::Dir,
    /// From the mail_root.
    pub(super) path: String,
    /// Whose.
    pub(super) account: &'l AccountName,
}

impl<D: Disk> Run<'_, D> {
    /// A level of a mailbox name. What is found is looked for again under the account's lock, if the directory is
    /// still there.
    pub(super) async fn mailbox(
        &mut self,
        patient: &Patient<'_, D>,
        level: &LevelDir,
        name: &MailboxName,
        first: bool,
    ) -> io::Result<()> {
        let path = format!("{}/{}", patient.path, level.path);
        let Some(open) = level.open(self.store.disk(), patient.dir).await? else {
            return Ok(());
        };
        let subject = Subject {
            level: &open,
            user: patient.dir,
            path,
            account: patient.account,
        };
        let drafts = self.try_level(&subject, first).await;
        if drafts.is_empty() {
            return Ok(());
        }
        let held = self.lock_account(patient).await?;
        let there = crate::file::io::found(self.disk().stat_at(&open.parent, &open.entry).await)?;
        let ours = self.disk().stat_dir(&open.dir).await?;
        if there.is_none_or(|there| there.inode != ours.inode) {
            // Deleted or renamed meanwhile.
            return Ok(());
        }
        let again = self.try_level(&subject, false).await;
        drop(held);
        let mut drafts = confirmed(drafts, again);
        for draft in &mut drafts {
            draft.finding.account = Some(patient.account.clone());
            draft.finding.mailbox = Some(name.clone());
        }
        self.settle(drafts).await;
        Ok(())
    }

    async fn try_level(&mut self, subject: &Subject<'_, D>, count: bool) -> Vec<Draft<D>> {
        let mut drafts = Vec::new();
        if let Err(error) = self.level(subject, count, &mut drafts).await {
            drafts.push(Draft::unreadable(&subject.path, &error));
        }
        drafts
    }

    async fn level(
        &mut self,
        subject: &Subject<'_, D>,
        count: bool,
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        let level = subject.level;
        let Some(image) = image::read(self.disk(), &level.dir, &self.rules).await? else {
            return Ok(());
        };
        self.access_at(&level.parent, &level.entry, &subject.path, drafts)
            .await;
        self.temporary(&level.dir, &subject.path, drafts).await;
        let path = format!("{}/status.json", subject.path);
        let status = match image.status() {
            Ok(status) => status,
            Err(None) => {
                let messages = image.messages(&self.rules).count();
                if messages > 0 {
                    let detail = format!("it is missing, and there are {messages} message(s)");
                    drafts.push(Draft::new(Code::StatusMissing, path, detail, Fix::Open));
                }
                return Ok(());
            }
            Err(Some(mistake)) => {
                drafts.push(Draft::new(Code::StatusBroken, path, mistake, Fix::Open));
                return Ok(());
            }
        };
        if status.gone {
            // What is left of it goes with the next CREATE.
            return Ok(());
        }
        for name in ["status.json", "state", "keywords", "expunged", "shards"] {
            let path = format!("{}/{name}", subject.path);
            self.access_at(&level.dir, name, &path, drafts).await;
        }
        let uid_next = image.uid_next(status.uid_ceiling, &self.rules);
        let rows = image.visible(uid_next, &self.rules);
        self.numbers(subject, &image, &status, &rows, drafts);
        self.small_files(subject, &image, &status, &rows, drafts);
        if count {
            self.summary.mailboxes += 1;
            self.summary.messages += rows.len() as u64;
            self.summary.octets += rows.iter().map(|row| u64::from(row.size)).sum::<u64>();
        }
        self.beside(subject, drafts).await?;
        self.snapshot(subject, &image, uid_next, drafts).await?;
        self.names_of(subject, (&image, &status), uid_next, count, drafts)
            .await
    }

    /// `state`, and the ceilings.
    fn numbers(
        &self,
        subject: &Subject<'_, D>,
        image: &Image,
        status: &Status,
        rows: &[Row],
        drafts: &mut Vec<Draft<D>>,
    ) {
        let in_subject = |name: &str| format!("{}/{name}", subject.path);
        if !image.state_whole {
            let detail = "its checksum is wrong".to_owned();
            drafts.push(Draft::new(
                Code::StateBroken,
                in_subject("state"),
                detail,
                Fix::Open,
            ));
        }
        if image.state.is_some_and(|state| state.gone) {
            let detail = "it says that the mailbox is deleted".to_owned();
            drafts.push(Draft::new(
                Code::StateGone,
                in_subject("state"),
                detail,
                Fix::Open,
            ));
        }
        let highest_uid = rows.last().map_or(Uid(0), |row| row.uid);
        let highest = rows.iter().map(|row| row.modseq).max().unwrap_or_default();
        let fix = || Fix::Ceilings(highest_uid, highest);
        let next = image.state.map_or(0, |state| state.uid_next.0);
        if next > status.uid_ceiling || highest_uid.0 >= status.uid_ceiling {
            let used = highest_uid.0.max(next.saturating_sub(1));
            let detail = format!("uid_ceiling is {}, UID {used} is in use", status.uid_ceiling);
            drafts.push(Draft::new(
                Code::UidCeiling,
                in_subject("status.json"),
                detail,
                fix(),
            ));
        }
        let done = image.state.map_or(ModSeq(0), |state| state.done);
        if highest >= status.modseq_ceiling || done > status.modseq_ceiling {
            let (ceiling, used) = (status.modseq_ceiling.0, highest.max(done).0);
            let detail = format!("modseq_ceiling is {ceiling}, MODSEQ {used} is in use");
            drafts.push(Draft::new(
                Code::ModseqCeiling,
                in_subject("status.json"),
                detail,
                fix(),
            ));
        }
        let limit = i128::from(self.options.now.secs()) * NANOS - IDLE;
        if status.dirty && image.state.is_some() && image.state_mtime < limit {
            let detail =
                "it says that flag changes may be unsynced, and nothing has changed for an hour".to_owned();
            drafts.push(Draft::new(
                Code::DirtyLeft,
                in_subject("status.json"),
                detail,
                Fix::Clean,
            ));
        }
    }

    /// `keywords` and `expunged`.
    fn small_files(
        &self,
        subject: &Subject<'_, D>,
        image: &Image,
        status: &Status,
        rows: &[Row],
        drafts: &mut Vec<Draft<D>>,
    ) {
        let needed = rows.iter().map(|row| width(&image.words, row)).max().unwrap_or(0);
        let (words, used) = keywords::decode(&image.keywords);
        let rest = image.keywords.get(used..).unwrap_or_default();
        // A torn end is what a crash leaves: no name uses it, and the next keyword takes its place.
        let mut lines = rest.split_inclusive(|octet| *octet == b'\n').skip(1);
        let hidden = lines.any(|line| !keywords::decode(line).0.is_empty());
        if hidden || needed > words.len() {
            let detail = format!("{} can be read, messages have {needed}", words.len());
            let path = format!("{}/keywords", subject.path);
            drafts.push(Draft::new(
                Code::KeywordsBroken,
                path,
                detail,
                Fix::Keywords(needed),
            ));
        }
        if let Some(detail) = log_mistake(&image.expunged, status.modseq_ceiling) {
            let path = format!("{}/expunged", subject.path);
            drafts.push(Draft::new(Code::ExpungedBroken, path, detail, Fix::Log));
        }
    }
}

/// Keywords that a message needs to have names.
fn width(words: &Keywords, row: &Row) -> usize {
    let bits = words.bits(row.keywords);
    let high = bits.iter().enumerate().rev().find(|(_, word)| **word != 0);
    high.map_or(0, |(at, word)| {
        at * 64 + 64 - usize::try_from(word.leading_zeros()).unwrap_or(0)
    })
}

/// What is wrong with an expunge log. Its last record may be torn: that is what a crash leaves.
fn log_mistake(octets: &[u8], ceiling: ModSeq) -> Option<String> {
    let whole: Vec<&[u8]> = octets.chunks_exact(RECORD).collect();
    for (at, record) in whole.iter().enumerate() {
        match expunged::decode(record).pop() {
            None if at + 1 < whole.len() || at == 0 => {
                return Some(format!("record {at} cannot be read"));
            }
            Some(record) if (record.first == Uid(0)) != (at == 0) => {
                return Some(format!("record {at} is out of place"));
            }
            Some(record) if record.modseq > ceiling => {
                let modseq = record.modseq.0;
                return Some(format!(
                    "record {at} has MODSEQ {modseq}, which was never given out"
                ));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::expunged::Expunged;

    #[test]
    fn logs_may_be_torn_only_at_the_end() {
        let record = |modseq, uid| Expunged {
            modseq: ModSeq(modseq),
            first: Uid(uid),
            last: Uid(uid),
        };
        let all = [Expunged::head(ModSeq(2)), record(3, 7), record(4, 8)];
        let octets: Vec<u8> = all.iter().flat_map(Expunged::encode).collect();
        let wrong = |octets: &[u8]| log_mistake(octets, ModSeq(9)).is_some();
        assert!(!wrong(&octets) && !wrong(&[]) && !wrong(&octets[..RECORD + 3]));
        for at in 0..octets.len() {
            let mut hit = octets.clone();
            hit[at] ^= 1;
            assert_eq!(wrong(&hit), at < 2 * RECORD, "{at}");
        }
        assert!(log_mistake(&octets, ModSeq(3)).is_some());
        assert!(wrong(&octets[RECORD..]), "no head");
    }
}
