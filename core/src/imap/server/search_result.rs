//! SEARCH, SORT, THREAD and ESEARCH responses (RFC 9051 §7.3.4, RFC 5256 §4), written in steps.

use super::job::Output;
use crate::imap::command::Returns;
use crate::imap::response;
use crate::mailbox::{ModSeq, UidValidity};
use crate::search::ThreadNode;

/// A response of which some is told.
#[derive(Debug)]
pub(super) struct Answer {
    /// What stands before the list.
    head: Vec<u8>,
    list: List,
    /// How much of the list is told.
    told: usize,
    /// What stands behind it.
    tail: Vec<u8>,
}

#[derive(Debug)]
enum List {
    /// ` 2 84 882`
    Numbers(Vec<u32>),
    /// `2,10:11`
    Set(Vec<u32>),
    /// ` (2)(3 6 (4 23)(44 7 96))`; a node's number, none for one that is not there, and its children.
    Threads(Vec<(Option<u32>, u32)>, Vec<Level>),
}

/// A node of a thread whose children are being told.
#[derive(Debug)]
struct Level {
    /// Children that are still to be told.
    left: u32,
    /// It has several children: each stands in parentheses.
    splits: bool,
    /// Its own parenthesis is open.
    open: bool,
    /// It has a number, and its first child is to be told.
    number: bool,
}

/// Where an ESEARCH response is from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Correlator<'a> {
    pub(super) tag: &'a str,
    /// RFC 7377 §2.1: the mailbox's name as it is written in a response, and its UIDVALIDITY.
    pub(super) mailbox: Option<(&'a [u8], UidValidity)>,
    /// The numbers are UIDs.
    pub(super) uid: bool,
}

impl Correlator<'_> {
    /// `* ESEARCH (TAG "A282") UID`
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"* ESEARCH (TAG \"");
        out.extend_from_slice(self.tag.as_bytes());
        out.push(b'"');
        if let Some((name, uid_validity)) = self.mailbox {
            out.extend_from_slice(b" MAILBOX ");
            out.extend_from_slice(name);
            out.extend_from_slice(b" UIDVALIDITY ");
            response::number(out, uid_validity.0);
        }
        out.push(b')');
        if self.uid {
            out.extend_from_slice(b" UID");
        }
    }
}

impl Answer {
    /// `* SEARCH 2 84 882 (MODSEQ 917162500)`, or with another word.
    pub(super) fn numbers(word: &str, numbers: Vec<u32>, modseq: Option<ModSeq>) -> Self {
        let mut tail = Vec::new();
        if let Some(modseq) = modseq {
            tail.extend_from_slice(b" (MODSEQ ");
            response::number(&mut tail, modseq.0);
            tail.push(b')');
        }
        tail.extend_from_slice(b"\r\n");
        Self {
            head: ["* ", word].concat().into_bytes(),
            list: List::Numbers(numbers),
            told: 0,
            tail,
        }
    }

