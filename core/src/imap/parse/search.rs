//! SEARCH, SORT, THREAD and ESEARCH.

use super::fetch::partial_range;
use super::search_key::Program;
use super::token::{Cursor, Parse};
use crate::imap::command::{Command, FetchItem, MailboxArg, Returns, Search, Source, Verb};
use crate::search::{Algorithm, Criterion, SortKey};

/// Criteria of one SORT: there are nine keys.
const MAX_CRITERIA: usize = 32;
/// Mailboxes that one source of ESEARCH names, and tags of CANCELUPDATE.
const MAX_NAMES: usize = 1_000;

/// What RETURN says.
#[derive(Default)]
struct Options {
    returns: Option<Returns>,
    update_items: Vec<FetchItem>,
}

/// `"SEARCH" [search-return-opts] SP search-program` (RFC 9051 §9)
pub(super) fn search(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a space and search keys")?;
    searching(c, uid, Verb::Search)
}

/// `"SORT" [search-return-opts] SP sort-criteria SP search-criteria` (RFC 5256 §5, RFC 5267 §5)
pub(super) fn sort(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a space and sort criteria")?;
    let mut options = Options::default();
    if c.keyword("RETURN") {
        options = return_options(c)?;
        c.space("a space and sort criteria")?;
    }
    c.expect(b'(', "( and sort criteria")?;
    let criteria = c.rest_of_list(MAX_CRITERIA, criterion)?;
    criteria_of(c, uid, Verb::Sort(criteria), options)
}

/// `"THREAD" SP thread-alg SP search-criteria` (RFC 5256 §5)
pub(super) fn thread(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a space and a threading algorithm")?;
    let name = c.atom("a threading algorithm")?.to_ascii_uppercase();
    let algorithm = match name.as_str() {
        "ORDEREDSUBJECT" => Algorithm::OrderedSubject,
        "REFERENCES" => Algorithm::References,
        other => return Err(c.unknown("threading algorithm", other)),
    };
    criteria_of(c, uid, Verb::Thread(algorithm), Options::default())
}

/// `"ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP search-program` (RFC 7377 §4)
pub(super) fn esearch(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and search keys")?;
    let mut sources = Vec::new();
    if c.keyword("IN") {
        c.space("a space and a list of sources")?;
        c.expect(b'(', "( and sources")?;
        sources = c.rest_of_list(MAX_NAMES, source)?;
        c.space("a space and search keys")?;
    }
    searching(c, true, Verb::MultiSearch(sources))
}

/// `"CANCELUPDATE" 1*(SP quoted)` (RFC 5267 §5)
pub(super) fn cancel_update(c: &mut Cursor<'_>) -> Parse<Command> {
    let mut tags = Vec::new();
    while tags.is_empty() || c.peek() == Some(b' ') {
        c.space("a space and a tag in quotes")?;
        if tags.len() == MAX_NAMES {
            return Err(c.wrong("too many tags"));
        }
        let tag = c.string("a tag in quotes")?;
        tags.push(c.utf8(tag)?);
    }
    Ok(Command::CancelUpdate(tags))
}

/// `[search-return-opts SP] search-program`, where `search-program = ["CHARSET" SP charset SP] search-key *(SP search-key)`
fn searching(c: &mut Cursor<'_>, uid: bool, verb: Verb) -> Parse<Command> {
    let mut options = Options::default();
    if c.keyword("RETURN") {
        options = return_options(c)?;
        c.space("a space and search keys")?;
    }
    let mut program = Program::new(c);
    if program.c.keyword("CHARSET") {
        if program.c.has_one_charset() {
            // RFC 6855 §3.
            return Err(program
                .c
                .wrong("CHARSET is not allowed once UTF8=ACCEPT is enabled"));
        }
        program.c.space("a space and a charset")?;
        program.charset()?;
        program.c.space("a space and search keys")?;
    }
    let (key, filters) = program.all()?;
    let charset_known = program.charset_known;
    Ok(Command::Search(Search {
        uid,
        verb,
        returns: options.returns,
        update_items: options.update_items,
        charset_known,
        key,
        filters,
    }))
}

