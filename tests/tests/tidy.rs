//! What holds for the source itself: citations, file sizes, the README's table of keys.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rmail_core::config::keys::KEYS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_path_buf()
}

/// All files of the workspace with this extension, without build output.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("directory").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                open.push(path);
            } else if path.extension().is_some_and(|known| known == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} file was found");
    found
}

#[test]
fn every_cited_rfc_stands_in_the_index() {
    let index = fs::read_to_string(root().join("conformance/rfcs.txt")).expect("conformance/rfcs.txt");
    let listed: BTreeSet<&str> = index
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.parse::<u32>().is_ok())
        .collect();
    let mut missing = BTreeSet::new();
    for path in files("rs") {
        let text = fs::read_to_string(&path).expect("source");
        for (at, _) in text.match_indices("RFC ") {
            let number: String = text[at + 4..].chars().take_while(char::is_ascii_digit).collect();
            if number.len() >= 3 && !listed.contains(number.as_str()) {
                missing.insert(format!("RFC {number} in {}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "not in conformance/rfcs.txt: {missing:#?}");
}

#[test]
fn source_files_stay_small() {
    let large: Vec<String> = files("rs")
        .iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests"))
        .map(|path| (fs::read_to_string(path).expect("source").lines().count(), path))
        .filter(|(lines, _)| *lines > 600)
        .map(|(lines, path)| format!("{lines} {}", path.display()))
        .collect();
    assert!(large.is_empty(), "over 600 lines, look for the seam: {large:#?}");
}

#[test]
fn readme_lists_every_key() {
    let (begin, end) = ("<!-- keys: begin -->\n", "<!-- keys: end -->");
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md");
    let (head, rest) = readme.split_once(begin).expect("begin mark");
    let (table, tail) = rest.split_once(end).expect("end mark");
    let mut wanted = String::from("| key | default | meaning |\n|---|---|---|\n");
    for key in KEYS {
        let default = (key.default)().to_string();
        writeln!(
            wanted,
            "| `{}` | `{default}` | {} |",
            key.path,
            key.doc.replace('|', "\\|")
        )
        .expect("String");
    }
    if std::env::var_os("RMAIL_BLESS").is_some() {
        fs::write(&path, format!("{head}{begin}{wanted}{end}{tail}")).expect("README.md");
        return;
    }
    assert_eq!(
        table, wanted,
        "run the tests once with RMAIL_BLESS=1 and review README.md"
    );
}
