//! Files that people, other programs or a torn disk may have written; tokens.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address, Domain, ForwardPath};
use rmail_core::auth::password::hmac;
use rmail_core::auth::token::{BadToken, Key};
use rmail_core::chunk::Chunk;
use rmail_core::config::Config;
use rmail_core::directory::Hosting;
use rmail_core::directory::alias::{AliasFile, Expansion, MAX_ADDRESSES, Pattern, Question};
use rmail_core::limits::Limits;
use rmail_core::mailbox::{Flags, Keyword, KeywordSet, MailboxName, Quota, Row, SystemFlags, Uid};
use rmail_core::mime::digest::Digest;
use rmail_core::mime::parsed::Parsed;
use rmail_core::time::Unix;
use rmail_store::MailStore as _;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::file::expunged;
use rmail_store::file::state::State;
use rmail_store::file::status::Status;
use rmail_store::file::usage::Record;
use rmail_store::file::{FileStore, Options, keywords};
use rmail_store::mem::{MemDir, MemDisk};

use super::Steps;

/// When all of this is.
const NOW: Unix = Unix::from_secs(1_700_000_000);

/// `rmail.json`: it is taken, or all that is wrong is said in lines; what is effective is taken again as the same.
pub fn config(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else {
        return;
    };
    match Config::read(text) {
        Ok(parsed) => {
            assert!(parsed.warnings.iter().all(|problem| problem.warning));
            lines(parsed.warnings.iter().map(ToString::to_string));
            let whole = parsed.effective.clone().into_json().to_string();
            match Config::read(&whole) {
                Ok(again) => assert!(again.effective.changes(&parsed.effective).is_empty(), "{whole}"),
                Err(problems) => panic!("what is effective is not taken: {problems:?}"),
            }
        }
        Err(problems) => {
            assert!(
                problems.iter().any(|problem| !problem.warning),
                "refused without a reason"
            );
            lines(problems.iter().map(ToString::to_string));
        }
    }
}

/// What is said to people keeps to its line.
fn lines(mut all: impl Iterator<Item = String>) {
    assert!(all.all(|line| !line.is_empty() && !line.contains(['\n', '\r', '\0', '\u{1b}'])));
}

/// `aliases.json`: what is taken is written and read again; expanding it ends, whatever leads to what.
pub fn aliases(input: &[u8]) {
    if let Ok(text) = core::str::from_utf8(input)
        && let Ok(pattern) = Pattern::parse(text)
    {
        assert_eq!(Pattern::parse(pattern.as_str()), Ok(pattern));
    }
    let Ok(file) = serde_json::from_slice::<AliasFile>(input) else {
        return;
    };
    lines(file.complaints().into_iter());
    let written = serde_json::to_vec(&file).expect("what was read can be written");
    assert_eq!(
        serde_json::from_slice::<AliasFile>(&written).ok().as_ref(),
        Some(&file)
    );
    let domain = Domain::parse("demo.test").expect("a domain");
    let hosting = Hosting {
        domains: vec![domain],
        postmaster: None,
    };
    let file = Arc::new(file);
    for local in ["a", "b+tag", "sales", "postmaster", "x-1"] {
        let address = Address::parse(&format!("{local}@demo.test")).expect("an address");
        let mut expansion = Expansion::new(&hosting, &ForwardPath::Address(address));
        let mut steps = Steps(8 * MAX_ADDRESSES);
        while let Some(question) = expansion.question() {
            steps.step();
            match question {
                Question::Aliases(_) => expansion.aliases(Some(Arc::clone(&file))),
                Question::User(name) => expansion.user((name.as_str() == "u@demo.test").then_some(true)),
            }
        }
        let expanded = expansion.finish();
        assert!(expanded.nodes.len() <= MAX_ADDRESSES + 1 || expanded.too_many);
        let _ = expanded.leaves();
    }
}

