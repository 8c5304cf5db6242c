//! `rmail backup` and `rmail backup verify`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::println;
use futures_lite::future::block_on;
use rmail_store::care::backup::{self, Event, Flaw, FlawKind};
use rmail_store::disk::Disk as _;
use serde_json::{Value, json};

use super::Failure;
use super::bar::Bar;
use super::load::load_or_fail;
use super::open::open;
use crate::clock;
use crate::disk::{Dir, RealDisk};

/// Until the clock shows another second.
const NEXT_SECOND: Duration = Duration::from_secs(1);
/// How often that is waited for: others may make backups in the same directory, one after the other.
const MAX_WAITS: u32 = 10;

/// Options of `backup`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Makes DIR/2026-11-21T10-00-00Z/ with all mailboxes, each as it is at one moment, users, domains, the keys in secrets/ \
and tls/, and a manifest with the SHA-256 of every file. The outbound queue is not in it: what was sent meanwhile would \
be sent again. Servers go on. The tree is laid out as a mail_root is, so that it can also be copied back as a whole.\n\n\
Run it again with the same DIR: what has not changed since the newest backup there is neither read nor copied again, and \
old ones can be removed with `rm -r` at any time. One that was cut short ends with .partial and is removed by the next.\n\n\
On the same file system messages are hard links: that costs next to no room, and is safe against all that rmail does, \
for it never changes a stored file; but it is ONE copy, and a failing disk takes both. Against that, let DIR be on \
another disk, or copy it there.\n\n\
A backup has password hashes and private keys: it is made readable by its owner alone. --without-secrets leaves them \
out; users that are restored from it have no password.\n\n\
Exit codes: 0 complete, 1 not, or something could not be backed up, 2 wrong usage.\n\n\
Examples:\n  rmail backup /backup/mail\n  rmail backup verify /backup/mail\n  rmail restore /backup/mail --user a@example.com --mailbox INBOX"
)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where backups are kept; made if it is not there.
    #[arg(value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    /// Only this user's mail; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    user: Vec<String>,
    /// Leave out password hashes and keys.
    #[arg(long)]
    without_secrets: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// What else there is to do with a backup.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read a backup again, and tell files that are missing, changed or too many; exit code 1 if there are any.
    Verify {
        /// A backup, or a directory of backups: then all of them.
        dir: PathBuf,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    match (&options.command, &options.dir) {
        (Some(Command::Verify { dir, json }), _) => verify(dir, *json),
        (None, Some(dir)) => make(config, dir, options),
        (None, None) => super::wrong_usage("a directory is needed"),
    }
}

fn make(config: &Path, dir: &Path, options: &Options) -> Result<(), Failure> {
    let opened = open(config)?;
    let loaded = load_or_fail(config)?;
    let root = loaded.path(&loaded.config.mail_root);
    let target = RealDisk::open(dir)
        .map_err(|error| Failure(format!("cannot make the directory {}: {error}", dir.display())))?;
    if let (Ok(root), Ok(dir)) = (root.canonicalize(), dir.canonicalize())
        && dir.starts_with(&root)
    {
        return Err(Failure(format!(
            "{} is in the mail_root itself; name a directory elsewhere",
            dir.display()
        )));
    }
    let mut users = Vec::new();
    for text in &options.user {
        users.push(opened.account(text)?);
    }
    let mut wanted = backup::Options {
        users,
        secrets: !options.without_secrets,
        name: String::new(),
    };
    let bar = Bar::new();
    let mut problems: Vec<Value> = Vec::new();
    let mut tell = |event: Event<'_>| match event {
        Event::Mailbox(account, mailbox, count) => bar.at(&format!("{account} {mailbox} ({count})")),
        Event::Message(_) => bar.step(1),
        Event::Problem(path, why) => {
            bar.print(|| anstream::eprintln!("rmail: not backed up: {path}: {why}"));
            problems.push(json!({"path": path, "error": why}));
        }
    };
    // A backup is named by its second: if that has one, this is of the next.
    let mut waits = 0;
    let made = loop {
        wanted.name = backup::name_of(clock::unix());
        let made = block_on(backup::run(opened.store(), target.root(), &wanted, &mut tell));
        match &made {
            Err(error) if kind(error) == Some(ErrorKind::AlreadyExists) && waits < MAX_WAITS => {
                waits += 1;
                std::thread::sleep(NEXT_SECOND);
            }
            _ => break made,
        }
    };
    bar.end();
    let summary = made.map_err(|error| Failure(explain(dir, &error)))?;
    if summary.accounts < wanted.users.len() as u64 {
        anstream::eprintln!("rmail: not all of the users have mail here; `rmail user list` shows all");
    }
    let path = dir.join(&wanted.name);
    if options.json {
        let report = json!({
            "backup": path, "accounts": summary.accounts, "mailboxes": summary.mailboxes, "messages": summary.messages,
            "octets": summary.octets, "linked": summary.linked, "shared": summary.shared, "copied": summary.copied,
            "problems": problems,
        });
        println!("{report}");
    } else {
        println!(
            "{}: {} account(s), {} mailbox(es), {} message(s), {} octets",
            path.display(),
            summary.accounts,
            summary.mailboxes,
            summary.messages,
            summary.octets
        );
        println!(
            "{} message(s) are links to the stored files, {} links to the backup before, {} copies",
            summary.linked, summary.shared, summary.copied
        );
    }
    match summary.problems {
        0 if summary.accounts < wanted.users.len() as u64 => Err(Failure("a user was not backed up".into())),
        0 => Ok(()),
        count => Err(Failure(format!(
            "{count} of what there is could not be backed up, see above; the rest is; `rmail fsck` may say more"
        ))),
    }
}

