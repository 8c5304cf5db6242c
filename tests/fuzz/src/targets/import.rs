//! Mail that comes from elsewhere: mbox, tar, the files of other programs beside it.

use rmail_core::mailbox::{MailboxName, Uid};
use rmail_core::time::DateTime;
use rmail_store::Numbering;
use rmail_store::transfer::index::Index;
use rmail_store::transfer::line_ends::LineEnds;
use rmail_store::transfer::mbox::{self, BadMessage, Info, Quoter};
use rmail_store::transfer::tar::{self, BadTar};
use rmail_store::transfer::{Meta, dovecot};

use super::{any_cut, bounded};

/// A message of an mbox, and what is known of it.
type Message = (bool, Vec<u8>, Option<Result<Info, BadMessage>>);

/// An mbox: the same messages however it is cut; a message that is written is read again, octet for octet, whatever it
/// holds.
pub fn mbox(input: &[u8]) {
    let messages = any_cut(input, |size| read_mbox(input, size));
    let told: usize = messages.iter().map(|(_, octets, _)| octets.len()).sum();
    bounded("messages", told, input, 0, 1);
    let messages_each = input.split(|octet| *octet == 0xff);
    let mut file = Vec::new();
    let mut wanted = Vec::new();
    for (at, octets) in messages_each.enumerate() {
        let number = u32::try_from(at + 1).expect("few");
        let info = Info {
            meta: Meta {
                uid: Some(Uid(number)),
                date: Some(DateTime {
                    unix: i64::from(number) * 1_000_000,
                    zone: 60,
                }),
                ..Meta::default()
            },
            numbering: Numbering::default(),
            exact: true,
        };
        file.extend(mbox::begin(&info, octets.len() as u64));
        let mut quoter = Quoter::default();
        octets.chunks(3).for_each(|piece| quoter.push(piece, &mut file));
        quoter.finish(&mut file);
        wanted.push((true, octets.to_vec(), Some(Ok(info))));
    }
    assert_eq!(any_cut(&file, |size| read_mbox(&file, size)), wanted);
}

fn read_mbox(input: &[u8], size: usize) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut tell = |event: mbox::Event<'_>| {
        match event {
            mbox::Event::Begin => {
                assert!(messages.last().is_none_or(|(_, _, end)| end.is_some()));
                messages.push((false, Vec::new(), None));
            }
            mbox::Event::Exact => messages.last_mut().expect("a message").0 = true,
            mbox::Event::Data(octets) => {
                let (_, text, end) = messages.last_mut().expect("a message");
                assert!(end.is_none(), "octets behind the end");
                text.extend_from_slice(octets);
            }
            mbox::Event::End(info) => messages.last_mut().expect("a message").2 = Some(info),
        }
        Ok::<(), ()>(())
    };
    let mut reader = mbox::Reader::default();
    for piece in input.chunks(size) {
        reader.push(piece, &mut tell).expect("nobody refuses");
    }
    reader.finish(&mut tell).expect("nobody refuses");
    assert!(
        messages.iter().all(|(_, _, end)| end.is_some()),
        "every message ends"
    );
    messages
}

/// What is in a tar archive.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Entry(tar::Entry),
    Data(Vec<u8>),
    End,
}

/// A tar archive: the same entries however it is cut; one that is written is read again.
pub fn tar(input: &[u8]) {
    let (parts, _) = any_cut(input, |size| read_tar(input, size));
    let mut open = false;
    let mut octets = 0;
    for part in &parts {
        match part {
            Part::Entry(entry) => {
                assert!(!open, "an entry in an entry");
                open = true;
                octets += entry.path.len();
            }
            Part::Data(data) => octets += data.len(),
            Part::End => open = false,
        }
    }
    // A header of 512 octets has a path that may come from one before it.
    bounded("an archive", octets, input, 0, 4);
    let mut archive = Vec::new();
    let entries: Vec<&tar::Entry> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Entry(entry) if entry.kind != tar::Kind::Other => Some(entry),
            _ => None,
        })
        .collect();
    let mut wanted = Vec::new();
    for entry in entries {
        let entry = tar::Entry {
            size: 0,
            ..entry.clone()
        };
        archive.extend(tar::encode(&entry));
        wanted.push(entry);
    }
    archive.extend(tar::end());
    let (again, end) = read_tar(&archive, archive.len());
    let again: Vec<tar::Entry> = again
        .into_iter()
        .filter_map(|part| match part {
            Part::Entry(entry) => Some(entry),
            _ => None,
        })
        .collect();
    assert_eq!(end, Ok(()));
    for (again, wanted) in again.iter().zip(&wanted) {
        assert_eq!(
            (&again.path, &again.kind, &again.records),
            (&wanted.path, &wanted.kind, &wanted.records)
        );
    }
    assert_eq!(again.len(), wanted.len());
}

fn read_tar(input: &[u8], size: usize) -> (Vec<Part>, Result<(), BadTar>) {
    let mut parts: Vec<Part> = Vec::new();
    let mut tell = |event: tar::Event<'_>| {
        match event {
            tar::Event::Entry(entry) => parts.push(Part::Entry(entry)),
            tar::Event::Data(octets) => match parts.last_mut() {
                Some(Part::Data(data)) => data.extend_from_slice(octets),
                _ => parts.push(Part::Data(octets.to_vec())),
            },
            tar::Event::End => parts.push(Part::End),
        }
        Ok::<(), BadTar>(())
    };
    let mut reader = tar::Reader::default();
    let mut end = Ok(());
    for piece in input.chunks(size) {
        end = reader.push(piece, &mut tell);
        if end.is_err() {
            break;
        }
    }
    let end = end.and_then(|()| reader.finish());
    parts.retain(|part| *part != Part::Data(Vec::new()));
    (parts, end)
}

/// The index of the earliest layout, Dovecot's lists, line ends.
pub fn import(input: &[u8]) {
    let text = any_cut(input, |size| {
        let (mut out, mut ends) = (Vec::new(), LineEnds::guess());
        input.chunks(size).for_each(|piece| ends.push(piece, &mut out));
        (out, ends.has_nul())
    });
    bounded("with CRLF", text.0.len(), input, 0, 2);
    let mut again = Vec::new();
    LineEnds::guess().push(&text.0, &mut again);
    assert_eq!(again, text.0, "converted twice");
    if let Ok(index) = Index::decode(input) {
        assert!(index.entries.windows(2).all(|pair| pair[0].uid < pair[1].uid));
        assert!(index.entries.iter().all(|entry| entry.uid.0 > 0));
        assert!(
            index
                .problems
                .iter()
                .all(|(at, why)| !at.is_empty() && !why.is_empty())
        );
    }
    let Ok(text) = core::str::from_utf8(input) else {
        return;
    };
    let _ = dovecot::UidList::decode(text);
    let keywords: Vec<_> = dovecot::decode_keywords(text).into_values().collect();
    let written = dovecot::encode_keywords(&keywords, keywords.len());
    let again: Vec<_> = dovecot::decode_keywords(&written).into_values().collect();
    assert_eq!(again, keywords, "{written}");
    let (names, _) = dovecot::decode_subscriptions(text);
    let written = dovecot::encode_subscriptions(&names);
    let (again, odd): (Vec<MailboxName>, _) = dovecot::decode_subscriptions(&written);
    assert_eq!((again, odd), (names, Vec::new()), "{written}");
}
