//! What the parsed cache costs at delivery, and what it saves for lists of messages and searches.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{Call, Reply};
use rmail_core::mailbox::{Flags, MailboxRef, Quota, Uid, UidSet};
use rmail_core::mime::section::{Section, Spec, Text};
use rmail_core::random::Random;
use rmail_core::search::Key;
use rmail_core::time::{Mono, Now};
use rmail_runtime::disk::RealDisk;
use rmail_store::MailStore;
use rmail_store::accounts::Accounts;
use rmail_store::file::Options;
use rmail_store::service::{ImapService, Serve as _, Service, Settings};

use crate::place::{NOW, Store, account, deliver, inbox, open, select};
use crate::report::{self, Times, rate};

/// Messages of a list.
const COUNT: u32 = 1_000;

pub fn run(root: &Path) {
    deliveries(root);
    lists(root);
}

fn options(parsed_cache: bool) -> Options {
    Options {
        parsed_cache,
        ..Options::default()
    }
}

/// With and without it in turns. The time beside is that without.
fn deliveries(root: &Path) {
    for count in [1_u32, 50] {
        let mut to: [Vec<AccountName>; 2] = Default::default();
        let stores = [false, true].map(|cache| open(root, options(cache)));
        for (kind, (store, to)) in stores.iter().zip(&mut to).enumerate() {
            for n in 0..count {
                let account = account(&format!("cache{kind}of{count}no{n}@here.test"));
                block_on(store.create_account(&account, NOW)).expect("an account");
                deliver(store, std::slice::from_ref(&account));
                to.push(account);
            }
        }
        let mut times = [Times::default(), Times::default()];
        for _ in 0..(2_000 / count).max(150) {
            for ((store, to), times) in stores.iter().zip(&to).zip(&mut times) {
                times.time(|| deliver(store, to));
            }
        }
        let [without, with] = times;
        let what = format!("deliver 1 KiB to {count}, parsed cache on; beside: off");
        report::times(&what, "1.05 × without", with, Some(without));
    }
}

/// A message as they are: with trace fields, two alternatives, some kilobytes.
fn message(n: u32) -> Vec<u8> {
    let trace = "Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.here.test with ESMTPS id 12345;\
        \r\n\tMon, 7 Feb 1994 21:52:25 -0800\r\n"
        .repeat(4);
    let signature = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s1;\r\n\tb="
        .to_owned()
        + &"abcdefghijklmnopqrstuvwxyz0123456789".repeat(9);
    let text = "Some words of a letter that goes on and on, as letters do.\r\n".repeat(40);
    format!(
        "{trace}{signature}\r\nFrom: =?utf-8?q?J=C3=BCrgen?= <j{n}@example.org>\r\nTo: \"A. Person\" <a@here.test>,\r\n \
         b@here.test\r\nCc: list@here.test\r\nSubject: message number {n}\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n\
         Message-ID: <{n}@example.org>\r\nIn-Reply-To: <{}@example.org>\r\nReferences: <1@example.org> <2@example.org>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"=_b\"\r\n\r\n\
         --=_b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}--=_b\r\n\
         Content-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>{text}</p></body></html>\r\n--=_b--\r\n",
        n.wrapping_sub(1)
    )
    .into_bytes()
}

type Session = ImapService<Store, RealDisk>;

fn session(root: &Path, parsed_cache: bool, to: &AccountName) -> (Session, MailboxRef) {
    let store = Arc::new(open(root, options(parsed_cache)));
    let disk = Arc::new(RealDisk::open(root).expect("a mail_root"));
    let accounts = Accounts::new(disk, Random::from_seed([1; 32]));
    let mailbox = select(&store, to, &inbox());
    (
        Service::new(store, accounts, Settings::default()).imap_session_of(to),
        mailbox,
    )
}

fn ask(session: &Session, call: Call) -> Reply {
    let now = Now {
        mono: Mono(core::time::Duration::ZERO),
        unix: NOW,
    };
    block_on(session.run(now, call))
}

