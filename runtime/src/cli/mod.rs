//! The command line: what the arguments mean, one file per command.
//!
//! Exit codes: 0 done, 1 it did not work (with the reason and the next step on standard error), 2 wrong usage.
//! Where a command has another, its help says so.

#[cfg(feature = "acme")]
mod acme;
mod alias;
mod app_password;
mod backup;
mod bar;
mod completions;
mod config;
mod demo;
mod diagnose;
mod dns;
mod export;
mod fsck;
mod import;
mod init;
mod install;
mod load;
mod log_level;
mod man;
mod migrate;
mod open;
mod owner;
mod password;
mod queue;
#[cfg(test)]
mod readme;
mod record;
mod reload;
mod replay;
mod report;
mod restore;
mod serve;
mod service;
mod status;
mod tls;
mod trace;
mod unban;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The configuration that is read unless another is named.
const CONFIG: &str = "config.json";

/// A whole mail server in one program: SMTP, submission, relay, IMAP and an HTTP API over plain files.
#[derive(Debug, Parser)]
#[command(
    name = "rmail",
    version,
    after_help = "Try it: `rmail demo` needs no set-up and no root rights.\n\
                  Run it: `rmail init`, edit config.json, `rmail user add you@example.com --admin`, `rmail serve`."
)]
struct Arguments {
    /// Configuration file.
    #[arg(long, global = true, value_name = "PATH", default_value = CONFIG)]
    config: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server in the foreground until SIGTERM or Ctrl-C; SIGHUP reloads configuration and certificate.
    Serve(serve::Options),
    /// Which servers run on the mail_root, and how they are.
    Status(status::Options),
    /// How much running servers log, target by target; without arguments what holds now.
    LogLevel(log_level::Options),
    /// Write a full default configuration, and its schema for editors.
    Init(init::Options),
    /// Start a server to play with: high ports, a new mail_root, two users, printed commands to try.
    Demo(demo::Options),
    /// Add, list and change users; works on a running server.
    #[command(subcommand)]
    User(user::Command),
    /// Add, list and remove aliases, and tell where mail for an address goes; works on a running server.
    #[command(subcommand)]
    Alias(alias::Command),
    /// What waits to be sent: look at it, try it again, hold it, give it up; works beside running servers.
    #[command(subcommand)]
    Queue(queue::Command),
    /// What became of a message, by its id.
    Trace(trace::Options),
    /// Let go whom limits hold back, or list them; works on a running server.
    Unban(unban::Options),
    /// Move mailboxes of the earliest layout (index.json and msg-UID.eml) into this one.
    Migrate(migrate::Options),
    /// Take mail in from a Maildir, an mbox or a tar archive; works on a running server.
    Import(import::Options),
    /// Write a user's mail as a Maildir, as mbox files or as a tar archive; works on a running server.
    Export(export::Options),
    /// Try everything that the server promises on the live server, and say what is wrong and what to do.
    Diagnose(diagnose::Options),
    /// Look for damage in the store, explain it, and mend it on demand; works on a running server.
    Fsck(fsck::Options),
    /// Copy all mail, users and keys to another directory, or verify such a copy; works on a running server.
    Backup(backup::Options),
    /// Bring mailboxes or a whole account back from a backup; works on a running server.
    Restore(restore::Options),
    /// Look at the certificates.
    #[command(subcommand)]
    Tls(tls::Command),
    /// The certificate from an authority (ACME): how it stands, and ordering it now.
    #[cfg(feature = "acme")]
    #[command(subcommand)]
    Acme(acme::Command),
    /// Make a service of it: writes the unit of systemd for the current directory, and enables it.
    Install(install::Options),
    /// Stop the service, and take its unit away; configuration and mail stay.
    Uninstall(install::RemoveOptions),
    /// Start the service.
    Start,
    /// End the service, or a server that runs without systemd.
    Stop,
    /// Start the program anew without refusing a connection: the new one takes the ports over, then the old one ends.
    Restart,
    /// Have a running server read its configuration again.
    Reload,
    /// What the service has logged.
    Logs(service::LogOptions),
    /// Check the configuration, show what counts, print its schema.
    #[command(subcommand)]
    Config(config::Command),
    /// Tell which DNS records to publish, and how they stand.
    Dns(dns::Options),
    /// Write the completions of a shell.
    Completions(completions::Options),
    /// Write the manual pages.
    Man(man::Options),
    /// Play recorded sessions against the protocol machines of this program, or against a server.
    Replay(replay::Options),
    /// Write sessions of a user or an address as transcripts; from a running server.
    Record(record::Options),
}

