//! Reading XML that strangers send: elements and texts, and nothing that could be more than it looks. A document type, with
//! it every entity of its own, and instructions are refused; depth and attributes are bounded, and the caller bounds the size.

use super::write_xml::is_char;

/// Elements within each other.
const MAX_DEPTH: usize = 16;

/// Attributes of one element.
const MAX_ATTRIBUTES: usize = 16;

/// Octets of a name.
const MAX_NAME: usize = 64;

/// What is wrong with a document, and behind how many octets of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Octets before it.
    pub(super) offset: usize,
    /// In words.
    pub(super) what: &'static str,
}

/// An element that has a text and no elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Names from the root on, without prefixes: `Autodiscover/Request/EMailAddress`.
    pub(super) path: String,
    /// Its text, without white space around it.
    pub(super) text: String,
}

/// All leaves of a document, in their order.
///
/// # Errors
/// It is not well-formed, or has what is refused here.
pub(super) fn leaves(document: &[u8]) -> Result<Vec<Leaf>, Fault> {
    let text = core::str::from_utf8(document).map_err(|error| Fault {
        offset: error.valid_up_to(),
        what: "expected UTF-8",
    })?;
    let mut reader = Reader {
        whole: text.len(),
        rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        open: Vec::new(),
        leaves: Vec::new(),
        done: false,
    };
    reader.declaration()?;
    while !reader.rest.is_empty() {
        reader.next()?;
    }
    if reader.done {
        Ok(reader.leaves)
    } else {
        Err(reader.fault("the document ends too early"))
    }
}

struct Reader<'a> {
    whole: usize,
    rest: &'a str,
    open: Vec<Open<'a>>,
    leaves: Vec<Leaf>,
    /// The root element has ended.
    done: bool,
}

/// An element that has begun.
struct Open<'a> {
    name: &'a str,
    text: String,
    has_elements: bool,
}

impl<'a> Reader<'a> {
    fn fault(&self, what: &'static str) -> Fault {
        Fault {
            offset: self.whole - self.rest.len(),
            what,
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.rest
            .strip_prefix(token)
            .map(|rest| self.rest = rest)
            .is_some()
    }

    /// What stands before a token, which is taken too.
    fn until(&mut self, token: &str, missing: &'static str) -> Result<&'a str, Fault> {
        let (before, rest) = self.rest.split_once(token).ok_or_else(|| self.fault(missing))?;
        self.rest = rest;
        Ok(before)
    }

    fn space(&mut self) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let found = rest.len() < self.rest.len();
        self.rest = rest;
        found
    }

    fn declaration(&mut self) -> Result<(), Fault> {
        if self.take("<?xml ") {
            self.until("?>", "the declaration has no end")?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(), Fault> {
        if self.take("<!--") {
            let comment = self.until("--", "the comment has no end")?;
            self.check_chars(comment)?;
            return self.expect(">", "two hyphens in a comment");
        }
        if self.take("<![CDATA[") {
            let text = self.until("]]>", "the section has no end")?;
            return self.text(text, text.to_owned());
        }
        if self.rest.starts_with("<!") {
            return Err(self.fault("a document type is not taken"));
        }
        if self.rest.starts_with("<?") {
            return Err(self.fault("an instruction is not taken"));
        }
        if self.take("</") {
            return self.end_tag();
        }
        if self.take("<") {
            return self.start_tag();
        }
        let end = self.rest.find('<').unwrap_or(self.rest.len());
        let (raw, rest) = self.rest.split_at(end);
        let text = self.unescape(raw)?;
        self.text(raw, text)?;
        self.rest = rest;
        Ok(())
    }

    fn expect(&mut self, token: &str, what: &'static str) -> Result<(), Fault> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.fault(what))
        }
    }

    fn check_chars(&self, text: &str) -> Result<(), Fault> {
        if text.chars().all(is_char) {
            Ok(())
        } else {
            Err(self.fault("a character that XML does not have"))
        }
    }

    fn text(&mut self, raw: &str, text: String) -> Result<(), Fault> {
        self.check_chars(&text)?;
        match self.open.last_mut() {
            Some(element) => element.text.push_str(&text),
            None if raw.trim_matches([' ', '\t', '\r', '\n']).is_empty() => {}
            None => return Err(self.fault("a text outside of the root element")),
        }
        Ok(())
    }

    fn name(&mut self) -> Result<&'a str, Fault> {
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, ':' | '_' | '-' | '.');
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let first = name.chars().next();
        if !first.is_some_and(|c| c.is_alphabetic() || matches!(c, ':' | '_')) {
            return Err(self.fault("expected a name"));
        }
        if name.len() > MAX_NAME {
            return Err(self.fault("a name is too long"));
        }
        self.rest = rest;
        Ok(name)
    }

