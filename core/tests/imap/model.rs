//! A client that keeps a picture of its mailbox from untagged responses alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::common::{Client, World};
use rmail_core::mailbox::{FlagOp, SystemFlags};

/// What a client has enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Plain,
    Condstore,
    QResync,
    UidOnly,
    Rev2,
    /// IMAP4rev2 with QRESYNC and UTF8=ACCEPT.
    All,
}

impl Mode {
    pub const ALL: [Self; 6] = [
        Self::Plain,
        Self::Condstore,
        Self::QResync,
        Self::UidOnly,
        Self::Rev2,
        Self::All,
    ];

    fn enables(self) -> &'static str {
        match self {
            Self::Plain => "X-NOTHING",
            Self::Condstore => "CONDSTORE",
            Self::QResync => "QRESYNC",
            Self::UidOnly => "UIDONLY",
            Self::Rev2 => "IMAP4rev2",
            Self::All => "UTF8=ACCEPT QRESYNC IMAP4rev2",
        }
    }

    fn is_rev2(self) -> bool {
        matches!(self, Self::Rev2 | Self::All)
    }

    fn has_qresync(self) -> bool {
        matches!(self, Self::QResync | Self::All)
    }

    fn knows_modseqs(self) -> bool {
        matches!(self, Self::Condstore | Self::QResync | Self::All)
    }
}

/// What a client knows of a message.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub uid: Option<u32>,
    pub flags: Option<BTreeSet<String>>,
    modseq: Option<u64>,
}

/// A client and its picture.
pub struct Watcher {
    pub mode: Mode,
    pub client: Client,
    pub messages: Vec<Known>,
    /// HIGHESTMODSEQ as RFC 7162 §6 has it kept.
    highest: u64,
    /// Of the present command: the highest MODSEQ in a FETCH, and what HIGHESTMODSEQ said.
    seen: u64,
    said: Option<u64>,
}

/// What a response is about.
#[derive(Clone, Copy)]
enum About {
    Number(usize),
    Uid(u32),
}

impl Watcher {
    pub fn new(world: &mut World, mode: Mode) -> Self {
        let mut watcher = Self {
            mode,
            client: connect(world, mode),
            messages: Vec::new(),
            highest: 0,
            seen: 0,
            said: None,
        };
        watcher.command(world, "SELECT INBOX");
        watcher.command(world, "UID FETCH 1:* (UID FLAGS)");
        watcher
    }

    /// Gives a command, and believes what is answered. Says whether it was done.
    pub fn command(&mut self, world: &mut World, command: &str) -> bool {
        self.answered(world, command).0
    }

    /// The same, with the answer.
    fn answered(&mut self, world: &mut World, command: &str) -> (bool, String) {
        let answer = self.client.say(world, &format!("t {command}\r\n"));
        self.believe(&answer, command);
        let done = answer.lines().any(|line| line.starts_with("t OK"));
        assert!(done || answer.contains("t NO "), "{command}: {answer}");
        // RFC 7162 §6.
        let (said, seen) = (self.said.take(), core::mem::take(&mut self.seen));
        self.highest = said.unwrap_or_else(|| self.highest.max(seen));
        (done, answer)
    }

    fn believe(&mut self, answer: &str, command: &str) {
        let in_use = |word: &&str| command.starts_with(*word);
        let numbers_in_use = ["FETCH", "STORE", "SEARCH"].iter().any(in_use);
        let mut last = None;
        for line in answer.lines() {
            if let (true, Some(about)) = (line.starts_with(" FLAGS (") || line.starts_with(" UID "), last) {
                // What comes behind a literal.
                self.learn(about, line);
            }
            if let Some((_, rest)) = line.split_once(" OK [HIGHESTMODSEQ ") {
                self.said = Some(digits(rest));
            }
            let Some(rest) = line.strip_prefix("* ") else {
                continue;
            };
            if let Some(set) = rest.strip_prefix("VANISHED ") {
                assert!(!numbers_in_use, "VANISHED while numbers are in use: {answer}");
                self.vanished(set);
                continue;
            }
            let words: Vec<&str> = rest.splitn(3, ' ').collect();
            let Some(number) = words.first().and_then(|word| word.parse::<usize>().ok()) else {
                continue;
            };
            match words[1] {
                "EXISTS" => {
                    let first = command.starts_with("SELECT");
                    assert!(
                        first || number >= self.messages.len(),
                        "EXISTS went down: {answer}"
                    );
                    self.messages
                        .resize(number.max(self.messages.len()), Known::default());
                }
                "EXPUNGE" => {
                    assert!(!numbers_in_use, "EXPUNGE while numbers are in use: {answer}");
                    assert!(
                        !(self.mode.has_qresync() || self.mode == Mode::UidOnly),
                        "{answer}"
                    );
                    self.messages.remove(number - 1);
                }
                "FETCH" | "UIDFETCH" => {
                    let by_uid = words[1] == "UIDFETCH";
                    assert_eq!(by_uid, self.mode == Mode::UidOnly, "{answer}");
                    let about = if by_uid {
                        About::Uid(u32::try_from(number).unwrap())
                    } else {
                        About::Number(number)
                    };
                    if !command.contains("FETCH") {
                        self.unsolicited(line);
                    }
                    self.learn(about, words[2]);
                    last = Some(about);
                }
                "RECENT" => assert!(!self.mode.is_rev2(), "{answer}"),
                _ => {}
            }
        }
    }

