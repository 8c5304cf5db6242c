//! Those who read mail: each keeps a picture of its mailboxes from untagged responses alone, across lost connections, and
//! changes what it sees while others do the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rmail_core::addr::Address;
use rmail_core::mailbox::{FlagOp, MailboxName, Snapshot};
use rmail_store::MailStore as _;

use crate::known::{Known, Mode, Picture, Truth, digits, names, returning, store_item, uids};
use crate::ledger::{Folder, Note, subject_in};
use crate::lines::Lines;
use crate::plan::HERE;
use crate::scene::Scene;

/// The mailboxes that they use.
pub const MAILBOXES: [&str; 2] = ["INBOX", "Archive"];

/// Starts the readers of a world.
pub fn start(scene: &Rc<Scene>) {
    for number in 0..scene.plan.readers {
        scene.clients.set(scene.clients.get() + 1);
        let task = Rc::clone(scene);
        scene.spawn(0, async move {
            let wait = task.between(Duration::from_secs(1), Duration::from_secs(600));
            task.clock.sleep(wait).await;
            Reader::new(&task, number).live().await;
            task.clients.set(task.clients.get() - 1);
        });
    }
}

/// What is remembered of a mailbox that is not selected.
struct Memory {
    kept: Vec<Known>,
    highest: u64,
    validity: u32,
}

struct Reader<'a> {
    scene: &'a Rc<Scene>,
    number: usize,
    account: &'static str,
    picture: Picture,
    lines: Option<Lines<'a>>,
    at: &'static str,
    /// A mailbox is selected, and the picture is its.
    selected: bool,
    memory: BTreeMap<&'static str, Memory>,
    tag: usize,
    appended: usize,
}

/// An answer: OK or not, and all of it.
type Answer = (bool, String);

impl<'a> Reader<'a> {
    fn new(scene: &'a Rc<Scene>, number: usize) -> Self {
        let mode = Mode::ALL[scene.below(Mode::ALL.len())];
        Self {
            scene,
            number,
            // Two of the same account, and one of another that gets much mail.
            account: ["alice@here.test", "alice@here.test", "bob@here.test"][number % 3],
            picture: Picture::new(mode),
            lines: None,
            at: MAILBOXES[0],
            selected: false,
            memory: BTreeMap::new(),
            tag: 0,
            appended: 0,
        }
    }

    fn folder(&self) -> Folder {
        (self.account, self.at)
    }

    fn word(&self) -> String {
        format!("k{}", self.number)
    }

    fn fault(&self, what: String) {
        self.scene.story.borrow_mut().fault(what);
    }

    fn hold(&self, held: Result<(), String>) {
        if let Err(what) = held {
            self.fault(format!("reader {}: {what}", self.number));
        }
    }

    async fn live(&mut self) {
        let turns = 6 + self.scene.below(8);
        let mut failures = 0;
        for _ in 0..turns {
            let most = [5, 300, 3_000][self.scene.below(3)];
            let wait = self.scene.between(Duration::ZERO, Duration::from_secs(most));
            self.scene.clock.sleep(wait).await;
            if self.lines.is_none() && self.connect().await.is_none() {
                self.forget();
                failures += 1;
                if failures > 20 {
                    return;
                }
                self.scene.clock.sleep(Duration::from_secs(60)).await;
                continue;
            }
            if self.turn().await.is_none() {
                self.forget();
            }
        }
        if self.lines.is_some() {
            let _ = self.ask("LOGOUT").await;
        }
    }

    /// The connection is lost.
    fn forget(&mut self) {
        self.lines = None;
        self.remember();
    }

    /// Puts away what is known of the selected mailbox.
    fn remember(&mut self) {
        if self.selected {
            let memory = Memory {
                kept: self.picture.leave(),
                highest: self.picture.highest,
                validity: self.scene.ledger.borrow().validity(self.folder()),
            };
            self.memory.insert(self.at, memory);
        }
        self.selected = false;
    }

