//! `mutate TARGET [RUNS [SEED]]`: runs a target over its corpus and so many mutations of it; `mutate TARGET FILE…` over files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rmail_fuzz::{mutate, targets::TARGETS};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let found = arguments
        .first()
        .and_then(|wanted| TARGETS.iter().find(|(name, _)| name == wanted));
    let Some((name, target)) = found else {
        eprintln!("usage: mutate TARGET [RUNS [SEED]] | mutate TARGET FILE...");
        return ExitCode::FAILURE;
    };
    let numbers: Option<Vec<u64>> = arguments[1..].iter().map(|word| word.parse().ok()).collect();
    if let Some(numbers) = numbers {
        let runs = numbers.first().copied().unwrap_or(10_000);
        let seed = numbers.get(1).copied().unwrap_or_default();
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let done = mutate::over_corpus(&corpus, name, *target, runs, seed);
        println!("{name}: {done} inputs");
        return ExitCode::SUCCESS;
    }
    for file in arguments[1..].iter().map(PathBuf::from) {
        match std::fs::read(&file) {
            Ok(input) => target(&input),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