/// Tokens (RFC 7519): none but those that were signed, and of those only what we would have signed. The input is a token,
/// and, cut at its first line end, the header and the claims of one that somebody signed who knows the key.
pub fn token(input: &[u8]) {
    let key = Key::new([7; 32]);
    if let Ok(text) = core::str::from_utf8(input) {
        let result = key.verify(text, NOW);
        let signed = text
            .rsplit_once('.')
            .is_some_and(|(signed, signature)| signature == BASE64.encode(hmac(&[7; 32], signed.as_bytes())));
        assert!(signed || result == Err(BadToken::Forged), "{text}");
    }
    let at = input
        .iter()
        .position(|octet| *octet == b'\n')
        .unwrap_or(input.len());
    let (header, claims) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let token = format!("{signed}.{}", BASE64.encode(hmac(&[7; 32], signed.as_bytes())));
    if let Ok(claims) = key.verify(&token, NOW) {
        assert!(claims.expires.secs() > NOW.secs() && claims.issued.secs() <= NOW.secs() + 60);
        assert!(claims.issued < claims.expires, "{claims:?}");
        assert_eq!(key.verify(&key.sign(&claims), NOW), Ok(claims));
        for spoilt in [format!("{token} "), format!(" {token}"), format!("{token}=")] {
            assert_eq!(key.verify(&spoilt, NOW), Err(BadToken::Forged), "{spoilt:?}");
        }
        for other in [Key::new([8; 32]), Key::new([7; 31])] {
            assert_eq!(other.verify(&token, NOW), Err(BadToken::Forged));
        }
    }
}

/// Files of a mailbox. The small ones as octets: what is taken is written and read again. Those that are made again when
/// they are lost as files of a store: with any of their octets changed the mailbox is the same.
pub fn caches(input: &[u8]) {
    if let Some(state) = State::decode(input) {
        assert_eq!(state.encode(), input);
    }
    if let Some(record) = Record::decode(input) {
        assert_eq!(Record::decode(&record.encode()), Some(record));
    }
    if let Ok(status) = Status::decode(input) {
        assert_eq!(Status::decode(&status.encode()), Ok(status));
    }
    let (words, used) = keywords::decode(input);
    assert_eq!(
        words.iter().flat_map(keywords::encode).collect::<Vec<u8>>(),
        input[..used]
    );
    let records = expunged::decode(input);
    let written: Vec<u8> = records.iter().flat_map(expunged::Expunged::encode).collect();
    assert_eq!(expunged::decode(&written), records);
    if let [which, changes @ ..] = input {
        block_on(changed(*which, changes));
    }
}

/// What clients see of a mailbox, and what is kept of its messages.
type Seen = (u32, u32, Vec<(Row, Vec<String>)>);

/// A disk with a mailbox that has every cache there is, and how it looks.
fn mailbox() -> &'static (MemDisk, Seen, Vec<Parsed>) {
    static MAILBOX: OnceLock<(MemDisk, Seen, Vec<Parsed>)> = OnceLock::new();
    MAILBOX.get_or_init(|| {
        block_on(async {
            let disk = MemDisk::new();
            disk.set_yields(false);
            let store = open(&disk).await;
            store.create_account(&alice(), NOW).await.expect("an account");
            let mut parsed = Vec::new();
            for n in 0..9_usize {
                let message = format!("Subject: {n}\r\nFrom: a{n}@x.y\r\n\r\n{}", "x".repeat(n));
                let mut spool = store.new_spool().await.expect("a spool");
                let chunk = Chunk::copy_from(message.as_bytes());
                store.write_spool(&mut spool, chunk).await.expect("written");
                let flags = Flags {
                    system: if n % 2 == 0 {
                        SystemFlags::SEEN
                    } else {
                        SystemFlags::default()
                    },
                    keywords: (0..n).filter_map(|n| Keyword::new(&format!("word{n}"))).collect(),
                };
                store
                    .append(
                        &alice(),
                        &MailboxName::inbox(),
                        vec![(spool, flags, None)],
                        &Quota::UNLIMITED,
                        NOW,
                    )
                    .await
                    .expect("appended");
                let mut digest = Digest::new(usize::MAX);
                digest.push(message.as_bytes());
                parsed.push(digest.finish(message.as_bytes()).parsed);
            }
            store.flush().await.expect("flushed");
            disk.set_clock(core::time::Duration::from_secs(100));
            drop(store);
            // Whoever looks at it leaves the caches.
            let (seen, _) = look(&disk.process()).await;
            let (again, known) = look(&disk.process()).await;
            assert_eq!(again, seen);
            assert_eq!(known.iter().flatten().count(), 9, "all is known");
            (disk, seen, parsed)
        })
    })
}

