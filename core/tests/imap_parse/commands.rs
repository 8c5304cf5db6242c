//! What each command means.

use super::{AUTHENTICATED, command};
use rmail_core::imap::command::{
    Command, FetchItem, FetchModifiers, List, QResync, Returns, Search, SelectParams, Source, StatusItem,
    Verb,
};
use rmail_core::imap::sequence::{PartialRange, SeqNumber, SequenceSet};
use rmail_core::mailbox::{
    BadName, FlagChange, FlagOp, Flags, Keyword, MailboxName, ModSeq, SpecialUse, SystemFlags, UidSet,
    UidValidity,
};
use rmail_core::mime::section::{Spec, Text};
use rmail_core::search::{Algorithm, Criterion, Key, SortKey};
use rmail_core::secret::Secret;

fn name(text: &str) -> Result<MailboxName, BadName> {
    MailboxName::new(text)
}

fn set(ranges: &[(u32, u32)]) -> SequenceSet {
    let number = |n: u32| {
        if n == 0 {
            SeqNumber::Star
        } else {
            SeqNumber::Number(n)
        }
    };
    SequenceSet(ranges.iter().map(|(a, b)| (number(*a), number(*b))).collect())
}

#[test]
fn commands_without_arguments() {
    for (line, want) in [
        ("CAPABILITY", Command::Capability),
        ("noop", Command::Noop),
        ("LogOut", Command::Logout),
        ("STARTTLS", Command::StartTls),
        ("CHECK", Command::Check),
        ("CLOSE", Command::Close),
        ("UNSELECT", Command::Unselect),
        ("EXPUNGE", Command::Expunge { uids: None }),
        ("IDLE", Command::Idle),
        ("NAMESPACE", Command::Namespace),
    ] {
        assert_eq!(command(line), want, "{line}");
    }
    let uids = Some(set(&[(3000, 3002), (7, 0)]));
    assert_eq!(command("UID EXPUNGE 3000:3002,7:*"), Command::Expunge { uids });
}

#[test]
fn login_and_authenticate() {
    let login = |user: &str, password: &str| Command::Login {
        user: user.into(),
        password: Secret::new(password),
    };
    assert_eq!(command("LOGIN SMITH SESAME"), login("SMITH", "SESAME"));
    assert_eq!(command("LOGIN \"a\\\"b\\\\\" \"\""), login("a\"b\\", ""));
    assert_eq!(
        command("LOGIN {7}\r\nFRED FO {3+}\r\n\r\n\""),
        login("FRED FO", "\r\n\"")
    );
    assert_eq!(command("LOGIN \"älice\" {0}\r\n"), login("älice", ""));
    assert_eq!(command("login nil a]b"), login("nil", "a]b"));
    let authenticate = |mechanism: &str, initial: Option<&[u8]>| Command::Authenticate {
        mechanism: mechanism.into(),
        initial: initial.map(Secret::new),
    };
    assert_eq!(command("AUTHENTICATE plain"), authenticate("PLAIN", None));
    assert_eq!(
        command("AUTHENTICATE PLAIN AGEAYg=="),
        authenticate("PLAIN", Some(b"\0a\0b"))
    );
    assert_eq!(
        command("AUTHENTICATE SCRAM-SHA-256 ="),
        authenticate("SCRAM-SHA-256", Some(b""))
    );
}

#[test]
fn id_and_enable() {
    let id = |fields: &[(&str, Option<&str>)]| {
        let owned = fields
            .iter()
            .map(|(field, value)| ((*field).into(), value.map(str::to_owned)));
        Command::Id(owned.collect())
    };
    assert_eq!(command("ID NIL"), id(&[]));
    assert_eq!(command("ID nil"), id(&[]));
    assert_eq!(command("ID ()"), id(&[]));
    assert_eq!(
        command("ID (\"name\" \"sodr\" \"version\" {5}\r\n19.34 \"vendor\" NIL)"),
        id(&[
            ("name", Some("sodr")),
            ("version", Some("19.34")),
            ("vendor", None)
        ])
    );
    assert_eq!(
        command("ENABLE IMAP4rev2 X"),
        Command::Enable(vec!["IMAP4rev2".into(), "X".into()])
    );
}

