//! `cargo run -p rmail-conformance -- report`: what transcripts show of which RFC.

use std::path::Path;
use std::process::ExitCode;

use rmail_conformance::report::{Report, with_table};

const USAGE: &str = "\
Usage: rmail-conformance report [--names | --json | --write]

What transcripts show of which RFC, as a table; from conformance/rfcs.txt and conformance/transcripts.

  --names  also the names of the transcripts of each RFC
  --json   all of it, for programs
  --write  puts the table into conformance/README.md
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let place = Path::new(env!("CARGO_MANIFEST_DIR"));
    let report = || Report::read(place);
    let done = match words.as_slice() {
        ["report"] => report().map(|report| print!("{}", report.table())),
        ["report", "--names"] => report().map(|report| print!("{}\n{}", report.table(), report.names())),
        ["report", "--json"] => report().map(|report| println!("{:#}", report.json())),
        ["report", "--write"] => report().and_then(|report| write(place, &report)),
        ["--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn write(place: &Path, report: &Report) -> Result<(), String> {
    let path = place.join("README.md");
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(&path).map_err(wrong)?;
    std::fs::write(&path, with_table(&text, &report.table())?).map_err(wrong)
}
