//! What a server makes up for itself becomes a wildcard: the same value the same one.

use std::collections::BTreeMap;

/// What stands before such a value, what it is, and what the wildcard is called.
const SERVER: &[(&str, Form, &str)] = &[
    ("UIDVALIDITY ", Form::Number, "validity"),
    ("APPENDUID ", Form::Number, "validity"),
    ("COPYUID ", Form::Number, "validity"),
    ("HIGHESTMODSEQ ", Form::Number, "modseq"),
    ("MODSEQ (", Form::Number, "modseq"),
    ("MODSEQ ", Form::Number, "modseq"),
    ("MAILBOXID (", Form::Word, "mailbox"),
    ("EMAILID (", Form::Word, "email"),
    ("THREADID (", Form::Word, "thread"),
    ("accepted for delivery ", Form::Word, "id"),
    ("\"version\" \"", Form::Quoted, ""),
];

/// The same in lines of the client: only values that the server has told.
const CLIENT: &[(&str, &str)] = &[
    ("CHANGEDSINCE ", "modseq"),
    ("QRESYNC (", "validity"),
    ("MODSEQ ", "modseq"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Number,
    /// Up to a space or parenthesis.
    Word,
    /// Up to the quote; any text.
    Quoted,
}

impl Form {
    fn len(self, text: &str) -> usize {
        let end = match self {
            Self::Number => text.find(|c: char| !c.is_ascii_digit()),
            Self::Word => text.find([' ', ')', ']', '(']),
            Self::Quoted => text.find('"'),
        };
        end.unwrap_or(text.len())
    }
}

/// Wildcards so far.
#[derive(Debug)]
pub(super) struct Names {
    known: BTreeMap<(&'static str, String), String>,
    /// How many there are of each name.
    counts: BTreeMap<&'static str, usize>,
    /// Messages were received: sizes tell of the trace lines.
    sizes: bool,
}

impl Names {
    pub(super) fn new(sizes: bool) -> Self {
        Self {
            known: BTreeMap::new(),
            counts: BTreeMap::new(),
            sizes,
        }
    }

    /// A line of the server with wildcards.
    pub(super) fn server(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let found = SERVER.iter().find(|(before, ..)| rest.starts_with(before));
            let size = ("RFC822.SIZE ", Form::Number, "size");
            let found = found.or((self.sizes && rest.starts_with(size.0)).then_some(&size));
            if let Some((before, form, name)) = found {
                let tail = rest.get(before.len()..).unwrap_or_default();
                let (value, tail) = tail.split_at(form.len(tail));
                if !value.is_empty() {
                    out.push_str(before);
                    out.push_str(&self.wildcard(*form, name, value));
                    rest = tail;
                    continue;
                }
            }
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
        out
    }

    fn wildcard(&mut self, form: Form, name: &str, value: &str) -> String {
        if form == Form::Quoted {
            return "${*}".to_owned();
        }
        let name = SERVER.iter().map(|(.., name)| *name).find(|known| *known == name);
        let name = name.unwrap_or("size");
        if let Some(known) = self.known.get(&(name, value.to_owned())) {
            return known.clone();
        }
        let count = self.counts.entry(name).or_default();
        *count += 1;
        let number = if form == Form::Number { ":number" } else { "" };
        let fresh = format!("${{{name}{count}{number}}}");
        self.known.insert((name, value.to_owned()), fresh.clone());
        fresh
    }

    /// A line of the client, with what the server has told.
    pub(super) fn client(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (before, name) in CLIENT {
            let Some(at) = text.find(before).map(|at| at + before.len()) else {
                continue;
            };
            let (head, tail) = text.split_at(at);
            let (value, tail) = tail.split_at(Form::Number.len(tail));
            let mut done = format!("{head}{}", self.value(name, value));
            match tail.strip_prefix(' ').filter(|_| *before == "QRESYNC (") {
                Some(tail) => {
                    let (modseq, tail) = tail.split_at(Form::Number.len(tail));
                    done.push_str(&format!(" {}{tail}", self.value("modseq", modseq)));
                }
                None => done.push_str(tail),
            }
            text = done;
        }
        text
    }

    fn value(&self, name: &'static str, value: &str) -> String {
        let known = self.known.get(&(name, value.to_owned()));
        known.map_or_else(|| value.to_owned(), Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_has_the_same_name() {
        let mut names = Names::new(false);
        assert_eq!(
            names.server("* OK [UIDVALIDITY 77] x"),
            "* OK [UIDVALIDITY ${validity1:number}] x"
        );
        assert_eq!(
            names.server("a OK [COPYUID 77 1:2 3:4] [APPENDUID 78 1]"),
            "a OK [COPYUID ${validity1:number} 1:2 3:4] [APPENDUID ${validity2:number} 1]"
        );
        assert_eq!(
            names.server("* 1 FETCH (MODSEQ (12) EMAILID (Mab) RFC822.SIZE 5)"),
            "* 1 FETCH (MODSEQ (${modseq1:number}) EMAILID (${email1}) RFC822.SIZE 5)"
        );
        assert_eq!(
            names.client("a SELECT INBOX (QRESYNC (77 12 1:5))"),
            "a SELECT INBOX (QRESYNC (${validity1:number} ${modseq1:number} 1:5))"
        );
        assert_eq!(
            names.client("a FETCH 1 (FLAGS) (CHANGEDSINCE 13)"),
            "a FETCH 1 (FLAGS) (CHANGEDSINCE 13)"
        );
        assert_eq!(
            Names::new(true).server("RFC822.SIZE 5"),
            "RFC822.SIZE ${size1:number}"
        );
    }
}
