//! What is done about a finding.

use std::io;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{MailboxName, ModSeq, Row, Uid, Who};
use rmail_core::refusal::Refusal;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::file::FileStore;
use crate::file::care::{Misplaced, Patient};
use crate::file::io::{found, settle_dir};

use super::super::lock::lock;
use super::{Code, Finding, Outcome};

/// Where what is set aside goes.
const ASIDE: &str = "lost+found";

/// A finding, and what mends it.
pub(super) struct Draft<D: Disk> {
    pub(super) finding: Finding,
    pub(super) fix: Fix<D>,
}

/// What mends it.
pub(super) enum Fix<D: Disk> {
    /// Nothing that we do.
    None,
    /// The message gets a new UID.
    NewUid(Message<D>),
    /// The message has lost its content.
    Message(Message<D>, D::Dir),
    /// The name goes to the user's `lost+found`.
    Aside {
        dir: D::Dir,
        name: String,
        user: D::Dir,
    },
    /// A directory in `shards` that is none: its messages get new UIDs.
    OddShard {
        shards: D::Dir,
        name: String,
        user: D::Dir,
    },
    /// A second name of a message.
    Second {
        dir: D::Dir,
        name: String,
    },
    /// A file that nobody uses.
    Unlink {
        dir: D::Dir,
        name: String,
    },
    Mode {
        dir: D::Dir,
        name: String,
        mode: u32,
    },
    /// Opening the mailbox does it.
    Open,
    Renumber,
    Ceilings(Uid, ModSeq),
    /// So many keywords are needed.
    Keywords(usize),
    Log,
    Clean,
    Counter(u32),
    Subscriptions(D::Dir),
    /// The file goes to the user's `lost+found`.
    File {
        dir: D::Dir,
        name: &'static str,
        user: D::Dir,
    },
    /// With whom something is shared.
    Shared(Who),
    Graves,
    Level {
        parent: D::Dir,
        entry: String,
        to: String,
    },
    Queue {
        dir: D::Dir,
        number: String,
        names: Vec<String>,
    },
}

/// A message by its present name.
pub(super) struct Message<D: Disk> {
    pub(super) dir: D::Dir,
    pub(super) name: String,
    pub(super) row: Row,
    pub(super) bits: [u64; 4],
    pub(super) size: u32,
    pub(super) in_place: bool,
}

impl<D: Disk> Message<D> {
    fn misplaced(&self) -> Misplaced<'_, D> {
        Misplaced {
            dir: &self.dir,
            name: &self.name,
            row: self.row,
            bits: self.bits,
            size: self.size,
            in_place: self.in_place,
        }
    }
}

impl<D: Disk> Draft<D> {
    pub(super) fn new(code: Code, path: String, detail: String, fix: Fix<D>) -> Self {
        Self {
            finding: Finding {
                code,
                path,
                detail,
                account: None,
                mailbox: None,
                uid: None,
                outcome: Outcome::Told,
            },
            fix,
        }
    }

    /// What cannot be read.
    pub(super) fn unreadable(path: &str, error: &io::Error) -> Self {
        let detail = match error.kind() {
            io::ErrorKind::WouldBlock => "it is in use without a break; look again later".to_owned(),
            _ => error.to_string(),
        };
        Self::new(Code::FileUnreadable, path.to_owned(), detail, Fix::None)
    }

    /// What tells it from others, and stays the same when it is looked for again.
    pub(super) fn key(&self) -> String {
        let finding = &self.finding;
        match finding.uid {
            // Its name changes with its flags.
            Some(uid) => {
                let dir = finding.path.rsplit_once('/').map_or("", |(dir, _)| dir);
                format!("{} {dir} {}", finding.code, uid.0)
            }
            None => format!("{} {}", finding.code, finding.path),
        }
    }
}