    /// `* THREAD (2)(3 6 (4 23)(44 7 96))`; `number` gives a message's number.
    pub(super) fn threads(nodes: &[ThreadNode], number: impl Fn(crate::mailbox::Uid) -> u32) -> Self {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|node| (node.uid.map(&number), node.children))
            .collect();
        let head = if nodes.is_empty() { "* THREAD" } else { "* THREAD " };
        Self {
            head: head.as_bytes().to_vec(),
            list: List::Threads(nodes, Vec::new()),
            told: 0,
            tail: b"\r\n".to_vec(),
        }
    }

    /// `* ESEARCH …`: of the numbers, which are in the order of the result, what is asked for.
    pub(super) fn extended(
        of: Correlator<'_>,
        returns: &Returns,
        mut numbers: Vec<u32>,
        modseq: Option<ModSeq>,
    ) -> Self {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        of.write(&mut head);
        let item = |out: &mut Vec<u8>, name: &str, value: u64| {
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
            response::number(out, value);
        };
        if let Some(first) = numbers.first().filter(|_| returns.min) {
            item(&mut head, "MIN", u64::from(*first));
        }
        if let Some(last) = numbers.last().filter(|_| returns.max) {
            item(&mut head, "MAX", u64::from(*last));
        }
        if returns.count {
            item(&mut head, "COUNT", numbers.len() as u64);
        }
        if let Some(range) = returns.partial {
            // `4:2` means `2:4` (RFC 9394 §4), and clients look for the latter.
            let (low, high) = (range.first.min(range.last), range.first.max(range.last));
            let text = if range.from_end {
                format!(" PARTIAL (-{}:-{} ", range.first, range.last)
            } else {
                format!(" PARTIAL ({low}:{high} ")
            };
            head.extend_from_slice(text.as_bytes());
            numbers = numbers.get(range.of(numbers.len())).unwrap_or_default().to_vec();
            if numbers.is_empty() {
                head.extend_from_slice(b"NIL");
            }
            tail.push(b')');
        } else if !returns.all {
            numbers = Vec::new();
        } else if !numbers.is_empty() {
            head.extend_from_slice(b" ALL ");
        }
        if let Some(modseq) = modseq {
            item(&mut tail, "MODSEQ", modseq.0);
        }
        tail.extend_from_slice(b"\r\n");
        Self {
            head,
            list: List::Set(numbers),
            told: 0,
            tail,
        }
    }

    /// Tells some. True: all is told.
    pub(super) fn write(&mut self, out: &mut Output) -> bool {
        out.text().append(&mut self.head);
        match &mut self.list {
            List::Numbers(numbers) => {
                while let Some(number) = numbers.get(self.told).filter(|_| !out.is_full()) {
                    out.text().push(b' ');
                    response::number(out.text(), *number);
                    self.told += 1;
                }
            }
            List::Set(numbers) => {
                while let Some(first) = numbers.get(self.told).filter(|_| !out.is_full()) {
                    let rest = numbers.get(self.told..).unwrap_or_default();
                    let run = run_of(rest);
                    if self.told > 0 {
                        out.text().push(b',');
                    }
                    range(out.text(), *first, run);
                    self.told += run;
                }
            }
            List::Threads(nodes, levels) => {
                while let Some((number, children)) = nodes.get(self.told).filter(|_| !out.is_full()) {
                    node(out.text(), levels, *number, *children);
                    self.told += 1;
                }
            }
        }
        let over = self.told
            >= match &self.list {
                List::Numbers(numbers) | List::Set(numbers) => numbers.len(),
                List::Threads(nodes, _) => nodes.len(),
            };
        if over {
            out.text().append(&mut self.tail);
        }
        over
    }
}

/// How many numbers at the beginning ascend one by one.
pub(super) fn run_of(numbers: &[u32]) -> usize {
    let ascend = |pair: &&[u32]| matches!(pair, [a, b] if a.checked_add(1) == Some(*b));
    let steps = numbers.windows(2).take_while(ascend).count();
    (steps + 1).min(numbers.len())
}

/// `seq-range`: so many numbers from the first on.
pub(super) fn range(out: &mut Vec<u8>, first: u32, count: usize) {
    response::number(out, first);
    if count > 1 {
        out.push(b':');
        response::number(out, u64::from(first) + count as u64 - 1);
    }
}

