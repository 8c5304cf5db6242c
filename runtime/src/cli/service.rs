//! `rmail start|stop|restart|reload|logs`: the service of systemd; `stop`, `restart` and `reload` also find a server that
//! runs without it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anstream::println;

use super::Failure;
use super::load::load_or_fail;
use crate::control::{Reply, Request, Running, servers};

const UNIT: &str = "rmail.service";

/// How long a restart may take: the new process reads the whole queue.
const PATIENCE: Duration = Duration::from_secs(150);

/// Options of `logs`.
#[derive(Debug, clap::Args)]
pub(super) struct LogOptions {
    /// Goes on with what is logged from now on.
    #[arg(short, long)]
    follow: bool,
    /// How many lines.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    lines: u32,
}

/// Whether systemd runs this host.
pub(super) fn has_systemd() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// Runs systemctl, which says itself what is wrong.
pub(super) fn systemctl(arguments: &[&str]) -> Result<(), Failure> {
    let words = || format!("systemctl {}", arguments.join(" "));
    let status = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!(
            "{}: {status}; `rmail logs` may say why",
            words()
        ))),
        Err(error) => Err(Failure(format!("{}: {error}", words()))),
    }
}

fn no_systemd(instead: &str) -> Failure {
    Failure(format!("systemd does not run on this host; {instead}"))
}

fn is_active() -> bool {
    let asked = || {
        Command::new("systemctl")
            .args(["is-active", "--quiet", UNIT])
            .status()
    };
    has_systemd() && asked().is_ok_and(|status| status.success())
}

/// `rmail start`
pub(super) fn start() -> Result<(), Failure> {
    if !has_systemd() {
        return Err(no_systemd("`rmail serve` runs the server in the foreground"));
    }
    systemctl(&["start", UNIT])
}

/// `rmail stop`
pub(super) fn stop(config: &Path) -> Result<(), Failure> {
    if is_active() {
        return systemctl(&["stop", UNIT]);
    }
    signal_all(config, rustix::process::Signal::TERM, "told to end")
}

/// `rmail reload`
pub(super) fn reload(config: &Path) -> Result<(), Failure> {
    if is_active() {
        return systemctl(&["reload", UNIT]);
    }
    signal_all(
        config,
        rustix::process::Signal::HUP,
        "told to read its configuration",
    )
}

/// `rmail restart`: by the running server itself, which starts the next before it ends. Where the service does not run it is
/// started.
pub(super) fn restart(config: &Path) -> Result<(), Failure> {
    let running = alive(config)?;
    if running.is_empty() {
        return match has_systemd() {
            true => systemctl(&["restart", UNIT]),
            false => Err(nobody()),
        };
    }
    let mut failed = Vec::new();
    for server in running {
        let replies = server.ask(&Request::Restart, PATIENCE);
        match replies.map_err(Failure::new)?.next() {
            Some(Ok(Reply::Restarted { pid })) => {
                println!(
                    "process {} handed over to process {pid}, and ends when its sessions have",
                    server.id()
                );
            }
            Some(Ok(Reply::Failed { why })) => failed.push(format!("process {} goes on: {why}", server.id())),
            // It was ending already: another is the server.
            None if alive(config)?.iter().any(|other| other.id() != server.id()) => {}
            Some(Ok(_)) | None => failed.push(format!("process {} did not answer", server.id())),
            Some(Err(error)) => failed.push(format!("process {}: {error}", server.id())),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure(failed.join("\n"))),
    }
}

/// `rmail logs`
pub(super) fn logs(options: &LogOptions) -> Result<(), Failure> {
    if !has_systemd() {
        return Err(no_systemd(
            "the log is on the standard error of `rmail serve`, or where that was led to",
        ));
    }
    let mut command = Command::new("journalctl");
    command.args(["--unit", UNIT, "--lines", &options.lines.to_string()]);
    if options.follow {
        command.arg("--follow");
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        // Ctrl-C ends a journal that is followed.
        Ok(status) if options.follow && status.code().is_none() => Ok(()),
        Ok(status) => Err(Failure(format!("journalctl: {status}"))),
        Err(error) => Err(Failure(format!("journalctl: {error}"))),
    }
}

fn nobody() -> Failure {
    Failure("no server answers on this mail_root; `rmail serve` starts one".to_owned())
}

/// Servers on the configuration's mail_root that answer and do not end.
fn alive(config: &Path) -> Result<Vec<Running>, Failure> {
    const SOON: Duration = Duration::from_secs(10);
    let loaded = load_or_fail(config)?;
    let root = loaded.path(&loaded.config.mail_root);
    let found = servers(&root).map_err(|error| {
        Failure(format!(
            "cannot ask the servers in {}: {error}; only the user that the server runs as, and root, may",
            root.join("control").display()
        ))
    })?;
    let serves = |server: &Running| {
        let status = server
            .ask(&Request::Status, SOON)
            .ok()
            .and_then(|mut replies| replies.next());
        matches!(status, Some(Ok(Reply::Status(status))) if !status.ending)
    };
    Ok(found.into_iter().filter(serves).collect())
}

fn signal_all(config: &Path, signal: rustix::process::Signal, told: &str) -> Result<(), Failure> {
    let running = alive(config)?;
    if running.is_empty() {
        return Err(nobody());
    }
    for server in running {
        // Where several have the same number, in as many containers, that of the others is not ours.
        let pid = server.id().parse().ok().and_then(rustix::process::Pid::from_raw);
        let Some(pid) = pid else { continue };
        rustix::process::kill_process(pid, signal)
            .map_err(|error| Failure(format!("process {}: {error}", server.id())))?;
        println!("process {} was {told}", server.id());
    }
    Ok(())
}
