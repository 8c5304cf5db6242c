//! What IMAP servers have said of mailboxes, and what must therefore stay true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::site::Held;

/// An account's mailbox.
pub type Folder = (&'static str, &'static str);

/// How long flags may be answered and not synced (`store.flag_sync_ms`, and the sync itself).
const UNSYNCED: Duration = Duration::from_secs(5);

/// A message that a client appended.
#[derive(Clone, Debug)]
pub struct Note {
    pub text: String,
    /// The server has it, and nobody has removed it.
    pub sure: bool,
    /// As many there may be, where nothing is repeated.
    pub most: usize,
}

/// A keyword of a message, which one client alone changes.
#[derive(Clone, Copy, Debug)]
struct Word {
    /// As it was answered; none: nobody knows.
    on: Option<bool>,
    /// The number of the answer, and when it came.
    since: u64,
    at: Duration,
    /// Changes that are on their way.
    busy: usize,
    /// What became of the message is not known.
    frozen: bool,
}

type Key = (Folder, u32, String);

/// The record.
#[derive(Debug, Default)]
pub struct Ledger {
    pub notes: BTreeMap<String, Note>,
    /// What each UID was seen to be.
    uids: BTreeMap<(Folder, u32), String>,
    validity: BTreeMap<Folder, u32>,
    next: BTreeMap<Folder, u32>,
    words: BTreeMap<Key, Word>,
    moved: BTreeMap<(Folder, u32), (Folder, u32)>,
    /// Answers so far.
    pub answers: u64,
    pub commands: usize,
    pub checks: usize,
}

impl Ledger {
    /// A message was seen under this UID.
    pub fn saw(&mut self, folder: Folder, uid: u32, subject: &str) -> Result<(), String> {
        let next = self.next.entry(folder).or_default();
        *next = (*next).max(uid + 1);
        let known = self
            .uids
            .entry((folder, uid))
            .or_insert_with(|| subject.to_owned());
        if known == subject {
            return Ok(());
        }
        Err(format!("{folder:?}: UID {uid} was {known:?} and is {subject:?}"))
    }

    pub fn subject(&self, folder: Folder, uid: u32) -> Option<&str> {
        self.uids.get(&(folder, uid)).map(String::as_str)
    }

    /// What SELECT says.
    pub fn selected(&mut self, folder: Folder, validity: u32, next: u32) -> Result<(), String> {
        let told = self.next.entry(folder).or_default();
        *told = next.max(*told);
        let known = *self.validity.entry(folder).or_insert(validity);
        if known == validity {
            return Ok(());
        }
        Err(format!("{folder:?}: UIDVALIDITY was {known} and is {validity}"))
    }

    pub fn validity(&self, folder: Folder) -> u32 {
        self.validity.get(&folder).copied().unwrap_or_default()
    }

    /// What the next UID is above, by all that anybody was told.
    pub fn next(&self, folder: Folder) -> u32 {
        self.next.get(&folder).copied().unwrap_or_default()
    }

    /// A change of a keyword is on its way.
    pub fn begins(&mut self, folder: Folder, uid: u32, word: &str) {
        let new = Word {
            on: None,
            since: 0,
            at: Duration::ZERO,
            busy: 0,
            frozen: false,
        };
        let key = (folder, uid, word.to_owned());
        self.words.entry(key).or_insert(new).busy += 1;
    }

    /// The answer to it; none: nobody knows what became of it.
    pub fn ends(&mut self, folder: Folder, uid: u32, word: &str, on: Option<bool>, now: Duration) {
        let (mut place, mut hops) = ((folder, uid), 0);
        while let Some(to) = self.moved.get(&place).filter(|_| hops < 100) {
            (place, hops) = (*to, hops + 1);
        }
        self.answers += 1;
        if let Some(state) = self.words.get_mut(&(place.0, place.1, word.to_owned())) {
            state.busy = state.busy.saturating_sub(1);
            state.on = on.filter(|_| !state.frozen);
            (state.since, state.at) = (self.answers, now);
        }
    }

