//! One listener of `/events`: what it knows of the folders, and what it is told.
//!
//! It watches first and looks then, so that nothing can come in between. What it knows of a folder is the rows that it was
//! told of last, which it shares with everybody who knows the same; news is the difference to the rows of now. What is told
//! is made as it is taken: a client that does not read has no news waiting here.

use core::fmt::Write as _;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{Access, Ask as Any, Call, Caller, Failure, Request, Step};
use super::events::wanted;
use super::point::{Heard, MAX_FOLDERS, hash_of};
use super::summary::flags;
use super::{Answer, Ask, FolderId, Look, Looked, MessageId, Missed, Point, Seen};
use crate::imap::server::{Met, Walk};
use crate::machine::{LOOKS_LATER, Scope, WatchId};
use crate::mailbox::{MailboxRef, ModSeq, Row, Snapshot, Uid};
use crate::time::{Mono, Now};

/// Something is sent at least so often: whatever stands between closes connections that say nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A look that failed is taken again after this.
const RETRY: Duration = Duration::from_secs(5);
/// Octets that are pushed at once, about.
const PIECE: usize = 8 * 1024;
/// Messages that are compared before others have their turn.
const STEP: usize = 10_000;

const LIST: WatchId = WatchId(0);
const ACCOUNT: WatchId = WatchId(1);

/// Folders and their names.
type Names = Box<[(FolderId, Arc<str>)]>;

/// One listener.
#[derive(Debug)]
pub struct Listener {
    caller: Caller,
    /// Folders that the client wants to hear of; none: all.
    wanted: Vec<FolderId>,
    /// How far it had heard before.
    before: Option<Heard>,
    /// All folders as it knows them.
    list: Option<Names>,
    boxes: BTreeMap<FolderId, Watched>,
    list_dirty: bool,
    /// Whether the token still holds has to be looked at.
    recheck: bool,
    /// A look is under way.
    asked: bool,
    /// It has heard all that happened before.
    ready: bool,
    next_watch: u32,
    work: VecDeque<Seen>,
    telling: Option<Box<Telling>>,
    /// Events that are written, and the last one, which waits for its id.
    out: String,
    held: Option<String>,
    steps: VecDeque<Step>,
    ended: bool,
    now: Mono,
    /// When the token ends.
    until: Mono,
    pushed: Mono,
    retry: Option<Mono>,
}

/// A folder that is watched.
#[derive(Debug)]
struct Watched {
    watch: WatchId,
    known: Known,
    dirty: bool,
}

/// What the client knows of a folder.
#[derive(Debug)]
enum Known {
    /// What there is at the first look.
    Present,
    /// What there was at this point.
    Since(Point),
    /// These messages.
    Rows(Snapshot),
}

/// News of one folder, being told.
#[derive(Debug)]
struct Telling {
    folder: FolderId,
    snapshot: Snapshot,
    what: What,
}

#[derive(Debug)]
enum What {
    Walk(Walk, Snapshot),
    /// From this UID on the messages are new.
    These(Uid, VecDeque<Uid>, VecDeque<Uid>),
}

impl Listener {
    /// For whom this request is of, if the token was good.
    #[must_use]
    pub fn new(request: &Request<'_>, caller: Caller) -> Self {
        let last = request
            .head
            .field("last-event-id")
            .filter(|last| !last.is_empty());
        // Of an id that nobody knows all may have happened since.
        let before = last.map(|last| Heard::decode(last).unwrap_or_default());
        let account = caller.account.clone();
        let now = request.now.mono;
        let left = caller.expires.0.saturating_sub(request.now.unix.0);
        let steps = [
            Step::Push(b"retry: 3000\n\n".to_vec()),
            Step::Watch(LIST, Scope::List(account.clone()), LOOKS_LATER),
            Step::Watch(ACCOUNT, Scope::Account(account), ModSeq(caller.epoch)),
        ];
        Self {
            caller,
            wanted: wanted(request).unwrap_or_default(),
            before,
            list: None,
            boxes: BTreeMap::new(),
            list_dirty: true,
            recheck: false,
            asked: false,
            ready: false,
            next_watch: ACCOUNT.0 + 1,
            work: VecDeque::new(),
            telling: None,
            out: String::new(),
            held: None,
            steps: steps.into(),
            ended: false,
            now,
            until: now + left,
            pushed: now,
            retry: None,
        }
    }

