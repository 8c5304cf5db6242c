//! A small mail store in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use rmail_core::addr::{AccountName, Address};
use rmail_core::auth::password::ScramKeys;
use rmail_core::imap::server::{CopyUid, MailboxEntry, MailboxStatus, Selected, SharedMailbox};
use rmail_core::machine::Scope;
use rmail_core::mailbox::{
    Annotations, FlagChange, FlagOp, Flags, Keyword, Keywords, MailboxId, MailboxName, MailboxRef, ModSeq,
    Rights, Row, Rows, Snapshot, SpecialUse, SystemFlags, Uid, UidSet, UidValidity, Vanished,
};
use rmail_core::mime::section::{Section, Spec, Text};
use rmail_core::refusal::Refusal;
use rmail_core::sasl::ScramUser;
use rmail_core::search::{Gists, Key, eval_row};
use rmail_core::secret::Secret;
use rmail_core::time::DateTime;

/// The one account, and its password.
pub const USER: &str = "alice@demo.test";
pub const PASSWORD: &str = "secret";

/// The account.
pub fn account() -> AccountName {
    Address::parse(USER).unwrap().canonical()
}

/// A mailbox name.
pub fn name(text: &str) -> MailboxName {
    MailboxName::new(text).unwrap()
}

/// All mail there is.
pub struct World {
    pub boxes: BTreeMap<MailboxName, Mailbox>,
    pub subscribed: BTreeSet<MailboxName>,
    /// Mailboxes of others.
    pub shared: Vec<SharedMailbox>,
    pub annotations: Annotations,
    /// Goes up when the account's login is no longer valid.
    pub epoch: u64,
    /// Octets that may be stored.
    pub quota: u64,
    /// Bodies larger than this are opened and streamed.
    pub small_body: usize,
    /// So many bodies are open when an answer ends behind the present message.
    pub most_open: usize,
    /// The next call of this name is refused.
    pub refuse: Option<(&'static str, Refusal)>,
    /// Messages of a chunk of rows.
    pub shard: u32,
    next_validity: u32,
}

/// One mailbox.
pub struct Mailbox {
    pub id: MailboxId,
    pub uid_validity: UidValidity,
    pub uid_next: u32,
    pub modseq: u64,
    pub recent_from: u32,
    pub messages: BTreeMap<u32, Message>,
    pub keywords: Keywords,
    pub special_use: Vec<SpecialUse>,
    /// Below this mod-sequence it is not known what has gone.
    pub forgotten: u64,
    /// What has gone, and when.
    gone: Vec<(u64, u32)>,
    chunks: BTreeMap<u32, Arc<[Row]>>,
    keywords_now: Arc<Keywords>,
}

/// One message.
#[derive(Clone)]
pub struct Message {
    pub row: Row,
    pub body: Vec<u8>,
}

/// Flags from their names.
pub fn flags(names: &[&str]) -> Flags {
    let mut flags = Flags::default();
    for name in names {
        match SystemFlags::from_name(name) {
            Some(flag) => flags.system = flags.system.with(flag),
            None => flags.keywords.push(Keyword::new(name).unwrap()),
        }
    }
    flags
}

impl Mailbox {
    fn bits(&mut self, flags: &Flags) -> [u64; 4] {
        let mut bits = [0_u64; 4];
        for keyword in &flags.keywords {
            let bit = match self.keywords.bit(keyword) {
                Some(bit) => bit,
                None => self.keywords.push(keyword.clone()).unwrap(),
            };
            bits[bit / 64] |= 1 << (bit % 64);
        }
        bits
    }

    /// A new message.
    pub fn add(&mut self, body: &[u8], flags: &Flags, date: DateTime) -> Uid {
        self.modseq += 1;
        let bits = self.bits(flags);
        let uid = self.uid_next;
        self.uid_next += 1;
        let row = Row {
            date: date.unix,
            modseq: ModSeq(self.modseq),
            keywords: self.keywords.intern(bits),
            uid: Uid(uid),
            size: u32::try_from(body.len()).unwrap(),
            save_date: 0,
            zone: date.zone,
            flags: flags.system,
        };
        let body = body.to_vec();
        self.messages.insert(uid, Message { row, body });
        Uid(uid)
    }