/// Mends a finding.
pub(super) async fn mend<D: Disk>(store: &FileStore<D>, draft: &Draft<D>) -> Outcome {
    match try_mend(store, draft).await {
        Ok(Some(how)) => Outcome::Repaired(how),
        Ok(None) => Outcome::Told,
        Err(error) => Outcome::Failed(match &error.source {
            Some(source) => format!("{}: {source}", error.context),
            None if error.context.is_empty() => format!("{:?}", error.refusal),
            None => error.context,
        }),
    }
}

async fn try_mend<D: Disk>(store: &FileStore<D>, draft: &Draft<D>) -> Result<Option<String>> {
    let finding = &draft.finding;
    let done = |text: &str| Ok(Some(text.to_owned()));
    let disk = store.disk();
    let io = |error| Error::io(format!("mend {}", finding.path), error);
    match &draft.fix {
        Fix::None => Ok(None),
        Fix::Mode { dir, name, mode } => {
            disk.set_mode(dir, name, *mode).await.map_err(io)?;
            Ok(Some(format!("set to {mode:04o}")))
        }
        Fix::Unlink { dir, name } => {
            found(disk.unlink(dir, name).await).map_err(io)?;
            disk.sync_dir(dir).await.map_err(io)?;
            done("removed")
        }
        Fix::Queue { dir, number, names } => queue(store, dir, number, names).await.map(Some),
        _ => match &finding.account {
            Some(account) => in_account(store, draft, account).await,
            None => Ok(None),
        },
    }
}

async fn in_account<D: Disk>(
    store: &FileStore<D>,
    draft: &Draft<D>,
    account: &AccountName,
) -> Result<Option<String>> {
    let done = |text: &str| Ok(Some(text.to_owned()));
    match &draft.fix {
        Fix::Counter(used) => {
            store.raise_counter(account, *used).await?;
            Ok(Some(format!("the counter is {used} or above")))
        }
        Fix::Subscriptions(user) => {
            let aside = aside_dir(store, user).await?;
            let new = store
                .move_aside(user, "subscriptions.json", &aside, "subscriptions.json")
                .await?;
            store.subscribe_to_all(account).await?;
            Ok(Some(format!("subscribed to all; the file is {ASIDE}/{new}")))
        }
        Fix::File { dir, name, user } => {
            let aside = aside_dir(store, user).await?;
            let new = store.move_aside(dir, name, &aside, name).await?;
            Ok(Some(format!("it is {ASIDE}/{new} now")))
        }
        Fix::Shared(who) => {
            store.enter_shared(account, who).await?;
            done("noted")
        }
        Fix::Graves => {
            store.clear_graves(account).await?;
            done("removed")
        }
        Fix::Level { parent, entry, to } => {
            store.rename_level(account, parent, entry, to).await?;
            Ok(Some(format!("renamed to {to:?}")))
        }
        _ => match &draft.finding.mailbox {
            Some(name) => in_mailbox(store, draft, account, name).await,
            None => Ok(None),
        },
    }
}

async fn in_mailbox<D: Disk>(
    store: &FileStore<D>,
    draft: &Draft<D>,
    account: &AccountName,
    name: &MailboxName,
) -> Result<Option<String>> {
    let done = |text: &str| Ok(Some(text.to_owned()));
    if let Fix::Renumber = draft.fix {
        store.renumber(account, name).await?;
        return done("it has an identity of its own");
    }
    let patient = store.patient(account, name).await?;
    match &draft.fix {
        Fix::Open => {
            patient.look().await?;
            done("made anew")
        }
        Fix::NewUid(message) => match patient.give_new_uid(&message.misplaced()).await? {
            Some(uid) => Ok(Some(format!("it is UID {} now", uid.0))),
            None => done("it is gone meanwhile"),
        },
        Fix::Message(message, user) => {
            let aside = aside_dir(store, user).await?;
            let new = patient.set_message_aside(&message.misplaced(), &aside).await?;
            Ok(Some(format!("it is {ASIDE}/{new} now")))
        }
        Fix::Aside { dir, name, user } => {
            let aside = aside_dir(store, user).await?;
            let new = patient.set_aside(dir, name, &aside).await?;
            Ok(Some(format!("it is {ASIDE}/{new} now")))
        }
        Fix::OddShard { shards, name, user } => odd_shard(store, &patient, shards, name, user).await,
        Fix::Second { dir, name } => {
            patient.unlink(dir, name).await?;
            done("removed; the message has its other name")
        }
        Fix::Ceilings(uid, modseq) => {
            patient.raise_ceilings(*uid, *modseq).await?;
            done("raised")
        }
        Fix::Keywords(needed) => {
            patient.salvage_keywords(*needed).await?;
            done("made anew from what could be read")
        }
        Fix::Log => {
            patient.restart_log().await?;
            done("begun anew")
        }
        Fix::Clean => {
            patient.mark_clean().await?;
            done("synced and marked")
        }
        _ => Ok(None),
    }
}

