//! Address lists (RFC 5322 §3.4, with the obsolete forms of §4.4), read in one pass.

use super::header::unfold;
use super::token::{Token, Tokens, unquote};

/// An element of an address list, all text unquoted; encoded words are left as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A mailbox.
    Mailbox(Mailbox),
    /// The beginning of a group: its name.
    Group(Vec<u8>),
    /// The end of a group.
    GroupEnd,
}

/// A mailbox. What the field does not have is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// Display name, or else the last comment.
    pub name: Vec<u8>,
    /// Source route: `@a,@b`.
    pub route: Vec<u8>,
    /// Local part without quotes.
    pub local: Vec<u8>,
    /// Domain, or a domain literal with its brackets.
    pub domain: Vec<u8>,
}

/// Reads at most `limit` elements of a raw value. Malformed text is never an error: what stands between two commas
/// makes one mailbox, as far as it makes any.
#[must_use]
pub fn parse(value: &[u8], limit: usize) -> Vec<Address> {
    let mut parser = Parser {
        limit,
        ..Parser::default()
    };
    let mut tokens = Tokens::address(value);
    while let Some(token) = tokens.next() {
        if parser.out.len() >= limit {
            break;
        }
        parser.token(token, tokens.spaced());
    }
    parser.finish_mailbox();
    parser.finish_group();
    parser.out
}

#[derive(Default)]
struct Parser {
    out: Vec<Address>,
    limit: usize,
    in_group: bool,
    /// All before `<`, with spaces.
    phrase: Vec<u8>,
    /// The same as the addr-spec it is if no `<` comes.
    bare: Spec,
    /// A quoted string is part of it.
    quoted: bool,
    angle: Option<Angle>,
    comment: Vec<u8>,
}

#[derive(Default)]
struct Angle {
    spec: Spec,
    route: Vec<u8>,
    closed: bool,
    /// Nothing but commas so far: before a route they are empty elements (RFC 5322 §4.4, obs-domain-list).
    commas: bool,
}

impl Parser {
    fn token(&mut self, token: Token<'_>, spaced: bool) {
        match token {
            Token::Comment(text) => self.comment = unquote(text).into_owned(),
            Token::Atom(word) => self.word(word, spaced),
            // One that is never closed goes up to the end of the field.
            Token::Literal(word) => self.word(&unfold(word), spaced),
            Token::Quoted(text) => {
                self.quoted |= self.angle.is_none();
                self.word(&unquote(text), spaced);
            }
            Token::Special(special) => self.special(special, spaced),
        }
    }

    fn word(&mut self, word: &[u8], spaced: bool) {
        if self.angle.as_ref().is_some_and(|angle| angle.commas) {
            self.finish_mailbox();
        }
        match &mut self.angle {
            Some(angle) if angle.closed => {}
            Some(angle) => angle.spec.word(word, spaced, 0),
            None => {
                self.bare.word(word, spaced, self.phrase.len());
                if spaced && !self.phrase.is_empty() {
                    self.phrase.push(b' ');
                }
                self.phrase.extend_from_slice(word);
            }
        }
    }

    fn special(&mut self, special: u8, spaced: bool) {
        match (special, &mut self.angle) {
            (b'<', None) => self.angle = Some(Angle::default()),
            (b'>', Some(angle)) => angle.closed = true,
            (b',', Some(angle)) if !angle.closed && angle.spec.is_route() => angle.spec.glue_once(b','),
            (b',', Some(angle)) if !angle.closed && angle.spec.text.is_empty() => angle.commas = true,
            (b':', Some(angle)) if !angle.closed && angle.spec.is_route() => {
                angle.route = core::mem::take(&mut angle.spec).text;
                if angle.route.last() == Some(&b',') {
                    angle.route.pop();
                }
            }
            (b':', Some(angle)) if !angle.closed => angle.spec.glue(b':'),
            (b',', _) => self.finish_mailbox(),
            (b';', _) => {
                self.finish_mailbox();
                self.finish_group();
            }
            (b':', None) if !self.in_group => {
                self.in_group = true;
                let name = core::mem::take(&mut self.phrase);
                self.clear();
                self.out.push(Address::Group(name));
            }
            (b'.' | b'@', Some(angle)) if !angle.closed => {
                angle.commas = false;
                angle.spec.glue(special);
            }
            (b'.' | b'@', None) => {
                self.bare.glue(special);
                if spaced && !self.phrase.is_empty() {
                    self.phrase.push(b' ');
                }
                self.phrase.push(special);
            }
            _ => {}
        }
    }

