//! What transcripts show of which RFC: the index (`rfcs.txt`) and the transcripts side by side.
//!
//! The table stands in `conformance/README.md` between two marks, and a test holds it fresh.

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::transcript::Transcript;

/// Before the table in the README…
pub const BEGIN: &str = "<!-- report: begin -->\n";
/// …and behind it.
pub const END: &str = "<!-- report: end -->";

/// How much of an RFC is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All that a server of our kind does of it.
    Yes,
    /// What is there is right, and what is missing is not offered.
    Partial,
    /// Nothing.
    No,
}

impl Status {
    /// Its word in the index.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Yes => "Yes",
            Self::Partial => "Partial",
            Self::No => "No",
        }
    }
}

/// An RFC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u32,
    /// How much is built.
    pub status: Status,
    /// What it is.
    pub what: String,
    /// Why the status is as it is; empty where there is nothing to say.
    pub why: String,
    /// Sections that transcripts cite, in their order.
    pub sections: BTreeSet<Section>,
    /// Names of the transcripts that cite it (`imap/rfc2177-idle`).
    pub transcripts: BTreeSet<String>,
}

/// A section's number, in the order of a table of contents: 2 before 10, appendices last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Section(Vec<(u32, String)>);

impl Section {
    fn parse(text: &str) -> Self {
        Self(
            text.split('.')
                .map(|part| match part.parse() {
                    Ok(number) => (number, String::new()),
                    Err(_) => (u32::MAX, part.to_owned()),
                })
                .collect(),
        )
    }

    fn text(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(number, word)| {
                if word.is_empty() {
                    number.to_string()
                } else {
                    word.clone()
                }
            })
            .collect();
        parts.join(".")
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The index, by number.
    pub entries: BTreeMap<u32, Entry>,
    /// How many transcripts there are.
    pub transcripts: usize,
    /// How many of them are recordings of clients, which cite nothing.
    pub recorded: usize,
    /// How many can be played against any server.
    pub live: usize,
}

impl Report {
    /// Reads `rfcs.txt` and `transcripts` of a directory.
    ///
    /// # Errors
    /// A file cannot be read or understood, or a transcript cites what is not in the index; in words.
    pub fn read(place: &Path) -> Result<Self, String> {
        let path = place.join("rfcs.txt");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut report = Self {
            entries: index(&text)?,
            transcripts: 0,
            recorded: 0,
            live: 0,
        };
        let root = place.join("transcripts");
        let mut files = Vec::new();
        find(&root, &mut files)?;
        files.sort();
        for path in files {
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let name = path.strip_prefix(&root).unwrap_or(&path).with_extension("");
            report.add(&name.to_string_lossy().replace('\\', "/"), &text)?;
        }
        Ok(report)
    }

    fn add(&mut self, name: &str, text: &str) -> Result<(), String> {
        let transcript = Transcript::parse(text).map_err(|mistake| format!("{name}: {mistake}"))?;
        self.transcripts += 1;
        self.recorded += usize::from(transcript.recorded);
        self.live += usize::from(transcript.live);
        for (number, section) in &transcript.rfcs {
            let entry = self.entries.get_mut(number);
            let entry = entry.ok_or_else(|| format!("{name}: RFC {number} is not in rfcs.txt"))?;
            entry.transcripts.insert(name.to_owned());
            entry.sections.extend(section.as_deref().map(Section::parse));
        }
        Ok(())
    }

    fn sections(&self) -> usize {
        self.entries.values().map(|entry| entry.sections.len()).sum()
    }

    fn cited(&self) -> usize {
        self.entries
            .values()
            .filter(|entry| !entry.transcripts.is_empty())
            .count()
    }

    fn count(&self, status: Status) -> usize {
        self.entries
            .values()
            .filter(|entry| entry.status == status)
            .count()
    }

    /// The table, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = format!(
            "{} transcripts show {} sections of {} RFCs; {} of them run against any server, and {} are recordings of \
             clients.\nOf {} RFCs that matter to a mail server {} are built, {} partly, and {} not.\n\n\
             | RFC | what | sections | transcripts | status |\n|---|---|---|---|---|\n",
            self.transcripts,
            self.sections(),
            self.cited(),
            self.live,
            self.recorded,
            self.entries.len(),
            self.count(Status::Yes),
            self.count(Status::Partial),
            self.count(Status::No),
        );
        for entry in self.entries.values() {
            let sections: Vec<String> = entry.sections.iter().map(Section::text).collect();
            let transcripts = match entry.transcripts.len() {
                0 => String::new(),
                count => count.to_string(),
            };
            let status = match entry.why.as_str() {
                "" => entry.status.word().to_owned(),
                why => format!("{}: {why}", entry.status.word()),
            };
            let cell = |text: &str| text.replace('|', "\\|");
            // A String takes all that is written.
            let _ = writeln!(
                out,
                "| {} | {} | {} | {transcripts} | {} |",
                entry.number,
                cell(&entry.what),
                sections.join(", "),
                cell(&status),
            );
        }
        out
    }

    /// The names of the transcripts of each RFC that has some.
    #[must_use]
    pub fn names(&self) -> String {
        let mut out = String::new();
        for entry in self
            .entries
            .values()
            .filter(|entry| !entry.transcripts.is_empty())
        {
            let _ = writeln!(out, "RFC {}:", entry.number);
            for name in &entry.transcripts {
                let _ = writeln!(out, "  {name}");
            }
        }
        out
    }

    /// All of it, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let entries: Vec<Value> = self
            .entries
            .values()
            .map(|entry| {
                json!({
                    "rfc": entry.number,
                    "what": entry.what,
                    "status": entry.status.word(),
                    "reason": entry.why,
                    "sections": entry.sections.iter().map(Section::text).collect::<Vec<_>>(),
                    "transcripts": entry.transcripts,
                })
            })
            .collect();
        json!({
            "transcripts": self.transcripts,
            "recorded": self.recorded,
            "live": self.live,
            "sections": self.sections(),
            "rfcs": entries,
        })
    }
}

