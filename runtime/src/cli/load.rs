//! Reading the configuration file.

use std::path::{Component, Path, PathBuf};

use rmail_core::config::{Config, Effective, Parsed, Problem, SecretSource};
use rmail_core::secret::Secret;

use super::Failure;

/// A configuration and where it stands.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) warnings: Vec<Problem>,
    pub(super) effective: Effective,
    /// Directory of the file: relative paths start here.
    pub(super) base: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug)]
pub(super) enum LoadError {
    Unreadable(String),
    Wrong(Vec<Problem>),
}

pub(super) fn load(path: &Path) -> Result<Loaded, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "; `rmail init` writes one, `--config PATH` names another",
            _ => "",
        };
        LoadError::Unreadable(format!("cannot read {}: {error}{hint}", path.display()))
    })?;
    let parsed = Config::read(&text).map_err(LoadError::Wrong)?;
    let base = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok(Loaded::new(parsed, base))
}

/// As [`load`], for commands that only need a working configuration.
pub(super) fn load_or_fail(path: &Path) -> Result<Loaded, Failure> {
    load(path).map_err(|error| match error {
        LoadError::Unreadable(text) => Failure(text),
        LoadError::Wrong(problems) => {
            let lines: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
            Failure(format!(
                "{} has {} problem(s):{lines}",
                path.display(),
                problems.len()
            ))
        }
    })
}

impl Loaded {
    pub(super) fn new(parsed: Parsed, base: &Path) -> Self {
        Self {
            config: parsed.config,
            warnings: parsed.warnings,
            effective: parsed.effective,
            base: base.to_path_buf(),
        }
    }

    /// A path of the configuration, without what says nothing (`./`).
    pub(super) fn path(&self, path: &str) -> PathBuf {
        let path = self.base.join(path);
        let plain: PathBuf = path
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        if plain.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            plain
        }
    }

    /// The text of a secret, wherever it stands.
    pub(super) fn secret(&self, key: &str, source: &SecretSource) -> Result<Secret, Failure> {
        match source {
            SecretSource::Text(text) => Ok(Secret::new(text.as_bytes())),
            SecretSource::File { file } => {
                let mut bytes = std::fs::read(self.path(file))
                    .map_err(|error| Failure(format!("{key}: cannot read {file}: {error}")))?;
                while bytes.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                    bytes.pop();
                }
                Ok(Secret::new(bytes))
            }
            SecretSource::EnvVar { env } => std::env::var(env)
                .map(|text| Secret::new(text.into_bytes()))
                .map_err(|error| Failure(format!("{key}: environment variable {env}: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_file_and_plain() {
        let loaded = |base: &str| Loaded::new(Config::read("{}").expect("the default"), Path::new(base));
        for (base, path, expected) in [
            (".", "./mailstore", "mailstore"),
            ("/etc/rmail", "./mailstore", "/etc/rmail/mailstore"),
            ("./x", "../mail/./a", "x/../mail/a"),
            ("x", "/var/mail", "/var/mail"),
            (".", ".", "."),
        ] {
            assert_eq!(loaded(base).path(path), Path::new(expected), "{base} {path}");
        }
    }
}
