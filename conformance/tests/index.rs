//! The index of RFCs is whole, and says nothing that transcripts belie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rmail_conformance::report::{Report, with_table};
use rmail_conformance::transcript::Transcript;

fn index() -> BTreeMap<u32, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rfcs.txt");
    let text = std::fs::read_to_string(path).expect("rfcs.txt");
    let mut index = BTreeMap::new();
    let mut last = 0;
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        let number: u32 = words.next().and_then(|word| word.parse().ok()).expect(line);
        let status = words.next().expect(line);
        assert!(["Yes", "Partial", "No"].contains(&status), "{line}");
        assert!(words.next().is_some(), "{line}: what is it?");
        assert!(number > last, "{line}: out of order");
        last = number;
        index.insert(number, status.to_owned());
    }
    index
}

/// Files below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn transcripts_show_what_the_index_says_is_built() {
    let index = index();
    let mut seen = 0;
    for directory in ["http", "imap", "relay", "sasl", "smtp"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("transcripts")
            .join(directory);
        for path in below(&path) {
            let text = std::fs::read_to_string(&path).expect("transcript");
            let transcript = Transcript::parse(&text).expect("transcript");
            let named = path.file_name().and_then(|name| name.to_str()).expect("name");
            let numbers: Vec<String> = transcript
                .rfcs
                .iter()
                .map(|(number, _)| format!("rfc{number}-"))
                .collect();
            assert!(
                numbers.iter().any(|prefix| named.starts_with(prefix)),
                "{named}: {numbers:?}"
            );
            for (number, _) in &transcript.rfcs {
                let status = index.get(number).map(String::as_str);
                assert!(
                    matches!(status, Some("Yes" | "Partial")),
                    "{named}: RFC {number} is {status:?}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} transcripts");
}

#[test]
fn the_readme_has_the_report() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = place.join("README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let report = Report::read(place).expect("a report");
    let fresh = with_table(&readme, &report.table()).expect("marks");
    if std::env::var_os("RMAIL_BLESS").is_some() {
        std::fs::write(&path, fresh).expect("README.md");
        return;
    }
    assert_eq!(
        readme, fresh,
        "run `cargo run -p rmail-conformance -- report --write`, and look at conformance/README.md"
    );
}