    /// Those of the messages that have changed since.
    pub fn changed_since(&self, uids: &UidSet, since: Option<ModSeq>) -> UidSet {
        let rows = self.messages.values().map(|message| message.row);
        let changed =
            rows.filter(|row| uids.contains(row.uid) && since.is_some_and(|since| row.modseq > since));
        changed.map(|row| row.uid).collect()
    }

    /// What has gone.
    pub fn vanished(&self, since: ModSeq, snapshot: &Snapshot) -> Vanished {
        if since.0 < self.forgotten {
            return Vanished::Forgotten;
        }
        let news = self
            .gone
            .iter()
            .filter(|(modseq, _)| *modseq > since.0 && *modseq <= snapshot.modseq.0);
        Vanished::These(UidSet::from_ranges(news.map(|(_, uid)| (*uid, *uid))))
    }

    /// Changes flags. Where that does nothing, the mod-sequence stays.
    pub fn change(&mut self, uids: &UidSet, change: &FlagChange) {
        self.modseq += 1;
        let bits = self.bits(&change.flags);
        let modseq = ModSeq(self.modseq);
        for message in self.messages.values_mut().filter(|m| uids.contains(m.row.uid)) {
            let before = message.row;
            let mut now = self.keywords.bits(message.row.keywords);
            let row = &mut message.row;
            match change.op {
                FlagOp::Replace => {
                    row.flags = change.flags.system;
                    now = bits;
                }
                FlagOp::Add => {
                    row.flags = row.flags.with(change.flags.system);
                    now.iter_mut().zip(bits).for_each(|(a, b)| *a |= b);
                }
                FlagOp::Remove => {
                    row.flags = row.flags.without(change.flags.system);
                    now.iter_mut().zip(bits).for_each(|(a, b)| *a &= !b);
                }
            }
            row.keywords = self.keywords.intern(now);
            if *row != before {
                row.modseq = modseq;
            }
        }
    }

    /// What has not been claimed is claimed.
    pub fn claim_recent(&mut self) -> (Uid, Uid) {
        let first = core::mem::replace(&mut self.recent_from, self.uid_next);
        (Uid(first), Uid(self.uid_next))
    }

    /// Removes messages, whatever their flags.
    pub fn remove(&mut self, uids: &[u32]) {
        self.modseq += 1;
        for uid in uids {
            if self.messages.remove(uid).is_some() {
                self.gone.push((self.modseq, *uid));
            }
        }
    }

