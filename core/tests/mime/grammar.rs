//! A reader of `envelope` and `body` by the grammar of RFC 9051 §9, strict, and apart from the code that writes them.

/// What is wrong, and where.
type Outcome<T = ()> = Result<T, String>;

/// Checks that these octets are an `envelope` and nothing else.
pub(crate) fn envelope(octets: &[u8]) -> Outcome {
    let mut reader = Reader { octets, at: 0 };
    reader.envelope()?;
    reader.end()
}

/// Checks that these octets are a `body` with all extension data, or with none, and nothing else.
pub(crate) fn body(octets: &[u8], extended: bool) -> Outcome {
    let mut reader = Reader { octets, at: 0 };
    reader.body(extended)?;
    reader.end()
}

struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, what: &str) -> Outcome<T> {
        let rest = &self.octets[self.at..];
        Err(format!(
            "{what} expected at {}: {}",
            self.at,
            rest[..rest.len().min(60)].escape_ascii()
        ))
    }

    fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    fn eat(&mut self, text: &str) -> bool {
        let there = self.octets[self.at..].starts_with(text.as_bytes());
        self.at += if there { text.len() } else { 0 };
        there
    }

    fn expect(&mut self, text: &str) -> Outcome {
        if self.eat(text) { Ok(()) } else { self.fail(text) }
    }

    fn end(&self) -> Outcome {
        if self.at == self.octets.len() {
            Ok(())
        } else {
            self.fail("the end")
        }
    }

    fn number(&mut self) -> Outcome<usize> {
        let digits: Vec<u8> = self.octets[self.at..]
            .iter()
            .copied()
            .take_while(u8::is_ascii_digit)
            .collect();
        if digits.is_empty() || (digits.len() > 1 && digits[0] == b'0') {
            return self.fail("number");
        }
        self.at += digits.len();
        Ok(digits
            .iter()
            .fold(0, |n, digit| n * 10 + usize::from(digit - b'0')))
    }

    /// `string` as IMAP4rev1 has it: quoted with 7-bit octets, or a literal without NUL.
    fn string(&mut self) -> Outcome<Vec<u8>> {
        let mut text = Vec::new();
        if self.eat("{") {
            let len = self.number()?;
            self.expect("}\r\n")?;
            let Some(octets) = self.octets.get(self.at..self.at + len) else {
                return self.fail("literal");
            };
            if octets.contains(&0) {
                return self.fail("no NUL");
            }
            self.at += len;
            return Ok(octets.to_vec());
        }
        self.expect("\"")?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(octet @ (b'"' | b'\\')) => text.push(octet),
                        _ => return self.fail("quoted-special"),
                    }
                }
                Some(octet) if (1..0x80).contains(&octet) && octet != b'\r' && octet != b'\n' => {
                    text.push(octet)
                }
                _ => return self.fail("QUOTED-CHAR"),
            }
            self.at += 1;
        }
    }

    fn nstring(&mut self) -> Outcome<Option<Vec<u8>>> {
        if self.eat("NIL") {
            Ok(None)
        } else {
            self.string().map(Some)
        }
    }

    fn space(&mut self) -> Outcome {
        self.expect(" ")
    }

    fn envelope(&mut self) -> Outcome {
        self.expect("(")?;
        for field in 0..10 {
            if field > 0 {
                self.space()?;
            }
            if (2..8).contains(&field) {
                self.addresses()?;
            } else {
                self.nstring()?;
            }
        }
        self.expect(")")
    }

    /// NIL or `"(" 1*address ")"`; every group that begins ends, and none begins in another.
    fn addresses(&mut self) -> Outcome {
        if self.eat("NIL") {
            return Ok(());
        }
        self.expect("(")?;
        let mut group = false;
        loop {
            self.expect("(")?;
            self.nstring()?;
            self.space()?;
            self.nstring()?;
            self.space()?;
            let mailbox = self.nstring()?;
            self.space()?;
            let host = self.nstring()?;
            self.expect(")")?;
            match (mailbox, host) {
                (Some(_), None) if !group => group = true,
                (None, None) if group => group = false,
                (Some(_), Some(_)) => {}
                _ => return self.fail("an address before this"),
            }
            if self.eat(")") {
                return if group {
                    self.fail("end of group before this")
                } else {
                    Ok(())
                };
            }
        }
    }

    fn body(&mut self, extended: bool) -> Outcome {
        self.expect("(")?;
        if self.peek() == Some(b'(') {
            while self.peek() == Some(b'(') {
                self.body(extended)?;
            }
            self.space()?;
            self.string()?;
            if extended {
                self.space()?;
                self.parameters()?;
            }
        } else {
            self.single(extended)?;
        }
        if extended {
            self.common_extension()?;
        }
        self.expect(")")
    }

    /// `body-type-1part` up to `body-fld-md5`.
    fn single(&mut self, extended: bool) -> Outcome {
        let media_type = self.string()?.to_ascii_uppercase();
        self.space()?;
        let subtype = self.string()?.to_ascii_uppercase();
        self.space()?;
        self.parameters()?;
        self.space()?;
        self.nstring()?;
        self.space()?;
        self.nstring()?;
        self.space()?;
        self.string()?;
        self.space()?;
        self.number()?;
        if media_type == b"MULTIPART" {
            return self.fail("no multipart without parts before this");
        }
        if media_type == b"TEXT" {
            self.space()?;
            self.number()?;
        }
        // An encoded message/global is not looked into.
        let global = subtype == b"GLOBAL" && self.octets[self.at..].starts_with(b" (");
        if media_type == b"MESSAGE" && (subtype == b"RFC822" || global) {
            self.space()?;
            self.envelope()?;
            self.space()?;
            self.body(extended)?;
            self.space()?;
            self.number()?;
        }
        if extended {
            self.space()?;
            self.nstring()?;
        }
        Ok(())
    }

    fn common_extension(&mut self) -> Outcome {
        self.space()?;
        if !self.eat("NIL") {
            self.expect("(")?;
            self.string()?;
            self.space()?;
            self.parameters()?;
            self.expect(")")?;
        }
        self.space()?;
        if self.eat("(") {
            self.string()?;
            while self.eat(" ") {
                self.string()?;
            }
            self.expect(")")?;
        } else {
            self.nstring()?;
        }
        self.space()?;
        self.nstring().map(|_| ())
    }

    fn parameters(&mut self) -> Outcome {
        if self.eat("NIL") {
            return Ok(());
        }
        self.expect("(")?;
        loop {
            self.string()?;
            self.space()?;
            self.string()?;
            if self.eat(")") {
                return Ok(());
            }
            self.space()?;
        }
    }
}
