//! Logins are replaced by those of the fixtures: one that worked by AUTH or AUTHENTICATE PLAIN with the password of
//! transcripts, whatever its mechanism was, one that did not by one that does not.

use std::collections::VecDeque;

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
    let mut rest: VecDeque<Piece> = core::mem::take(pieces).into();
    while let Some(piece) = rest.pop_front() {
        let Some(begun) = login(imap, &piece) else {
            pieces.push(piece);
            continue;
        };
        let Some((end, outcome)) = outcome(imap, &rest, &begun) else {
            return true;
        };
        let mut kept: Vec<Piece> = Vec::new();
        let mut swallow = 0_usize;
        let mut going_on = true;
        for (number, piece) in rest.drain(..=end).enumerate() {
            match &piece.what {
                What::Server { line, .. } if is_challenge(imap, line) => swallow += usize::from(begun.asks),
                What::Client { within: true, .. } if going_on => {}
                What::Client { .. } if swallow > 0 => swallow -= 1,
                What::Client { .. } => {
                    going_on = false;
                    kept.push(piece);
                }
                _ if number == end && outcome == Outcome::Other => {}
                _ => kept.push(piece),
            }
        }
        if let Some(line) = begun.line(outcome) {
            pieces.push(Piece {
                at: piece.at,
                what: What::Masked(line),
            });
        }
        // What came pipelined may be a login too.
        for piece in kept.into_iter().rev() {
            rest.push_front(piece);
        }
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
fn outcome(imap: bool, pieces: &VecDeque<Piece>, begun: &Begun) -> Option<(usize, Outcome)> {
    let tag = begun.tag.as_deref().unwrap_or_default();
    pieces.iter().enumerate().find_map(|(at, piece)| {
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
