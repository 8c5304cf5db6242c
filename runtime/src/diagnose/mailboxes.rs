//! Phase 6: a mailbox of our own, with a blank in its name, is made, filled, searched, emptied, renamed and removed.

use rmail_core::diagnose::Id;

use super::imap::needs;
use super::imap_client::{Answer, Imap, quoted};
use super::{Checked, Run, Trouble, ensure, mark, message};

/// What is in our messages and nobody else's.
const WORD: &str = "Schallplattenspieler";

pub(super) fn run(run: &mut Run<'_>, imap: &mut Imap) {
    let names = [
        format!("Diagnose {}", run.mark),
        format!("Diagnose {} again", run.mark),
        format!("Diagnose {} more", run.mark),
    ];
    let [name, renamed, other] = &names;
    let made = run.check(Id::ImapCreate, |_| {
        imap.want(&format!("CREATE {}", quoted(name)))?;
        imap.want(&format!("CREATE {}", quoted(other))).map(drop)
    });
    if made.is_some() {
        run.check(Id::ImapList, |_| list(imap, name, other));
        work(run, imap, name, other);
        run.check(Id::ImapRename, |_| {
            imap.want(&format!("RENAME {} {}", quoted(name), quoted(renamed)))?;
            let answer = imap.want("LIST \"\" \"Diagnose*\"")?;
            let moved = answer.says(&quoted(renamed)) && !answer.says(&quoted(name));
            ensure(moved, renamed, answer.shown())
        });
    }
    // Whatever was made goes, under whichever name it has now.
    let deleted: Vec<Answer> = names
        .iter()
        .filter_map(|name| imap.say(&format!("DELETE {}", quoted(name))).ok())
        .collect();
    if made.is_some() {
        run.check(Id::ImapDelete, |_| {
            let good = deleted.iter().filter(|answer| answer.status == "OK").count();
            let answer = imap.want(&format!("LIST \"\" \"Diagnose {}*\"", run_mark(name)))?;
            ensure(
                good >= 2 && answer.response("LIST").is_none(),
                "OK to DELETE, and nothing left",
                answer.shown(),
            )
        });
    }
}

/// The mark in the name of a mailbox, if it is called as ours are.
pub(super) fn mark_of(name: &str) -> Option<&str> {
    let (mark, rest) = name.strip_prefix("Diagnose ")?.split_at_checked(mark::LEN)?;
    matches!(rest, "" | " again" | " more").then_some(mark)
}

/// The mark in a name of ours.
fn run_mark(name: &str) -> &str {
    name.split(' ').nth(1).unwrap_or_default()
}

fn list(imap: &mut Imap, name: &str, other: &str) -> Checked<()> {
    let all = imap.want("LIST \"\" \"*\"")?;
    let inbox = all
        .untagged
        .iter()
        .any(|line| line.trim_matches('"').ends_with("INBOX"));
    ensure(
        inbox && all.says(name) && all.says(other),
        "INBOX and what was made",
        all.shown(),
    )?;
    let some = imap.want(&format!("LIST \"\" \"Diagnose {}%\"", run_mark(name)))?;
    let count = some
        .untagged
        .iter()
        .filter(|line| line.starts_with("LIST"))
        .count();
    ensure(count == 2, "two names that fit the pattern", some.shown())?;
    let delimiter = imap.want("LIST \"\" \"\"")?;
    ensure(
        delimiter.response("LIST").is_some(),
        "the delimiter of names",
        delimiter.shown(),
    )
}

