//! `rmail queue retry|hold|release|fail`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anstream::println;
use futures_lite::future::block_on;
use rmail_core::relay::view::{Choice, Found, Plan, is_done};
use rmail_store::mailstore::MailStore as _;
use rmail_store::orders::{self, Word};
use serde_json::json;

use super::super::fsck::must_own;
use super::super::open::{Opened, told};
use super::super::{Failure, wrong_usage};
use super::select::{Filter, Snapshot, read};
use super::words::Escaped;
use crate::clock;
use crate::entropy;

/// How long a server may take without any progress to do what it was asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Entries that are looked at to see whether all is done.
const PIECE: usize = 1_000;
/// Ids that are named to a person.
const NAMED: usize = 20;

/// Options of `queue retry`, `hold`, `release` and `fail`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The servers that run do it at once, and this command waits until they have. Without one it is done by the next that starts, \
before that sends anything; the command says so, and ends with 0.\n\n\
retry    tries all recipients now that wait for their time; not of messages that are held.\n\
hold     nothing more is tried (an attempt that runs may finish); the message stays as long as nobody releases or fails it.\n\
release  ends that, and also what its sender wanted held (FUTURERELEASE), and tries it now.\n\
fail     gives all recipients up that are open with 5.0.0; the sender is told. By domain, messages that have recipients \
elsewhere too are left alone, and told.\n\n\
Exit codes: 0 done or handed over, 1 some of it was not possible, 2 wrong usage.\n\n\
Examples:\n  rmail queue retry --domain example.com\n  rmail queue hold --sender spammer@your.domain\n  \
rmail queue fail 19ac2f8d3b7e4c11\n  rmail queue fail --sender spammer@your.domain --yes\n  rmail queue release --all")]
pub(in crate::cli) struct Options {
    /// Ids, as `queue list` shows them.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All messages.
    #[arg(long, conflicts_with_all = ["ids", "domain", "sender"])]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Do not ask before many messages are failed.
    #[arg(long)]
    yes: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, word: Word, options: &Options) -> Result<(), Failure> {
    if !options.all && options.ids.is_empty() && options.filter.is_empty() {
        wrong_usage("which messages? name ids, or --domain, --sender or --all");
    }
    if !options.ids.is_empty() && !options.filter.is_empty() {
        wrong_usage("ids and --domain or --sender do not go together");
    }
    must_own(config, &format!("queue {}", word.as_str()))?;
    let (opened, snapshot) = read(config)?;
    let plan = plan(snapshot, word, options)?;
    let many = options.ids.is_empty() && !plan.chosen.is_empty();
    if word == Word::Fail && many && !options.yes {
        confirm(plan.chosen.len())?;
    }
    let by_home = by_home(&plan.chosen);
    let disk = &**opened.accounts().disk();
    let mut random = entropy::random();
    let (mut names, mut later) = (Vec::new(), Vec::new());
    for ((home, alive), ids) in &by_home {
        let placed = block_on(orders::place(
            disk,
            home,
            word,
            ids,
            clock::unix(),
            random.next_u64(),
        ));
        let placed = placed.map_err(|error| Failure(format!("cannot ask for it in orders: {error}")))?;
        if *alive {
            names.extend(placed);
        } else {
            later.extend(ids.iter().cloned());
        }
    }
    let open = wait(&opened, word, &by_home, &names)?;
    let done: Vec<&String> = by_home
        .iter()
        .filter(|((_, alive), _)| *alive)
        .flat_map(|(_, ids)| ids)
        .filter(|id| !open.contains(*id))
        .collect();
    if options.json {
        let left_out: Vec<_> = plan
            .left_out
            .iter()
            .map(|(id, why)| json!({ "id": id, "reason": why }))
            .collect();
        println!(
            "{}",
            json!({ "command": word.as_str(), "done": done, "at_next_start": later, "open": open, "left_out": left_out })
        );
    } else {
        print(word, &done, &later, &plan);
    }
    if !open.is_empty() {
        return Err(Failure(format!(
            "{} message(s) are not done yet, though a server has been asked: it may be busy, or an attempt for them runs; look \
             again with `rmail queue show {}`",
            open.len(),
            open.first().map_or("ID", String::as_str)
        )));
    }
    match plan.left_out.len() {
        0 => Ok(()),
        _ if options.json => Err(Failure("some messages were left out".to_owned())),
        count => Err(Failure(format!("{count} message(s) were left out"))),
    }
}