async fn aside_dir<D: Disk>(store: &FileStore<D>, at: &D::Dir) -> Result<D::Dir> {
    let dir = settle_dir(store.disk(), at, ASIDE).await;
    dir.map_err(|error| Error::io(format!("make {ASIDE}"), error))
}

/// Gives the messages of a directory that is no shard new UIDs; the rest is set aside with it.
async fn odd_shard<D: Disk>(
    store: &FileStore<D>,
    patient: &Patient<'_, D>,
    shards: &D::Dir,
    name: &str,
    user: &D::Dir,
) -> Result<Option<String>> {
    let disk = store.disk();
    let io = |error| Error::io(format!("mend shards/{name}"), error);
    let dir = disk.open_dir(shards, name).await.map_err(io)?;
    let mut moved = 0_u64;
    for entry in disk.list(&dir).await.map_err(io)?.entries {
        let Some((row, bits)) = crate::file::names::decode(&entry.name) else {
            continue;
        };
        let stat = disk.stat_link(&dir, &entry.name).await.map_err(io)?;
        let size = u32::try_from(stat.size).map_err(|_| Refusal::TooLarge)?;
        if !stat.is_file || (size == 0 && row.size != 0) {
            continue;
        }
        let message = Misplaced {
            dir: &dir,
            name: &entry.name,
            row,
            bits,
            size,
            in_place: false,
        };
        moved += u64::from(patient.give_new_uid(&message).await?.is_some());
    }
    if disk.list(&dir).await.map_err(io)?.entries.is_empty() {
        disk.remove_dir(shards, name).await.map_err(io)?;
        disk.sync_dir(shards).await.map_err(io)?;
        return Ok(Some(format!("{moved} message(s) have new UIDs")));
    }
    let aside = aside_dir(store, user).await?;
    let new = patient.set_aside(shards, name, &aside).await?;
    Ok(Some(format!(
        "{moved} message(s) have new UIDs; the rest is {ASIDE}/{new}"
    )))
}

/// Moves files of a queue directory aside. If its owner is dead, its lock is held meanwhile.
async fn queue<D: Disk>(
    store: &FileStore<D>,
    dir: &D::Dir,
    number: &str,
    names: &[String],
) -> Result<String> {
    let disk = store.disk();
    let io = |error| Error::io(format!("mend queue/{number}"), error);
    let _held = match lock(disk, dir, "lock", core::time::Duration::ZERO).await {
        // Its owner does not touch what it could not load.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        held => held.map_err(io)?,
    };
    let aside = aside_dir(store, disk.root()).await?;
    let mut moved = Vec::new();
    for name in names {
        if found(disk.stat_link(dir, name).await).map_err(io)?.is_some() {
            let wanted = format!("queue-{number}-{name}");
            moved.push(store.move_aside(dir, name, &aside, &wanted).await?);
        }
    }
    Ok(format!("moved to {ASIDE}: {}", moved.join(", ")))
}