    /// The next step. After [`Step::End`] there is none.
    pub fn poll_step(&mut self) -> Option<Step> {
        if let Some(step) = self.steps.pop_front() {
            return Some(step);
        }
        if self.ended {
            return None;
        }
        self.tell();
        if !self.out.is_empty() {
            self.pushed = self.now;
            return Some(Step::Push(core::mem::take(&mut self.out).into_bytes()));
        }
        self.look()
    }

    /// When [`Listener::tick`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.ended {
            return None;
        }
        let alive = (self.pushed + KEEP_ALIVE).min(self.until);
        Some(self.retry.map_or(alive, |retry| retry.min(alive)))
    }

    /// The deadline may have passed.
    pub fn tick(&mut self, now: Now) {
        self.now = now.mono;
        if self.retry.is_some_and(|retry| retry <= now.mono) {
            self.retry = None;
        }
        if self.until <= now.mono {
            self.end();
        }
        if !self.ended && self.pushed + KEEP_ALIVE <= now.mono {
            self.pushed = now.mono;
            self.steps.push_back(Step::Push(b":\n\n".to_vec()));
        }
    }

    /// A watch has something.
    pub fn dirty(&mut self, now: Now, watch: WatchId) {
        self.now = now.mono;
        match watch {
            LIST => self.list_dirty = true,
            ACCOUNT => self.recheck = true,
            _ => {
                let watched = self.boxes.values_mut().find(|watched| watched.watch == watch);
                if let Some(watched) = watched {
                    watched.dirty = true;
                }
            }
        }
    }

    /// What was asked is answered.
    pub fn reply(&mut self, now: Now, reply: Result<Answer, Failure>) {
        self.now = now.mono;
        self.asked = false;
        if self.ended {
            return;
        }
        match reply {
            Ok(Answer::Looked(looked)) => self.looked(looked),
            // The token does not hold any more.
            Err(failure) if matches!(failure.status, 401 | 403) => self.end(),
            Ok(_) | Err(_) => {
                // Nothing is lost: what was asked is still not known.
                self.boxes.values_mut().for_each(|watched| watched.dirty = true);
                (self.list_dirty, self.recheck) = (true, true);
                self.retry = Some(now.mono + RETRY);
            }
        }
    }

    /// The stream is over: what it watched is watched no more.
    pub fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        let boxes = core::mem::take(&mut self.boxes);
        let watches = boxes.into_values().map(|watched| watched.watch);
        let watches = [LIST, ACCOUNT].into_iter().chain(watches);
        self.steps.extend(watches.map(Step::Unwatch));
        self.steps.push_back(Step::End);
        self.list = None;
        self.work = VecDeque::new();
        self.telling = None;
    }

    /// What is left to do for one whose client has gone.
    pub fn into_unwatches(mut self) -> impl Iterator<Item = Step> {
        self.end();
        self.steps
            .into_iter()
            .filter(|step| matches!(step, Step::Unwatch(_)))
    }

    /// Whether it is over, and all is told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended && self.steps.is_empty()
    }

    /// Asks how the folders are, if that is not known.
    fn look(&mut self) -> Option<Step> {
        if self.asked || self.retry.is_some() {
            return None;
        }
        let mut folders = Vec::new();
        for (folder, watched) in &mut self.boxes {
            if core::mem::take(&mut watched.dirty) {
                let point = match watched.known {
                    Known::Since(point) => Some(point),
                    Known::Present | Known::Rows(_) => None,
                };
                folders.push((*folder, point));
            }
        }
        let list = core::mem::take(&mut self.list_dirty);
        let recheck = core::mem::take(&mut self.recheck);
        if !list && !recheck && folders.is_empty() {
            return None;
        }
        self.asked = true;
        Some(Step::Call(Call {
            caller: Some(self.caller.clone()),
            access: Access::User,
            ask: Any::Mail(Ask::Look(Look { list, folders })),
        }))
    }

    fn looked(&mut self, looked: Looked) {
        if let Some(list) = looked.list {
            self.listed(list);
        }
        self.work.extend(looked.folders);
    }

    /// Which folders there are.
    fn listed(&mut self, list: Vec<(FolderId, Arc<str>)>) {
        let new = list.into_boxed_slice();
        let first = self.list.is_none();
        let old = self.list.replace(new.clone()).unwrap_or_default();
        if first {
            let hash = hash_of(new.iter().map(|(id, name)| (*id, &**name)));
            if self.before.as_ref().is_some_and(|before| before.list != hash) {
                self.event("reload", &json!({ "folder": null }));
            }
        }
        let by_id = |list: &[(FolderId, Arc<str>)]| -> BTreeMap<FolderId, Arc<str>> {
            list.iter().cloned().collect()
        };
        let (before, now) = (by_id(&old), by_id(&new));
        for (id, name) in old.iter().filter(|(id, _)| !now.contains_key(id)) {
            if let Some(watched) = self.boxes.remove(id) {
                self.steps.push_back(Step::Unwatch(watched.watch));
            }
            self.folder_event(*id, name, "deleted");
        }
        for (id, name) in &new {
            match before.get(id) {
                None if first => {}
                None => self.folder_event(*id, name, "created"),
                Some(before) if before != name => self.folder_event(*id, name, "renamed"),
                Some(_) => {}
            }
            if self.wants(*id) && !self.boxes.contains_key(id) {
                self.watch(*id, first);
            }
        }
        if self.boxes.len() > MAX_FOLDERS {
            // The next attempt is told why.
            self.end();
        }
    }

    fn wants(&self, folder: FolderId) -> bool {
        self.wanted.is_empty() || self.wanted.contains(&folder)
    }

    /// Watches a folder. `first`: it was there when the client came.
    fn watch(&mut self, folder: FolderId, first: bool) {
        let watch = WatchId(self.next_watch);
        self.next_watch = self.next_watch.wrapping_add(1).max(ACCOUNT.0 + 1);
        let mailbox = MailboxRef {
            account: self.caller.account.clone(),
            id: folder.0,
        };
        self.steps
            .push_back(Step::Watch(watch, Scope::Mailbox(mailbox), LOOKS_LATER));
        let nothing = Point {
            modseq: ModSeq(0),
            uid_next: Uid(1),
        };
        let known = match &self.before {
            None if first => Known::Present,
            // What was not there before was empty.
            Some(before) if first => Known::Since(before.of(folder).unwrap_or(nothing)),
            _ => Known::Since(nothing),
        };
        let dirty = true;
        self.boxes.insert(folder, Watched { watch, known, dirty });
    }

    /// Writes events, until there are enough for one push, or no more.
    fn tell(&mut self) {
        let mut met = 0;
        while self.out.len() < PIECE && met < STEP {
            let Some(mut telling) = self.telling.take().or_else(|| self.next_telling()) else {
                if self.work.is_empty() {
                    self.told_all();
                    return;
                }
                continue;
            };
            met += 1;
            if self.tell_one(&mut telling) {
                self.telling = Some(telling);
            } else if let Some(watched) = self.boxes.get_mut(&telling.folder) {
                watched.known = Known::Rows(telling.snapshot);
            }
        }
        if self.out.is_empty() {
            // Long work without a word: others get their turn.
            self.out.push_str(":\n\n");
        }
    }

    /// What is to be told of the next folder; none: nothing, or there is no next one.
    fn next_telling(&mut self) -> Option<Box<Telling>> {
        let seen = self.work.pop_front()?;
        let folder = seen.folder;
        let watched = self.boxes.get_mut(&folder)?;
        let Some(snapshot) = seen.snapshot else {
            self.list_dirty = true;
            return None;
        };
        let known = core::mem::replace(&mut watched.known, Known::Present);
        let what = match (known, seen.missed) {
            (Known::Present, _) => None,
            (Known::Rows(old), _) if old.uid_validity == snapshot.uid_validity => Some(What::Walk(
                Walk::new(old.rows.clone(), snapshot.rows.clone()),
                old,
            )),
            (Known::Since(point), Some(Missed::These { here, gone })) => {
                Some(What::These(point.uid_next, here.into(), gone.into()))
            }
            (Known::Rows(_) | Known::Since(_), _) => {
                watched.known = Known::Rows(snapshot);
                self.event("reload", &json!({ "folder": folder }));
                return None;
            }
        };
        match what {
            Some(what) => Some(Box::new(Telling {
                folder,
                snapshot,
                what,
            })),
            None => {
                watched.known = Known::Rows(snapshot);
                None
            }
        }
    }

    /// Tells of the next message. False: there is none.
    fn tell_one(&mut self, telling: &mut Telling) -> bool {
        let (folder, keywords) = (telling.folder, Arc::clone(&telling.snapshot.keywords));
        let told = |row: &Row| json!({ "id": MessageId { folder, uid: row.uid }, "folder": folder, "flags": flags(row, &keywords) });
        let gone = |uid: Uid| json!({ "id": MessageId { folder, uid }, "folder": folder });
        match &mut telling.what {
            What::Walk(walk, old) => match walk.next(None) {
                None => return false,
                Some(Met::SameBlock(_) | Met::Same(_) | Met::Alike(..)) => {}
                Some(Met::Both(before, now)) => {
                    let same = before.flags == now.flags
                        && old.keywords.bits(before.keywords) == keywords.bits(now.keywords);
                    if !same {
                        self.event("flags", &told(&now));
                    }
                }
                Some(Met::Gone(row)) => self.event("gone", &gone(row.uid)),
                Some(Met::Fresh(row)) => self.event("message", &told(&row)),
            },
            What::These(new, here, away) => {
                if let Some(uid) = away.pop_front() {
                    self.event("gone", &gone(uid));
                } else if let Some(uid) = here.pop_front() {
                    if let Some((_, row)) = telling.snapshot.rows.find(uid) {
                        let kind = if uid >= *new { "message" } else { "flags" };
                        self.event(kind, &told(row));
                    }
                } else {
                    return false;
                }
            }
        }
        true
    }

    /// All that is known is told: the last event has the id by which it goes on.
    fn told_all(&mut self) {
        let complete = self
            .boxes
            .values()
            .all(|watched| matches!(watched.known, Known::Rows(_)));
        if !self.ready && complete && self.list.is_some() && !self.asked {
            self.ready = true;
            self.before = None;
            self.event("ready", &json!({}));
        }
        let Some(last) = self.held.take() else { return };
        self.out.push_str(&last);
        if complete {
            let _ = writeln!(self.out, "id: {}", self.heard().encode());
        }
        self.out.push('\n');
    }

    fn heard(&self) -> Heard {
        let list = self.list.as_deref().unwrap_or_default();
        let point = |(folder, watched): (&FolderId, &Watched)| match &watched.known {
            Known::Rows(snapshot) => Some((*folder, Point::of(snapshot))),
            Known::Present | Known::Since(_) => None,
        };
        Heard {
            list: hash_of(list.iter().map(|(id, name)| (*id, &**name))),
            folders: self.boxes.iter().filter_map(point).collect(),
        }
    }

    fn folder_event(&mut self, id: FolderId, name: &str, change: &str) {
        if self.wants(id) {
            self.event("folder", &json!({ "id": id, "name": name, "change": change }));
        }
    }

    fn event(&mut self, kind: &str, data: &Value) {
        if let Some(before) = self.held.take() {
            self.out.push_str(&before);
            self.out.push('\n');
        }
        self.held = Some(format!("event: {kind}\ndata: {data}\n"));
    }
}