fn kind(error: &rmail_store::Error) -> Option<ErrorKind> {
    error.source.as_ref().map(std::io::Error::kind)
}

fn explain(dir: &Path, error: &rmail_store::Error) -> String {
    match kind(error) {
        Some(ErrorKind::WouldBlock) => {
            format!(
                "another backup is being made in {}; wait for its end",
                dir.display()
            )
        }
        Some(ErrorKind::AlreadyExists) => format!(
            "{} has a backup of this second and of those after it: does the clock stand still?",
            dir.display()
        ),
        Some(ErrorKind::StorageFull) => format!(
            "{} is full; the backup is incomplete, and the next one removes what there is of it",
            dir.display()
        ),
        _ => format!("{error}; the backup is incomplete, and the next one removes what there is of it"),
    }
}

fn verify(dir: &Path, json: bool) -> Result<(), Failure> {
    let (disk, sets) = sets(dir)?;
    let bar = Bar::new();
    let mut reports: Vec<Value> = Vec::new();
    let (mut flaws, mut texts) = (0, Vec::new());
    for (name, set, complete) in sets {
        let shown = dir.join(&name);
        bar.at(&shown.display().to_string());
        let mut list: Vec<Value> = Vec::new();
        let mut tell = |flaw: Flaw| {
            if !json {
                let path = &flaw.path;
                bar.print(|| {
                    println!(
                        "{}: {}: {path}: {}",
                        shown.display(),
                        flaw.kind.as_str(),
                        flaw.detail
                    )
                });
            }
            list.push(json!({"kind": flaw.kind.as_str(), "path": flaw.path, "detail": flaw.detail}));
        };
        let verified = if complete {
            let read = block_on(backup::verify(&disk, &set, &mut tell, &mut |_| bar.step(1)));
            read.map_err(|error| Failure(format!("cannot read {}: {error}", shown.display())))?
        } else {
            tell(Flaw {
                kind: FlawKind::Manifest,
                path: String::new(),
                detail: "this backup was not finished; the next one removes it".to_owned(),
            });
            backup::Verified {
                flaws: 1,
                ..backup::Verified::default()
            }
        };
        flaws += verified.flaws;
        texts.push(format!(
            "{}: {} file(s), {} octets, {} flaw(s)",
            shown.display(),
            verified.files,
            verified.octets,
            verified.flaws
        ));
        reports.push(json!({
            "backup": shown, "files": verified.files, "octets": verified.octets, "flaws": list,
        }));
    }
    bar.end();
    if json {
        println!("{}", json!({"good": flaws == 0, "backups": reports}));
    } else {
        texts.iter().for_each(|text| println!("{text}"));
    }
    match flaws {
        0 => Ok(()),
        count => Err(Failure(format!(
            "{count} flaw(s): what is missing or changed cannot be restored from there; make a new backup"
        ))),
    }
}

/// A backup: its name below the directory, itself, whether it is complete by its name.
pub(super) type Set = (String, Dir, bool);

/// The backups in a directory, or the one that it is; oldest first.
pub(super) fn sets(dir: &Path) -> Result<(RealDisk, Vec<Set>), Failure> {
    let failed = |error: std::io::Error| Failure(format!("cannot read {}: {error}", dir.display()));
    // A directory that is not there must not be made.
    std::fs::metadata(dir).map_err(failed)?;
    let disk = RealDisk::open(dir).map_err(failed)?;
    let mut sets = Vec::new();
    for (name, complete) in block_on(backup::sets(&disk, disk.root())).map_err(failed)? {
        let set = if name.is_empty() {
            disk.root().clone()
        } else {
            block_on(disk.open_dir(disk.root(), &name)).map_err(failed)?
        };
        sets.push((name, set, complete));
    }
    if sets.is_empty() {
        return Err(Failure(format!(
            "{} is no backup, and there is none in it; `rmail backup {0}` makes one",
            dir.display()
        )));
    }
    Ok((disk, sets))
}