fn alice() -> AccountName {
    Address::parse("alice@demo.test").expect("an address").canonical()
}

async fn open(disk: &MemDisk) -> FileStore<MemDisk> {
    FileStore::open(Arc::new(disk.clone()), Limits::small(), Options::default())
        .await
        .expect("a store")
}

async fn look(disk: &MemDisk) -> (Seen, Vec<Option<Parsed>>) {
    let store = open(disk).await;
    let selected = store
        .select(&alice(), &MailboxName::inbox(), false)
        .await
        .expect("selected");
    let snapshot = &selected.snapshot;
    let rows = snapshot.rows.iter().map(|row| {
        let words = snapshot.keywords.of(row.keywords);
        let words = words.map(|word| word.as_str().to_owned()).collect();
        let row = Row {
            keywords: KeywordSet(0),
            ..*row
        };
        (row, words)
    });
    let seen = (snapshot.uid_validity.0, snapshot.uid_next.0, rows.collect());
    let uids: Vec<Uid> = snapshot.rows.iter().map(|row| row.uid).collect();
    let known = store.parsed(&selected.mailbox, &uids).await;
    store.unselect(&selected.mailbox).await;
    (seen, known)
}

/// Changes a cache. The first octet says which, and whether its checksums are made right again; then come changes of four
/// octets each: where, what is added to it, and how often in a row.
async fn changed(which: u8, changes: &[u8]) {
    let (original, wanted, parsed) = mailbox();
    let disk = original.fork();
    let dir = dir(&disk, "domains/demo.test/users/alice/mailboxes/INBOX").await;
    let parsed_dir = disk.open_dir(&dir, "parsed").await.expect("the directory");
    let (dir, name) = match which % 4 {
        0 | 1 => (&dir, "snapshot"),
        2 => (&parsed_dir, "000000"),
        _ => (&parsed_dir, "000001"),
    };
    let file = disk.open(dir, name, Mode::Write).await.expect("the cache");
    let size = usize::try_from(disk.stat(&file).await.expect("stat").size).expect("small");
    let mut octets = vec![0; size];
    assert_eq!(disk.read_at(&file, &mut octets, 0).await.expect("read"), size);
    for change in changes.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % size;
        let end = (at + 1 + usize::from(change[3] % 16)).min(size);
        for octet in &mut octets[at..end] {
            *octet = octet.wrapping_add(change[2]);
        }
    }
    if which % 4 == 1 {
        seal(&mut octets);
    }
    disk.write_at(&file, &octets, 0).await.expect("written");
    drop(file);
    let (seen, known) = look(&disk.process()).await;
    // With right checksums nobody can tell a row from another: then it is enough that it ends.
    if which % 4 != 1 {
        assert_eq!(&seen, wanted);
        for (known, parsed) in known.iter().zip(parsed) {
            assert!(known.is_none() || known.as_ref() == Some(parsed));
        }
    }
}

/// Puts the checksums of a snapshot file right: those of its entries, and that of its head.
fn seal(octets: &mut [u8]) {
    const HEAD: usize = 64;
    const ENTRY: usize = 40;
    let count = octets.get(4..8).and_then(|count| count.try_into().ok());
    let count = count.map_or(0, u32::from_le_bytes);
    let end = usize::try_from(count)
        .ok()
        .and_then(|count| HEAD.checked_add(count.checked_mul(ENTRY)?));
    if let Some(entries) = end.and_then(|end| octets.get(HEAD..end)) {
        let crc = crc32fast::hash(entries).to_le_bytes();
        octets[HEAD - 8..HEAD - 4].copy_from_slice(&crc);
    }
    let crc = crc32fast::hash(&octets[..HEAD - 4]).to_le_bytes();
    octets[HEAD - 4..HEAD].copy_from_slice(&crc);
}

async fn dir(disk: &MemDisk, path: &str) -> MemDir {
    let mut dir = disk.root().clone();
    for level in path.split('/') {
        dir = disk.open_dir(&dir, level).await.expect("a level");
    }
    dir
}
