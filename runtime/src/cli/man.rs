//! `rmail man`: manual pages, made of the definition of the command line.

use std::path::{Path, PathBuf};

use super::{Failure, definition};

/// Options of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:\n  rmail man --dir /usr/local/share/man/man1\n  rmail man | man -l -")]
pub(super) struct Options {
    /// Write a page for each command into this directory, and make it if it is not there; without it the first page goes
    /// to standard output.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.dir {
        None => clap_mangen::Man::new(definition())
            .render(&mut std::io::stdout())
            .map_err(|error| Failure(format!("cannot write: {error}"))),
        Some(dir) => {
            write(dir).map_err(|error| Failure(format!("cannot write to {}: {error}", dir.display())))
        }
    }
}

fn write(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(definition(), dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_the_first_page_names() {
        let dir = tempfile::tempdir().expect("a directory");
        let pages = dir.path().join("man1");
        write(&pages).expect("written");
        let first = std::fs::read_to_string(pages.join("rmail.1")).expect("the first page");
        let mut open: Vec<(String, clap::Command)> = definition()
            .get_subcommands()
            .map(|command| (format!("rmail-{}", command.get_name()), command.clone()))
            .collect();
        for (name, _) in &open {
            assert!(
                first.contains(&name.replace('-', "\\-")),
                "{name} is not in rmail.1"
            );
        }
        while let Some((name, command)) = open.pop() {
            let page = std::fs::read_to_string(pages.join(format!("{name}.1")));
            assert!(page.is_ok_and(|page| page.contains(".SH SYNOPSIS")), "{name}");
            let below = command.get_subcommands();
            open.extend(below.map(|below| (format!("{name}-{}", below.get_name()), below.clone())));
        }
    }
}