/// The README with this table between its marks.
///
/// # Errors
/// It has no marks; in words.
pub fn with_table(readme: &str, table: &str) -> Result<String, String> {
    let (head, rest) = readme
        .split_once(BEGIN)
        .ok_or("README.md has no mark where the report begins")?;
    let (_, tail) = rest
        .split_once(END)
        .ok_or("README.md has no mark where the report ends")?;
    Ok(format!("{head}{BEGIN}{table}{END}{tail}"))
}

/// The index: a line for each RFC, in ascending order.
fn index(text: &str) -> Result<BTreeMap<u32, Entry>, String> {
    let mut index = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let wrong = || format!("rfcs.txt: {line}: expected number, Yes, Partial or No, and what it is");
        let (number, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let number: u32 = number.parse().map_err(|_| wrong())?;
        let (word, rest) = rest.trim_start().split_once(' ').ok_or_else(wrong)?;
        let statuses = [Status::Yes, Status::Partial, Status::No];
        let status = statuses
            .into_iter()
            .find(|status| status.word() == word)
            .ok_or_else(wrong)?;
        let (what, why) = rest.trim().split_once(": ").unwrap_or((rest.trim(), ""));
        if what.is_empty() {
            return Err(wrong());
        }
        if index.last_key_value().is_some_and(|(last, _)| *last >= number) {
            return Err(format!("rfcs.txt: {line}: out of order"));
        }
        index.insert(
            number,
            Entry {
                number,
                status,
                what: what.to_owned(),
                why: why.trim().to_owned(),
                sections: BTreeSet::new(),
                transcripts: BTreeSet::new(),
            },
        );
    }
    Ok(index)
}

/// Transcripts below a directory.
fn find(directory: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", directory.display());
    for entry in std::fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str =
        "# What.\n\n2177 Yes     IMAP IDLE\n5321 Partial SMTP: no | here\n9999 No      Other: not built\n";

    fn report() -> Report {
        let entries = index(INDEX).expect("an index");
        Report {
            entries,
            transcripts: 0,
            recorded: 0,
            live: 0,
        }
    }

    #[test]
    fn transcripts_are_counted_where_they_cite() {
        let mut report = report();
        report
            .add(
                "imap/a",
                "# A.\n@rfc 2177 10.2\n@rfc 2177 2\n@rfc 2177 D.1\n@live\n@session imap\n",
            )
            .expect("added");
        report
            .add("imap/b", "# B.\n@rfc 2177 2\n@rfc 5321\n@session imap\n")
            .expect("added");
        report
            .add("clients/c", "# C.\n@recorded\n@session imap\n")
            .expect("added");
        assert_eq!(
            (
                report.transcripts,
                report.recorded,
                report.live,
                report.sections()
            ),
            (3, 1, 1, 3)
        );
        let table = report.table();
        for line in [
            "| 2177 | IMAP IDLE | 2, 10.2, D.1 | 2 | Yes |\n",
            "| 5321 | SMTP |  | 1 | Partial: no \\| here |\n",
            "| 9999 | Other |  |  | No: not built |\n",
        ] {
            assert!(table.contains(line), "{table}");
        }
        assert_eq!(
            report.names(),
            "RFC 2177:\n  imap/a\n  imap/b\nRFC 5321:\n  imap/b\n"
        );
        assert_eq!(report.json()["rfcs"][0]["transcripts"][1], "imap/b");
        let unknown = report.add("x", "# X.\n@rfc 1\n@session imap\n");
        assert!(unknown.is_err_and(|why| why.contains("RFC 1 ")));
    }

    #[test]
    fn an_index_is_checked() {
        for bad in [
            "2177 Maybe IDLE\n",
            "x Yes IDLE\n",
            "2177 Yes\n",
            "2 Yes a\n1 Yes b\n",
        ] {
            assert!(index(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_table_stands_between_marks() {
        let readme = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(
            with_table(&readme, "new\n"),
            Ok(format!("a\n{BEGIN}new\n{END}\nb\n"))
        );
        assert!(with_table("a", "b").is_err());
    }
}