    /// What a response that was not asked for must have.
    fn unsolicited(&self, line: &str) {
        if self.mode.knows_modseqs() {
            assert!(line.contains("UID ") && line.contains("MODSEQ ("), "{line}");
        }
        if self.mode.is_rev2() {
            assert!(line.contains("UID ") && !line.contains("\\Recent"), "{line}");
        }
    }

    fn vanished(&mut self, set: &str) {
        assert!(self.mode.has_qresync() || self.mode == Mode::UidOnly);
        if let Some(set) = set.strip_prefix("(EARLIER) ") {
            // Whoever comes back has forgotten all numbers; others do not count what went earlier.
            let gone = uids(set);
            let known = |known: &Known| known.uid.is_some_and(|uid| gone.contains(&uid));
            assert!(
                !self.messages.iter().any(known),
                "it is there: VANISHED (EARLIER) {set}"
            );
            return;
        }
        for uid in uids(set) {
            let is = |known: &Known| known.uid == Some(uid);
            let at = self.messages.iter().position(is).unwrap_or_else(|| {
                // One of those that it has not asked for yet; without numbers, they stand last.
                let by_uid = self.mode == Mode::UidOnly;
                let above = |known: &Known| !by_uid && known.uid.is_some_and(|known| known > uid);
                let end = self.messages.iter().position(above);
                let end = end.unwrap_or(self.messages.len());
                let known = self.messages[..end].iter().rposition(|known| known.uid.is_none());
                known.unwrap_or_else(|| panic!("VANISHED {uid}: {:?}", self.messages))
            });
            self.messages.remove(at);
        }
    }

    /// From `(UID 3 FLAGS (\Seen) MODSEQ (7))` and the like.
    fn learn(&mut self, about: About, items: &str) {
        let index = match about {
            About::Number(number) => number - 1,
            About::Uid(uid) => self.index_of(uid),
        };
        let known = &mut self.messages[index];
        if let Some((_, rest)) = items.split_once("UID ") {
            let uid = u32::try_from(digits(rest)).unwrap();
            assert!(
                known.uid.is_none_or(|known| known == uid),
                "{known:?} became {uid}"
            );
            known.uid = Some(uid);
        }
        if let Some((_, rest)) = items.split_once("FLAGS (") {
            let list = rest.split_once(')').unwrap().0;
            let flags = list
                .split(' ')
                .filter(|flag| !flag.is_empty() && *flag != "\\Recent");
            known.flags = Some(flags.map(str::to_owned).collect());
        }
        if let Some((_, rest)) = items.split_once("MODSEQ (") {
            let modseq = digits(rest);
            known.modseq = Some(modseq);
            self.seen = self.seen.max(modseq);
        }
    }

    /// The message of this UID, which may be one that it has only counted so far. Those stand last.
    fn index_of(&mut self, uid: u32) -> usize {
        let at = self
            .messages
            .iter()
            .position(|known| known.uid.is_none_or(|known| known >= uid));
        let at = at.unwrap_or_else(|| panic!("UIDFETCH {uid}: {:?}", self.messages));
        if self.messages[at].uid != Some(uid) {
            let unknown = self.messages.iter().rposition(|known| known.uid.is_none());
            self.messages
                .remove(unknown.unwrap_or_else(|| panic!("UIDFETCH {uid}: {:?}", self.messages)));
            self.messages.insert(
                at,
                Known {
                    uid: Some(uid),
                    ..Known::default()
                },
            );
        }
        at
    }

