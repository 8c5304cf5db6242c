//! A client that keeps a picture of its mailbox from untagged responses alone.

use std::ops::{Deref, DerefMut};

use crate::common::{Client, World};
use crate::known::{Picture, Truth, names, returning, store_item};
use rmail_core::mailbox::FlagOp;

pub use crate::known::Mode;

/// A client and its picture.
pub struct Watcher {
    pub client: Client,
    picture: Picture,
}

impl Deref for Watcher {
    type Target = Picture;

    fn deref(&self) -> &Picture {
        &self.picture
    }
}

impl DerefMut for Watcher {
    fn deref_mut(&mut self) -> &mut Picture {
        &mut self.picture
    }
}

impl Watcher {
    pub fn new(world: &mut World, mode: Mode) -> Self {
        let mut watcher = Self {
            client: connect(world, mode),
            picture: Picture::new(mode),
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
        self.picture.answered(&answer, command);
        let done = answer.lines().any(|line| line.starts_with("t OK"));
        assert!(done || answer.contains("t NO "), "{command}: {answer}");
        (done, answer)
    }

    pub fn check(&self, world: &mut World) {
        let inbox = world.inbox();
        let truth = inbox.messages.values().map(|message| {
            let row = message.row;
            let mut flags = names(row.flags.0);
            let keywords = inbox.keywords.of(row.keywords);
            flags.extend(keywords.map(|keyword| keyword.as_str().to_owned()));
            Truth {
                uid: row.uid.0,
                flags,
                modseq: row.modseq.0,
            }
        });
        let truth: Vec<Truth> = truth.collect();
        self.picture.check(&truth, inbox.modseq);
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
        let kept = self.leave();
        if !self.mode.knows_modseqs() {
            self.command(world, "SELECT INBOX");
            self.command(world, "UID FETCH 1:* (UID FLAGS)");
            return;
        }
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
        let searches = self.mode == Mode::Condstore;
        let found = searches.then(|| self.answered(world, "UID SEARCH ALL").1);
        self.join(kept, &answer, found.as_deref());
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

fn connect(world: &mut World, mode: Mode) -> Client {
    let mut client = Client::logged_in(world);
    client.say(world, &format!("e ENABLE {}\r\n", mode.enables()));
    client
}