#[test]
fn mailboxes() {
    assert_eq!(
        command("SELECT inbox"),
        Command::Select {
            mailbox: name("INBOX"),
            params: SelectParams::default()
        }
    );
    assert_eq!(
        command("EXAMINE \"a b\""),
        Command::Examine {
            mailbox: name("a b"),
            params: SelectParams::default()
        }
    );
    assert_eq!(
        command("EXAMINE \"Entwürfe\""),
        Command::Examine {
            mailbox: name("Entwürfe"),
            params: SelectParams::default()
        }
    );
    assert_eq!(
        command("DELETE {10}\r\n&U,BTFw-/x"),
        Command::Delete {
            mailbox: name("台北/x"),
            denormal: None
        }
    );
    assert_eq!(
        command("SUBSCRIBE #news.comp"),
        Command::Subscribe {
            mailbox: name("#news.comp")
        }
    );
    assert_eq!(
        command("SUBSCRIBE ~x"),
        Command::Subscribe { mailbox: name("~x") }
    );
    assert_eq!(
        command("UNSUBSCRIBE a&b"),
        Command::Unsubscribe {
            mailbox: Err(BadName::NotUtf7)
        }
    );
    assert_eq!(
        command("SELECT ../x"),
        Command::Select {
            mailbox: Err(BadName::Forbidden),
            params: SelectParams::default()
        }
    );
    assert_eq!(
        command("SELECT \"\""),
        Command::Select {
            mailbox: Err(BadName::Empty),
            params: SelectParams::default()
        }
    );
    assert_eq!(
        command("RENAME a {1}\r\nb"),
        Command::Rename {
            from: name("a"),
            to: name("b"),
            denormal: None
        }
    );
}

#[test]
fn create() {
    let create = |text: &str, special_use: &[SpecialUse], use_known| Command::Create {
        mailbox: name(text),
        special_use: special_use.into(),
        use_known,
        denormal: None,
    };
    assert_eq!(command("CREATE owatagusiam/"), create("owatagusiam", &[], true));
    assert_eq!(command("CREATE a//"), create("a/", &[], true));
    assert_eq!(
        command("CREATE MySpecial (use (\\drafts \\Sent \\SENT))"),
        create("MySpecial", &[SpecialUse::Drafts, SpecialUse::Sent], true)
    );
    assert_eq!(command("CREATE a (USE ())"), create("a", &[], true));
    let Command::Create { denormal, .. } = command("CREATE \"Ko\u{308}ln/\"") else {
        panic!("no CREATE");
    };
    assert_eq!(denormal.as_deref(), Some("Ko\u{308}ln"));
    assert_eq!(
        command("CREATE Everything (USE (\\All \\Trash))"),
        create("Everything", &[SpecialUse::Trash], false)
    );
}

#[test]
fn list_and_lsub() {
    let list = |reference: &str, patterns: &[&str]| List {
        reference: reference.into(),
        patterns: patterns.iter().map(|text| (*text).to_owned()).collect(),
        ..List::default()
    };
    assert_eq!(command("LIST \"\" *"), Command::List(list("", &["*"])));
    assert_eq!(
        command("LIST /usr/staff/jones \"\""),
        Command::List(list("/usr/staff/jones", &[""]))
    );
    assert_eq!(command("LIST ~/Mail/ %"), Command::List(list("~/Mail/", &["%"])));
    assert_eq!(command("LIST \"\" &AOQ-%]"), Command::List(list("", &["ä%]"])));
    assert_eq!(
        command("LIST {0}\r\n {2}\r\na*"),
        Command::List(list("", &["a*"]))
    );
    assert_eq!(
        command(
            "LIST (special-use SUBSCRIBED REMOTE) \"\" (INBOX \"Sent/%\") RETURN (CHILDREN SUBSCRIBED SPECIAL-USE)"
        ),
        Command::List(List {
            extended: true,
            select_special_use: true,
            select_subscribed: true,
            return_subscribed: true,
            return_children: true,
            return_special_use: true,
            ..list("", &["INBOX", "Sent/%"])
        })
    );
    assert_eq!(
        command("LIST () \"\" % RETURN ()"),
        Command::List(List {
            extended: true,
            ..list("", &["%"])
        })
    );
    assert_eq!(
        command("LSUB \"#news.\" \"comp.mail.*\""),
        Command::Lsub {
            reference: "#news.".into(),
            pattern: "comp.mail.*".into()
        }
    );
}