    fn finish_mailbox(&mut self) {
        let comment = core::mem::take(&mut self.comment);
        let mut phrase = core::mem::take(&mut self.phrase);
        let bare = core::mem::take(&mut self.bare);
        let quoted = core::mem::take(&mut self.quoted);
        let mailbox = match self.angle.take() {
            Some(angle) => {
                let (local, domain) = angle.spec.split();
                Mailbox {
                    name: phrase,
                    route: angle.route,
                    local,
                    domain,
                }
            }
            None if bare.at.is_some() => {
                phrase.truncate(bare.lead);
                let (local, domain) = bare.split();
                Mailbox {
                    name: phrase,
                    local,
                    domain,
                    ..Mailbox::default()
                }
            }
            // Several words, or a quoted string, are nobody's local part: a name, whose address is missing.
            None if quoted || bare.run > 0 => Mailbox {
                name: phrase,
                ..Mailbox::default()
            },
            None if !phrase.is_empty() => Mailbox {
                local: bare.text,
                ..Mailbox::default()
            },
            None => return,
        };
        if self.out.len() < self.limit {
            let name = if mailbox.name.is_empty() {
                comment
            } else {
                mailbox.name
            };
            self.out.push(Address::Mailbox(Mailbox { name, ..mailbox }));
        }
    }

    /// A group that was begun is always ended, also past the limit.
    fn finish_group(&mut self) {
        if core::mem::take(&mut self.in_group) {
            self.out.push(Address::GroupEnd);
        }
    }

    fn clear(&mut self) {
        self.bare = Spec::default();
        self.quoted = false;
        self.comment.clear();
    }
}

/// Text that may be an addr-spec.
#[derive(Default)]
struct Spec {
    text: Vec<u8>,
    /// Where the last run of words without space between them begins: `Joe Doe joe@example.org`.
    run: usize,
    /// Octets of the phrase before that run.
    lead: usize,
    /// The last `@`.
    at: Option<usize>,
    /// The last token was `.` or `@`, so that the next word belongs to it in spite of space.
    glued: bool,
    /// A word after the domain: nothing more belongs to it.
    closed: bool,
}

impl Spec {
    fn word(&mut self, word: &[u8], spaced: bool, phrase_len: usize) {
        if spaced && !self.glued && !self.text.is_empty() {
            if self.at.is_some() {
                self.closed = true;
            } else {
                self.run = self.text.len();
                self.lead = phrase_len;
            }
        }
        self.glued = false;
        if !self.closed {
            self.text.extend_from_slice(word);
        }
    }

    fn glue(&mut self, special: u8) {
        if self.closed {
            return;
        }
        if special == b'@' {
            self.at = Some(self.text.len());
        }
        self.glued = true;
        self.text.push(special);
    }

    fn glue_once(&mut self, special: u8) {
        if self.text.last() != Some(&special) {
            self.glue(special);
        }
    }

    fn is_route(&self) -> bool {
        self.text.first() == Some(&b'@')
    }

    /// Local part and domain.
    fn split(mut self) -> (Vec<u8>, Vec<u8>) {
        let Some(at) = self.at else {
            return (self.text, Vec::new());
        };
        let domain = self.text.split_off((at + 1).min(self.text.len()));
        self.text.truncate(at);
        (self.text.split_off(self.run.min(self.text.len())), domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &str) -> Vec<String> {
        parse(value.as_bytes(), 100)
            .into_iter()
            .map(|address| match address {
                Address::Mailbox(m) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    format!(
                        "{}|{}|{}|{}",
                        text(&m.name),
                        text(&m.route),
                        text(&m.local),
                        text(&m.domain)
                    )
                }
                Address::Group(name) => format!("{}:", String::from_utf8_lossy(&name)),
                Address::GroupEnd => ";".to_owned(),
            })
            .collect()
    }

