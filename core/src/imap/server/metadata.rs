//! GETMETADATA and SETMETADATA (RFC 5464 §4).

use std::collections::BTreeSet;

use super::place::Place;
use super::{Call, Session, Then, filters, refusal};
use crate::addr::AccountName;
use crate::imap::command::{Depth, GetMetadata, MetadataArg, MetadataEntry};
use crate::imap::response;
use crate::mailbox::{Annotated, AnnotationChange, Annotations, Entry};
use crate::refusal::Refusal;

/// Annotations that were asked for.
#[derive(Debug)]
pub(super) struct MetadataQuestion {
    tag: String,
    /// `None`: the server's.
    place: Option<Place>,
    get: GetMetadata,
}

/// What a GETMETADATA tells.
struct Chosen {
    /// Names and values; no value: NIL.
    told: Vec<(String, Option<Vec<u8>>)>,
    /// The largest value that was not wanted.
    longest: Option<u64>,
}

impl Session {
    /// GETMETADATA.
    pub(super) fn get_metadata(&mut self, tag: String, mailbox: MetadataArg, get: GetMetadata) {
        let place = match mailbox {
            None => None,
            Some(mailbox) => {
                let Some(place) = self.place(&tag, mailbox) else {
                    return;
                };
                Some(place)
            }
        };
        let about = place.clone().map_or(Annotated::Server, about);
        let question = MetadataQuestion { tag, place, get };
        self.call(Call::Annotations { about }, Then::Metadata(Box::new(question)));
    }

    /// SETMETADATA.
    pub(super) fn set_metadata(
        &mut self,
        tag: String,
        mailbox: MetadataArg,
        values: Vec<(MetadataEntry, Option<Vec<u8>>)>,
    ) {
        let long = |(_, value): &(_, Option<Vec<u8>>)| {
            value
                .as_ref()
                .is_some_and(|value| value.len() > Annotations::MAX_VALUE)
        };
        if values.iter().any(long) {
            return self.complete(tag, too_long());
        }
        let Some(me) = self.account_name() else {
            return self.internal("annotations without an account");
        };
        let problem = match mailbox {
            None => values.iter().find_map(filters::problem),
            Some(_) => None,
        };
        if let Some(text) = problem {
            return self.complete(tag, text);
        }
        let about = match mailbox {
            None => match server(&values, &me) {
                Ok(about) => about,
                Err(text) => return self.complete(tag, text),
            },
            Some(_) if values.iter().any(is_use) => {
                return self.complete(tag, "NO [CANNOT] The uses of a mailbox are given by CREATE");
            }
            Some(mailbox) => match self.place(&tag, mailbox) {
                Some(place) => about(place),
                None => return,
            },
        };
        let changes = values
            .into_iter()
            .map(|(entry, value)| AnnotationChange {
                entry: key(&entry, &me),
                value,
            })
            .collect();
        self.call(Call::Annotate { about, changes }, Then::MetadataSet(tag));
    }

    /// They are set, or none is.
    pub(super) fn metadata_set(&mut self, tag: String, result: Result<(), Refusal>) {
        match result {
            Ok(()) => self.complete(tag, "OK SETMETADATA completed"),
            Err(Refusal::MailboxFull) => {
                self.complete(
                    tag,
                    "NO [METADATA TOOMANY] There is no place for more annotations",
                );
            }
            Err(refused) => self.complete(tag, refusal::no(refused)),
        }
    }

    /// The annotations.
    pub(super) fn annotated(&mut self, question: MetadataQuestion, result: Result<Annotations, Refusal>) {
        let MetadataQuestion { tag, place, get } = question;
        let (mut all, me) = match (result, self.account_name()) {
            (Ok(all), Some(me)) => (all, me),
            (Err(refused), _) => return self.complete(tag, refusal::no(refused)),
            (Ok(_), None) => return self.internal("annotations without an account"),
        };
        if place.is_none() {
            // RFC 5464 §3.2.1.1: whom to ask, as a URI.
            let admin = format!("mailto:postmaster@{}", me.parts().1);
            let entry = Entry {
                whose: None,
                path: ADMIN.to_owned(),
            };
            all = all.with(entry, admin.into_bytes());
        }
        let chosen = choose(&all, &me, &get);
        self.write_metadata(place.as_ref(), &chosen.told);
        let text = match chosen.longest {
            Some(octets) => format!("OK [METADATA LONGENTRIES {octets}] GETMETADATA completed"),
            None => "OK GETMETADATA completed".to_owned(),
        };
        self.complete(tag, text);
    }

    /// The entries that LIST was asked for (RFC 9590), each with its value or NIL.
    pub(super) fn write_list_metadata(
        &mut self,
        place: &Place,
        entries: &[MetadataEntry],
        all: &Annotations,
    ) {
        let Some(me) = self.account_name() else {
            return;
        };
        let get = GetMetadata {
            entries: entries.to_vec(),
            ..GetMetadata::default()
        };
        let chosen = choose(all, &me, &get);
        self.write_metadata(Some(place), &chosen.told);
    }