/// Why a command did not work, in words for a person: what, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(crate) fn new(text: impl std::fmt::Display) -> Self {
        Self(text.to_string())
    }
}

/// Ends the program because it was called in a way that makes no sense: exit code 2.
pub(crate) fn wrong_usage(text: impl std::fmt::Display) -> ! {
    use clap::CommandFactory as _;
    Arguments::command()
        .error(clap::error::ErrorKind::ValueValidation, text)
        .exit()
}

/// The definition of the command line, for what is made of it.
fn definition() -> clap::Command {
    use clap::CommandFactory as _;
    Arguments::command()
}

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let allowed = owner::work_as(&arguments.command, &arguments.config);
    let result = allowed.and_then(|()| carry_out(arguments));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            anstream::eprintln!("{}rmail:{} {failure}", ERROR.render(), ERROR.render_reset());
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Serve(options) => serve::run(&arguments.config, &options),
        Command::Status(options) => status::run(&arguments.config, &options),
        Command::LogLevel(options) => log_level::run(&arguments.config, &options),
        Command::Init(options) => init::run(&arguments.config, &options),
        Command::Demo(options) => demo::run(&options),
        Command::User(command) => user::run(&arguments.config, command),
        Command::Alias(command) => alias::run(&arguments.config, command),
        Command::Queue(command) => queue::run(&arguments.config, &command),
        Command::Trace(options) => trace::run(&arguments.config, &options),
        Command::Unban(options) => unban::run(&arguments.config, &options),
        Command::Migrate(options) => migrate::run(&arguments.config, &options),
        Command::Import(options) => import::run(&arguments.config, &options),
        Command::Export(options) => export::run(&arguments.config, &options),
        Command::Diagnose(options) => diagnose::run(&arguments.config, &options),
        Command::Fsck(options) => fsck::run(&arguments.config, &options),
        Command::Backup(options) => backup::run(&arguments.config, &options),
        Command::Restore(options) => restore::run(&arguments.config, &options),
        Command::Tls(tls::Command::Show(options)) => tls::show(&arguments.config, &options),
        Command::Install(options) => install::run(&arguments.config, &options),
        Command::Uninstall(options) => install::remove(&options),
        Command::Start => service::start(),
        Command::Stop => service::stop(&arguments.config),
        Command::Restart => service::restart(&arguments.config),
        Command::Reload => service::reload(&arguments.config),
        Command::Logs(options) => service::logs(&options),
        #[cfg(feature = "acme")]
        Command::Acme(command) => acme::run(&arguments.config, &command),
        Command::Dns(options) => dns::run(&arguments.config, &options),
        Command::Completions(options) => completions::run(&options),
        Command::Man(options) => man::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Record(options) => record::run(&arguments.config, &options),
        Command::Config(command) => config::run(&arguments.config, &command),
    }
}

const ERROR: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn config_is_accepted_before_and_after_the_command() {
        for line in [
            ["rmail", "--config", "x.json", "serve"],
            ["rmail", "serve", "--config", "x.json"],
        ] {
            let arguments = Arguments::try_parse_from(line).expect("valid");
            assert_eq!(arguments.config, PathBuf::from("x.json"));
        }
    }
}
