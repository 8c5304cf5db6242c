//! FILTER in a search program (RFC 5466): names of programs that are kept among the annotations of the server.

use super::{Call, Session, Then, refusal};
use crate::addr::AccountName;
use crate::imap::command::{Filters, MetadataEntry, Search};
use crate::imap::parse::{self, Unfilled};
use crate::mailbox::{Annotated, Annotations, Entry};
use crate::refusal::Refusal;

/// Where filters are, behind `/private` or `/shared` (RFC 5466 §3.2).
const VALUES: &str = "/filters/values/";

/// How deep filters may stand in filters: three is what RFC 5466 §3.1 asks for at least, and with more a server would have
/// to look for loops.
const PASSES: usize = 3;

/// A SEARCH whose filters are looked up.
#[derive(Debug)]
pub(super) struct Filtering {
    tag: String,
    search: Search,
    filters: Box<Filters>,
}

impl Session {
    /// A search program with filters in it.
    pub(super) fn look_up_filters(&mut self, tag: String, search: Search, filters: Box<Filters>) {
        let filtering = Filtering { tag, search, filters };
        let about = Annotated::Server;
        self.call(Call::Annotations { about }, Then::Filters(Box::new(filtering)));
    }

    /// What they say: now it is a program like others.
    pub(super) fn filters_found(&mut self, filtering: Filtering, result: Result<Annotations, Refusal>) {
        let Filtering {
            tag,
            mut search,
            filters,
        } = filtering;
        let Some(me) = self.account_name() else {
            return self.internal("SEARCH without an account");
        };
        let filled = result
            .map_err(refusal::no)
            .and_then(|all| fill(filters, &all, &me).map_err(|unfilled| no(&unfilled)));
        match filled {
            Ok(key) => search.key = key,
            Err(text) => {
                self.forget_saved(search.returns.as_ref());
                return self.complete(tag, text);
            }
        }
        if self.enabled.uid_only && search.key.has_numbers() {
            // RFC 9586 §3.
            return self.complete(tag, "BAD [UIDREQUIRED] Message numbers are not allowed");
        }
        self.search(tag, search);
    }
}

/// The program with what filters say in their places.
fn fill(filters: Box<Filters>, all: &Annotations, me: &AccountName) -> Result<crate::search::Key, Unfilled> {
    let mut filters = filters;
    for _ in 0..PASSES {
        match parse::fill(&filters, |name| value(all, me, name))? {
            (key, None) => return Ok(key),
            (_, Some(left)) => filters = left,
        }
    }
    // As if it were not there.
    let name = filters.places.first().map(|(_, name)| name.clone());
    Err(Unfilled::Undefined(name.unwrap_or_default()))
}

/// What a filter says: one's own goes before one of the same name for all (RFC 5466 §3.1).
fn value<'a>(all: &'a Annotations, me: &AccountName, name: &str) -> Option<&'a [u8]> {
    let path = [VALUES, &name.to_ascii_lowercase()].concat();
    let entry = |whose| Entry {
        whose,
        path: path.clone(),
    };
    all.get(&entry(Some(me.clone())))
        .or_else(|| all.get(&entry(None)))
}

/// What a SEARCH is answered.
fn no(unfilled: &Unfilled) -> String {
    match unfilled {
        Unfilled::Undefined(name) => format!("NO [UNDEFINED-FILTER {name}] There is no such filter"),
        Unfilled::Wrong(name, why) => format!("NO [CANNOT] The filter {name} is no search program: {why}"),
        Unfilled::TooLong => "NO [LIMIT] The search program is too long with its filters".to_owned(),
    }
}

/// Why an annotation of the server cannot be set, if it would be a filter and cannot be one (RFC 5466 §3.2).
pub(super) fn problem((entry, value): &(MetadataEntry, Option<Vec<u8>>)) -> Option<String> {
    let name = entry.path.strip_prefix(VALUES)?;
    let value = value.as_ref()?;
    if !parse::is_filter_name(name) {
        return Some("NO [CANNOT] The name of a filter is an atom without a slash".to_owned());
    }
    let why = parse::check_filter(value).err()?;
    Some(format!(
        "NO [CANNOT] The filter {name} is no search program: {why}"
    ))
}
