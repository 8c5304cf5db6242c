//! Words of directives: separated by spaces, with quotes and parentheses around those that hold spaces.

use std::collections::BTreeMap;

/// Words, and keys with values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Those without a `=`.
    pub plain: Vec<String>,
    /// `KEY=VALUE`.
    pub options: BTreeMap<String, String>,
}

impl Words {
    /// Takes a key's value away.
    pub fn take(&mut self, key: &str) -> Option<String> {
        self.options.remove(key)
    }
}

/// Splits a directive. Quotes are removed, parentheses stay.
///
/// # Errors
/// An open quote or parenthesis, or a key given twice; in words.
pub fn split(text: &str) -> Result<Words, String> {
    let mut words = Words::default();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(words);
        }
        let (mut word, mut equals, mut quoted) = (String::new(), None, false);
        let mut depth = 0_usize;
        while let Some(c) = chars.next_if(|c| quoted || depth > 0 || !c.is_whitespace()) {
            match c {
                '"' => quoted = !quoted,
                '=' if !quoted && depth == 0 && equals.is_none() => equals = Some(word.len()),
                _ => {
                    if !quoted && c == '(' {
                        depth += 1;
                    } else if !quoted && c == ')' {
                        depth = depth.saturating_sub(1);
                    }
                    word.push(c);
                }
            }
        }
        if quoted || depth > 0 {
            return Err("a quote or parenthesis is not closed".to_owned());
        }
        match equals {
            None => words.plain.push(word),
            Some(at) => {
                let (key, value) = word.split_at(at);
                if words.options.insert(key.to_owned(), value.to_owned()).is_some() {
                    return Err(format!("{key} is given twice"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_options() {
        let words = split("INBOX  x.eml flags=(\\Seen a) date=\"1 2\" \"a =b\"").expect("words");
        assert_eq!(words.plain, ["INBOX", "x.eml", "a =b"]);
        assert_eq!(words.options.get("flags").map(String::as_str), Some("(\\Seen a)"));
        assert_eq!(words.options.get("date").map(String::as_str), Some("1 2"));
        assert_eq!(split("  "), Ok(Words::default()));
        for bad in ["\"a", "(a", "a=1 a=2"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
