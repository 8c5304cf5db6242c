//! The base subject (RFC 5256 §2.1).

/// A subject without what replies and mailing lists put around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseSubject {
    /// The base subject, in the case in which it was written.
    pub text: String,
    /// What was taken off says that the message is a reply or forward (RFC 5256 §3, THREAD).
    pub reply: bool,
}

/// Extracts the base subject of a subject whose encoded words are decoded. Linear in its length.
#[must_use]
pub fn base_subject(subject: &str) -> BaseSubject {
    let spaced = single_spaces(subject);
    let mut rest = spaced.as_str();
    let mut reply = false;
    loop {
        (rest, reply) = without_trailers(rest, reply);
        (rest, reply) = without_leaders(rest, reply);
        let inner = strip_prefix(rest, "[fwd:").and_then(|inner| inner.strip_suffix(']'));
        match inner {
            Some(inner) => (rest, reply) = (inner, true),
            None => break,
        }
    }
    BaseSubject {
        text: rest.to_owned(),
        reply,
    }
}

/// Step 1: tabs and line ends are spaces, and several spaces are one.
fn single_spaces(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    for c in subject.chars() {
        let c = if matches!(c, '\t' | '\r' | '\n') { ' ' } else { c };
        if c != ' ' || !out.ends_with(' ') {
            out.push(c);
        }
    }
    out
}

/// Step 2: `subj-trailer = "(fwd)" / WSP`
fn without_trailers(mut rest: &str, mut reply: bool) -> (&str, bool) {
    loop {
        rest = rest.trim_end_matches(' ');
        let at = rest.len().saturating_sub(5);
        match rest.split_at_checked(at) {
            Some((before, end)) if end.eq_ignore_ascii_case("(fwd)") => (rest, reply) = (before, true),
            _ => return (rest, reply),
        }
    }
}

/// Steps 3 to 5. Blobs in a row are read once: they go with a `re:` behind them, or else because text is behind them.
fn without_leaders(mut rest: &str, mut reply: bool) -> (&str, bool) {
    loop {
        rest = rest.trim_start_matches(' ');
        let (mut last, mut behind) = (rest, rest);
        while let Some(next) = without_blob(behind) {
            (last, behind) = (behind, next);
        }
        match without_refwd(behind) {
            Some(next) => (rest, reply) = (next, true),
            // The last blob is the base if nothing else is.
            None if behind.is_empty() => return (last, reply),
            None => return (behind, reply),
        }
    }
}

/// `subj-blob = "[" *BLOBCHAR "]" *WSP`
fn without_blob(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(['[', ']'])?;
    let rest = inside.get(end..)?.strip_prefix(']')?;
    Some(rest.trim_start_matches(' '))
}

/// `subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"`
fn without_refwd(text: &str) -> Option<&str> {
    let rest = ["re", "fwd", "fw"]
        .iter()
        .find_map(|word| strip_prefix(text, word))?;
    let rest = rest.trim_start_matches(' ');
    without_blob(rest).unwrap_or(rest).strip_prefix(':')
}

/// Without a prefix of ASCII in any case.
fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_subjects() {
        for (subject, base, reply) in [
            ("", "", false),
            ("hello", "hello", false),
            ("Re: hello", "hello", true),
            ("RE: re:  FWD:\thello  (fwd) (FWD) ", "hello", true),
            ("[list] hello", "hello", false),
            ("[list] Re: [list] hello", "hello", true),
            ("Re[2]: hello", "hello", true),
            ("re [x] : hello", "hello", true),
            ("re [x]: hello", "hello", true),
            ("[a] [b]", "[b]", false),
            ("[a]", "[a]", false),
            ("Re: [a]", "[a]", true),
            ("[a [b] c", "[a [b] c", false),
            ("[Fwd: hello]", "hello", true),
            ("[fwd: Re: [list] hello (fwd)]", "hello", true),
            ("[Fwd: [Fwd: a]]", "a", true),
            ("Fwd: [Fwd: a] b", "b", true),
            ("Re:", "", true),
            ("(fwd)", "", true),
            ("react: now", "react: now", false),
            ("fw:fwd:fwd :x", "x", true),
            ("Re: a\r\n b", "a b", true),
            ("Аре: да", "Аре: да", false),
        ] {
            let expected = BaseSubject {
                text: base.to_owned(),
                reply,
            };
            assert_eq!(base_subject(subject), expected, "{subject:?}");
        }
    }

    #[test]
    fn long_subjects_take_linear_time() {
        for piece in ["[a]", "re:", "[", "[fwd:", "(fwd)", "re[a]", "]"] {
            let long = piece.repeat(200_000);
            assert!(base_subject(&long).text.len() <= long.len());
        }
    }
}
