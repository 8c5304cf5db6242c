//! The transcripts marked `@live`, and the messages that they use: part of the program, so that any server can be tried
//! without a copy of the sources.

use crate::world::with_crlf;

macro_rules! shipped {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../transcripts/", $name, ".txt")))),*]
    };
}

/// Names (`imap/rfc2177-idle`) and texts.
pub const SHIPPED: &[(&str, &str)] = shipped! {
    "http/rfc9110-bearer"
    "http/rfc9110-expect"
    "http/rfc9112-smuggling-chunks"
    "http/rfc9112-smuggling-framing"
    "http/rfc9112-smuggling-lines"
    "imap/rfc2683-long-lines"
    "imap/rfc2971-id"
    "imap/rfc3501-expunge"
    "imap/rfc3501-fetch-body"
    "imap/rfc3501-list"
    "imap/rfc3501-search"
    "imap/rfc4469-catenate"
    "imap/rfc5161-enable"
    "imap/rfc5258-childinfo"
    "imap/rfc5258-list-extended"
    "imap/rfc5465-metadata"
    "imap/rfc5465-names"
    "imap/rfc5819-list-status"
    "imap/rfc6154-special-use"
    "imap/rfc6851-move"
    "imap/rfc6855-append"
    "imap/rfc6855-utf8"
    "imap/rfc7162-qresync"
    "imap/rfc8514-saved"
    "imap/rfc8970-preview"
    "imap/rfc9051-bad-input"
    "imap/rfc9394-partial"
    "imap/rfc9590-list-metadata"
    "smtp/rfc5321-every-server"
    "smtp/rfc6409-every-server"
};

macro_rules! fixtures {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../../fixtures/", $name)))),*]
    };
}

const FIXTURES: &[(&str, &[u8])] = fixtures! {
    "rfc5322/simple.eml"
    "rfc5322/mixed.eml"
    "rfc5322/summary.eml"
    "rfc9051/parts.eml"
};

/// A message by its name (`rfc5322/simple.eml`), with CRLF line ends.
#[must_use]
pub fn fixture(name: &str) -> Option<Vec<u8>> {
    let (_, text) = FIXTURES.iter().find(|(known, _)| *known == name)?;
    Some(with_crlf(text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::live::runnable;
    use crate::transcript::Transcript;

    /// Files below a directory.
    fn below(directory: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                files.extend(below(&path));
            } else {
                files.push(path);
            }
        }
        files
    }

    #[test]
    fn all_that_are_marked_are_shipped() {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
        let mut marked = BTreeSet::new();
        for file in below(&place) {
            let text = fs::read_to_string(&file).expect("a transcript");
            if text.lines().any(|line| line == "@live") {
                let name = file.with_extension("");
                let name = name.strip_prefix(&place).expect("below").to_string_lossy();
                marked.insert(name.into_owned());
            }
        }
        let shipped: BTreeSet<String> = SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(marked, shipped);
    }

    #[test]
    fn all_that_are_shipped_can_be_played() {
        for (name, text) in SHIPPED {
            let transcript = Transcript::parse(text).expect(name);
            assert_eq!(runnable(&transcript, 2), Ok(()), "{name}");
        }
    }
}