fn work(run: &mut Run<'_>, imap: &mut Imap, name: &str, other: &str) {
    let text = |number: u32| {
        let body = format!("{WORD} number {number}.\r\n");
        message(
            &format!("number{number}@x.invalid"),
            "to@x.invalid",
            &format!("{}-{number}", run_mark(name)),
            &body,
        )
    };
    let first = text(1);
    let appended = run.check(Id::ImapAppend, |_| {
        for (number, flags) in [(1, "\\Seen"), (2, ""), (3, "\\Flagged")] {
            let answer = imap.append(name, flags, &text(number))?;
            ensure(answer.status == "OK", "OK to APPEND", answer.shown())?;
        }
        Ok(())
    });
    let selected = run.check(Id::ImapSelect, |_| {
        let answer = imap.want(&format!("SELECT {}", quoted(name)))?;
        ensure(
            answer.says("EXISTS") && answer.response("FLAGS").is_some(),
            "FLAGS and EXISTS",
            answer.shown(),
        )?;
        ensure(
            answer.code("UIDVALIDITY").is_some() && answer.code("UIDNEXT").is_some(),
            "UIDVALIDITY and UIDNEXT",
            answer.shown(),
        )
    });
    if appended.is_none() || selected.is_none() {
        return;
    }
    run.check(Id::ImapFetch, |_| {
        let answer = imap.want("FETCH 1 (UID FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])")?;
        ensure(
            answer.says(&first),
            "the message as it was appended",
            answer.shown(),
        )?;
        ensure(
            answer.says(&format!("RFC822.SIZE {}", first.len())),
            format!("RFC822.SIZE {}", first.len()),
            answer.shown(),
        )?;
        ensure(answer.says("\\Seen"), "\\Seen", answer.shown())
    });
    run.check(Id::ImapStore, |_| {
        let answer = imap.want("STORE 2 +FLAGS (\\Answered)")?;
        ensure(answer.says("\\Answered"), "\\Answered", answer.shown())?;
        imap.want("STORE 2 -FLAGS.SILENT (\\Answered)")?;
        let answer = imap.want("FETCH 2 FLAGS")?;
        ensure(!answer.says("\\Answered"), "no \\Answered", answer.shown())
    });
    run.check(Id::ImapSearch, |_| search(imap));
    run.check(Id::ImapCheck, |_| {
        imap.want("NOOP")?;
        let answer = imap.say("CHECK")?;
        // IMAP4rev2 has no CHECK any more.
        ensure(
            answer.status == "OK" || imap.has("IMAP4rev2"),
            "OK to CHECK",
            answer.shown(),
        )
    });
    run.check(Id::ImapCopy, |_| {
        let answer = imap.want(&format!("COPY 1:2 {}", quoted(other)))?;
        needs(imap, &["UIDPLUS"])?;
        ensure(answer.code("COPYUID").is_some(), "COPYUID", answer.shown())
    });
    run.check(Id::ImapMove, |_| {
        needs(imap, &["MOVE"])?;
        let answer = imap.want(&format!("MOVE 3 {}", quoted(other)))?;
        ensure(
            answer.says("3 EXPUNGE") || answer.says("VANISHED"),
            "it is gone from here",
            answer.shown(),
        )?;
        let answer = imap.want(&format!("STATUS {} (MESSAGES)", quoted(other)))?;
        ensure(answer.says("MESSAGES 3"), "and there", answer.shown())
    });
    run.check(Id::ImapExpunge, |_| {
        imap.want("STORE 1 +FLAGS.SILENT (\\Deleted)")?;
        let answer = imap.want("EXPUNGE")?;
        ensure(
            answer.says("1 EXPUNGE") || answer.says("VANISHED"),
            "1 EXPUNGE",
            answer.shown(),
        )
    });
    run.check(Id::ImapUnselect, |_| {
        needs(imap, &["UNSELECT"])?;
        imap.want("STORE 1 +FLAGS.SILENT (\\Deleted)")?;
        imap.want("UNSELECT")?;
        let answer = imap.want(&format!("STATUS {} (MESSAGES)", quoted(name)))?;
        ensure(
            !answer.says("MESSAGES 0"),
            "the message is still there",
            answer.shown(),
        )
    });
    run.check(Id::ImapClose, |_| {
        imap.want(&format!("SELECT {}", quoted(name)))?;
        imap.want("STORE 1:* +FLAGS.SILENT (\\Deleted)")?;
        imap.want("CLOSE")?;
        let answer = imap.want(&format!("STATUS {} (MESSAGES)", quoted(name)))?;
        ensure(answer.says("MESSAGES 0"), "MESSAGES 0", answer.shown())
    });
}

/// Searches with many keys at once.
fn search(imap: &mut Imap) -> Checked<()> {
    for (keys, expected) in [
        ("ALL".to_owned(), &[1, 2, 3][..]),
        (format!("BODY \"{}\"", WORD.to_ascii_lowercase()), &[1, 2, 3]),
        ("UNSEEN".to_owned(), &[2, 3]),
        ("OR FROM number1 (FLAGGED NOT DELETED)".to_owned(), &[1, 3]),
        (
            format!("NOT SEEN SUBJECT \"-2\" TEXT \"{WORD} number 2\" LARGER 10"),
            &[2],
        ),
        ("UID 1:* SENTSINCE 1-Jan-2020 SEEN".to_owned(), &[1]),
        ("KEYWORD $Nowhere".to_owned(), &[]),
    ] {
        let answer = imap.want(&format!("SEARCH {keys}"))?;
        let found = answer.found();
        if found != expected {
            return Err(Trouble::broken(
                format!("{expected:?} to SEARCH {keys}"),
                format!("{found:?}"),
            ));
        }
    }
    Ok(())
}