    #[test]
    fn examples_of_rfc_5322() {
        for (value, want) in [
            (
                "John Doe <jdoe@machine.example>",
                &["John Doe||jdoe|machine.example"][..],
            ),
            (
                "\"Joe Q. Public\" <john.q.public@example.com>",
                &["Joe Q. Public||john.q.public|example.com"],
            ),
            (
                "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
                &[
                    "Mary Smith||mary|x.test",
                    "||jdoe|example.org",
                    "Who?||one|y.test",
                ],
            ),
            (
                "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
                &["||boss|nil.test", "Giant; \"Big\" Box||sysservices|example.net"],
            ),
            (
                "A Group:Ed Jones <joe@where.test>,joe@where.test,John <jdoe@one.test>;",
                &[
                    "A Group:",
                    "Ed Jones||joe|where.test",
                    "||joe|where.test",
                    "John||jdoe|one.test",
                    ";",
                ],
            ),
            ("Undisclosed recipients:;", &["Undisclosed recipients:", ";"]),
            (
                "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
                &["Pete||pete|silly.test"],
            ),
            (
                "A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)",
                &[
                    "A Group:",
                    "Chris Jones||c|public.example",
                    "||joe|example.org",
                    "John||jdoe|one.test",
                    ";",
                ],
            ),
            (
                "(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;",
                &["Hidden recipients:", ";"],
            ),
            (
                "Joe Q. Public <john.q.public@example.com>",
                &["Joe Q. Public||john.q.public|example.com"],
            ),
            (
                "Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
                &["Mary Smith|@node.test|mary|example.net", "||jdoe|test.example"],
            ),
            (
                "<@a.test,@b.test:joe@where.test>",
                &["|@a.test,@b.test|joe|where.test"],
            ),
            (
                "<,,@a.test,,@b.test,:joe@where.test>",
                &["|@a.test,@b.test|joe|where.test"],
            ),
        ] {
            assert_eq!(show(value), want, "{value}");
        }
    }

    #[test]
    fn malformed_lists() {
        for (value, want) in [
            ("", &[][..]),
            (" , ,, ", &[]),
            ("(only a comment)", &[]),
            (
                "jdoe@machine.example (John Doe)",
                &["John Doe||jdoe|machine.example"],
            ),
            ("joe", &["||joe|"]),
            ("Joe Doe", &["Joe Doe|||"]),
            ("\"Joe\"", &["Joe|||"]),
            ("joe . doe", &["||joe.doe|"]),
            ("joe@[192.0.2.1\r\n", &["||joe|[192.0.2.1"]),
            ("<mailto:joe@x.test>", &["||mailto:joe|x.test"]),
            ("Joe <, ann@x.test", &["Joe|||", "||ann|x.test"]),
            ("<>", &["|||"]),
            ("Joe <>", &["Joe|||"]),
            ("@example.org", &["|||example.org"]),
            ("joe@", &["||joe|"]),
            (
                "joe@example.org <joe@example.org>",
                &["joe@example.org||joe|example.org"],
            ),
            ("Joe Doe joe.d@example.org", &["Joe Doe||joe.d|example.org"]),
            ("a@b.test; c@d.test", &["||a|b.test", "||c|d.test"]),
            ("a@b.test c@d.test", &["||a|b.test"]),
            ("<a@b.test", &["||a|b.test"]),
            ("<a@b.test> trailing", &["||a|b.test"]),
            (
                "Team: a@b.test, c@d.test",
                &["Team:", "||a|b.test", "||c|d.test", ";"],
            ),
            ("\"never closed <a@b.test>", &["never closed <a@b.test>|||"]),
            ("\"joe smith\"@example.org", &["||joe smith|example.org"]),
            ("joe@[192.0.2.1]", &["||joe|[192.0.2.1]"]),
            (
                "=?utf-8?q?J=C3=B6rg?= <j@x.test>",
                &["=?utf-8?q?J=C3=B6rg?=||j|x.test"],
            ),
            ("a@b@c.test", &["||a@b|c.test"]),
        ] {
            assert_eq!(show(value), want, "{value}");
        }
    }

    #[test]
    fn at_most_so_many() {
        let value = b"a@b.test,".repeat(1_000);
        assert_eq!(parse(&value, 10).len(), 10);
        let group = [b"g:".to_vec(), value].concat();
        let parsed = parse(&group, 10);
        assert_eq!((parsed.len(), parsed.last()), (11, Some(&Address::GroupEnd)));
    }
}