fn plan(snapshot: Snapshot, word: Word, options: &Options) -> Result<Plan, Failure> {
    let choice = match options.ids.as_slice() {
        [] => Choice::Where(options.filter.checked()?),
        ids => Choice::Ids(ids.to_vec()),
    };
    let now = clock::unix().secs();
    Ok(Plan::new(
        snapshot.found,
        word.command(),
        &choice,
        &snapshot.delays,
        now,
    ))
}

/// Ids by queue directory, and whether a server runs for it.
fn by_home(chosen: &[Found]) -> BTreeMap<(String, bool), Vec<String>> {
    let mut homes: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
    for one in chosen {
        let key = (one.home.clone(), one.served);
        homes.entry(key).or_default().push(one.entry.id.clone());
    }
    homes
}

fn confirm(count: usize) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure(format!(
            "{count} message(s) would be given up, and there is no terminal to ask whether you are sure; use --yes"
        )));
    }
    anstream::print!("Give up {count} message(s), and tell their senders? Type yes: ");
    std::io::stdout().flush().map_err(Failure::new)?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(Failure::new)?;
    match line.trim() {
        "yes" => Ok(()),
        _ => Err(Failure("nothing was changed".into())),
    }
}

/// Waits until servers have heard, and until it is so on disk. The ids of which it is not, after [`PATIENCE`] without
/// progress.
fn wait(
    opened: &Opened,
    word: Word,
    by_home: &BTreeMap<(String, bool), Vec<String>>,
    names: &[String],
) -> Result<Vec<String>, Failure> {
    let disk = &**opened.accounts().disk();
    let mut late = Instant::now() + PATIENCE;
    while block_on(orders::any_waits(disk, names)).map_err(Failure::new)? {
        if Instant::now() >= late {
            return Ok(by_home
                .iter()
                .filter(|((_, alive), _)| *alive)
                .flat_map(|(_, ids)| ids.iter().cloned())
                .collect());
        }
        std::thread::sleep(LOOK);
    }
    let mut open: Vec<(&str, String)> = by_home
        .iter()
        .filter(|((_, alive), _)| *alive && word != Word::Retry)
        .flat_map(|((home, _), ids)| ids.iter().map(move |id| (home.as_str(), id.clone())))
        .collect();
    late = Instant::now() + PATIENCE;
    loop {
        let before = open.len();
        open = still_open(opened, word, open)?;
        if open.len() < before {
            late = Instant::now() + PATIENCE;
        }
        if open.is_empty() || Instant::now() >= late {
            return Ok(open.into_iter().map(|(_, id)| id).collect());
        }
        std::thread::sleep(LOOK);
    }
}

fn still_open<'a>(
    opened: &Opened,
    word: Word,
    open: Vec<(&'a str, String)>,
) -> Result<Vec<(&'a str, String)>, Failure> {
    let mut left = Vec::new();
    let mut rest = open.as_slice();
    while let Some((home, _)) = rest.first() {
        let same = rest
            .iter()
            .take(PIECE)
            .take_while(|(other, _)| other == home)
            .count();
        let (piece, others) = rest.split_at(same);
        rest = others;
        let ids: Vec<String> = piece.iter().map(|(_, id)| id.clone()).collect();
        let read =
            block_on(opened.store().read_outbound(home, &ids)).map_err(|error| Failure(told(&error)))?;
        let entries = read.into_iter().filter_map(|one| one.entry.ok());
        left.extend(
            entries
                .filter(|entry| !is_done(word.command(), entry, clock::unix().secs()))
                .map(|entry| (*home, entry.id)),
        );
    }
    Ok(left)
}

fn print(word: Word, done: &[&String], later: &[String], plan: &Plan) {
    let did = match word {
        Word::Retry => "Tried again from now on",
        Word::Hold => "Held",
        Word::Release => "Released",
        Word::Fail => "Given up",
    };
    let names = |ids: &[&String]| match ids.len() {
        0..=NAMED => ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" "),
        count => format!("{count} messages"),
    };
    if !done.is_empty() {
        println!("{did}: {}", names(done));
    }
    if !later.is_empty() {
        let later: Vec<&String> = later.iter().collect();
        println!(
            "No server runs for {}: the next that starts will {} before it sends anything.",
            names(&later),
            word.as_str()
        );
    }
    if plan.chosen.is_empty() && plan.left_out.is_empty() {
        println!("There is no such message.");
    }
    for (id, why) in plan.left_out.iter().take(NAMED) {
        println!("Left out: {}: {why}", Escaped(id));
    }
}