#[test]
fn status() {
    assert_eq!(
        command(
            "STATUS blurdybloop (UIDNEXT messages RECENT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ SIZE)"
        ),
        Command::Status {
            mailbox: name("blurdybloop"),
            items: vec![
                StatusItem::UidNext,
                StatusItem::Messages,
                StatusItem::Recent,
                StatusItem::UidValidity,
                StatusItem::Unseen,
                StatusItem::Deleted,
                StatusItem::Size,
                StatusItem::HighestModSeq,
            ]
        }
    );
}

#[test]
fn copy_and_move() {
    assert_eq!(
        command("COPY 2:4 MEETING"),
        Command::Copy {
            uid: false,
            set: set(&[(2, 4)]),
            mailbox: name("MEETING")
        }
    );
    assert_eq!(
        command("UID COPY *:1,5 MEETING"),
        Command::Copy {
            uid: true,
            set: set(&[(0, 1), (5, 5)]),
            mailbox: name("MEETING")
        }
    );
    assert_eq!(
        command("uid move 42:69 foo"),
        Command::Move {
            uid: true,
            set: set(&[(42, 69)]),
            mailbox: name("foo")
        }
    );
    assert_eq!(
        command("MOVE 4294967295 foo"),
        Command::Move {
            uid: false,
            set: set(&[(u32::MAX, u32::MAX)]),
            mailbox: name("foo")
        }
    );
}

#[test]
fn store() {
    let store = |uid, silent, op, system, keywords: &[&str]| Command::Store {
        uid,
        set: set(&[(2, 4)]),
        silent,
        change: FlagChange {
            op,
            flags: Flags {
                system,
                keywords: keywords
                    .iter()
                    .map(|text| Keyword::new(text).expect("keyword"))
                    .collect(),
            },
        },
        unchanged_since: None,
    };
    let none = SystemFlags::default();
    assert_eq!(
        command("STORE 2:4 +FLAGS (\\Deleted)"),
        store(false, false, FlagOp::Add, SystemFlags::DELETED, &[])
    );
    assert_eq!(
        command("UID STORE 2:4 -flags.silent \\seen $Junk \\Draft $JUNK"),
        store(
            true,
            true,
            FlagOp::Remove,
            SystemFlags::SEEN.with(SystemFlags::DRAFT),
            &["$Junk"]
        )
    );
    assert_eq!(
        command("STORE 2:4 FLAGS ()"),
        store(false, false, FlagOp::Replace, none, &[])
    );
    assert_eq!(
        command("STORE 2:4 FLAGS (\\Answered \\Flagged a b)"),
        store(
            false,
            false,
            FlagOp::Replace,
            SystemFlags::ANSWERED.with(SystemFlags::FLAGGED),
            &["a", "b"]
        )
    );
}

