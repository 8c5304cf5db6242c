//! The first words of a message, for lists of messages (RFC 8970).
//!
//! They are those of the first part that is plain text or HTML and no attachment, and has words at all. Markup goes, with
//! all that is not to be read (styles, scripts, comments, the head); characters that cannot be seen go too, and white
//! space becomes one space.

use core::ops::Range;

use super::decode;
use super::part::{Kind, Part, Structure};

/// Characters of a preview (RFC 8970 §3.3: "SHOULD limit to 200").
pub const MAX_CHARACTERS: usize = 200;

/// Octets of a part that are looked at for words.
const MAX_LOOK: u64 = 32 * 1024;

/// Parts that are looked at for words.
const MAX_PARTS: usize = 8;

/// What stands where octets are not of the charset that they were read in.
const WRONG: &[u8] = "\u{fffd}".as_bytes();

/// Octets of a tag's or entity's name that are kept.
const MAX_NAME: usize = 16;

/// The preview of a message; empty if it has no words. `front` is the message's beginning: what is beyond is not looked
/// at.
#[must_use]
pub fn preview(structure: &Structure, front: &[u8]) -> String {
    let candidates = structure.parts.iter().filter(|part| is_text(part));
    for part in candidates.take(MAX_PARTS) {
        let body = slice(front, &part.body);
        if body.is_empty() && part.body_len() > 0 {
            break;
        }
        let text = words(part, body);
        if !text.is_empty() {
            return text;
        }
    }
    String::new()
}

fn is_text(part: &Part) -> bool {
    let mime = &part.mime;
    let attached = mime
        .disposition
        .as_ref()
        .is_some_and(|(kind, _)| kind == "ATTACHMENT");
    let readable = mime.is_type("TEXT") && matches!(mime.subtype.as_str(), "PLAIN" | "HTML");
    part.kind == Kind::Leaf && readable && !attached
}

/// What is to be looked at of a body; if it is cut, whole lines.
fn slice<'a>(front: &'a [u8], body: &Range<u64>) -> &'a [u8] {
    let end = body.end.min(body.start.saturating_add(MAX_LOOK));
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(front.len());
    let octets = front.get(at(body.start)..at(end)).unwrap_or_default();
    if octets.len() as u64 >= body.end.saturating_sub(body.start) {
        return octets;
    }
    // A character that is cut would look as if the charset were another one.
    let lines = memchr::memrchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
    octets.get(..lines).unwrap_or(octets)
}

fn words(part: &Part, body: &[u8]) -> String {
    let html = part.mime.subtype == "HTML";
    let mut words = Words::default();
    let mut markup = Markup::default();
    decode::text(&part.mime, body, |piece| {
        if piece.is_empty() {
            // The text begins anew, read in another charset.
            words = Words::default();
            markup = Markup::default();
        }
        for c in piece.chars() {
            if words.left == 0 {
                break;
            }
            if html {
                markup.push(c, &mut words);
            } else {
                words.push(c);
            }
        }
        // Text that has something wrong may be handed out once more.
        words.wrong |= memchr::memmem::find(piece.as_bytes(), WRONG).is_some();
        words.left > 0 || words.wrong
    });
    markup.finish(&mut words);
    words.text
}

/// Text with single spaces.
struct Words {
    text: String,
    /// Characters that there is room for.
    left: usize,
    space: bool,
    /// Something was not of the charset.
    wrong: bool,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            text: String::new(),
            left: MAX_CHARACTERS,
            space: false,
            wrong: false,
        }
    }
}

impl Words {
    fn push(&mut self, c: char) {
        if !c.is_ascii_graphic() {
            if is_unseen(c) {
                return;
            }
            if c.is_whitespace() || c.is_control() {
                self.space = true;
                return;
            }
        }
        if core::mem::take(&mut self.space) && !self.text.is_empty() {
            // No space without something behind it.
            if self.left < 2 {
                self.left = 0;
            } else {
                self.text.push(' ');
                self.left -= 1;
            }
        }
        if self.left > 0 {
            self.text.push(c);
            self.left -= 1;
        }
    }
}

/// Characters that take no room: newsletters pad their first line with them.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// HTML being read: not a parser of documents, but whatever comes, it ends and keeps no more than a name.
#[derive(Default)]
struct Markup {
    state: State,
    name: String,
    /// The element whose content is not to be read.
    hidden: Option<String>,
    /// The last two characters of a comment.
    dashes: u8,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Behind `<`, in the name.
    Tag,
    /// Behind the name.
    Attributes,
    /// In a value with these quotes.
    Quoted(char),
    Comment,
    Entity,
}

