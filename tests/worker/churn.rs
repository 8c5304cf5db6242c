//! Does everything at random. Each message has a token in its text, by which it is known wherever it goes.
//!
//! ```text
//! new TOKEN                     a message with it was acknowledged
//! is MAILBOX UID TOKEN          this UID is this message
//! word TOKEN WORD               one copy of the message has the keyword: acknowledged
//! doom TOKEN                    a copy of it is about to be expunged
//! gone MAILBOX UID              that was acknowledged
//! next MAILBOX UIDVALIDITY UIDNEXT
//! did WHAT                      for the count
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::mailbox::{FlagOp, MailboxRef, Quota, Snapshot, SystemFlags, Uid, UidSet};
use rmail_core::refusal::Refusal;
use rmail_store::MailStore as _;
use rmail_store::error::Result;
use rmail_tests::{MAILBOXES, name, now, with_keyword};

use crate::{Worker, say};

const FLUSH: Duration = Duration::from_millis(300);

/// A worker with what it knows.
struct Churn {
    worker: Worker,
    tokens: BTreeMap<(usize, u32), String>,
    made: u32,
}

pub(crate) fn run(worker: Worker) {
    let mut churn = Churn {
        worker,
        tokens: BTreeMap::new(),
        made: 0,
    };
    let mut flushed = Instant::now();
    while churn.worker.goes_on() {
        match churn.turn() {
            Ok(what) => say(&format!("did {what}")),
            // Somebody else has had the mailbox for seconds: the client is told to try again.
            Err(error) if error.refusal == Refusal::Busy => say("did busy"),
            Err(error) => panic!("{error}"),
        }
        if flushed.elapsed() > FLUSH {
            block_on(churn.worker.mail.store.flush()).expect("flush");
            flushed = Instant::now();
        }
    }
    block_on(churn.worker.mail.store.flush()).expect("flush");
}

impl Churn {
    fn below(&mut self, bound: usize) -> usize {
        let drawn = self.worker.random.below(bound as u64);
        usize::try_from(drawn).expect("small")
    }

