//! Logins are replaced by those of the fixtures: one that worked by AUTH or AUTHENTICATE PLAIN with the password of
//! transcripts, whatever its mechanism was, one that did not by one that does not.

use super::pieces::{Piece, What};

/// `\0nobody\0no` in base64.
const WRONG: &str = "AG5vYm9keQBubw==";

/// What came of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Good,
    Bad,
    /// It was none: malformed, cancelled, in the wrong place.
    Other,
}

/// Replaces them. True: the session went on, and that was left out because it cannot be told what of it is secret.
pub(super) fn mask(kind: &str, pieces: &mut Vec<Piece>) -> bool {
    let imap = kind == "imap";
    let mut at = 0;
    while at < pieces.len() {
        let Some(begun) = pieces.get(at).and_then(|piece| login(imap, piece)) else {
            at += 1;
            continue;
        };
        let Some((end, outcome)) = outcome(imap, pieces, at, &begun) else {
            pieces.truncate(at);
            return true;
        };
        let rest: Vec<Piece> = pieces.split_off(at);
        let mut steps = rest.into_iter();
        let first = steps.next();
        let mut kept: Vec<Piece> = Vec::new();
        let mut left: Vec<Piece> = Vec::new();
        let mut swallow = 0_usize;
        let mut going_on = true;
        for (number, piece) in steps.enumerate() {
            if number + 1 > end - at {
                left.push(piece);
                continue;
            }
            match &piece.what {
                What::Server { line, .. } if is_challenge(imap, line) => swallow += usize::from(begun.asks),
                What::Client { within: true, .. } if going_on => {}
                What::Client { .. } if swallow > 0 => swallow -= 1,
                What::Client { .. } => {
                    going_on = false;
                    kept.push(piece);
                }
                _ if number + 1 == end - at && outcome == Outcome::Other => {}
                _ => kept.push(piece),
            }
        }
        if let (Some(first), Some(line)) = (first, begun.line(outcome)) {
            pieces.push(Piece {
                at: first.at,
                what: What::Masked(line),
            });
        }
        pieces.append(&mut kept);
        // What came pipelined may be a login too: go on behind the line.
        at += usize::from(outcome != Outcome::Other);
        pieces.append(&mut left);
    }
    false
}

/// A login that was begun.
struct Begun {
    /// Of IMAP.
    tag: Option<String>,
    /// `LOGIN` of IMAP.
    plainly: bool,
    /// Each challenge is answered by a line.
    asks: bool,
}

impl Begun {
    fn line(&self, outcome: Outcome) -> Option<String> {
        let good = match outcome {
            Outcome::Good => true,
            Outcome::Bad => false,
            Outcome::Other => return None,
        };
        let response = if good { "${plain}" } else { WRONG };
        Some(match &self.tag {
            None => format!("AUTH PLAIN {response}"),
            Some(tag) if !self.plainly => format!("{tag} AUTHENTICATE PLAIN {response}"),
            Some(tag) if good => format!("{tag} LOGIN \"${{user}}\" \"${{password}}\""),
            Some(tag) => format!("{tag} LOGIN nobody no"),
        })
    }
}

fn login(imap: bool, piece: &Piece) -> Option<Begun> {
    let What::Client {
        octets,
        within: false,
    } = &piece.what
    else {
        return None;
    };
    let mut words = octets
        .trim_ascii()
        .split(|octet| *octet == b' ')
        .filter(|word| !word.is_empty());
    let first = words.next()?;
    if !imap {
        return first.eq_ignore_ascii_case(b"AUTH").then_some(Begun {
            tag: None,
            plainly: false,
            asks: true,
        });
    }
    let verb = words.next()?;
    let plainly = verb.eq_ignore_ascii_case(b"LOGIN");
    let tag = core::str::from_utf8(first).ok()?.to_owned();
    (plainly || verb.eq_ignore_ascii_case(b"AUTHENTICATE")).then_some(Begun {
        tag: Some(tag),
        plainly,
        asks: !plainly,
    })
}

fn is_challenge(imap: bool, line: &[u8]) -> bool {
    if imap {
        line.starts_with(b"+")
    } else {
        line.starts_with(b"334")
    }
}

/// Where the answer is, and what it says.
fn outcome(imap: bool, pieces: &[Piece], from: usize, begun: &Begun) -> Option<(usize, Outcome)> {
    let tag = begun.tag.as_deref().unwrap_or_default();
    pieces.iter().enumerate().skip(from + 1).find_map(|(at, piece)| {
        let What::Server { line, .. } = &piece.what else {
            return None;
        };
        if !imap {
            return match line.get(..3)? {
                b"334" => None,
                b"235" => Some((at, Outcome::Good)),
                b"535" | b"454" | b"421" => Some((at, Outcome::Bad)),
                _ => Some((at, Outcome::Other)),
            };
        }
        let rest = line.strip_prefix(tag.as_bytes())?.strip_prefix(b" ")?;
        Some((
            at,
            match rest.get(..2) {
                Some(b"OK") => Outcome::Good,
                Some(b"NO") => Outcome::Bad,
                _ => Outcome::Other,
            },
        ))
    })
}
