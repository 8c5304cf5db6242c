//! Passwords come from standard input or a prompt, never from argv, where every process can read them.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;

use rmail_core::directory::{MAX_PASSWORD, new_password};
use rmail_core::secret::Secret;

use super::Failure;

/// Reads a new password: the first line of standard input, or twice at a prompt.
pub(super) fn read(from_stdin: bool) -> Result<Secret, Failure> {
    if from_stdin {
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|error| Failure(format!("standard input: {error}")))?;
        return accept(line.trim_end_matches(['\r', '\n']));
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure(
            "there is no terminal to ask for the password; use --password-stdin".into(),
        ));
    }
    let prompt =
        |text| rpassword::prompt_password(text).map_err(|error| Failure(format!("terminal: {error}")));
    let first = prompt("New password: ")?;
    if first != prompt("Once more: ")? {
        return Err(Failure("the two are not the same; nothing was changed".into()));
    }
    accept(&first)
}

/// The first line of a file; `-` is standard input.
pub(super) fn from_file(path: &Path) -> Result<Secret, Failure> {
    let wrong = |error: std::io::Error| Failure(format!("cannot read {}: {error}", path.display()));
    let mut line = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().read_line(&mut line).map_err(wrong)?;
    } else {
        let file = std::fs::File::open(path).map_err(wrong)?;
        let mut start = std::io::BufReader::new(file.take(64 * 1024));
        start.read_line(&mut line).map_err(wrong)?;
    }
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

fn accept(text: &str) -> Result<Secret, Failure> {
    new_password(text).ok_or_else(|| {
        Failure(format!(
            "a password has 1 to {MAX_PASSWORD} octets and no NUL; nothing was changed"
        ))
    })
}
