//! The addresses in a From, Sender, Resent-From or Resent-Sender field (RFC 5322 §3.4, §3.6.2), so that it can be
//! checked who owns them. Only submitted mail is looked at; what cannot be read without doubt is refused, for a
//! reader elsewhere might read it otherwise.

use crate::addr::{Address, Domain};

/// Addresses of one field at most.
const MAX: usize = 64;

/// Depth of comments at most. They are counted, not recursed into; nobody writes more.
const MAX_DEPTH: usize = 32;

/// The field cannot be read without doubt, or has no address, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads the value of a field (all behind the colon, folded or not): `address-list`, groups included.
pub(super) fn addresses(value: &[u8]) -> Result<Vec<Address>, Malformed> {
    let mut reader = Reader::default();
    let mut rest = value;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = match octet {
            b' ' | b'\t' | b'\r' | b'\n' => {
                reader.space = true;
                tail
            }
            b'(' => {
                reader.space = true;
                skip_comment(tail)?
            }
            b'"' => {
                let (quoted, tail) = quoted(rest)?;
                reader.append(quoted)?;
                tail
            }
            // Outside of a domain there are readers who end the address here.
            b'[' if reader.words.ends_with(b"@") => {
                let end = tail.iter().position(|&b| b == b']').ok_or(Malformed)?;
                let (literal, tail) = rest.split_at(end + 2);
                reader.append(literal)?;
                tail
            }
            b'<' => reader.angle(tail)?,
            b',' => {
                reader.finish()?;
                tail
            }
            b':' => {
                reader.open_group()?;
                tail
            }
            b';' => {
                reader.close_group()?;
                tail
            }
            b'>' | b'[' | b']' | b')' | b'\\' | 0..=31 | 127 => return Err(Malformed),
            _ => {
                reader.has_at |= octet == b'@';
                reader.append(core::slice::from_ref(&octet))?;
                tail
            }
        };
    }
    reader.finish()?;
    if reader.in_group || reader.found.is_empty() {
        return Err(Malformed);
    }
    Ok(reader.found)
}

/// What was read of the list so far.
#[derive(Debug, Default)]
struct Reader {
    found: Vec<Address>,
    /// The element under way outside of angle brackets: a phrase or an addr-spec.
    words: Vec<u8>,
    /// White space or a comment came before the next octet.
    space: bool,
    /// They have an `@` outside of quotes.
    has_at: bool,
    /// The element had its address in angle brackets.
    has_angle: bool,
    in_group: bool,
}

impl Reader {
    fn append(&mut self, octets: &[u8]) -> Result<(), Malformed> {
        if self.has_angle {
            return Err(Malformed);
        }
        append_word(&mut self.words, &mut self.space, octets);
        Ok(())
    }

    /// `angle-addr` behind its `<`; gives what follows the `>`.
    fn angle<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], Malformed> {
        if self.has_angle {
            return Err(Malformed);
        }
        self.has_angle = true;
        let (mut spec, mut space, mut rest) = (Vec::new(), false, input);
        loop {
            let (&octet, tail) = rest.split_first().ok_or(Malformed)?;
            rest = match octet {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    space = true;
                    tail
                }
                b'(' => {
                    space = true;
                    skip_comment(tail)?
                }
                b'"' => {
                    let (quoted, tail) = quoted(rest)?;
                    append_word(&mut spec, &mut space, quoted);
                    tail
                }
                b'>' => {
                    self.keep(without_route(&spec)?)?;
                    self.check_phrase()?;
                    return Ok(tail);
                }
                b'<' | 0..=31 | 127 => return Err(Malformed),
                _ => {
                    append_word(&mut spec, &mut space, core::slice::from_ref(&octet));
                    tail
                }
            };
        }
    }

    /// A name in front of `<` that looks like an address (many programs leave the quotes out) must be that address:
    /// there are readers who take the first that they find.
    fn check_phrase(&self) -> Result<(), Malformed> {
        let same = || {
            let name = core::str::from_utf8(&self.words).ok().and_then(Address::parse)?;
            Some(name.canonical() == self.found.last()?.canonical())
        };
        if !self.has_at || same() == Some(true) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// The end of an element. An empty one is permitted (`obs-addr-list`, RFC 5322 §4.4).
    fn finish(&mut self) -> Result<(), Malformed> {
        let words = core::mem::take(&mut self.words);
        if !self.has_angle && !words.is_empty() {
            self.keep(&words)?;
        }
        self.has_at = false;
        self.has_angle = false;
        self.space = false;
        Ok(())
    }

    fn keep(&mut self, spec: &[u8]) -> Result<(), Malformed> {
        let text = core::str::from_utf8(spec).map_err(|_| Malformed)?;
        let address = Address::parse(text).ok_or(Malformed)?;
        if self.found.len() >= MAX {
            return Err(Malformed);
        }
        self.found.push(address);
        Ok(())
    }

    /// `display-name ":"`.
    fn open_group(&mut self) -> Result<(), Malformed> {
        if self.in_group || self.has_angle || self.has_at || self.words.is_empty() {
            return Err(Malformed);
        }
        self.words.clear();
        self.space = false;
        self.in_group = true;
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), Malformed> {
        if !self.in_group {
            return Err(Malformed);
        }
        self.finish()?;
        self.in_group = false;
        Ok(())
    }
}