    /// Gives a command; the picture learns from its whole answer. None: the connection is lost.
    async fn ask(&mut self, command: &str) -> Option<Answer> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        let lines = self.lines.as_ref()?;
        let (number, mode) = (self.number, self.picture.mode);
        self.scene
            .trace(|| format!("reader {number} {mode:?}: {command}"));
        self.scene.ledger.borrow_mut().commands += 1;
        lines.send(&format!("{tag} {command}"));
        let answer = self.answer(&tag).await?;
        self.scene
            .trace(|| format!("reader {number} hears: {}", answer.trim_end()));
        self.picture.answered(&answer, command);
        let last = answer.lines().next_back().unwrap_or_default();
        let done = last.starts_with(&format!("{tag} OK"));
        let refused = last.starts_with(&format!("{tag} NO"));
        if !done && !refused {
            self.fault(format!("reader {number}: {command}: {answer}"));
        }
        Some((done, answer))
    }

    async fn answer(&self, tag: &str) -> Option<String> {
        let mut answer = String::new();
        let lines = self.lines.as_ref()?;
        loop {
            let line = lines.next().await?;
            answer.push_str(&line);
            answer.push_str("\r\n");
            let rest = line.strip_prefix(tag);
            if rest.is_some_and(|rest| rest.starts_with(' ')) {
                return Some(answer);
            }
        }
    }

    async fn connect(&mut self) -> Option<()> {
        let to = SocketAddr::new(HERE, 143);
        let stream = self.scene.connect(to, Duration::from_secs(30)).await.ok()?;
        let lines = Lines::new(self.scene, stream);
        lines.next().await?.starts_with("* OK").then_some(())?;
        self.lines = Some(lines);
        let login = format!("LOGIN {} secret", self.account);
        if !self.ask(&login).await?.0 {
            return None;
        }
        self.ask(&format!("ENABLE {}", self.picture.mode.enables()))
            .await?;
        self.select(self.at).await
    }

    /// Selects a mailbox, and brings what was known of it up to date.
    async fn select(&mut self, mailbox: &'static str) -> Option<()> {
        self.remember();
        self.at = mailbox;
        self.picture.messages.clear();
        self.picture.highest = 0;
        let memory = self.memory.remove(mailbox);
        let knows = self.picture.mode.knows_modseqs();
        let memory = memory.filter(|memory| knows && memory.highest > 0);
        let Some(memory) = memory else {
            let (done, answer) = self.ask(&format!("SELECT {mailbox}")).await?;
            done.then_some(())?;
            self.told(&answer);
            self.selected = true;
            self.ask("UID FETCH 1:* (UID FLAGS)").await?;
            return Some(());
        };
        let last = memory.kept.last().and_then(|known| known.uid).unwrap_or(0);
        let (mut answer, mut found) = (String::new(), None);
        if self.picture.mode.has_qresync() {
            let with = returning(&memory.kept, u8::try_from(self.scene.below(4)).expect("small"));
            let (validity, since) = (memory.validity, memory.highest);
            let command = format!("SELECT {mailbox} (QRESYNC ({validity} {since}{with}))");
            let (done, told) = self.ask(&command).await?;
            done.then_some(())?;
            answer.push_str(&told);
        } else {
            let (done, told) = self.ask(&format!("SELECT {mailbox} (CONDSTORE)")).await?;
            done.then_some(())?;
            answer.push_str(&told);
            let since = memory.highest.max(1);
            let command = format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {since})");
            answer.push_str(&self.ask(&command).await?.1);
        }
        let highest = self.picture.highest;
        if self.picture.mode == Mode::Condstore {
            found = Some(self.ask("UID SEARCH ALL").await?.1);
        }
        self.told(&answer);
        self.picture.join(memory.kept, &answer, found.as_deref());
        self.picture.highest = highest;
        self.selected = true;
        self.ask("NOOP").await?;
        self.ask(&format!("UID FETCH {}:* (UID FLAGS)", last + 1)).await?;
        Some(())
    }

    /// Takes down what SELECT has said.
    fn told(&self, answer: &str) {
        let number = |word: &str| {
            let found = answer.split_once(&format!("[{word} "));
            found.map_or(0, |(_, rest)| u32::try_from(digits(rest)).expect("32 bits"))
        };
        let mut ledger = self.scene.ledger.borrow_mut();
        let told = ledger.selected(self.folder(), number("UIDVALIDITY"), number("UIDNEXT"));
        drop(ledger);
        self.hold(told);
    }

    /// What a server is doing, or has just answered, is cut short.
    async fn turn(&mut self) -> Option<()> {
        if self.crashes(150) {
            self.scene.kills.borrow_mut().push(0);
        }
        self.act().await?;
        if self.crashes(100) {
            self.scene.cuts.borrow_mut().push(0);
        }
        if self.scene.happens(500) {
            self.look().await?;
        }
        self.compare().await
    }

    fn crashes(&self, permille: usize) -> bool {
        self.scene.plan.crashes > 0 && self.scene.is_rough() && self.scene.happens(permille)
    }

    async fn act(&mut self) -> Option<()> {
        match self.scene.below(12) {
            0 | 1 => self.append().await,
            2..5 => self.store().await,
            5 => self.copy().await,
            6 | 7 => self.r#move().await,
            8 => self.expunge().await,
            9 => self.idle().await,
            10 => {
                let other = MAILBOXES[self.scene.below(2)];
                self.select(other).await
            }
            // Without a word.
            _ => None,
        }
    }

    /// Asks what the messages are.
    async fn look(&mut self) -> Option<()> {
        let before = self.scene.ledger.borrow().answers;
        let command = "UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])";
        let (done, answer) = self.ask(command).await?;
        if !done {
            return Some(());
        }
        let (folder, mut uid) = (self.folder(), None);
        for line in answer.lines() {
            if line.starts_with("* ") && line.contains("FETCH (") {
                uid = uid_in(line);
            } else if let (Some(subject), Some(uid)) = (line.strip_prefix("Subject: "), uid) {
                let saw = self.scene.ledger.borrow_mut().saw(folder, uid, subject);
                self.hold(saw);
            }
        }
        for (uid, flags) in fetched(&answer) {
            let checked = self.scene.ledger.borrow_mut().check(folder, uid, &flags, before);
            self.hold(checked);
        }
        Some(())
    }

    /// After NOOP the picture is what the store has, unless that changes meanwhile.
    async fn compare(&mut self) -> Option<()> {
        let before = self.snapshot().await;
        let (done, _) = self.ask("NOOP").await?;
        let after = self.snapshot().await.filter(|_| done);
        let (Some(before), Some(after)) = (before, after) else {
            return Some(());
        };
        if before.modseq != after.modseq || !before.rows.same(&after.rows) {
            return Some(());
        }
        let truth = after.rows.iter().map(|row| {
            let mut flags = names(row.flags.0);
            let keywords = after.keywords.of(row.keywords);
            flags.extend(keywords.map(|keyword| keyword.as_str().to_owned()));
            Truth {
                uid: row.uid.0,
                flags,
                modseq: after.rows.modseq(row).0,
            }
        });
        let truth: Vec<Truth> = truth.collect();
        self.scene.ledger.borrow_mut().checks += 1;
        self.picture.check(&truth, after.modseq.0);
        Some(())
    }

    /// The mailbox as a process of the site has it, perhaps another than that of the connection.
    async fn snapshot(&self) -> Option<Snapshot> {
        let host = self.scene.pick_host(0)?;
        let account = Address::parse(self.account).expect("an address").canonical();
        let name = MailboxName::new(self.at).expect("a name");
        let selected = host.store().select(&account, &name, true).await.ok()?;
        host.store().unselect(&selected.mailbox).await;
        Some(selected.snapshot)
    }

    /// One of the messages whose UID is known.
    fn pick(&self) -> Option<u32> {
        let known: Vec<u32> = self
            .picture
            .messages
            .iter()
            .filter_map(|known| known.uid)
            .collect();
        (!known.is_empty()).then(|| known[self.scene.below(known.len())])
    }

    /// One that a client has appended, and its Subject.
    fn pick_note(&self) -> Option<(u32, String)> {
        let ledger = self.scene.ledger.borrow();
        let known = self.picture.messages.iter().filter_map(|known| known.uid);
        let notes = known.filter_map(|uid| {
            let subject = ledger.subject(self.folder(), uid)?;
            ledger
                .notes
                .contains_key(subject)
                .then(|| (uid, subject.to_owned()))
        });
        let notes: Vec<(u32, String)> = notes.collect();
        (!notes.is_empty()).then(|| notes[self.scene.below(notes.len())].clone())
    }

    async fn append(&mut self) -> Option<()> {
        self.appended += 1;
        let subject = format!("i{}x{}", self.number, self.appended);
        let text = format!("Subject: {subject}\r\n\r\nappended\r\n.\r\nthe end\r\n");
        let mailbox = MAILBOXES[self.scene.below(2)];
        let folder = (self.account, mailbox);
        let next = {
            let mut ledger = self.scene.ledger.borrow_mut();
            let note = Note {
                text: text.clone(),
                sure: false,
                most: 1,
            };
            ledger.notes.insert(subject.clone(), note);
            ledger.next(folder)
        };
        let command = format!("APPEND {mailbox} {{{}+}}\r\n{text}", text.len());
        let (done, answer) = self.ask(&command).await?;
        if !done {
            return Some(());
        }
        let mut ledger = self.scene.ledger.borrow_mut();
        let note = ledger.notes.get_mut(&subject).expect("it is known");
        note.sure = true;
        let uid = answer.split_once("[APPENDUID ").and_then(|(_, rest)| {
            let uid = rest.split_once(' ')?.1;
            u32::try_from(digits(uid)).ok()
        });
        let told = match uid {
            Some(uid) if uid < next => Err(format!("{folder:?}: UID {uid}, but UIDNEXT was {next}")),
            Some(uid) => ledger.saw(folder, uid, &subject),
            None => Err(format!("APPEND without APPENDUID: {answer}")),
        };
        drop(ledger);
        self.hold(told);
        Some(())
    }

    async fn store(&mut self) -> Option<()> {
        let Some(uid) = self.pick() else {
            return Some(());
        };
        let (word, folder) = (self.word(), self.folder());
        let op = [FlagOp::Add, FlagOp::Add, FlagOp::Remove][self.scene.below(3)];
        let both = ["", "\\Seen ", "\\Flagged "][self.scene.below(3)];
        let flags = format!("{both}{word}");
        let silent = self.scene.happens(200);
        self.scene.ledger.borrow_mut().begins(folder, uid, &word);
        let command = format!("UID STORE {uid} {}", store_item((op, &flags), silent));
        if silent {
            let known = self.picture.messages.iter_mut();
            let known = known.filter(|known| known.uid == Some(uid));
            for known in known {
                flags.split(' ').for_each(|flag| known.reckon((op, flag)));
            }
        }
        let answer = self.ask(&command).await;
        if silent && !matches!(answer, Some((true, _))) {
            // What it reckoned with is perhaps not so.
            let known = self.picture.messages.iter_mut();
            for known in known.filter(|known| known.uid == Some(uid)) {
                (known.flags, known.modseq) = (None, None);
            }
        }
        let wanted = op == FlagOp::Add;
        let on = match &answer {
            Some((true, text)) => {
                let flags = fetched(text).remove(&uid);
                flags
                    .map(|flags| flags.contains(&word))
                    .filter(|on| *on == wanted)
            }
            _ => None,
        };
        let now = self.scene.clock.elapsed();
        let mut ledger = self.scene.ledger.borrow_mut();
        ledger.ends(folder, uid, &word, on, now);
        drop(ledger);
        answer.map(|_| ())
    }

    async fn copy(&mut self) -> Option<()> {
        let Some((uid, subject)) = self.pick_note() else {
            return Some(());
        };
        let mailbox = MAILBOXES[self.scene.below(2)];
        let (from, to) = (self.folder(), (self.account, mailbox));
        let (before, next) = {
            let mut ledger = self.scene.ledger.borrow_mut();
            ledger.notes.get_mut(&subject).expect("a note").most += 1;
            (ledger.answers, ledger.next(to))
        };
        let (done, answer) = self.ask(&format!("UID COPY {uid} {mailbox}")).await?;
        if done {
            for (source, target) in copied(&answer) {
                let mut ledger = self.scene.ledger.borrow_mut();
                ledger.copies((from, source), (to, target), before);
                drop(ledger);
                self.above(to, target, next);
            }
        }
        Some(())
    }

    fn above(&self, folder: Folder, uid: u32, next: u32) {
        if uid < next {
            self.fault(format!("{folder:?}: UID {uid}, but UIDNEXT was {next}"));
        }
    }

    async fn r#move(&mut self) -> Option<()> {
        let Some(uid) = self.pick() else {
            return Some(());
        };
        let mailbox = MAILBOXES[usize::from(self.at == MAILBOXES[0])];
        let (from, to) = (self.folder(), (self.account, mailbox));
        let next = self.scene.ledger.borrow().next(to);
        let Some((true, answer)) = self.ask(&format!("UID MOVE {uid} {mailbox}")).await else {
            self.scene.ledger.borrow_mut().blurs(from, uid);
            return self.lines.is_some().then_some(());
        };
        for (source, target) in copied(&answer) {
            let mut ledger = self.scene.ledger.borrow_mut();
            ledger.moves((from, source), (to, target));
            drop(ledger);
            self.above(to, target, next);
        }
        Some(())
    }

    async fn expunge(&mut self) -> Option<()> {
        let Some((uid, subject)) = self.pick_note() else {
            return Some(());
        };
        {
            let mut ledger = self.scene.ledger.borrow_mut();
            ledger.notes.get_mut(&subject).expect("a note").sure = false;
        }
        self.ask(&format!("UID STORE {uid} +FLAGS (\\Deleted)")).await?;
        let command = match self.scene.below(2) {
            0 => "EXPUNGE".to_owned(),
            _ => format!("UID EXPUNGE {uid}"),
        };
        self.ask(&command).await.map(|_| ())
    }

    /// Waits for news.
    async fn idle(&mut self) -> Option<()> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        let lines = self.lines.as_ref()?;
        lines.send(&format!("{tag} IDLE"));
        let mut heard = String::new();
        loop {
            let line = lines.next().await?;
            if line.starts_with('+') {
                break;
            }
            if line.starts_with(&tag) {
                return Some(());
            }
            heard.push_str(&line);
            heard.push_str("\r\n");
        }
        let wait = self
            .scene
            .between(Duration::from_secs(1), Duration::from_secs(1200));
        self.scene.clock.sleep(wait).await;
        lines.send("DONE");
        heard.push_str(&self.answer(&tag).await?);
        let number = self.number;
        self.scene
            .trace(|| format!("reader {number} idled: {}", heard.trim_end()));
        self.picture.answered(&heard, "IDLE");
        Some(())
    }
}

