//! Phase 8 on an account that stays: mailboxes and messages of this diagnosis, and of earlier ones that were cut off, are
//! found by their marks over a new connection, and removed. What others wrote stays, whatever it is called.

use rmail_core::diagnose::Id;
use rmail_core::time::Unix;

use super::cleanup::OLD;
use super::imap_client::{Imap, quoted};
use super::{Checked, Outcome, Run, SUBJECT, Trouble, ensure, mailboxes, mark};
use crate::clock;

/// Messages of one mailbox that are looked at: more of ours are not left by hundreds of diagnoses.
const MAX_MESSAGES: usize = 1_000;
/// Where servers put mail that was sent, by use (RFC 6154).
const USES: [&str; 4] = ["\\Archive", "\\Junk", "\\Sent", "\\Trash"];

pub(super) fn run(run: &mut Run<'_>) {
    let mut earlier = Vec::new();
    let done = run.check(Id::CleanupMessages, |run| match remove(run, &mut earlier) {
        // Nothing was made, and whether the server can be read is a question of other phases.
        Err(Trouble(Outcome::Broken { came, .. })) if !run.touched => Err(Trouble::skipped(came)),
        other => other,
    });
    if done.is_some() || !earlier.is_empty() {
        run.check(Id::CleanupLeftovers, |_| match earlier.is_empty() {
            true => Ok(()),
            false => Err(Trouble::chosen(format!(
                "removed what was left of an earlier one: {}",
                earlier.join(", ")
            ))),
        });
    }
}

/// Whose something is, by its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    /// Of a diagnosis that began long ago, and has ended in whichever way.
    Earlier,
    Others,
}

fn whose(found: &str, ours: &str, now: Unix) -> Whose {
    if found == ours {
        return Whose::Ours;
    }
    let old = now.secs().saturating_sub(OLD.as_secs());
    match mark::begun(found) {
        Some(begun) if begun.secs() < old => Whose::Earlier,
        _ => Whose::Others,
    }
}

fn remove(run: &Run<'_>, earlier: &mut Vec<String>) -> Checked<()> {
    let now = clock::unix();
    let mut imap = Imap::logged_in(run, &run.login()?)?;
    let listed = imap.want("LIST \"\" \"*\"")?;
    let listed: Vec<Listed> = listed
        .untagged
        .iter()
        .filter_map(|line| listed_as(line))
        .collect();
    for one in &listed {
        let Some(found) = mailboxes::mark_of(&one.name) else {
            continue;
        };
        match whose(found, &run.mark, now) {
            Whose::Ours => drop(imap.want(&format!("DELETE {}", quoted(&one.name)))?),
            Whose::Earlier if has_only(&mut imap, &one.name, found)? => {
                imap.want(&format!("DELETE {}", quoted(&one.name)))?;
                earlier.push(format!("the mailbox {}", one.name));
            }
            Whose::Earlier | Whose::Others => {}
        }
    }
    let mut left = 0;
    for one in listed.iter().filter(|one| one.may_have_mail()) {
        left += messages(run, &mut imap, one, now, earlier)?;
    }
    imap.logout();
    ensure(left == 0, "none of them", format!("{left} messages"))
}

/// Whether all messages of a mailbox are those of a diagnosis.
fn has_only(imap: &mut Imap, name: &str, mark: &str) -> Checked<bool> {
    imap.want(&format!("EXAMINE {}", quoted(name)))?;
    let others = imap
        .want(&format!("SEARCH NOT SUBJECT \"{mark}\""))?
        .found()
        .is_empty();
    // A mailbox that is selected cannot be removed everywhere.
    imap.want("CLOSE")?;
    Ok(others)
}

/// Removes our messages from one mailbox, and those of earlier diagnoses; how many of ours are left.
fn messages(
    run: &Run<'_>,
    imap: &mut Imap,
    mailbox: &Listed,
    now: Unix,
    earlier: &mut Vec<String>,
) -> Checked<usize> {
    if imap.say(&format!("SELECT {}", quoted(&mailbox.name)))?.status != "OK" {
        // It is not to be opened: nobody has put anything there.
        return Ok(0);
    }
    let mut found = imap.want(&format!("UID SEARCH SUBJECT \"{SUBJECT} \""))?.found();
    found.truncate(MAX_MESSAGES);
    if found.is_empty() {
        return Ok(0);
    }
    let set = |uids: &[u32]| uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let fetch = format!(
        "UID FETCH {} (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])",
        set(&found)
    );
    let answer = imap.want(&fetch)?;
    let mut ours = Vec::new();
    for (uid, found) in answer.untagged.iter().filter_map(|line| fetched(line)) {
        match whose(found, &run.mark, now) {
            Whose::Ours => ours.push(uid),
            Whose::Earlier => {
                ours.push(uid);
                earlier.push(format!("a message in {}", mailbox.name));
            }
            Whose::Others => {}
        }
    }
    if !ours.is_empty() {
        let uids = set(&ours);
        imap.want(&format!("UID STORE {uids} +FLAGS.SILENT (\\Deleted)"))?;
        // Others may be marked by their owner, to be removed later: these stay (RFC 4315).
        if imap.want(&format!("UID EXPUNGE {uids}")).is_err() {
            let marked = imap.want("UID SEARCH DELETED")?.found();
            ensure(
                marked == ours,
                "UID EXPUNGE, or no others that are marked as deleted",
                "others: ours are left, marked as deleted",
            )?;
            imap.want("EXPUNGE")?;
        }
    }
    let left = imap.want(&format!("UID SEARCH SUBJECT \"{SUBJECT} {}\"", run.mark))?;
    Ok(left.found().len())
}