    fn words_of(&self, folder: Folder, uid: u32) -> Vec<(String, Word)> {
        let words = self
            .words
            .range((folder, uid, String::new())..(folder, uid + 1, String::new()));
        words
            .map(|((_, _, word), state)| (word.clone(), *state))
            .collect()
    }

    /// A message has another place.
    pub fn moves(&mut self, from: (Folder, u32), to: (Folder, u32)) {
        self.answers += 1;
        for (word, state) in self.words_of(from.0, from.1) {
            self.words.remove(&(from.0, from.1, word.clone()));
            let since = self.answers;
            self.words
                .entry((to.0, to.1, word))
                .or_insert(Word { since, ..state });
        }
        self.moved.insert(from, to);
        self.known_as(from, to);
    }

    /// A message has a further place. `before`: the answers when it was asked for.
    pub fn copies(&mut self, from: (Folder, u32), to: (Folder, u32), before: u64) {
        self.answers += 1;
        for (word, state) in self.words_of(from.0, from.1) {
            if state.busy == 0 && state.since <= before {
                let since = self.answers;
                self.words
                    .entry((to.0, to.1, word))
                    .or_insert(Word { since, ..state });
            }
        }
        self.known_as(from, to);
    }

    fn known_as(&mut self, from: (Folder, u32), to: (Folder, u32)) {
        let next = self.next.entry(to.0).or_default();
        *next = (*next).max(to.1 + 1);
        if let Some(subject) = self.uids.get(&from).cloned() {
            self.uids.entry(to).or_insert(subject);
        }
    }

    /// Nobody knows where a message is.
    pub fn blurs(&mut self, folder: Folder, uid: u32) {
        for (word, _) in self.words_of(folder, uid) {
            if let Some(state) = self.words.get_mut(&(folder, uid, word)) {
                (state.on, state.frozen) = (None, true);
            }
        }
    }

    /// Flags as a client sees them that asked when there were so many answers.
    pub fn check(
        &mut self,
        folder: Folder,
        uid: u32,
        flags: &BTreeSet<String>,
        before: u64,
    ) -> Result<(), String> {
        for (word, state) in self.words_of(folder, uid) {
            let settled = state.busy == 0 && state.since <= before;
            if let Some(on) = state.on.filter(|_| settled) {
                self.checks += 1;
                if flags.contains(&word) != on {
                    return Err(format!(
                        "{folder:?}: UID {uid} has {flags:?}; {word} was answered to be {on}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Flags that were not synced may be gone.
    pub fn power_cut(&mut self, now: Duration, flaky: bool) {
        for state in self.words.values_mut() {
            if flaky || state.at + UNSYNCED > now {
                state.on = None;
            }
        }
    }

    /// At the end: what was acknowledged is there, and as it was answered.
    pub fn verify(&mut self, held: &[Held], strict: bool) -> Vec<String> {
        let mut faults = Vec::new();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for message in held {
            let folder = (message.user, message.mailbox);
            let subject = subject_in(&message.text);
            faults.extend(self.check(folder, message.uid, &message.flags, u64::MAX).err());
            faults.extend(self.saw(folder, message.uid, subject).err());
            *count.entry(subject).or_default() += 1;
            let note = self.notes.get(subject);
            if note.is_some_and(|note| note.text != message.text) {
                faults.push(format!("{subject} is not as it was appended: {:?}", message.text));
            }
        }
        for (subject, note) in &self.notes {
            let count = count.get(subject.as_str()).copied().unwrap_or_default();
            if note.sure && count == 0 {
                faults.push(format!("{subject} was appended and is gone"));
            }
            if strict && count > note.most {
                faults.push(format!(
                    "{subject} is there {count} times, {} were due",
                    note.most
                ));
            }
        }
        faults
    }
}

/// Of a message's header.
pub fn subject_in(text: &str) -> &str {
    let header = text.split("\r\n\r\n").next().unwrap_or_default();
    let line = header.lines().find_map(|line| line.strip_prefix("Subject: "));
    line.unwrap_or_default()
}