/// The UID of a FETCH or UIDFETCH response.
fn uid_in(line: &str) -> Option<u32> {
    let text = match line.split_once(" UIDFETCH ") {
        Some((number, _)) => number.strip_prefix("* ")?,
        None => line.split_once("UID ")?.1,
    };
    u32::try_from(digits(text)).ok()
}

/// The flags of messages as an answer tells them, the last word of each.
fn fetched(answer: &str) -> BTreeMap<u32, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for line in answer.lines().filter(|line| line.starts_with("* ")) {
        let Some((_, flags)) = line.split_once("FLAGS (").filter(|_| line.contains("FETCH (")) else {
            continue;
        };
        if let (Some(uid), Some((flags, _))) = (uid_in(line), flags.split_once(')')) {
            found.insert(uid, flags.split(' ').map(str::to_owned).collect());
        }
    }
    found
}

/// The pairs of COPYUID (RFC 4315 §3).
fn copied(answer: &str) -> Vec<(u32, u32)> {
    let mut pairs = Vec::new();
    for (_, rest) in answer
        .match_indices("[COPYUID ")
        .map(|(at, word)| answer.split_at(at + word.len()))
    {
        let told = rest.split(']').next().unwrap_or_default();
        let mut words = told.split(' ').skip(1);
        let source = words.next().map(uids).unwrap_or_default();
        let target = words.next().map(uids).unwrap_or_default();
        pairs.extend(source.into_iter().zip(target));
    }
    pairs
}

/// What a message is called that a reader appended.
pub fn is_note(text: &str) -> bool {
    let subject = subject_in(text);
    subject.starts_with('i') && subject[1..].starts_with(|first: char| first.is_ascii_digit())
}