    /// `* METADATA name (entry value …)`.
    fn write_metadata(&mut self, place: Option<&Place>, told: &[(String, Option<Vec<u8>>)]) {
        if told.is_empty() {
            return;
        }
        self.out.text().extend_from_slice(b"* METADATA ");
        match place {
            Some(place) => self.write_name(place),
            None => self.out.text().extend_from_slice(b"\"\""),
        }
        let out = self.out.text();
        for (at, (name, value)) in told.iter().enumerate() {
            out.extend_from_slice(if at > 0 { b" " } else { b" (" });
            response::astring(out, name.as_bytes());
            out.push(b' ');
            match value {
                Some(value) if value.contains(&0) => {
                    out.push(b'~');
                    response::literal_head(out, value.len() as u64);
                    out.extend_from_slice(value);
                }
                value => response::nstring(out, value.as_deref()),
            }
        }
        out.extend_from_slice(b")\r\n");
    }
}

/// What SETMETADATA of a value that is too long is answered.
pub(super) fn too_long() -> String {
    let max = Annotations::MAX_VALUE;
    format!("NO [METADATA MAXSIZE {max}] A value is too long")
}

/// `/shared/admin` of the server, which nobody sets.
const ADMIN: &str = "/admin";

/// `/private/specialuse` of a mailbox: what it says must be so (RFC 6154 §4), and uses are not changed here.
fn is_use((entry, _): &(MetadataEntry, Option<Vec<u8>>)) -> bool {
    entry.private && entry.path == "/specialuse"
}

fn about(place: Place) -> Annotated {
    Annotated::Mailbox(place.account, place.mailbox)
}

/// Where entries of the server are kept: what all see and what one has noted for itself are in two places, which cannot be
/// changed together.
fn server(values: &[(MetadataEntry, Option<Vec<u8>>)], me: &AccountName) -> Result<Annotated, &'static str> {
    if values
        .iter()
        .any(|(entry, _)| !entry.private && entry.path == ADMIN)
    {
        return Err("NO [NOPERM] /shared/admin is set by the server");
    }
    let private = values.iter().filter(|(entry, _)| entry.private).count();
    match private {
        0 => Ok(Annotated::Server),
        all if all == values.len() => Ok(Annotated::Account(me.clone())),
        _ => Err("NO [CANNOT] Shared and private entries of the server are set one after the other"),
    }
}

fn key(entry: &MetadataEntry, me: &AccountName) -> Entry {
    Entry {
        whose: entry.private.then(|| me.clone()),
        path: entry.path.clone(),
    }
}

/// What is wanted of all annotations, in the order in which it was asked for, each once.
fn choose(all: &Annotations, me: &AccountName, get: &GetMetadata) -> Chosen {
    let mut chosen = Chosen {
        told: Vec::new(),
        longest: None,
    };
    let mut seen: BTreeSet<Entry> = BTreeSet::new();
    for wanted in &get.entries {
        let wanted = key(wanted, me);
        let mut some = false;
        for (entry, value) in all
            .entries()
            .filter(|(entry, _)| is_wanted(entry, &wanted, get.depth))
        {
            some = true;
            if !seen.insert(entry.clone()) {
                continue;
            }
            let octets = value.len() as u64;
            if get.max_size.is_some_and(|max| octets > max) {
                chosen.longest = chosen.longest.max(Some(octets));
            } else {
                chosen.told.push((shown(entry), Some(value.to_vec())));
            }
        }
        if !some && seen.insert(wanted.clone()) {
            chosen.told.push((shown(&wanted), None));
        }
    }
    chosen
}

/// RFC 5464 §4.2.2
fn is_wanted(entry: &Entry, wanted: &Entry, depth: Depth) -> bool {
    if entry.whose != wanted.whose {
        return false;
    }
    let below = match entry.path.strip_prefix(wanted.path.as_str()) {
        Some("") => return true,
        Some(below) if below.starts_with('/') => below,
        _ => return false,
    };
    match depth {
        Depth::Itself => false,
        Depth::Children => below.matches('/').count() == 1,
        Depth::All => true,
    }
}

fn shown(entry: &Entry) -> String {
    let scope = if entry.whose.is_some() {
        "/private"
    } else {
        "/shared"
    };
    [scope, &entry.path].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Address;

    #[test]
    fn depth_and_size_choose() {
        let me = Address::parse("a@x.y").expect("address").canonical();
        let entry = |private, path: &str| MetadataEntry {
            private,
            path: path.to_owned(),
        };
        let all: Annotations = [("/a", "1"), ("/a/b", "22"), ("/a/b/c", "333"), ("/ab", "4")]
            .into_iter()
            .map(|(path, value)| (key(&entry(false, path), &me), value.as_bytes().to_vec()))
            .collect();
        let names = |depth, max_size, entries: &[MetadataEntry]| {
            let get = GetMetadata {
                depth,
                max_size,
                entries: entries.to_vec(),
            };
            let chosen = choose(&all, &me, &get);
            let told: Vec<String> = chosen.told.into_iter().map(|(name, _)| name).collect();
            (told.join(" "), chosen.longest)
        };
        let a = [entry(false, "/a")];
        assert_eq!(names(Depth::Itself, None, &a), ("/shared/a".into(), None));
        assert_eq!(names(Depth::Children, None, &a).0, "/shared/a /shared/a/b");
        assert_eq!(
            names(Depth::All, None, &a).0,
            "/shared/a /shared/a/b /shared/a/b/c"
        );
        assert_eq!(names(Depth::All, Some(1), &a), ("/shared/a".into(), Some(3)));
        let whole = [entry(false, ""), entry(false, "/ab"), entry(true, "/a")];
        assert_eq!(
            names(Depth::All, None, &whole).0,
            "/shared/a /shared/a/b /shared/a/b/c /shared/ab /private/a"
        );
    }
}