    fn start_tag(&mut self) -> Result<(), Fault> {
        if self.done {
            return Err(self.fault("a second root element"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fault("too many elements within each other"));
        }
        let name = self.name()?;
        let mut attributes: Vec<&str> = Vec::new();
        let closed = loop {
            let spaced = self.space();
            if self.take("/>") {
                break true;
            }
            if self.take(">") {
                break false;
            }
            let attribute = self.name()?;
            if !spaced || attributes.contains(&attribute) || attributes.len() >= MAX_ATTRIBUTES {
                return Err(self.fault("an attribute too many"));
            }
            attributes.push(attribute);
            self.attribute_value()?;
        };
        if let Some(parent) = self.open.last_mut() {
            parent.has_elements = true;
        }
        self.open.push(Open {
            name,
            text: String::new(),
            has_elements: false,
        });
        if closed {
            self.close();
        }
        Ok(())
    }

    fn attribute_value(&mut self) -> Result<(), Fault> {
        self.space();
        self.expect("=", "an attribute without a value")?;
        self.space();
        let quote = match self.rest.chars().next() {
            Some('"') => "\"",
            Some('\'') => "'",
            _ => return Err(self.fault("expected a quote")),
        };
        self.expect(quote, "expected a quote")?;
        let value = self.until(quote, "a value has no end")?;
        if value.contains('<') {
            return Err(self.fault("< in a value"));
        }
        let value = self.unescape(value)?;
        self.check_chars(&value)
    }

    fn end_tag(&mut self) -> Result<(), Fault> {
        let name = self.name()?;
        self.space();
        self.expect(">", "a tag has no end")?;
        if self.open.last().is_none_or(|element| element.name != name) {
            return Err(self.fault("an end without its beginning"));
        }
        self.close();
        Ok(())
    }

    fn close(&mut self) {
        let Some(element) = self.open.last() else { return };
        if !element.has_elements {
            let names = self.open.iter().map(|element| local(element.name));
            let path = names.collect::<Vec<_>>().join("/");
            let text = element.text.trim().to_owned();
            self.leaves.push(Leaf { path, text });
        }
        self.open.pop();
        self.done = self.open.is_empty();
    }

    fn unescape(&self, raw: &str) -> Result<String, Fault> {
        let mut out = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('&') {
            let (entity, after) = after.split_once(';').ok_or_else(|| self.fault("& without ;"))?;
            out.push_str(before);
            out.push(character(entity).ok_or_else(|| self.fault("an unknown entity"))?);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// A name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// What stands for one character: the five of XML itself, and numbers.
fn character(entity: &str) -> Option<char> {
    let number = |digits: &str, radix: u32| {
        let good = (1..=8).contains(&digits.len()) && digits.chars().all(|c| c.is_digit(radix));
        let code = u32::from_str_radix(digits, radix).ok().filter(|_| good)?;
        char::from_u32(code).filter(|c| is_char(*c))
    };
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => match entity.strip_prefix('#')? {
            digits if digits.starts_with('x') => number(digits.get(1..)?, 16),
            digits => number(digits, 10),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &str) -> Result<Vec<(String, String)>, &'static str> {
        let leaves = leaves(document.as_bytes()).map_err(|fault| fault.what)?;
        Ok(leaves.into_iter().map(|leaf| (leaf.path, leaf.text)).collect())
    }

    #[test]
    fn leaves_have_their_paths_and_texts() {
        let document = "\u{feff}<?xml version='1.0' encoding=\"utf-8\"?>\n<!-- a - b -->\n\
            <p:a xmlns:p=\"urn:x\" b = 'c &lt; d'>\r\n <b>\n x &amp; &#65;&#x42;<![CDATA[<&c>]]> </b><c/><p:d><e></e></p:d>\n</p:a >\n";
        let found = read(document).expect("well-formed");
        let expected = [("a/b", "x & AB<&c>"), ("a/c", ""), ("a/d/e", "")];
        assert_eq!(
            found,
            expected.map(|(path, text)| (path.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn what_could_be_more_than_it_looks_is_refused() {
        for (document, what) in [
            ("<!DOCTYPE a><a/>", "a document type is not taken"),
            (
                "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
                "a document type is not taken",
            ),
            ("<a>&x;</a>", "an unknown entity"),
            ("<a>&#0;</a>", "an unknown entity"),
            ("<a>&#x110000;</a>", "an unknown entity"),
            ("<a>&#+65;</a>", "an unknown entity"),
            ("<a>& b</a>", "& without ;"),
            ("<a><?php x?></a>", "an instruction is not taken"),
            ("<a><!ELEMENT b></a>", "a document type is not taken"),
            ("<a>\0</a>", "a character that XML does not have"),
        ] {
            assert_eq!(read(document), Err(what), "{document:?}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for document in [
            "",
            " ",
            "a",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>b",
            "<a b></a>",
            "<a b=c/>",
            "<a b='<'/>",
            "<a b='1' b='2'/>",
            "<a b='1'c='2'/>",
            "<1/>",
            "< a/>",
            "<a",
            "<a b='1",
            "<a><!-- </a>",
            "<!-- a -- b --><a/>",
            "<a><![CDATA[</a>",
        ] {
            assert!(read(document).is_err(), "{document:?}");
        }
        assert_eq!(leaves(b"<a>\xff</a>").map_err(|fault| fault.offset), Err(3));
    }

    #[test]
    fn depth_and_attributes_are_bounded() {
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert!(read(&nested(MAX_DEPTH + 1)).is_err());
        assert!(read(&"<a>".repeat(100_000)).is_err());
        let many = |count: usize| {
            let attributes: String = (0..count).map(|n| format!(" a{n}=''")).collect();
            format!("<a{attributes}/>")
        };
        assert!(read(&many(MAX_ATTRIBUTES)).is_ok());
        assert!(read(&many(MAX_ATTRIBUTES + 1)).is_err());
    }
}