/// `SP search-criteria`, where `search-criteria = charset 1*(SP search-key)`
fn criteria_of(c: &mut Cursor<'_>, uid: bool, verb: Verb, options: Options) -> Parse<Command> {
    c.space("a space and a charset")?;
    let mut program = Program::new(c);
    program.charset()?;
    program.c.space("a space and search keys")?;
    let (key, filters) = program.all()?;
    let charset_known = program.charset_known;
    Ok(Command::Search(Search {
        uid,
        verb,
        returns: options.returns,
        update_items: options.update_items,
        charset_known,
        key,
        filters,
    }))
}

/// `sort-criterion = ["REVERSE" SP] sort-key`
fn criterion(c: &mut Cursor<'_>) -> Parse<Criterion> {
    let reverse = c.keyword("REVERSE");
    if reverse {
        c.space("a space and a sort key")?;
    }
    let name = c.item_name();
    let key = match name.as_str() {
        "ARRIVAL" => SortKey::Arrival,
        "CC" => SortKey::Cc,
        "DATE" => SortKey::Date,
        "DISPLAYFROM" => SortKey::DisplayFrom,
        "DISPLAYTO" => SortKey::DisplayTo,
        "FROM" => SortKey::From,
        "SIZE" => SortKey::Size,
        "SUBJECT" => SortKey::Subject,
        "TO" => SortKey::To,
        "" => return Err(c.expected("a sort key")),
        other => return Err(c.unknown("sort key", other)),
    };
    Ok(Criterion { key, reverse })
}

/// `SP "(" [search-return-opt *(SP search-return-opt)] ")"` behind RETURN. Without an option it is ALL (RFC 4731 §3.1).
fn return_options(c: &mut Cursor<'_>) -> Parse<Options> {
    c.space("a space and a list of return options")?;
    c.expect(b'(', "( and return options")?;
    let (mut returns, mut update_items) = (Returns::default(), Vec::new());
    if c.eat(b')') {
        returns.all = true;
    } else {
        c.rest_of_list(MAX_CRITERIA, |c| {
            return_option(c, &mut returns, &mut update_items)
        })?;
    }
    Ok(Options {
        returns: Some(returns),
        update_items,
    })
}

fn return_option(c: &mut Cursor<'_>, returns: &mut Returns, update_items: &mut Vec<FetchItem>) -> Parse<()> {
    let name = c.item_name();
    match name.as_str() {
        "MIN" => returns.min = true,
        "MAX" => returns.max = true,
        "COUNT" => returns.count = true,
        "SAVE" => returns.save = true,
        "CONTEXT" => returns.context = true,
        "UPDATE" if returns.update => return Err(c.wrong("UPDATE stands there twice")),
        "UPDATE" => {
            returns.update = true;
            if c.is_next(b" (") {
                c.space("a space and what to fetch")?;
                c.expect(b'(', "( and what to fetch")?;
                *update_items = super::fetch::items(c)?;
            }
        }
        // RFC 9394 §3.1: one of them, once.
        "ALL" | "PARTIAL" if returns.all || returns.partial.is_some() => {
            return Err(c.wrong("only one of ALL and PARTIAL may be asked for, once"));
        }
        "ALL" => returns.all = true,
        "PARTIAL" => {
            c.space("a space and a range")?;
            returns.partial = Some(partial_range(c)?);
        }
        "" => return Err(c.expected("a return option")),
        other => return Err(c.unknown("return option", other)),
    }
    Ok(())
}

/// `filter-mailboxes` (RFC 5465 §8, RFC 7377 §4)
fn source(c: &mut Cursor<'_>) -> Parse<Source> {
    let name = c.item_name();
    Ok(match name.as_str() {
        "SELECTED" => Source::Selected,
        "INBOXES" => Source::Inboxes,
        "PERSONAL" => Source::Personal,
        "SUBSCRIBED" => Source::Subscribed,
        "SUBTREE" => Source::Subtree(mailboxes(c)?),
        "SUBTREE-ONE" => Source::SubtreeOne(mailboxes(c)?),
        "MAILBOXES" => Source::Mailboxes(mailboxes(c)?),
        "" => return Err(c.expected("a source")),
        other => return Err(c.unknown("source", other)),
    })
}

/// `SP one-or-more-mailbox`
fn mailboxes(c: &mut Cursor<'_>) -> Parse<Vec<MailboxArg>> {
    c.space("a space and a mailbox name")?;
    if c.eat(b'(') {
        return c.rest_of_list(MAX_NAMES, Cursor::mailbox);
    }
    Ok(vec![c.mailbox()?])
}