    pub fn snapshot(&mut self, shard: u32) -> Snapshot {
        let mut shards: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
        for (uid, message) in &self.messages {
            shards.entry(uid / shard).or_default().push(message.row);
        }
        self.chunks.retain(|key, _| shards.contains_key(key));
        for (key, rows) in shards {
            if self.chunks.get(&key).is_none_or(|known| known[..] != rows[..]) {
                self.chunks.insert(key, rows.into());
            }
        }
        if *self.keywords_now != self.keywords {
            self.keywords_now = Arc::new(self.keywords.clone());
        }
        Snapshot {
            uid_validity: self.uid_validity,
            uid_next: Uid(self.uid_next),
            modseq: ModSeq(self.modseq),
            rows: Rows::from_chunks(self.chunks.values().cloned()),
            keywords: Arc::clone(&self.keywords_now),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// What is stored for SCRAM.
    pub fn scram_user(&self, login: &str) -> ScramUser {
        ScramUser {
            keys: ScramKeys::derive(&Secret::new(PASSWORD), b"salt", 1),
            account: (login == USER).then(|| (account(), self.epoch)),
            others: Vec::new(),
        }
    }

    /// An account with the default mailboxes.
    pub fn new() -> Self {
        let mut world = Self {
            boxes: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            shared: Vec::new(),
            annotations: Annotations::default(),
            epoch: 1,
            quota: u64::MAX,
            small_body: 1000,
            most_open: usize::MAX,
            refuse: None,
            shard: 4,
            next_validity: 100,
        };
        world.create(&name("INBOX"), &[]);
        for (text, usage) in [("Drafts", SpecialUse::Drafts), ("Sent", SpecialUse::Sent)] {
            world.create(&name(text), &[usage]);
        }
        world.subscribed = world.boxes.keys().cloned().collect();
        world
    }

    /// One with this many messages in INBOX, UIDs from 1.
    pub fn with_messages(count: u32) -> Self {
        let mut world = Self::new();
        for n in 1..=count {
            world.deliver(&format!(
                "Subject: number {n}\r\nFrom: bob@demo.test\r\n\r\nbody {n}\r\n"
            ));
        }
        world
    }

    pub fn create(&mut self, mailbox: &MailboxName, special_use: &[SpecialUse]) {
        self.next_validity += 1;
        let made = Mailbox {
            id: MailboxId(self.next_validity),
            uid_validity: UidValidity(self.next_validity),
            uid_next: 1,
            modseq: 1,
            recent_from: 1,
            messages: BTreeMap::new(),
            keywords: Keywords::default(),
            special_use: special_use.to_vec(),
            forgotten: 0,
            gone: Vec::new(),
            chunks: BTreeMap::new(),
            keywords_now: Arc::default(),
        };
        self.boxes.insert(mailbox.clone(), made);
    }

    pub fn inbox(&mut self) -> &mut Mailbox {
        self.boxes.get_mut(&MailboxName::inbox()).unwrap()
    }

    /// A message from somewhere.
    pub fn deliver(&mut self, text: &str) -> Uid {
        let date = DateTime {
            unix: 1_000_000_000,
            zone: 60,
        };
        self.inbox().add(text.as_bytes(), &Flags::default(), date)
    }

    pub fn by_ref(&mut self, mailbox: &MailboxRef) -> Result<&mut Mailbox, Refusal> {
        let found = self.boxes.values_mut().find(|known| known.id == mailbox.id);
        found.ok_or(Refusal::NoSuchMailbox)
    }

    pub fn by_name(&mut self, mailbox: &MailboxName) -> Result<&mut Mailbox, Refusal> {
        self.boxes.get_mut(mailbox).ok_or(Refusal::NoSuchMailbox)
    }

    pub fn used(&self) -> u64 {
        let messages = self.boxes.values().flat_map(|known| known.messages.values());
        messages.map(|message| message.body.len() as u64).sum()
    }

    pub fn refused(&mut self, call: &str) -> Result<(), Refusal> {
        match self.refuse {
            Some((wanted, refusal)) if wanted == call => {
                self.refuse = None;
                Err(refusal)
            }
            _ => Ok(()),
        }
    }

    pub fn list(&self) -> Vec<MailboxEntry> {
        let names: BTreeSet<&MailboxName> = self.boxes.keys().chain(&self.subscribed).collect();
        let entry = |name: &MailboxName| MailboxEntry {
            name: name.clone(),
            selectable: self.boxes.contains_key(name),
            exists: self.boxes.contains_key(name),
            special_use: self
                .boxes
                .get(name)
                .map(|known| known.special_use.clone())
                .unwrap_or_default(),
            subscribed: self.subscribed.contains(name),
            id: self.boxes.get(name).map(|known| known.id),
        };
        names.into_iter().map(entry).collect()
    }

    pub fn status(&mut self, mailbox: &MailboxName) -> Result<MailboxStatus, Refusal> {
        let found = self.by_name(mailbox)?;
        let rows = || found.messages.values().map(|message| message.row);
        let without = |flag| rows().filter(|row| !row.flags.contains(flag)).count() as u64;
        Ok(MailboxStatus {
            id: found.id,
            messages: found.messages.len() as u64,
            recent: rows().filter(|row| row.uid.0 >= found.recent_from).count() as u64,
            unseen: without(SystemFlags::SEEN),
            deleted: found.messages.len() as u64 - without(SystemFlags::DELETED),
            deleted_size: rows()
                .filter(|row| row.flags.contains(SystemFlags::DELETED))
                .map(|row| u64::from(row.size))
                .sum(),
            size: rows().map(|row| u64::from(row.size)).sum(),
            uid_next: Uid(found.uid_next),
            uid_validity: found.uid_validity,
            modseq: ModSeq(found.modseq),
        })
    }

    pub fn select(&mut self, mailbox: &MailboxName, read_only: bool) -> Result<Selected, Refusal> {
        let shard = self.shard;
        let found = self.by_name(mailbox)?;
        let recent_from = Uid(found.recent_from);
        if !read_only {
            found.recent_from = found.uid_next;
        }
        Ok(Selected {
            mailbox: MailboxRef {
                account: account(),
                id: found.id,
            },
            snapshot: found.snapshot(shard),
            recent_from,
            read_only,
            rights: Rights::ALL,
        })
    }

    pub fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<(), Refusal> {
        if self.boxes.keys().any(|known| known == to || known.is_below(to)) {
            return Err(Refusal::MailboxExists);
        }
        if from.is_inbox() {
            self.create(to, &[]);
            let moved = self.inbox().messages.clone();
            self.inbox().remove(&moved.keys().copied().collect::<Vec<_>>());
            for message in moved.into_values() {
                let (body, date) = (message.body, message.row.internal_date());
                self.by_name(to)?.add(&body, &Flags::default(), date);
            }
            return Ok(());
        }
        let moved = |known: &&MailboxName| *known == from || known.is_below(from);
        let moved: Vec<MailboxName> = self.boxes.keys().filter(moved).cloned().collect();
        if moved.is_empty() {
            return Err(Refusal::NoSuchMailbox);
        }
        for old in moved {
            let new = name(&format!("{to}{}", &old.as_str()[from.as_str().len()..]));
            let found = self.boxes.remove(&old).unwrap();
            self.boxes.insert(new, found);
        }
        Ok(())
    }

    pub fn copy(
        &mut self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
        moves: bool,
    ) -> Result<(CopyUid, Snapshot), Refusal> {
        let shard = self.shard;
        let source = self.by_ref(mailbox)?;
        let taken: Vec<(Message, Flags)> = source
            .messages
            .values()
            .filter(|message| uids.contains(message.row.uid))
            .map(|message| {
                let keywords = source.keywords.of(message.row.keywords).cloned().collect();
                let system = message.row.flags;
                (message.clone(), Flags { system, keywords })
            })
            .collect();
        let size: u64 = taken.iter().map(|(message, _)| message.body.len() as u64).sum();
        if !moves && self.used() + size > self.quota {
            return Err(Refusal::OverQuota);
        }
        let target = self.by_name(to)?;
        let mut copied = CopyUid {
            uid_validity: target.uid_validity,
            source: Vec::new(),
            target: Vec::new(),
        };
        for (message, flags) in &taken {
            copied.source.push(message.row.uid);
            copied
                .target
                .push(target.add(&message.body, flags, message.row.internal_date()));
        }
        let source = self.by_ref(mailbox)?;
        if moves {
            source.remove(&copied.source.iter().map(|uid| uid.0).collect::<Vec<_>>());
        }
        Ok((copied, source.snapshot(shard)))
    }

    pub fn expunge(&mut self, mailbox: &MailboxRef, uids: Option<&UidSet>) -> Result<Snapshot, Refusal> {
        let shard = self.shard;
        let found = self.by_ref(mailbox)?;
        let gone: Vec<u32> = found
            .messages
            .values()
            .filter(|message| message.row.flags.contains(SystemFlags::DELETED))
            .filter(|message| uids.is_none_or(|uids| uids.contains(message.row.uid)))
            .map(|message| message.row.uid.0)
            .collect();
        if !gone.is_empty() {
            found.remove(&gone);
        }
        Ok(found.snapshot(shard))
    }

    pub fn find(&mut self, mailbox: &MailboxRef, uids: &UidSet, program: &Key) -> Result<UidSet, Refusal> {
        let found = self.by_ref(mailbox)?;
        let matching = found
            .messages
            .values()
            .filter(|message| uids.contains(message.row.uid))
            .filter(|message| matches(program, message, &found.keywords));
        Ok(matching.map(|message| message.row.uid).collect())
    }

    /// The present MODSEQ of what a watch covers.
    pub fn modseq(&self, scope: &Scope) -> ModSeq {
        match scope {
            Scope::Account(_) => ModSeq(self.epoch),
            // Not a count, but what it is of: it need not ascend.
            Scope::List(_) => {
                let mut hasher = DefaultHasher::new();
                for entry in self.list() {
                    (entry.name.as_str(), entry.id.map(|id| id.0), entry.subscribed).hash(&mut hasher);
                }
                ModSeq(hasher.finish() >> 1)
            }
            Scope::Mailbox(mailbox) => self
                .boxes
                .values()
                .find(|known| known.id == mailbox.id)
                .map_or(ModSeq(u64::MAX), |known| ModSeq(known.modseq)),
        }
    }
}

/// Messages to be sorted.
#[derive(Debug)]
pub struct Ranked {
    pub rows: Vec<Row>,
    gists: Gists,
}

impl Ranked {
    pub fn messages(&self) -> Vec<rmail_core::search::Message<'_>> {
        let message = |row| rmail_core::search::Message {
            row,
            gist: self.gists.get(row.uid),
        };
        self.rows.iter().map(message).collect()
    }
}

impl World {
    /// The messages that SORT and THREAD put into order.
    pub fn ranked(&mut self, mailbox: &MailboxRef, uids: &UidSet) -> Result<Ranked, Refusal> {
        let found = self.by_ref(mailbox)?;
        let mut gists = Gists::default();
        let mut rows = Vec::new();
        for message in found.messages.values() {
            if uids.contains(message.row.uid) {
                gists.add(message.row.uid, &message.body);
                rows.push(message.row);
            }
        }
        Ok(Ranked { rows, gists })
    }
}

/// Search with content, naively.
fn matches(key: &Key, message: &Message, keywords: &Keywords) -> bool {
    let text = String::from_utf8_lossy(&message.body).to_lowercase();
    let (header, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match key {
        Key::And(keys) => keys.iter().all(|key| matches(key, message, keywords)),
        Key::Or(pair) => matches(&pair.0, message, keywords) || matches(&pair.1, message, keywords),
        Key::Not(key) => !matches(key, message, keywords),
        Key::Text(wanted) => text.contains(&wanted.to_lowercase()),
        Key::Body(wanted) => body.contains(&wanted.to_lowercase()),
        Key::Header(field, wanted) => header.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case(field) && value.contains(&wanted.to_lowercase())
            })
        }),
        key => eval_row(key, &message.row, keywords).unwrap_or(false),
    }
}

