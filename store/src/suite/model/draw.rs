//! Operations by chance.

use rmail_core::mailbox::{FlagOp, SystemFlags};
use rmail_core::random::Random;

/// An operation, in words that mean the same on every store. A place is counted modulo what there is.
#[derive(Clone, Debug)]
pub(super) enum Op {
    CreateAccount(User),
    DeleteAccount(User),
    Create(User, Name, u64),
    Delete(User, Name),
    Rename(User, Name, Name),
    Subscribe(User, Name, bool),
    Append(User, Name, Vec<New>, Room),
    /// How far above UIDNEXT, or above the message before, each is to come.
    AppendNumbered(User, Name, Vec<(u32, New)>, Option<u32>),
    RaiseModseq(User, Name, u64),
    Deliver(Vec<(User, Room)>, String, Option<u64>),
    Select(User, Name, bool),
    Unselect(usize),
    Store(usize, Places, FlagOp, SystemFlags, Vec<Word>, Option<usize>),
    Copy(usize, Places, Name, Room),
    Move(usize, Places, Name),
    Expunge(usize, Option<Places>),
    Open(usize, usize),
    SaveOutbound(usize, String),
    RemoveOutbound(usize),
    Clock,
}

/// Local part of an account.
pub(super) type User = &'static str;
/// A mailbox.
pub(super) type Name = &'static str;
/// A keyword.
pub(super) type Word = &'static str;

/// A message: text, flags, keywords, INTERNALDATE.
pub(super) type New = (String, SystemFlags, Vec<Word>, i64);
/// Octets that the quota has above what the account takes; none: it is unlimited.
pub(super) type Room = Option<u64>;

/// Some messages of a mailbox.
#[derive(Clone, Debug)]
pub(super) enum Places {
    /// `1:*`
    All,
    /// These, and perhaps UIDs that are not there: one that was expunged, one that will come.
    Some(Vec<usize>, bool),
}

/// How often what is done.
#[derive(Debug)]
pub(super) struct Weights {
    users: &'static [User],
    names: &'static [Name],
    /// Of: accounts, names, new messages, looks, messages, queue.
    shares: [u64; 6],
}

const WORDS: [Word; 6] = ["$Forwarded", "$forwarded", "a", "NonJunk", "b/c", "nonjunk"];

impl Weights {
    /// Everything.
    pub(super) const ALL: Self = Self {
        users: &["alice", "bob"],
        names: &["INBOX", "INBOX", "Archive", "a", "a/b", "INBOX/c", "d"],
        shares: [2, 20, 25, 15, 40, 8],
    };
    /// Messages.
    pub(super) const MESSAGES: Self = Self {
        users: &["alice"],
        names: &["INBOX", "INBOX", "INBOX", "Archive"],
        shares: [0, 1, 25, 12, 60, 2],
    };
    /// Names.
    pub(super) const NAMES: Self = Self {
        users: &["alice"],
        names: &[
            "a", "a/b", "a/b/c", "a/d", "b", "b/c", "c/b/a", "c", "INBOX", "INBOX/a",
        ],
        shares: [1, 70, 15, 8, 6, 0],
    };

    /// The next operation; its number tells its messages from all others.
    pub(super) fn draw(&self, random: &mut Random, number: u64) -> Op {
        let total: u64 = self.shares.iter().sum();
        let mut point = random.below(total);
        let mut kind = 0;
        for share in self.shares {
            if point < share {
                break;
            }
            point -= share;
            kind += 1;
        }
        match kind {
            0 => match random.below(3) {
                0 => Op::DeleteAccount(self.user(random)),
                1 => Op::CreateAccount(self.user(random)),
                _ => Op::Clock,
            },
            1 => match random.below(9) {
                0..3 => Op::Create(self.user(random), self.name(random), random.below(4)),
                3..5 => Op::Delete(self.user(random), self.name(random)),
                5..8 => Op::Rename(self.user(random), self.name(random), self.name(random)),
                _ => Op::Subscribe(self.user(random), self.name(random), random.below(2) == 0),
            },
            2 => match random.below(8) {
                0 => {
                    let news = (0..random.below(3)).map(|at| {
                        let gap = random.below(3) as u32;
                        (gap, new(random, format!("numbered {number} {at}")))
                    });
                    let news = news.collect();
                    let next = (random.below(3) == 0).then(|| random.below(9) as u32);
                    Op::AppendNumbered(self.user(random), self.name(random), news, next)
                }
                1 => Op::RaiseModseq(self.user(random), self.name(random), random.below(20)),
                2..4 => {
                    let users = self.users.iter().filter_map(|user| {
                        let wanted = random.below(2) == 0;
                        wanted.then(|| (*user, room(random)))
                    });
                    let users = users.collect();
                    let queued = (random.below(3) == 0).then_some(number);
                    Op::Deliver(users, format!("delivered {number}"), queued)
                }
                _ => {
                    let count = 1 + random.below(3);
                    let news = (0..count).map(|at| new(random, format!("appended {number} {at}")));
                    let news = news.collect();
                    Op::Append(self.user(random), self.name(random), news, room(random))
                }
            },
            3 => match random.below(5) {
                0..3 => Op::Select(self.user(random), self.name(random), random.below(2) == 0),
                3 => Op::Unselect(place(random)),
                _ => Op::Open(place(random), place(random)),
            },
            4 => match random.below(7) {
                0..3 => {
                    let op = [FlagOp::Replace, FlagOp::Add, FlagOp::Remove][random.below(3) as usize];
                    let since = (random.below(4) == 0).then(|| place(random));
                    Op::Store(
                        place(random),
                        places(random),
                        op,
                        system(random),
                        words(random),
                        since,
                    )
                }
                3 => Op::Copy(place(random), places(random), self.name(random), room(random)),
                4 => Op::Move(place(random), places(random), self.name(random)),
                5 => Op::Expunge(place(random), None),
                _ => Op::Expunge(place(random), Some(places(random))),
            },
            _ => match random.below(2) {
                0 => Op::SaveOutbound(place(random), format!("tried at {number}")),
                _ => Op::RemoveOutbound(place(random)),
            },
        }
    }

    fn user(&self, random: &mut Random) -> User {
        self.users[random.below(self.users.len() as u64) as usize]
    }

    fn name(&self, random: &mut Random) -> Name {
        self.names[random.below(self.names.len() as u64) as usize]
    }
}

fn new(random: &mut Random, text: String) -> New {
    (text, system(random), words(random), random.below(1 << 31) as i64)
}

fn room(random: &mut Random) -> Room {
    (random.below(3) == 0).then(|| random.below(60))
}

fn place(random: &mut Random) -> usize {
    random.below(1 << 16) as usize
}

fn places(random: &mut Random) -> Places {
    match random.below(4) {
        0 => Places::All,
        _ => {
            let count = random.below(5);
            let places = (0..count).map(|_| place(random)).collect();
            Places::Some(places, random.below(3) == 0)
        }
    }
}

fn system(random: &mut Random) -> SystemFlags {
    SystemFlags(random.below(32) as u8 & random.below(32) as u8)
}

fn words(random: &mut Random) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for word in WORDS {
        let new = !words.iter().any(|known| known.eq_ignore_ascii_case(word));
        if new && random.below(4) == 0 {
            words.push(word);
        }
    }
    words
}