#[test]
fn fetch_items_and_macros() {
    let fetch = |items: &[FetchItem]| Command::Fetch {
        uid: false,
        set: set(&[(1, 0)]),
        items: items.into(),
        modifiers: FetchModifiers::default(),
    };
    use FetchItem::{Body, BodyStructure, Envelope, Flags, InternalDate, Rfc822Size, Uid};
    let fast = [Flags, InternalDate, Rfc822Size];
    assert_eq!(command("FETCH 1:* FAST"), fetch(&fast));
    assert_eq!(
        command("FETCH 1:* all"),
        fetch(&[&fast[..], &[Envelope]].concat())
    );
    assert_eq!(
        command("FETCH 1:* FULL"),
        fetch(&[&fast[..], &[Envelope, Body]].concat())
    );
    assert_eq!(
        command("FETCH 1:* (UID BODYSTRUCTURE body RFC822 RFC822.HEADER rfc822.text UID)"),
        fetch(&[
            Uid,
            BodyStructure,
            Body,
            FetchItem::Rfc822,
            FetchItem::Rfc822Header,
            FetchItem::Rfc822Text
        ])
    );
    assert_eq!(
        command("UID FETCH 1:* UID"),
        Command::Fetch {
            uid: true,
            set: set(&[(1, 0)]),
            items: vec![Uid],
            modifiers: FetchModifiers::default(),
        }
    );
}

fn refused(line: &str) {
    super::bad(AUTHENTICATED, format!("a {line}\r\n").as_bytes());
}

#[test]
fn fetch_modifiers() {
    let partial = |first, last, from_end| {
        Some(PartialRange {
            first,
            last,
            from_end,
        })
    };
    for (text, range) in [
        ("(PARTIAL 1:500)", partial(1, 500, false)),
        ("(partial 500:1)", partial(500, 1, false)),
        ("(PARTIAL -1:-100)", partial(1, 100, true)),
    ] {
        match command(&format!("UID FETCH 1:* (UID FLAGS) {text}")) {
            Command::Fetch { modifiers, .. } => assert_eq!(modifiers.partial, range, "{text}"),
            other => panic!("{other:?}"),
        }
    }
    for text in [
        "()",
        "(PARTIAL)",
        "(PARTIAL 1)",
        "(PARTIAL 0:1)",
        "(PARTIAL 1:*)",
        "(PARTIAL -1:1)",
        "(PARTIAL 1:-1)",
        "(PARTIAL 1:2 PARTIAL 1:2)",
        "(NO-SUCH 1)",
    ] {
        refused(&format!("UID FETCH 1:* (UID FLAGS) {text}"));
    }
    refused("FETCH 1:* (UID FLAGS) (PARTIAL 1:2)");
}

