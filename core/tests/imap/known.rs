//! What a client knows of its mailbox from untagged responses alone: shared by the programs of chance here and the worlds of
//! the simulator.

use std::collections::BTreeSet;
use std::fmt::Write as _;

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

    pub fn enables(self) -> &'static str {
        match self {
            Self::Plain => "X-NOTHING",
            Self::Condstore => "CONDSTORE",
            Self::QResync => "QRESYNC",
            Self::UidOnly => "UIDONLY",
            Self::Rev2 => "IMAP4rev2",
            Self::All => "UTF8=ACCEPT QRESYNC IMAP4rev2",
        }
    }

    pub fn is_rev2(self) -> bool {
        matches!(self, Self::Rev2 | Self::All)
    }

    pub fn has_qresync(self) -> bool {
        matches!(self, Self::QResync | Self::All)
    }

    pub fn knows_modseqs(self) -> bool {
        matches!(self, Self::Condstore | Self::QResync | Self::All)
    }
}

/// What a client knows of a message.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub uid: Option<u32>,
    pub flags: Option<BTreeSet<String>>,
    pub modseq: Option<u64>,
}

/// What there is, to be compared with what is known.
#[derive(Clone, Debug)]
pub struct Truth {
    pub uid: u32,
    pub flags: BTreeSet<String>,
    pub modseq: u64,
}

/// The picture that a client has of its mailbox.
pub struct Picture {
    pub mode: Mode,
    pub messages: Vec<Known>,
    /// HIGHESTMODSEQ as RFC 7162 §6 has it kept.
    pub highest: u64,
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

impl Picture {
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            messages: Vec::new(),
            highest: 0,
            seen: 0,
            said: None,
        }
    }

    /// Believes the whole answer to a command.
    pub fn answered(&mut self, answer: &str, command: &str) {
        self.believe(answer, command);
        // RFC 7162 §6.
        let (said, seen) = (self.said.take(), core::mem::take(&mut self.seen));
        self.highest = said.unwrap_or_else(|| self.highest.max(seen));
    }

    pub fn believe(&mut self, answer: &str, command: &str) {
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

    /// Compares with what there is, and its HIGHESTMODSEQ.
    pub fn check(&self, truth: &[Truth], highest: u64) {
        assert_eq!(
            self.messages.len(),
            truth.len(),
            "{:?} is not {truth:?}",
            self.messages
        );
        for (known, counted) in self.messages.iter().zip(truth) {
            let uid = known.uid.unwrap_or(counted.uid);
            if self.mode != Mode::UidOnly {
                assert_eq!(uid, counted.uid);
            }
            let is = truth.iter().find(|is| is.uid == uid);
            let is = is.unwrap_or_else(|| panic!("{uid} is not there: {truth:?}"));
            let by_number = known.uid.is_some() || self.mode != Mode::UidOnly;
            if let Some(flags) = known.flags.as_ref().filter(|_| by_number) {
                assert_eq!(*flags, is.flags, "flags of {uid}");
            }
            if let Some(modseq) = known.modseq {
                assert_eq!(modseq, is.modseq, "mod-sequence of {uid}");
            }
        }
        assert!(self.highest <= highest, "{} is above {highest}", self.highest);
    }

    /// Begins to come back: what it knew, without what is behind a message whose UID it does not know, because of that it
    /// cannot say what stands before it.
    pub fn leave(&mut self) -> Vec<Known> {
        let knew = core::mem::take(&mut self.messages);
        knew.into_iter().take_while(|known| known.uid.is_some()).collect()
    }

    /// Puts together what it knew and what it was told when it came back; without QRESYNC it has to search for what is
    /// still there.
    pub fn join(&mut self, mut kept: Vec<Known>, answer: &str, found: Option<&str>) {
        let last = kept.last().and_then(|known| known.uid).unwrap_or(0);
        if let Some(found) = found {
            let there: Vec<u32> = found
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            kept.retain(|known| known.uid.is_some_and(|uid| there.contains(&uid)));
        }
        for line in answer.lines() {
            if let Some(set) = line.strip_prefix("* VANISHED (EARLIER) ") {
                let gone = uids(set);
                kept.retain(|known| known.uid.is_none_or(|uid| !gone.contains(&uid)));
            }
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
    }
}

impl Known {
    /// What a client reckons with after a silent STORE.
    pub fn reckon(&mut self, (op, flag): (FlagOp, &str)) {
        if let Some(flags) = &mut self.flags {
            match op {
                FlagOp::Add => drop(flags.insert(flag.to_owned())),
                FlagOp::Remove => drop(flags.remove(flag)),
                FlagOp::Replace => *flags = BTreeSet::from([flag.to_owned()]),
            }
        }
    }
}

/// How a client says what it knows: all, its UIDs, or some of its numbers with their UIDs.
pub fn returning(kept: &[Known], how: u8) -> String {
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

/// What STORE is given.
pub fn store_item((op, flag): (FlagOp, &str), silent: bool) -> String {
    let sign = match op {
        FlagOp::Add => "+",
        FlagOp::Remove => "-",
        FlagOp::Replace => "",
    };
    let dot = if silent { ".SILENT" } else { "" };
    format!("{sign}FLAGS{dot} ({flag})")
}

/// The names of system flags.
pub fn names(system: u8) -> BTreeSet<String> {
    let set = SystemFlags(system);
    let named = SystemFlags::NAMES.iter().filter(|(flag, _)| set.contains(*flag));
    named.map(|(_, name)| (*name).to_owned()).collect()
}

pub fn digits(text: &str) -> u64 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// The UIDs of `1:3,7`.
pub fn uids(set: &str) -> BTreeSet<u32> {
    let range = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    set.split(',').flat_map(range).collect()
}