    pub fn check(&self, world: &mut World) {
        let inbox = world.inbox();
        assert_eq!(self.messages.len(), inbox.messages.len());
        for (known, counted) in self.messages.iter().zip(inbox.messages.values()) {
            let uid = known.uid.unwrap_or(counted.row.uid.0);
            if self.mode != Mode::UidOnly {
                assert_eq!(uid, counted.row.uid.0);
            }
            let row = inbox.messages[&uid].row;
            if let Some(flags) = known
                .flags
                .as_ref()
                .filter(|_| known.uid.is_some() || self.mode != Mode::UidOnly)
            {
                let mut now = names(row.flags.0);
                now.extend(
                    inbox
                        .keywords
                        .of(row.keywords)
                        .map(|keyword| keyword.as_str().to_owned()),
                );
                assert_eq!(*flags, now, "flags of {uid}");
            }
            if let Some(modseq) = known.modseq {
                assert_eq!(modseq, row.modseq.0, "mod-sequence of {uid}");
            }
        }
        assert!(self.highest <= inbox.modseq);
    }

    pub fn idle(&mut self, world: &mut World) {
        let answer = self.client.say(world, "t IDLE\r\n");
        self.believe(&answer, "IDLE");
        world.deliver("Subject: idle\r\n\r\n");
        let answer = self.client.listen(world);
        self.believe(&answer, "IDLE");
        self.check(world);
        let answer = self.client.say(world, "DONE\r\n");
        self.believe(&answer, "IDLE");
    }

    /// COPY or MOVE of one message.
    pub fn by_number(&mut self, world: &mut World, command: &str, number: usize, to: &str) {
        if self.mode != Mode::UidOnly {
            self.command(world, &format!("{command} {number} {to}"));
        } else if let Some(uid) = self.messages[number - 1].uid {
            self.command(world, &format!("UID {command} {uid} {to}"));
        }
    }

    pub fn store(
        &mut self,
        world: &mut World,
        number: usize,
        change: (FlagOp, &str),
        uid: bool,
        silent: bool,
    ) {
        let uid = uid || self.mode == Mode::UidOnly;
        let known = self.messages[number - 1].uid.filter(|_| uid);
        if known.is_none() && self.mode == Mode::UidOnly {
            return;
        }
        let which = known.map_or(format!("STORE {number}"), |uid| format!("UID STORE {uid}"));
        let command = format!("{which} {}", store_item(change, silent));
        // What is answered comes after what the client reckons with.
        if silent {
            self.messages[number - 1].reckon(change);
        }
        // Unless it is silent, it is refused if the message is gone.
        assert!(self.command(world, &command) || !silent);
    }

    /// STORE on the condition that the message has not changed since this many mod-sequences ago.
    pub fn conditional(
        &mut self,
        world: &mut World,
        number: usize,
        change: (FlagOp, &str),
        silent: bool,
        ago: u64,
    ) {
        let known = &self.messages[number - 1];
        let (Some(uid), Some(modseq)) = (known.uid, known.modseq) else {
            return;
        };
        let since = modseq.saturating_sub(ago).max(1);
        let row = world.inbox().messages.get(&uid).map(|message| message.row);
        if silent {
            self.messages[number - 1].reckon(change);
        }
        let item = store_item(change, silent);
        let command = format!("UID STORE {uid} (UNCHANGEDSINCE {since}) {item}");
        let (_, answer) = self.answered(world, &command);
        let left_alone = answer.contains(&format!("[MODIFIED {uid}]"));
        if let Some(row) = row {
            let changed = row.modseq.0 > since;
            assert!(changed || !left_alone, "{command}: {answer}");
            assert!(
                !changed || left_alone || change.0 != FlagOp::Replace,
                "{command}: {answer}"
            );
            // RFC 7162 §3.1.12: what is no different from what the client knows is no reason to refuse.
            if changed && ago == 0 && !left_alone {
                assert!(answer.contains(" MODSEQ ("), "{command}: {answer}");
            }
        }
    }