/// FETCH 1:* of these, as the session asks.
fn fetch(session: &Session, mailbox: &MailboxRef, sections: &[Section]) {
    let parts: Vec<(Uid, Section)> = (1..=COUNT)
        .flat_map(|uid| sections.iter().map(move |section| (Uid(uid), section.clone())))
        .collect();
    let mut rest = parts.as_slice();
    while !rest.is_empty() {
        let take = rest.len().min(64 / sections.len() * sections.len());
        let call = Call::Bodies {
            mailbox: mailbox.clone(),
            parts: rest[..take].to_vec(),
        };
        let Reply::Bodies(Ok(bodies)) = ask(session, call) else {
            panic!("no bodies");
        };
        rest = &rest[bodies.len()..];
    }
}

fn lists(root: &Path) {
    let to = account("list@here.test");
    let store = open(root, options(true));
    block_on(async {
        store.create_account(&to, NOW).await.expect("an account");
        for first in (0..COUNT).step_by(100) {
            let mut batch = Vec::new();
            for n in first..first + 100 {
                let mut spool = store.new_spool().await.expect("a spool");
                let chunk = Chunk::from(message(n));
                store.write_spool(&mut spool, chunk).await.expect("written");
                batch.push((spool, Flags::default(), None));
            }
            let appended = store.append(&to, &inbox(), batch, &Quota::UNLIMITED, NOW).await;
            appended.expect("appended");
        }
    });
    drop(store);
    let names = [
        "date",
        "from",
        "to",
        "cc",
        "subject",
        "references",
        "x-priority",
        "list-id",
    ];
    let fields = Section::Octets {
        spec: Spec {
            part: Vec::new(),
            text: Text::HeaderFields(names.map(str::to_owned).to_vec()),
        },
        partial: None,
    };
    for (what, sections) in [
        ("ENVELOPE", vec![Section::Envelope]),
        ("BODYSTRUCTURE", vec![Section::BodyStructure]),
        ("header fields", vec![fields.clone()]),
        (
            "all three",
            vec![Section::Envelope, Section::BodyStructure, fields],
        ),
    ] {
        compare(root, &to, &format!("FETCH 1:1000 {what}"), |session, mailbox| {
            fetch(session, mailbox, &sections);
        });
    }
    compare(root, &to, "SEARCH SUBJECT in 1000", |session, mailbox| {
        let key = Key::Header("subject".to_owned(), "number 77".to_owned());
        let call = Call::Search {
            mailbox: mailbox.clone(),
            uids: UidSet::from_ranges([(1, u32::MAX)]),
            program: Arc::new(key),
        };
        let Reply::Found(Ok(found)) = ask(session, call) else {
            panic!("no answer");
        };
        assert!(found.contains(Uid(78)));
    });
    // Nothing is known at first: what it takes to find all out once more.
    let (local, domain) = to.parts();
    let cache = root.join(format!("domains/{domain}/users/{local}/mailboxes/INBOX/parsed"));
    for section in [Section::Envelope, Section::BodyStructure] {
        std::fs::remove_dir_all(&cache).expect("the cache");
        let mut took = [false, true].map(|cache| {
            let (session, mailbox) = session(root, cache, &to);
            let begun = Instant::now();
            fetch(&session, &mailbox, std::slice::from_ref(&section));
            begun.elapsed()
        });
        let what = format!("FETCH 1:1000 {section:?} that finds out; beside: without");
        took.reverse();
        let [with, without] = took.map(|took| rate(1_000, took));
        report::rates(&what, "", with, Some(without));
    }
}

/// With and without it in turns, in open sessions.
fn compare(root: &Path, to: &AccountName, what: &str, work: impl Fn(&Session, &MailboxRef)) {
    let sessions = [false, true].map(|cache| session(root, cache, to));
    let mut times = [Times::default(), Times::default()];
    for (session, mailbox) in &sessions {
        work(session, mailbox);
    }
    for _ in 0..20 {
        for ((session, mailbox), times) in sessions.iter().zip(&mut times) {
            times.time(|| work(session, mailbox));
        }
    }
    let [without, with] = times;
    report::times(
        &format!("{what}, parsed cache on; beside: off"),
        "",
        with,
        Some(without),
    );
}