/// A node of a thread, and the parentheses that end with it (RFC 5256 §4).
fn node(out: &mut Vec<u8>, levels: &mut Vec<Level>, number: Option<u32>, children: u32) {
    let open = levels.last().is_none_or(|parent| parent.splits);
    if let Some(parent) = levels.last_mut() {
        parent.left = parent.left.saturating_sub(1);
        if parent.number {
            out.push(b' ');
            parent.number = false;
        }
    }
    if open {
        out.push(b'(');
    }
    if let Some(number) = number {
        response::number(out, number);
    }
    levels.push(Level {
        left: children,
        splits: children > 1,
        open,
        number: number.is_some(),
    });
    while let Some(level) = levels.pop_if(|level| level.left == 0) {
        if level.open {
            out.push(b')');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::sequence::PartialRange;
    use crate::machine::{Action, Bytes};
    use crate::mailbox::Uid;

    fn written(mut answer: Answer) -> String {
        let mut out = Output::default();
        let mut text = Vec::new();
        loop {
            let over = answer.write(&mut out);
            while let Some(action) = out.pop() {
                match action {
                    Action::Send(Bytes::Owned(octets)) => text.extend(octets),
                    other => panic!("{other:?}"),
                }
            }
            if over {
                return String::from_utf8(text).expect("ASCII");
            }
        }
    }

    fn threads(nodes: &[(u32, u32)]) -> String {
        let nodes: Vec<ThreadNode> = nodes
            .iter()
            .map(|(uid, children)| ThreadNode {
                uid: (*uid > 0).then_some(Uid(*uid)),
                children: *children,
            })
            .collect();
        written(Answer::threads(&nodes, |uid| uid.0))
    }

    #[test]
    fn thread_responses_are_those_of_the_rfc() {
        let nodes = [(2, 0), (3, 1), (6, 2), (4, 1), (23, 0), (44, 1), (7, 1), (96, 0)];
        assert_eq!(threads(&nodes), "* THREAD (2)(3 6 (4 23)(44 7 96))\r\n");
        assert_eq!(threads(&[(0, 2), (3, 0), (5, 0)]), "* THREAD ((3)(5))\r\n");
        assert_eq!(threads(&[]), "* THREAD\r\n");
        let chain: Vec<(u32, u32)> = (1..50_000).map(|n| (n, u32::from(n < 49_999))).collect();
        assert!(threads(&chain).ends_with(" 49998 49999)\r\n"));
    }

    #[test]
    fn extended_responses_hold_what_is_asked_for() {
        let of = |uid| Correlator {
            tag: "A1",
            mailbox: None,
            uid,
        };
        let found = || vec![2, 10, 11, 12, 21];
        let returns = Returns {
            min: true,
            max: true,
            count: true,
            all: true,
            ..Returns::default()
        };
        assert_eq!(
            written(Answer::extended(of(true), &returns, found(), Some(ModSeq(9)))),
            "* ESEARCH (TAG \"A1\") UID MIN 2 MAX 21 COUNT 5 ALL 2,10:12,21 MODSEQ 9\r\n"
        );
        assert_eq!(
            written(Answer::extended(of(false), &returns, Vec::new(), None)),
            "* ESEARCH (TAG \"A1\") COUNT 0\r\n"
        );
        let partial = |first, last, from_end| Returns {
            partial: Some(PartialRange {
                first,
                last,
                from_end,
            }),
            ..Returns::default()
        };
        for (returns, text) in [
            (partial(2, 4, false), "(2:4 10:12)"),
            (partial(1, 2, true), "(-1:-2 12,21)"),
            (partial(9, 8, false), "(8:9 NIL)"),
        ] {
            assert_eq!(
                written(Answer::extended(of(false), &returns, found(), None)),
                format!("* ESEARCH (TAG \"A1\") PARTIAL {text}\r\n")
            );
        }
        let name = (&b"\"folder 1\""[..], UidValidity(7));
        let of = Correlator {
            mailbox: Some(name),
            ..of(true)
        };
        let all = Returns {
            all: true,
            ..Returns::default()
        };
        assert_eq!(
            written(Answer::extended(of, &all, vec![12, 11, 10, 11], None)),
            "* ESEARCH (TAG \"A1\" MAILBOX \"folder 1\" UIDVALIDITY 7) UID ALL 12,11,10:11\r\n"
        );
    }

    #[test]
    fn long_answers_come_in_steps() {
        let numbers: Vec<u32> = (0..20_000).map(|n| n * 2 + 1).collect();
        let text = written(Answer::numbers("SEARCH", numbers, Some(ModSeq(5))));
        assert!(text.starts_with("* SEARCH 1 3 5 ") && text.ends_with(" 39999 (MODSEQ 5)\r\n"));
    }
}