    /// The connection breaks; the client comes back with what it knew, and asks for what it does not know yet.
    pub fn come_back(&mut self, world: &mut World, how: u8) {
        self.client = connect(world, self.mode);
        let knew = core::mem::take(&mut self.messages);
        if !self.mode.knows_modseqs() {
            self.command(world, "SELECT INBOX");
            self.command(world, "UID FETCH 1:* (UID FLAGS)");
            return;
        }
        // Of what comes behind a message without a UID it cannot say what stands before it.
        let mut kept: Vec<Known> = knew.into_iter().take_while(|known| known.uid.is_some()).collect();
        let since = self.highest;
        let last = kept.last().and_then(|known| known.uid).unwrap_or(0);
        let answer = if self.mode.has_qresync() {
            let with = returning(&kept, how);
            let validity = world.inbox().uid_validity.0;
            let command = format!("SELECT INBOX (QRESYNC ({validity} {since}{with}))");
            self.answered(world, &command).1
        } else {
            let select = self.answered(world, "SELECT INBOX (CONDSTORE)").1;
            let items = format!("(FLAGS) (CHANGEDSINCE {})", since.max(1));
            select + &self.answered(world, &format!("UID FETCH 1:* {items}")).1
        };
        let said = self.highest;
        for line in answer.lines() {
            if let Some(set) = line.strip_prefix("* VANISHED (EARLIER) ") {
                let gone = uids(set);
                kept.retain(|known| !gone.contains(&known.uid.unwrap()));
            }
        }
        if self.mode == Mode::Condstore {
            let found = self.answered(world, "UID SEARCH ALL").1;
            let there: Vec<u32> = found
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            kept.retain(|known| there.contains(&known.uid.unwrap()));
        }
        // What it was told now replaces what it knew.
        let told = core::mem::take(&mut self.messages);
        assert!(kept.len() <= told.len(), "more is known than there is: {answer}");
        for (index, message) in told.iter().enumerate() {
            let newer = message.uid.is_some_and(|uid| uid > last);
            match kept.get_mut(index) {
                Some(known) if message.uid == known.uid => *known = message.clone(),
                Some(known) => assert!(message.uid.is_none(), "{message:?} is not {known:?}: {answer}"),
                None if newer => kept.push(message.clone()),
                None => kept.push(Known {
                    uid: message.uid,
                    ..Known::default()
                }),
            }
        }
        self.messages = kept;
        self.highest = said;
        self.command(world, "NOOP");
        self.check(world);
        self.command(world, &format!("UID FETCH {}:* (UID FLAGS)", last + 1));
        self.check(world);
    }

    /// What went earlier is told again, and is none of what is there.
    pub fn earlier(&mut self, world: &mut World, ago: u64) {
        if self.mode.has_qresync() {
            let since = self.highest.saturating_sub(ago).max(1);
            let items = format!("(UID FLAGS) (CHANGEDSINCE {since} VANISHED)");
            assert!(self.command(world, &format!("UID FETCH 1:* {items}")));
        }
    }
}

impl Known {
    /// What a client reckons with after a silent STORE.
    fn reckon(&mut self, (op, flag): (FlagOp, &str)) {
        if let Some(flags) = &mut self.flags {
            match op {
                FlagOp::Add => drop(flags.insert(flag.to_owned())),
                FlagOp::Remove => drop(flags.remove(flag)),
                FlagOp::Replace => *flags = BTreeSet::from([flag.to_owned()]),
            }
        }
    }
}

fn connect(world: &mut World, mode: Mode) -> Client {
    let mut client = Client::logged_in(world);
    client.say(world, &format!("e ENABLE {}\r\n", mode.enables()));
    client
}

/// How a client says what it knows: all, its UIDs, or some of its numbers with their UIDs.
fn returning(kept: &[Known], how: u8) -> String {
    let mut with = String::new();
    let list = |uids: &mut dyn Iterator<Item = u32>| {
        let texts: Vec<String> = uids.map(|uid| uid.to_string()).collect();
        texts.join(",")
    };
    if how % 2 == 1 && !kept.is_empty() {
        let last = kept.last().and_then(|known| known.uid).unwrap();
        // It also wants to hear of what is new.
        let all = list(&mut kept.iter().filter_map(|known| known.uid));
        let _ = write!(with, " {all},{}:4294967295", last + 1);
    }
    if how >= 2 && !kept.is_empty() {
        let numbered = || kept.iter().zip(1_u32..).step_by(2);
        let numbers = list(&mut numbered().map(|(_, number)| number));
        let uids = list(&mut numbered().filter_map(|(known, _)| known.uid));
        let _ = write!(with, " ({numbers} {uids})");
    }
    with
}

fn store_item((op, flag): (FlagOp, &str), silent: bool) -> String {
    let sign = match op {
        FlagOp::Add => "+",
        FlagOp::Remove => "-",
        FlagOp::Replace => "",
    };
    let dot = if silent { ".SILENT" } else { "" };
    format!("{sign}FLAGS{dot} ({flag})")
}

fn names(system: u8) -> BTreeSet<String> {
    let set = SystemFlags(system);
    let named = SystemFlags::NAMES.iter().filter(|(flag, _)| set.contains(*flag));
    named.map(|(_, name)| (*name).to_owned()).collect()
}

fn digits(text: &str) -> u64 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// The UIDs of `1:3,7`.
fn uids(set: &str) -> BTreeSet<u32> {
    let range = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    set.split(',').flat_map(range).collect()
}