/// An `addr-spec` without its `obs-route` (RFC 5322 §4.4), which holds nothing but domains.
fn without_route(spec: &[u8]) -> Result<&[u8], Malformed> {
    if !spec.starts_with(b"@") {
        return Ok(spec);
    }
    let colon = spec.iter().position(|&b| b == b':').ok_or(Malformed)?;
    let (route, spec) = spec.split_at(colon);
    let is_hop = |hop: &[u8]| {
        let domain = hop.strip_prefix(b"@").map(core::str::from_utf8);
        domain.is_some_and(|domain| domain.ok().and_then(Domain::parse).is_some())
    };
    if route.split(|&b| b == b',').all(is_hop) {
        Ok(spec.get(1..).unwrap_or_default())
    } else {
        Err(Malformed)
    }
}

/// Adds octets to a word list. White space beside `.` and `@` does not separate (`obs-local-part`, `obs-domain`).
fn append_word(words: &mut Vec<u8>, space: &mut bool, octets: &[u8]) {
    let joins = |octet: Option<&u8>| matches!(octet, Some(b'.' | b'@'));
    if *space && !words.is_empty() && !joins(words.last()) && !joins(octets.first()) {
        words.push(b' ');
    }
    *space = false;
    words.extend_from_slice(octets);
}

/// Goes behind a comment whose `(` has been read.
fn skip_comment(mut rest: &[u8]) -> Result<&[u8], Malformed> {
    let mut depth = 1;
    while depth > 0 {
        let (&octet, tail) = rest.split_first().ok_or(Malformed)?;
        rest = match octet {
            b'\\' => tail.split_first().ok_or(Malformed)?.1,
            b'(' if depth >= MAX_DEPTH => return Err(Malformed),
            b'(' => {
                depth += 1;
                tail
            }
            b')' => {
                depth -= 1;
                tail
            }
            _ => tail,
        };
    }
    Ok(rest)
}

/// A quoted string with its quotes, and what follows it.
fn quoted(input: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut escaped = false;
    for (at, &octet) in input.iter().enumerate().skip(1) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok(input.split_at(at + 1)),
            _ => {}
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &str) -> Option<Vec<String>> {
        addresses(value.as_bytes())
            .ok()
            .map(|found| found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn reads_what_people_write() {
        for (value, found) in [
            (" a@b.c", vec!["a@b.c"]),
            (" Ann Lee <a@b.c>\r\n", vec!["a@b.c"]),
            (" \"Lee, Ann <x@y.z>\" <a@b.c>", vec!["a@b.c"]),
            (" =?utf-8?q?M=C3=BCller?= <a@b.c>, d@e.f", vec!["a@b.c", "d@e.f"]),
            (" a@b.c (Ann (or (not)) \\) Lee)", vec!["a@b.c"]),
            ("\r\n\t a . b\r\n @ c . d", vec!["a.b@c.d"]),
            (
                " Friends: a@b.c, Dan <d@e.f>;, g@h.i",
                vec!["a@b.c", "d@e.f", "g@h.i"],
            ),
            (" <@hop.x,@hop.y:a@b.c>", vec!["a@b.c"]),
            (" \"a b\"@c.d", vec!["\"a b\"@c.d"]),
            (" a@[192.0.2.1]", vec!["a@[192.0.2.1]"]),
            (
                " M\u{fc}ller <m@b\u{fc}cher.example>",
                vec!["m@xn--bcher-kva.example"],
            ),
            (" a@b.c <a@b.c>", vec!["a@b.c"]),
            (" A@b.C (Ann) <a@b.c>", vec!["a@b.c"]),
            (" a@[192.0.2.1] <a@[192.0.2.1]>", vec!["a@[192.0.2.1]"]),
            (" J. Doe <j@d.e>", vec!["j@d.e"]),
            (" , a@b.c,", vec!["a@b.c"]),
        ] {
            assert_eq!(
                list(value),
                Some(found.iter().map(ToString::to_string).collect()),
                "{value:?}"
            );
        }
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        for value in [
            "",
            " ",
            " nobody",
            " <>",
            " a@b.c d@e.f",
            " a@b.c; d@e.f",
            " <a@b.c> <d@e.f>",
            " <a@b.c> d@e.f",
            " <a@b.c",
            " a@b.c>",
            " \"open <a@b.c>",
            " (open a@b.c",
            " group: a@b.c",
            " group: other: a@b.c;;",
            " undisclosed:;",
            " :a@b.c;",
            " <a@b.c.>",
            " <a b@c.d>",
            " <a@b.c,d@e.f>",
            " a@[1.2.3.4",
            " a\0@b.c",
            " <@hop.x>",
            // Who does not know literals in a phrase, or takes a route for the address, reads another author.
            " [<x@y.z>] <a@b.c>",
            " [x@y.z] <a@b.c>",
            " =?utf-8?q?x=40y.z?= [] <a@b.c>",
            " [EXT] Ann <a@b.c>",
            " <@hop.x,x@y.z:a@b.c>",
            " <@:a@b.c>",
            // Who wants the address first reads it first.
            " x@y.z <a@b.c>",
            " Ann x@y.z Lee <a@b.c>",
            " x@y.z: a@b.c;",
            // Who knows quoted pairs everywhere sees the quoted string begin later.
            " \\\" <x@y.z>, x\" <a@b.c>",
            " a\\@b.c",
        ] {
            assert_eq!(list(value), None, "{value:?}");
        }
        assert_eq!(addresses(b" <\xff@b.c>"), Err(Malformed));
        assert!(addresses(b" \xff <a@b.c>").is_ok());
        let many = |n: usize| vec!["a@b.c"; n].join(",");
        assert!(list(&many(MAX)).is_some());
        assert_eq!(list(&many(MAX + 1)), None);
        assert_eq!(list(&format!("{}a@b.c", "(".repeat(100_000))), None);
    }
}
