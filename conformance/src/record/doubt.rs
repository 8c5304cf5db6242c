//! What cannot be told from a login is left out, with all that follows: a recording that ends early is better than one with a
//! password in it.

use super::pieces::{Piece, What};
use super::{Event, Take};

/// How many events of a session come before octets in which a login stands beside something else: which answer is whose, and
/// which of the client's lines are secrets, is sure only of those who wait for answers.
pub(super) fn before_pipelined(take: &Take) -> usize {
    let mut run = Vec::new();
    let mut begun = 0;
    for (at, (_, event)) in take.events.iter().enumerate() {
        if let Event::Said(octets) = event {
            if run.is_empty() {
                begun = at;
            }
            run.extend_from_slice(octets);
            continue;
        }
        if !waits(&run) {
            return begun;
        }
        run.clear();
    }
    match waits(&run) {
        true => take.events.len(),
        false => begun,
    }
}

/// The same for a line that is still there after logins were replaced.
pub(super) fn cut_left(pieces: &mut Vec<Piece>) -> bool {
    let is_left = |piece: &Piece| match &piece.what {
        What::Client { octets, .. } => octets.split(|octet| *octet == b'\n').any(is_login),
        _ => false,
    };
    let Some(at) = pieces.iter().position(is_left) else {
        return false;
    };
    pieces.truncate(at);
    true
}

/// Whether what a client said at once holds no login, or begins with its only one: that is one line, with the literals that it
/// announces. More may come behind it only if the server has nothing to ask.
fn waits(run: &[u8]) -> bool {
    let lines: Vec<&[u8]> = run.split(|octet| *octet == b'\n').collect();
    match lines.iter().position(|line| is_login(line)) {
        None => true,
        Some(0) => {
            let goes_on = |line: &&[u8]| line.trim_ascii_end().ends_with(b"}");
            let command = lines.iter().take_while(|line| goes_on(line)).count() + 1;
            let mut rest = lines.iter().skip(command);
            match lines.first().is_some_and(|line| is_whole(line)) {
                true => !rest.any(|line| is_login(line)),
                false => rest.all(|line| line.is_empty()),
            }
        }
        Some(_) => false,
    }
}

/// Whether a login has all that it needs: a LOGIN, or PLAIN with its initial response.
fn is_whole(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    let is = |word: &&[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    match words
        .iter()
        .position(|word| is(word, "AUTH") || is(word, "AUTHENTICATE"))
    {
        Some(at) => words.get(at + 1).is_some_and(|word| is(word, "PLAIN")) && words.len() > at + 2,
        None => true,
    }
}

/// Whether a line can be read as a login: `AUTH …`, `tag LOGIN … …`, `tag AUTHENTICATE …`, with a tag or, by hand, without.
fn is_login(line: &[u8]) -> bool {
    /// A name and a password with some spaces in them.
    const MOST: usize = 6;
    let words: Vec<&[u8]> = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .take(MOST + 1)
        .collect();
    let is = |at: usize, names: &[&str]| {
        let word = words.get(at).copied().unwrap_or_default();
        names
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let first = words.len() >= 2 && is(0, &["AUTH", "LOGIN", "AUTHENTICATE"]);
    let second = words.len() >= 3 && is(1, &["LOGIN", "AUTHENTICATE"]);
    words.len() <= MOST && (first || second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_waits_for_its_answers_or_is_in_doubt() {
        for alone in [
            "a1 LOGIN alice secret\r\n",
            "a1 AUTHENTICATE PLAIN\r\n",
            "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n",
            "a1 login {5+}\r\nalice {6+}\r\nsecret\r\n",
            "a1 LOGIN {5}\r\n",
            "a1 LOGIN alice secret\r\na2 SELECT INBOX\r\n",
            "a1 AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\na2 NOOP\r\n",
            "EHLO here\r\nMAIL FROM:<login@here.test>\r\n",
            "Please, everybody who can, login before the end of this week.\r\n",
        ] {
            assert!(waits(alone.as_bytes()), "{alone}");
        }
        for together in [
            "AUTH LOGIN\r\nYWxpY2U=\r\nc2VjcmV0\r\n",
            "RSET\r\nAUTH LOGIN\r\n",
            "AUTH SCRAM-SHA-256 biwsbj1h\r\nMAIL FROM:<a@here.test>\r\n",
            "a NOOP\r\na AUTHENTICATE PLAIN\r\n",
            "a AUTHENTICATE PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\n",
            "a LOGIN {5+}\r\nalice {6+}\r\nsecret\r\nb LOGIN bob geheim\r\n",
        ] {
            assert!(!waits(together.as_bytes()), "{together}");
        }
    }
}