/// The octets of a section: enough of MIME for messages without parts.
pub fn section(body: &[u8], section: &Section) -> Option<Vec<u8>> {
    let end = body
        .windows(4)
        .position(|octets| octets == b"\r\n\r\n")
        .map_or(body.len(), |at| at + 4);
    let (header, text) = body.split_at(end);
    let (spec, partial) = match section {
        Section::Envelope => {
            let subject = String::from_utf8_lossy(header)
                .lines()
                .find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned));
            let subject = subject.map_or("NIL".to_owned(), |subject| format!("\"{subject}\""));
            return Some(format!("(NIL {subject} NIL NIL NIL NIL NIL NIL NIL NIL)").into_bytes());
        }
        Section::Body | Section::BodyStructure => {
            let lines = text.iter().filter(|octet| **octet == b'\n').count();
            let size = text.len();
            let plain = format!("(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" {size} {lines})");
            return Some(plain.into_bytes());
        }
        Section::Octets { spec, partial } => (spec, partial),
        Section::Binary { .. }
        | Section::BinarySize { .. }
        | Section::Preview { .. }
        | Section::EmailId
        | Section::ThreadId => return None,
    };
    let whole = octets(header, text, body, spec)?;
    Some(match partial {
        None => whole,
        Some((first, count)) => {
            let first = usize::try_from(*first).unwrap().min(whole.len());
            let count = usize::try_from(*count).unwrap().min(whole.len() - first);
            whole[first..first + count].to_vec()
        }
    })
}

fn octets(header: &[u8], text: &[u8], body: &[u8], spec: &Spec) -> Option<Vec<u8>> {
    let fields = |keep: &dyn Fn(&str) -> bool| {
        let lines = String::from_utf8_lossy(header);
        let mut kept: String = lines
            .split_inclusive("\r\n")
            .filter(|line| line.split_once(':').is_some_and(|(name, _)| keep(name)))
            .collect();
        kept.push_str("\r\n");
        kept.into_bytes()
    };
    Some(match (&spec.part[..], &spec.text) {
        ([], Text::Whole) => body.to_vec(),
        ([], Text::Header) => header.to_vec(),
        ([], Text::Text) | ([1], Text::Whole) => text.to_vec(),
        ([], Text::HeaderFields(names)) => fields(&|name| names.iter().any(|n| n.eq_ignore_ascii_case(name))),
        ([], Text::HeaderFieldsNot(names)) => {
            fields(&|name| !names.iter().any(|n| n.eq_ignore_ascii_case(name)))
        }
        _ => return None,
    })
}
