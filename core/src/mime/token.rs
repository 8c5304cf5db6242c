//! Tokens of structured fields: RFC 5322 §3.2 (addresses) and RFC 2045 §5.1 (MIME fields).

use std::borrow::Cow;

/// A token of a structured field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A run of octets that are neither special nor white space (8-bit octets are taken as they come).
    Atom(&'a [u8]),
    /// Between the quotes of a quoted string, escapes in place; see [`unquote`].
    Quoted(&'a [u8]),
    /// Between the outer parentheses of a comment, escapes in place.
    Comment(&'a [u8]),
    /// A domain literal with its brackets.
    Literal(&'a [u8]),
    /// A special of the field's syntax.
    Special(u8),
}

/// Splits a raw value into tokens, in one pass: every octet is looked at a bounded number of times. What is not
/// closed (quote, comment, literal) ends with the value.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a [u8],
    specials: &'static [u8],
    spaced: bool,
    after_comment: bool,
}

impl<'a> Tokens<'a> {
    /// Tokens of RFC 5322 §3.2.3: atoms, with `.` as a special.
    #[must_use]
    pub fn address(value: &'a [u8]) -> Self {
        Self {
            rest: value,
            specials: b"<>:;@\\,.\"()[]",
            spaced: false,
            after_comment: false,
        }
    }

    /// Tokens of RFC 2045 §5.1: `tspecials`.
    #[must_use]
    pub fn mime(value: &'a [u8]) -> Self {
        Self {
            rest: value,
            specials: b"()<>@,;:\\\"/[]?=",
            spaced: false,
            after_comment: false,
        }
    }

    /// Whether white space or a comment stood before the last token.
    #[must_use]
    pub fn spaced(&self) -> bool {
        self.spaced
    }

    /// Takes an unquoted parameter value: up to white space, `;`, a quote or a comment. Longer than RFC 2045's
    /// `token`, since `boundary=a=b?c` is common.
    #[must_use]
    pub fn loose_value(&mut self) -> &'a [u8] {
        self.skip_space();
        let ends = |octet: &u8| is_space(*octet) || matches!(octet, b';' | b'"' | b'(');
        let len = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        self.take(len)
    }

    fn skip_space(&mut self) -> usize {
        let spaces = self.rest.iter().take_while(|octet| is_space(**octet)).count();
        self.take(spaces);
        spaces
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// Takes what stands between the delimiters, of which the first is at the front.
    fn delimited(&mut self, close: u8) -> &'a [u8] {
        self.take(1);
        let mut len = 0;
        while let Some(octet) = self.rest.get(len) {
            match octet {
                b'\\' => len += 1,
                octet if *octet == close => break,
                _ => {}
            }
            len += 1;
        }
        let inside = self.take(len);
        self.take(1);
        inside
    }

    /// Takes a comment. Nesting is counted, not followed: it needs no bound.
    fn comment(&mut self) -> &'a [u8] {
        self.take(1);
        let (mut len, mut open) = (0, 1_usize);
        while let Some(octet) = self.rest.get(len) {
            match octet {
                b'\\' => len += 1,
                b'(' => open += 1,
                b')' => open -= 1,
                _ => {}
            }
            if open == 0 {
                break;
            }
            len += 1;
        }
        let inside = self.take(len);
        self.take(1);
        inside
    }

    fn literal(&mut self) -> &'a [u8] {
        let len = memchr::memchr(b']', self.rest).map_or(self.rest.len(), |at| at + 1);
        self.take(len)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.spaced = self.skip_space() > 0 || self.after_comment;
        let token = match *self.rest.first()? {
            b'"' => Token::Quoted(self.delimited(b'"')),
            b'(' => Token::Comment(self.comment()),
            b'[' => Token::Literal(self.literal()),
            special if self.specials.contains(&special) => {
                self.take(1);
                Token::Special(special)
            }
            _ => {
                let specials = self.specials;
                let ends = |octet: &u8| is_space(*octet) || specials.contains(octet);
                let len = self.rest.iter().position(ends).unwrap_or(self.rest.len());
                Token::Atom(self.take(len))
            }
        };
        self.after_comment = matches!(token, Token::Comment(_));
        Some(token)
    }
}

/// White space and the line ends of folding.
fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// The text of a quoted string or comment: escapes taken away, line ends and NUL too.
#[must_use]
pub fn unquote(inside: &[u8]) -> Cow<'_, [u8]> {
    if !inside
        .iter()
        .any(|octet| matches!(octet, b'\\' | b'\r' | b'\n' | 0))
    {
        return Cow::Borrowed(inside);
    }
    let mut out = Vec::with_capacity(inside.len());
    let mut escaped = false;
    for octet in inside {
        match octet {
            b'\r' | b'\n' | 0 => {}
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            _ => out.push(*octet),
        }
        escaped = false;
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_an_address() {
        let tokens: Vec<_> = Tokens::address(b"\"A \\\" B\" (c (d) \\) e) <x.y@[1.2]>,\r\n z").collect();
        assert_eq!(
            tokens,
            [
                Token::Quoted(b"A \\\" B"),
                Token::Comment(b"c (d) \\) e"),
                Token::Special(b'<'),
                Token::Atom(b"x"),
                Token::Special(b'.'),
                Token::Atom(b"y"),
                Token::Special(b'@'),
                Token::Literal(b"[1.2]"),
                Token::Special(b'>'),
                Token::Special(b','),
                Token::Atom(b"z"),
            ]
        );
    }

    #[test]
    fn unclosed_things_end_with_the_value() {
        for text in [
            &b"\"abc"[..],
            b"(abc",
            b"[abc",
            b"\"abc\\",
            b"(abc\\",
            b"((((",
            b"\"",
        ] {
            assert_eq!(Tokens::address(text).count(), 1, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn white_space_and_comments_separate() {
        let mut tokens = Tokens::mime(b"a(x)b c/d");
        let mut spaced = Vec::new();
        while tokens.next().is_some() {
            spaced.push(tokens.spaced());
        }
        assert_eq!(spaced, [false, false, true, true, false, false]);
    }

    #[test]
    fn unquoting() {
        assert_eq!(unquote(b"a\\\"b\\\\c\r\n d").as_ref(), b"a\"b\\c d");
        assert_eq!(unquote(b"plain").as_ref(), b"plain");
    }
}
