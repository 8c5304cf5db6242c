//! `rmail completions`: what a shell completes, made of the definition of the command line.

use std::io::Write as _;

use clap_complete::{Shell, generate};

use super::{Failure, definition};

/// Options of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:\n  rmail completions bash > /usr/share/bash-completion/completions/rmail\n  \
rmail completions zsh > /usr/share/zsh/site-functions/_rmail\n  \
rmail completions fish > ~/.config/fish/completions/rmail.fish")]
pub(super) struct Options {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(&text(options.shell))
        .map_err(|error| Failure(format!("cannot write: {error}")))
}

fn text(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    generate(shell, &mut definition(), "rmail", &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn completions_of_every_shell_name_every_command() {
        for shell in Shell::value_variants() {
            let text = String::from_utf8(text(*shell)).expect("text");
            for command in definition().get_subcommands().map(clap::Command::get_name) {
                assert!(text.contains(command), "{shell} does not know {command}");
            }
        }
    }
}