#[test]
fn ten_thousand_items_are_read_and_each_is_meant_once() {
    let items = vec!["UID FLAGS"; 5_000].join(" ");
    match command(&format!("FETCH 1 ({items})")) {
        Command::Fetch { items, .. } => assert_eq!(items, [FetchItem::Uid, FetchItem::Flags]),
        other => panic!("{other:?}"),
    }
    let sections: String = (1..=3_000).map(|part| format!("BODY[{part}] BODY[1] ")).collect();
    match command(&format!("FETCH 1 ({})", sections.trim_end())) {
        Command::Fetch { items, .. } => assert_eq!(items.len(), 3_000),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fetch_sections() {
    let section = |line: &str| match command(&format!("FETCH 1 {line}")) {
        Command::Fetch { items, .. } => match items.as_slice() {
            [FetchItem::Section { spec, partial, peek }] => {
                (spec.part.clone(), spec.text.clone(), *partial, *peek)
            }
            other => panic!("{line}: {other:?}"),
        },
        other => panic!("{line}: {other:?}"),
    };
    let fields = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(section("BODY[]"), (vec![], Text::Whole, None, false));
    assert_eq!(
        section("(BODY.PEEK[]<0.2048>)"),
        (vec![], Text::Whole, Some((0, 2048)), true)
    );
    assert_eq!(section("BODY[header]"), (vec![], Text::Header, None, false));
    assert_eq!(
        section("BODY[TEXT]<7.1>"),
        (vec![], Text::Text, Some((7, 1)), false)
    );
    assert_eq!(
        section("BODY[4.2.2.1]"),
        (vec![4, 2, 2, 1], Text::Whole, None, false)
    );
    assert_eq!(
        section("BODY.PEEK[4.1.MIME]"),
        (vec![4, 1], Text::Mime, None, true)
    );
    assert_eq!(section("BODY[3.HEADER]"), (vec![3], Text::Header, None, false));
    assert_eq!(section("BODY[3.TEXT]"), (vec![3], Text::Text, None, false));
    assert_eq!(
        section("BODY[HEADER.FIELDS (DATE \"From\" {2}\r\nTo)]"),
        (
            vec![],
            Text::HeaderFields(fields(&["DATE", "From", "To"])),
            None,
            false
        )
    );
    assert_eq!(
        section("BODY.PEEK[2.HEADER.FIELDS.NOT (X-A)]<1.2>"),
        (
            vec![2],
            Text::HeaderFieldsNot(fields(&["X-A"])),
            Some((1, 2)),
            true
        )
    );
    let deep = vec!["1"; Spec::MAX_DEPTH].join(".");
    assert_eq!(section(&format!("BODY[{deep}]")).0.len(), Spec::MAX_DEPTH);
}

fn key(line: &str) -> Key {
    match command(&format!("SEARCH {line}")) {
        Command::Search(Search {
            uid: false,
            verb: Verb::Search,
            returns: None,
            charset_known: true,
            key,
            ..
        }) => key,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn search_keys() {
    let not = |key| Key::Not(Box::new(key));
    let keyword = || Keyword::new("$Junk").expect("keyword");
    let header = |name: &str, text: &str| Key::Header(name.into(), text.into());
    for (line, want) in [
        ("ALL", Key::All),
        ("ANSWERED", Key::Flag(SystemFlags::ANSWERED)),
        ("DELETED", Key::Flag(SystemFlags::DELETED)),
        ("draft", Key::Flag(SystemFlags::DRAFT)),
        ("FLAGGED", Key::Flag(SystemFlags::FLAGGED)),
        ("SEEN", Key::Flag(SystemFlags::SEEN)),
        ("UNANSWERED", not(Key::Flag(SystemFlags::ANSWERED))),
        ("UNDELETED", not(Key::Flag(SystemFlags::DELETED))),
        ("UNDRAFT", not(Key::Flag(SystemFlags::DRAFT))),
        ("UNFLAGGED", not(Key::Flag(SystemFlags::FLAGGED))),
        ("unseen", not(Key::Flag(SystemFlags::SEEN))),
        ("RECENT", Key::Recent),
        ("OLD", not(Key::Recent)),
        (
            "NEW",
            Key::And(vec![Key::Recent, not(Key::Flag(SystemFlags::SEEN))]),
        ),
        ("BCC a", header("BCC", "a")),
        ("CC \"a b\"", header("CC", "a b")),
        ("FROM \"\"", header("FROM", "")),
        ("SUBJECT {2+}\r\nä", header("SUBJECT", "ä")),
        ("TO {0}\r\n", header("TO", "")),
        ("HEADER X-Spam {3}\r\nyes", header("X-Spam", "yes")),
        ("BODY x", Key::Body("x".into())),
        ("TEXT x", Key::Text("x".into())),
        ("BEFORE 1-Feb-1994", Key::Before(8_797)),
        ("ON \"01-Feb-1994\"", Key::On(8_797)),
        ("SINCE 1-feb-1994", Key::Since(8_797)),
        ("SENTBEFORE 1-Jan-1970", Key::SentBefore(0)),
        ("SENTON 1-Jan-1970", Key::SentOn(0)),
        ("SENTSINCE 1-Jan-1970", Key::SentSince(0)),
        ("LARGER 0", Key::Larger(0)),
        ("SMALLER 4294967296", Key::Smaller(4_294_967_296)),
        ("KEYWORD $Junk", Key::Keyword(keyword())),
        ("UNKEYWORD $Junk", not(Key::Keyword(keyword()))),
        ("OLDER 1", Key::Older(1)),
        ("younger 259200", Key::Younger(259_200)),
        ("SAVEDBEFORE 1-Jan-1970", Key::SavedBefore(0)),
        ("SAVEDON 1-Jan-1970", Key::SavedOn(0)),
        ("SAVEDSINCE 1-Jan-1970", Key::SavedSince(0)),
        ("SAVEDATESUPPORTED", Key::All),
        ("MODSEQ 620162338", Key::ModSeq(ModSeq(620_162_338))),
        ("MODSEQ \"/flags/\\\\draft\" all 0", Key::ModSeq(ModSeq(0))),
        ("EMAILID M6d99ac3275bb4e", Key::EmailId("M6d99ac3275bb4e".into())),
        ("$", Key::Sequence(SequenceSet::saved())),
        ("UID $", Key::UidSequence(SequenceSet::saved())),
        ("UID 1:3", Key::UidSequence(set(&[(1, 3)]))),
        ("2,4:*", Key::Sequence(set(&[(2, 2), (4, 0)]))),
        ("*", Key::Sequence(set(&[(0, 0)]))),
        ("NOT NOT SEEN", not(not(Key::Flag(SystemFlags::SEEN)))),
        (
            "OR ALL (1 RECENT)",
            Key::Or(Box::new((
                Key::All,
                Key::And(vec![Key::Sequence(set(&[(1, 1)])), Key::Recent]),
            ))),
        ),
        ("((ALL))", Key::All),
        ("CHARSET UTF-8 ALL", Key::All),
        ("CHARSET \"us-ascii\" ALL", Key::All),
    ] {
        assert_eq!(key(line), want, "{line}");
    }
    assert_eq!(
        key("FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\""),
        Key::And(vec![
            Key::Flag(SystemFlags::FLAGGED),
            Key::Since(8_797),
            not(header("FROM", "Smith"))
        ])
    );
}

#[test]
fn search_forms() {
    assert_eq!(
        command("UID SEARCH 1"),
        Command::Search(Search {
            uid: true,
            verb: Verb::Search,
            returns: None,
            update_items: Vec::new(),
            charset_known: true,
            key: Key::Sequence(set(&[(1, 1)])),
            filters: None,
        })
    );
    let latin = command("SEARCH CHARSET ISO-8859-1 TEXT {3+}\r\na\"b UNSEEN");
    assert!(matches!(
        latin,
        Command::Search(Search {
            charset_known: false,
            ..
        })
    ));
    let deepest = format!("{}ALL", "NOT ".repeat(32));
    assert!(matches!(key(&deepest), Key::Not(_)));
    let longest = vec!["1"; 1_000].join(" ");
    assert!(matches!(key(&longest), Key::And(keys) if keys.len() == 1_000));
}

#[test]
fn what_condstore_and_qresync_add() {
    let select = |line: &str| match command(&format!("SELECT INBOX {line}")) {
        Command::Select { params, .. } => params,
        other => panic!("{line}: {other:?}"),
    };
    let uids = |ranges: &[(u32, u32)]| UidSet::from_ranges(ranges.iter().copied());
    let qresync = |known, matched| SelectParams {
        qresync: Some(Box::new(QResync {
            uid_validity: UidValidity(67_890_007),
            modseq: ModSeq(20_050_715_194_045_000),
            known,
            matched,
        })),
        ..SelectParams::default()
    };
    assert!(select("(CONDSTORE)").condstore);
    assert_eq!(
        select("(QRESYNC (67890007 20050715194045000 41,43:211,214:541))"),
        qresync(Some(uids(&[(41, 41), (43, 211), (214, 541)])), None)
    );
    assert_eq!(
        select("(qresync (67890007 20050715194045000))"),
        qresync(None, None)
    );
    let matched = Some((uids(&[(4, 4), (12, 13)]), uids(&[(8, 8), (24, 25)])));
    assert_eq!(
        select("(QRESYNC (67890007 20050715194045000 (4,12:13 8,24:25)))"),
        qresync(None, matched.clone())
    );
    assert_eq!(
        select("(QRESYNC (67890007 20050715194045000 1:30 (4,12,13 8,24,25)))"),
        qresync(Some(uids(&[(1, 30)])), matched)
    );
    let fetch = |line: &str| match command(&format!("UID FETCH 1:9 {line}")) {
        Command::Fetch { items, modifiers, .. } => (items, modifiers.changed_since, modifiers.vanished),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(fetch("MODSEQ"), (vec![FetchItem::ModSeq], None, false));
    assert_eq!(
        fetch("(FLAGS) (CHANGEDSINCE 12345 VANISHED)"),
        (vec![FetchItem::Flags], Some(ModSeq(12345)), true)
    );
    let since = |line: &str| match command(&format!("STORE 7 {line} +FLAGS.SILENT (a)")) {
        Command::Store { unchanged_since, .. } => unchanged_since,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(since("(UNCHANGEDSINCE 320162338)"), Some(ModSeq(320_162_338)));
    assert_eq!(since("(unchangedsince 0)"), Some(ModSeq(0)));
}

fn searching(line: &str) -> Search {
    match command(line) {
        Command::Search(search) => search,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn return_options() {
    let none = Returns::default();
    let page = |first, last, from_end| PartialRange {
        first,
        last,
        from_end,
    };
    for (line, want) in [
        ("()", Returns { all: true, ..none }),
        (
            "(MIN count)",
            Returns {
                min: true,
                count: true,
                ..none
            },
        ),
        (
            "(MAX ALL SAVE)",
            Returns {
                max: true,
                all: true,
                save: true,
                ..none
            },
        ),
        (
            "(PARTIAL 500:1)",
            Returns {
                partial: Some(page(500, 1, false)),
                ..none
            },
        ),
        (
            "(UPDATE PARTIAL -1:-100 CONTEXT)",
            Returns {
                partial: Some(page(1, 100, true)),
                update: true,
                context: true,
                ..none
            },
        ),
    ] {
        let search = searching(&format!("UID SEARCH RETURN {line} CHARSET UTF-8 ALL"));
        assert_eq!((search.returns, search.key), (Some(want), Key::All), "{line}");
    }
    let sort = searching("SORT RETURN (ALL) (REVERSE DATE SUBJECT) UTF-8 UNSEEN");
    let by = |key, reverse| Criterion { key, reverse };
    assert_eq!(
        sort.verb,
        Verb::Sort(vec![by(SortKey::Date, true), by(SortKey::Subject, false)])
    );
    assert_eq!(sort.returns, Some(Returns { all: true, ..none }));
}

#[test]
fn sort_thread_and_esearch() {
    let sort = searching("UID SORT (ARRIVAL CC DISPLAYFROM displayto FROM SIZE TO) US-ASCII ALL");
    assert!(matches!(sort.verb, Verb::Sort(criteria) if criteria.len() == 7));
    assert!(sort.uid && sort.returns.is_none());
    let thread = searching("THREAD REFERENCES \"utf-8\" TEXT x");
    assert_eq!(thread.verb, Verb::Thread(Algorithm::References));
    assert!(!searching("THREAD orderedsubject KOI8-R ALL").charset_known);
    let multi =
        searching("ESEARCH IN (mailboxes \"folder1\" subtree (a b) personal selected) RETURN () unseen");
    let sources = vec![
        Source::Mailboxes(vec![name("folder1")]),
        Source::Subtree(vec![name("a"), name("b")]),
        Source::Personal,
        Source::Selected,
    ];
    assert!(multi.uid && multi.needs_selected());
    assert_eq!(multi.verb, Verb::MultiSearch(sources));
    assert!(!searching("ESEARCH IN (inboxes subtree-one x subscribed) ALL").needs_selected());
    assert!(searching("ESEARCH 1:100").needs_selected());
    assert_eq!(
        command("CANCELUPDATE \"B01\" \"B02\""),
        Command::CancelUpdate(vec!["B01".into(), "B02".into()])
    );
}