    fn turn(&mut self) -> Result<&'static str> {
        let which = self.below(MAILBOXES.len());
        match self.below(16) {
            0..=2 => self.deliver(),
            3 => self.append(which),
            4..=9 => self.flag(which),
            10..=11 => self.copy(which),
            12..=14 => self.transfer(which),
            _ => self.expunge(which),
        }
    }

    fn text(&mut self) -> (String, String) {
        self.made += 1;
        let token = format!(
            "t{}p{}n{}",
            self.worker.options.number,
            std::process::id(),
            self.made
        );
        let text = format!("Subject: {token}\r\n\r\n{}\r\n", "x".repeat(self.below(3_000)));
        (token, text)
    }

    fn deliver(&mut self) -> Result<&'static str> {
        let (token, text) = self.text();
        self.worker.mail.deliver(&text)?;
        say(&format!("new {token}"));
        Ok("deliver")
    }

    fn append(&mut self, which: usize) -> Result<&'static str> {
        let several: Vec<(String, String)> = (0..=self.below(3)).map(|_| self.text()).collect();
        let (tokens, texts): (Vec<_>, Vec<_>) = several.into_iter().unzip();
        let uids = self.worker.mail.append(MAILBOXES[which], &texts)?;
        assert_eq!(uids.len(), tokens.len());
        for (uid, token) in uids.iter().zip(&tokens) {
            say(&format!("new {token}"));
            self.learn(which, uid.0, token);
        }
        Ok("append")
    }

    /// A UID has one meaning for ever.
    fn learn(&mut self, which: usize, uid: u32, token: &str) {
        let known = self.tokens.entry((which, uid)).or_insert_with(|| {
            say(&format!("is {} {uid} {token}", MAILBOXES[which]));
            token.to_owned()
        });
        assert_eq!(known, token, "UID {uid} of {}", MAILBOXES[which]);
    }

    /// Opens a mailbox, and picks some of its messages.
    fn pick(&mut self, which: usize, most: usize) -> Result<(MailboxRef, Vec<u32>)> {
        let (mailbox, snapshot) = self.worker.mail.select(MAILBOXES[which])?;
        block_on(self.worker.mail.store.unselect(&mailbox));
        self.check(which, &snapshot);
        let count = (1 + self.below(most)).min(snapshot.rows.len());
        let mut picked = Vec::new();
        for _ in 0..count {
            let row = snapshot.rows.get(self.below(snapshot.rows.len())).expect("a row");
            let uid = row.uid.0;
            if picked.contains(&uid) {
                continue;
            }
            if self.tokens.contains_key(&(which, uid)) {
                picked.push(uid);
            } else if let Some(text) = self.worker.mail.text(&mailbox, Uid(uid))? {
                let line = text.lines().next().unwrap_or_default();
                let token = line
                    .strip_prefix("Subject: ")
                    .expect("a whole message")
                    .to_owned();
                self.learn(which, uid, &token);
                picked.push(uid);
            }
        }
        picked.sort_unstable();
        Ok((mailbox, picked))
    }

    fn check(&self, which: usize, snapshot: &Snapshot) {
        let uids: Vec<u32> = snapshot.rows.iter().map(|row| row.uid.0).collect();
        assert!(uids.is_sorted_by(|a, b| a < b), "UIDs ascend");
        assert!(uids.last().is_none_or(|last| *last < snapshot.uid_next.0));
        let (validity, next) = (snapshot.uid_validity.0, snapshot.uid_next.0);
        say(&format!("next {} {validity} {next}", MAILBOXES[which]));
    }

    fn flag(&mut self, which: usize) -> Result<&'static str> {
        let (mailbox, picked) = self.pick(which, 20)?;
        let number = self.below(12);
        let word = format!("w{}k{number}", self.worker.options.number);
        let none = SystemFlags::default();
        let now = self
            .worker
            .mail
            .flag(&mailbox, &set(&picked), FlagOp::Add, none, &word)?;
        // One that was expunged or moved meanwhile is left out.
        let have = with_keyword(&now, &word);
        for uid in picked.iter().filter(|uid| have.binary_search(uid).is_ok()) {
            say(&format!("word {} {word}", self.tokens[&(which, *uid)]));
        }
        Ok("flag")
    }

    fn copy(&mut self, which: usize) -> Result<&'static str> {
        let (mailbox, picked) = self.pick(which, 4)?;
        let to = self.below(MAILBOXES.len());
        let target = name(MAILBOXES[to]);
        let store = &self.worker.mail.store;
        let uids = set(&picked);
        let copied = store.copy(&mailbox, &uids, &target, &Quota::UNLIMITED, now());
        let (uids, _) = block_on(copied)?;
        self.arrived(which, to, &uids.source, &uids.target);
        Ok("copy")
    }

    fn transfer(&mut self, which: usize) -> Result<&'static str> {
        let (mailbox, picked) = self.pick(which, 20)?;
        let to = (which + 1 + self.below(MAILBOXES.len() - 1)) % MAILBOXES.len();
        let target = name(MAILBOXES[to]);
        let store = &self.worker.mail.store;
        let uids = set(&picked);
        let moved = store.r#move(&mailbox, &uids, &target, now());
        let (uids, _) = block_on(moved)?;
        self.arrived(which, to, &uids.source, &uids.target);
        for uid in &uids.source {
            say(&format!("gone {} {}", MAILBOXES[which], uid.0));
        }
        Ok("move")
    }

    fn arrived(&mut self, from: usize, to: usize, source: &[Uid], target: &[Uid]) {
        assert_eq!(source.len(), target.len());
        assert!(
            source.is_sorted() && target.is_sorted_by(|a, b| a < b),
            "both ascend"
        );
        for (old, new) in source.iter().zip(target) {
            let token = self.tokens[&(from, old.0)].clone();
            self.learn(to, new.0, &token);
        }
    }

    fn expunge(&mut self, which: usize) -> Result<&'static str> {
        let (mailbox, picked) = self.pick(which, 2)?;
        for uid in &picked {
            say(&format!("doom {}", self.tokens[&(which, *uid)]));
        }
        let uids = set(&picked);
        let flags = SystemFlags::DELETED;
        let now = self
            .worker
            .mail
            .flag(&mailbox, &uids, FlagOp::Add, flags, "doomed")?;
        let had = with_keyword(&now, "doomed");
        let store = &self.worker.mail.store;
        let after = block_on(store.expunge(&mailbox, Some(&uids)))?;
        for uid in picked.iter().filter(|uid| had.binary_search(uid).is_ok()) {
            assert!(after.rows.find(Uid(*uid)).is_none(), "UID {uid} is still there");
            say(&format!("gone {} {uid}", MAILBOXES[which]));
        }
        Ok("expunge")
    }
}

fn set(uids: &[u32]) -> UidSet {
    uids.iter().copied().map(Uid).collect()
}
