//! `rmail init`: a full default configuration, and beside it the schema that explains each key to editors.

use std::io::Write as _;
use std::path::Path;

use rmail_core::config::{Config, schema};
use serde_json::Value;

use super::{Failure, config};

/// Options of `init`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print it instead of writing the file.
    #[arg(long)]
    print: bool,
}

/// Connections that a new configuration allows where descriptors suffice.
const CONNECTIONS: u64 = 1_000;

pub(super) fn run(path: &Path, options: &Options) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(&template()).map_err(Failure::new)?;
    text.push('\n');
    if options.print {
        return std::io::stdout().write_all(text.as_bytes()).map_err(Failure::new);
    }
    let mut file = std::fs::File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure(format!(
            "{} exists already and is left as it is; `rmail init --print` shows the defaults",
            path.display()
        )),
        _ => Failure(format!("cannot write {}: {error}", path.display())),
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(Failure::new)?;
    let schema = path.with_file_name(schema::FILE);
    // What an earlier version wrote is replaced: it is made from the program, nobody edits it.
    std::fs::write(&schema, config::schema_text()?)
        .map_err(|error| Failure(format!("cannot write {}: {error}", schema.display())))?;
    anstream::println!(
        "Wrote {path}, and {schema}, which has what each key means, for people and editors. Next:\n  \
         1. set hostname and domains in it, then `rmail --config {path} config check`\n  \
         2. rmail --config {path} user add you@your.domain --admin\n  3. rmail --config {path} serve",
        path = path.display(),
        schema = schema.display()
    );
    Ok(())
}

/// The defaults, with more connections where descriptors suffice for both protocols and the files behind them.
fn template() -> Value {
    let mut value = Config::defaults_json();
    value[schema::SCHEMA_KEY] = format!("./{}", schema::FILE).into();
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    if descriptors >= CONNECTIONS * 4 {
        for section in ["smtp", "imap"] {
            value[section]["max_connections"] = CONNECTIONS.into();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_writes_is_valid() {
        let (_, warnings) = Config::parse(&template().to_string()).expect("valid");
        assert_eq!(warnings, []);
    }
}