/// Elements whose content nobody reads.
const HIDDEN: [&str; 6] = ["head", "style", "script", "title", "template", "noscript"];

/// Elements that do not part words.
const INLINE: [&str; 22] = [
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "em", "font", "i", "ins", "kbd", "mark", "q", "s",
    "small", "span", "strong", "sub", "sup", "u",
];

impl Markup {
    fn push(&mut self, c: char, words: &mut Words) {
        match self.state {
            State::Text => self.text(c, words),
            State::Tag => self.tag(c, words),
            State::Attributes => match c {
                '>' => self.end_tag(words),
                '"' | '\'' => self.state = State::Quoted(c),
                _ => {}
            },
            State::Quoted(quote) if c == quote => self.state = State::Attributes,
            State::Quoted(_) => {}
            State::Comment => match c {
                '-' => self.dashes = (self.dashes + 1).min(2),
                '>' if self.dashes == 2 => self.state = State::Text,
                _ => self.dashes = 0,
            },
            State::Entity => self.entity(c, words),
        }
    }

    fn text(&mut self, c: char, words: &mut Words) {
        match c {
            '<' => {
                self.name.clear();
                self.state = State::Tag;
            }
            '&' if self.hidden.is_none() => {
                self.name.clear();
                self.state = State::Entity;
            }
            c if self.hidden.is_none() => words.push(c),
            _ => {}
        }
    }

    fn tag(&mut self, c: char, words: &mut Words) {
        let first = self.name.is_empty();
        match c {
            '>' => self.end_tag(words),
            c if c.is_ascii_alphanumeric() || (first && matches!(c, '/' | '!' | '?')) || c == '-' => {
                if self.name.len() < MAX_NAME {
                    self.name.push(c.to_ascii_lowercase());
                }
                if self.name == "!--" {
                    self.dashes = 0;
                    self.state = State::Comment;
                }
            }
            _ if first && self.hidden.is_none() => {
                // "a < b" is no tag.
                self.state = State::Text;
                words.push('<');
                self.text(c, words);
            }
            _ if first => self.state = State::Text,
            _ => self.state = State::Attributes,
        }
    }

    fn end_tag(&mut self, words: &mut Words) {
        self.state = State::Text;
        let (closing, name) = match self.name.strip_prefix('/') {
            Some(name) => (true, name),
            None => (false, self.name.as_str()),
        };
        if let Some(hidden) = &self.hidden {
            // A head whose end is missing ends with the body's beginning.
            if (closing && name == hidden) || (!closing && name == "body") {
                self.hidden = None;
            }
        } else if !closing && HIDDEN.contains(&name) {
            self.hidden = Some(name.to_owned());
        }
        if !INLINE.contains(&name) {
            words.space = true;
        }
    }

    fn entity(&mut self, c: char, words: &mut Words) {
        if (c.is_ascii_alphanumeric() || c == '#') && self.name.len() < MAX_NAME {
            self.name.push(c);
            return;
        }
        let known = self.end_entity(words);
        if c != ';' || !known {
            self.text(c, words);
        }
    }

    /// True: it was one. Else it is text as it stands.
    fn end_entity(&mut self, words: &mut Words) -> bool {
        self.state = State::Text;
        let known = named(&self.name);
        match known {
            Some(named) => words.push(named),
            None => {
                words.push('&');
                self.name.chars().for_each(|c| words.push(c));
            }
        }
        known.is_some()
    }

    /// The text ends here.
    fn finish(&mut self, words: &mut Words) {
        if self.state == State::Entity {
            self.end_entity(words);
        }
    }
}

