//! What import, export and migration say of their work: progress on a terminal, each problem when it is met, counts and
//! hashes at the end.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rmail_store::transfer::tally::Tally;
use serde_json::{Value, json};

use super::Failure;

/// Problems that are repeated at the end for programs; each is told on standard error when it is met.
const KEPT: usize = 1_000;

/// Counts of one folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    /// Done now.
    pub(super) done: Tally,
    /// Was there already.
    pub(super) already: Tally,
    /// Left, with a reason.
    pub(super) failed: u64,
}

/// What was done, by folder.
#[derive(Debug)]
pub(super) struct Report {
    /// What has been done to the messages, in the past tense.
    verb: &'static str,
    folders: BTreeMap<String, Folder>,
    problems: Vec<(String, String)>,
    failed: u64,
    notes: u64,
    bar: ProgressBar,
}

impl Report {
    /// Without any messages. The bar is shown on a terminal only.
    pub(super) fn new(verb: &'static str) -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}{msg}  {per_sec}  {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            verb,
            folders: BTreeMap::new(),
            problems: Vec::new(),
            failed: 0,
            notes: 0,
            bar,
        }
    }

    /// The counts of a folder.
    pub(super) fn folder(&mut self, name: &str) -> &mut Folder {
        self.folders.entry(name.to_owned()).or_default()
    }

    /// A folder is being worked on, with so many messages if that is known.
    pub(super) fn working_on(&self, name: &str, of: Option<usize>) {
        let of = of.map_or_else(String::new, |count| format!(" of {count} in this folder"));
        self.bar.set_message(format!(" messages  {name}{of}"));
    }

    /// One more message was looked at.
    pub(super) fn step(&self) {
        self.bar.inc(1);
    }

    /// Something was left, and why.
    pub(super) fn problem(&mut self, folder: Option<&str>, what: impl Display, why: impl Display) {
        let (what, why) = (what.to_string(), why.to_string());
        self.bar
            .suspend(|| anstream::eprintln!("rmail: left {what}: {why}"));
        self.failed += 1;
        if let Some(folder) = folder {
            self.folder(folder).failed += 1;
        }
        if self.problems.len() < KEPT {
            self.problems.push((what, why));
        }
    }

    /// Something that should be known, and leaves nothing out.
    pub(super) fn note(&mut self, text: impl Display) {
        self.notes += 1;
        self.bar.suspend(|| anstream::eprintln!("rmail: note: {text}"));
    }

    /// Tells all, for people or programs; `aside`: on standard error, because standard output is the archive.
    ///
    /// # Errors
    /// Something was left.
    pub(super) fn finish(self, head: Value, json: bool, aside: bool) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let text = if json { self.json(head) } else { self.text() };
        if aside {
            anstream::eprintln!("{text}");
        } else {
            anstream::println!("{text}");
        }
        match self.failed {
            0 => Ok(()),
            count => Err(Failure(format!(
                "{count} of what was found could not be {}; each is told above, and left where it was",
                self.verb
            ))),
        }
    }

    fn totals(&self) -> (Tally, Tally, Tally) {
        let (mut done, mut already, mut all) = (Tally::default(), Tally::default(), Tally::default());
        for folder in self.folders.values() {
            done.merge(&folder.done);
            already.merge(&folder.already);
        }
        all.merge(&done);
        all.merge(&already);
        (done, already, all)
    }

    fn json(&self, head: Value) -> String {
        let row = |done: &Tally, already: &Tally, failed: u64| {
            let mut all = *done;
            all.merge(already);
            json!({
                self.verb: done.messages, "already_there": already.messages, "failed": failed,
                "octets": all.octets, "sha256": all.sha256.to_string(),
            })
        };
        let (done, already, _) = self.totals();
        let mut out = row(&done, &already, self.failed);
        let folders = self.folders.iter().map(|(name, folder)| {
            let mut line = row(&folder.done, &folder.already, folder.failed);
            line["folder"] = json!(name);
            line
        });
        out["folders"] = folders.collect();
        let problems = self.problems.iter();
        out["problems"] = problems
            .map(|(what, why)| json!({"what": what, "why": why}))
            .collect();
        if let (Value::Object(out), Value::Object(head)) = (&mut out, head) {
            out.extend(head);
        }
        out.to_string()
    }

    fn text(&self) -> String {
        use std::fmt::Write as _;
        let (done, already, all) = self.totals();
        let mut text = String::new();
        let width = self
            .folders
            .keys()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        for (name, folder) in &self.folders {
            let mut both = folder.done;
            both.merge(&folder.already);
            let mut more = String::new();
            // A text takes all that is written to it.
            if folder.already.messages > 0 {
                let _ = write!(more, ", {} already there", folder.already.messages);
            }
            if folder.failed > 0 {
                let _ = write!(more, ", {} left", folder.failed);
            }
            let _ = writeln!(
                text,
                "{name:<width$}  {} {}{more}, {} octets, sha256 {}",
                folder.done.messages, self.verb, both.octets, both.sha256
            );
        }
        let _ = write!(
            text,
            "{} messages {}, {} already there, {} left; {} octets, sha256 over all {}",
            done.messages, self.verb, already.messages, self.failed, all.octets, all.sha256
        );
        text
    }
}