/// A mailbox as LIST tells of it.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    attributes: String,
    name: String,
}

impl Listed {
    /// Messages that a diagnosis sends or stores may be there.
    fn may_have_mail(&self) -> bool {
        let has = |wanted: &str| {
            let mut all = self.attributes.split(' ');
            all.any(|one| one.eq_ignore_ascii_case(wanted))
        };
        let selectable = !has("\\Noselect") && !has("\\NonExistent");
        selectable && (self.name.eq_ignore_ascii_case("INBOX") || USES.into_iter().any(has))
    }
}

/// `LIST (\HasNoChildren \Sent) "/" "Sent mail"`. A name that comes as a literal is none of ours.
fn listed_as(line: &str) -> Option<Listed> {
    let rest = line.strip_prefix("LIST (")?;
    let (attributes, rest) = rest.split_once(") ")?;
    // The delimiter: one quoted character, a quoted backslash being two, or NIL.
    let rest = match rest.strip_prefix("NIL ") {
        Some(rest) => rest,
        None => rest.strip_prefix('"')?.split_once("\" ")?.1,
    };
    let name = match rest.strip_prefix('"') {
        Some(quoted) => {
            let text = quoted.strip_suffix('"')?;
            text.replace("\\\"", "\"").replace("\\\\", "\\")
        }
        None if rest.starts_with('{') => return None,
        None => rest.to_owned(),
    };
    Some(Listed {
        attributes: attributes.to_owned(),
        name,
    })
}

/// The UID and the mark of a message whose subject is one of ours.
fn fetched(line: &str) -> Option<(u32, &str)> {
    let (_, rest) = line.split_once("UID ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    let subject = line.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case("subject").then_some(value.trim())
    })?;
    let word = subject.strip_prefix(SUBJECT)?.strip_prefix(' ')?;
    // `MARK`, or `MARK-` and what tells one message from another.
    let (mark, other) = word.split_once('-').unwrap_or((word, "x"));
    let whole = !other.is_empty() && other.bytes().all(|octet| octet.is_ascii_alphanumeric());
    whole.then_some((digits.parse().ok()?, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marks_of_ours_and_old_ones_are_removed() {
        let now = Unix::from_secs(1_790_000_000);
        let ours = mark::new(now);
        let before = |seconds: u64| mark::new(Unix::from_secs(now.secs() - seconds));
        assert_eq!(whose(&ours, &ours, now), Whose::Ours);
        assert_eq!(whose(&before(7_200), &ours, now), Whose::Earlier);
        assert_eq!(whose(&before(60), &ours, now), Whose::Others, "it may run still");
        assert_eq!(whose("abcdefghijkm", &ours, now), Whose::Others);
    }

    #[test]
    fn mailboxes_are_read_as_servers_list_them() {
        let name = |line: &str| listed_as(line).map(|listed| (listed.may_have_mail(), listed.name));
        assert_eq!(name("LIST () \"/\" INBOX"), Some((true, "INBOX".into())));
        assert_eq!(
            name("LIST (\\HasNoChildren \\junk) \"\\\\\" \"a \\\"b\\\" c\""),
            Some((true, "a \"b\" c".into()))
        );
        assert_eq!(name("LIST (\\Noselect \\Sent) NIL x"), Some((false, "x".into())));
        assert_eq!(name("LIST () \".\" Diagnose"), Some((false, "Diagnose".into())));
        for none in ["LIST () \"/\" {3}\r\nabc", "LSUB () \"/\" x", "LIST"] {
            assert_eq!(name(none), None, "{none:?}");
        }
    }

    #[test]
    fn messages_of_ours_have_the_whole_subject() {
        let line = |subject: &str| {
            format!("1 FETCH (UID 17 BODY[HEADER.FIELDS (SUBJECT)] {{40}}\r\nSubject: {subject}\r\n\r\n)")
        };
        for (subject, mark) in [
            ("rmail diagnose abc", Some("abc")),
            ("rmail diagnose abc-def", Some("abc")),
            ("rmail diagnose abc-", None),
            ("rmail diagnose is good", Some("is good")),
            ("Re: rmail diagnose abc", None),
        ] {
            assert_eq!(fetched(&line(subject)), mark.map(|mark| (17, mark)), "{subject}");
        }
    }
}