/// The character that is meant: by number, or by one of the names that stand in mail.
fn named(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| *c != '\0');
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" | "ensp" | "emsp" | "thinsp" => ' ',
        "shy" => '\u{ad}',
        "zwnj" => '\u{200c}',
        "zwj" => '\u{200d}',
        "lrm" => '\u{200e}',
        "rlm" => '\u{200f}',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "bull" => '•',
        "middot" => '·',
        "lsquo" => '‘',
        "rsquo" => '’',
        "sbquo" => '‚',
        "ldquo" => '“',
        "rdquo" => '”',
        "bdquo" => '„',
        "laquo" => '«',
        "raquo" => '»',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "euro" => '€',
        "pound" => '£',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "agrave" => 'à',
        "ccedil" => 'ç',
        "egrave" => 'è',
        "eacute" => 'é',
        "Eacute" => 'É',
        "ecirc" => 'ê',
        "ntilde" => 'ñ',
        "oacute" => 'ó',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scanner::scan;
    use super::*;

    fn of(message: &[u8]) -> String {
        preview(&scan(message), message)
    }

    fn of_html(body: &str) -> String {
        of(format!("Content-Type: text/html; charset=utf-8\r\n\r\n{body}").as_bytes())
    }

    #[test]
    fn plain_text_with_single_spaces() {
        assert_eq!(
            of(b"Subject: x\r\n\r\n  Hello,\r\n\r\n\t how are you? \r\n"),
            "Hello, how are you?"
        );
        assert_eq!(of(b"Subject: x\r\n\r\n"), "");
        assert_eq!(of(b""), "");
    }

    #[test]
    fn at_most_200_characters_and_no_space_at_the_end() {
        let text = of(format!("\r\n{}", "äb ".repeat(5_000)).as_bytes());
        assert_eq!(text.chars().count(), 200);
        let text = of(format!("\r\n{} tail", "x".repeat(199)).as_bytes());
        assert_eq!(text, "x".repeat(199));
    }

    #[test]
    fn charsets_and_encodings() {
        let coded = "Content-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: base64\r\n\r\n8NLJ18XU\r\n";
        assert_eq!(of(coded.as_bytes()), "Привет");
        // Undeclared and no UTF-8, noticed only behind the first 200 characters.
        let text = [b"\r\ngr\xfcn ".as_slice(), &b"abc ".repeat(3_000)].concat();
        assert!(of(&text).starts_with("grün abc"));
        // A character at the end of what is looked at.
        let text = [
            b"\r\n".as_slice(),
            &b" \r\n".repeat(10_922),
            "ä".repeat(9).as_bytes(),
        ]
        .concat();
        assert!(of(&text).chars().all(|c| c == 'ä'));
    }

    #[test]
    fn the_first_part_that_has_words() {
        let part = |head: &str, text: &str| format!("--b\r\n{head}\r\n\r\n{text}\r\n");
        let message = [
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned(),
            part("Content-Type: image/gif", "GIF89a"),
            part(
                "Content-Type: text/plain\r\nContent-Disposition: attachment",
                "attached",
            ),
            part("Content-Type: text/csv", "a,b"),
            part("Content-Type: text/plain", " \r\n\u{feff} "),
            part("Content-Type: text/html", "<p>at last"),
            "--b--\r\n".to_owned(),
        ];
        assert_eq!(of(message.concat().as_bytes()), "at last");
    }

    #[test]
    fn markup_goes() {
        for (html, want) in [
            ("<p>One<br>two</p><div>three</div>", "One two three"),
            ("<b>bo</b>ld <A HREF=\"x>y\" title='<'>link</A>", "bold link"),
            (
                "<html><head><title>no</title><style>p > a { }</style></head><body>yes",
                "yes",
            ),
            ("<head><meta x><body>yes", "yes"),
            ("<script>if (a < b) document.write('<p>no')</script>yes", "yes"),
            ("<!-- no > -- > <b> -->yes<!---->!", "yes!"),
            ("<!DOCTYPE html PUBLIC \"-//W3C//DTD\"><?xml no?>yes", "yes"),
            (
                "1 < 2 &amp;&lt;&#228;&#xE4;&nbsp;&nope;&#0; &",
                "1 < 2 &<ää &nope;&#0; &",
            ),
            ("A&zwnj;&nbsp;&#8199;&#847; \u{200b}B", "A B"),
            ("Tom &amp Jerry AT&T", "Tom & Jerry AT&T"),
            ("<", ""),
            ("<p", ""),
        ] {
            assert_eq!(of_html(html), want, "{html}");
        }
    }

    #[test]
    fn text_behind_the_front_is_not_looked_at() {
        let message = b"Content-Type: text/plain\r\n\r\nhello";
        let structure = scan(message);
        assert_eq!(preview(&structure, &message[..10]), "");
        assert_eq!(preview(&structure, message), "hello");
    }

    proptest! {
        #[test]
        fn bounded_and_clean(html in any::<bool>(), pieces in prop::collection::vec(prop::sample::select(vec![
            "<", ">", "<p>", "</head>", "<head>", "<!--", "-->", "&", "&amp;", "&#x41;", ";", "\"", "'", "word", " ",
            "\r\n", "\u{200b}", "\u{0}", "ä", "<style>", "</style>", "=", "日本",
        ]), 0..200)) {
            let kind = if html { "html" } else { "plain" };
            let message = format!("Content-Type: text/{kind}; charset=utf-8\r\n\r\n{}", pieces.concat());
            let text = of(message.as_bytes());
            prop_assert!(text.chars().count() <= MAX_CHARACTERS);
            prop_assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), text.clone());
            prop_assert!(!text.contains(char::is_control));
        }
    }
}
