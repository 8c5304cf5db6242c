//! `rmail start|stop|restart|reload|logs`: the service of systemd; `stop`, `restart` and `reload` also find a server that
//! runs without it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anstream::println;

use super::Failure;
use super::load::load_or_fail;
use crate::control::{Reply, Request, Running, servers};

const UNIT: &str = "rmail.service";

/// How long a restart may take: the new process reads the whole queue.
const PATIENCE: Duration = Duration::from_secs(150);

/// How long an answer may take that needs no work.
const SOON: Duration = Duration::from_secs(10);

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

/// What systemd knows of the unit.
#[derive(Debug, Default)]
struct Service {
    /// It runs, or is about to.
    is_active: bool,
    /// Its main process.
    main: Option<u32>,
    /// What it is started with: as `systemctl show` has it.
    command: String,
}

impl Service {
    /// `None`: there is no systemd, or no such unit.
    fn look() -> Option<Self> {
        if !has_systemd() {
            return None;
        }
        let mut command = Command::new("systemctl");
        command.args(["show", "--property=LoadState,ActiveState,MainPID,ExecStart", UNIT]);
        let shown = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        Self::read(&String::from_utf8_lossy(&shown.stdout))
    }

    fn read(text: &str) -> Option<Self> {
        let mut service = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "LoadState" if value == "not-found" => return None,
                "ActiveState" => service.is_active = !matches!(value, "inactive" | "failed"),
                "MainPID" => service.main = value.parse().ok().filter(|process| *process != 0),
                "ExecStart" => service.command = value.to_owned(),
                _ => {}
            }
        }
        Some(service)
    }

    /// The configuration that it is started with, as `rmail install` and the packages write the unit.
    fn config(&self) -> Option<&Path> {
        let (_, rest) = self.command.split_once(" --config ")?;
        let (path, _) = rest.split_once(" serve ")?;
        Some(Path::new(path))
    }

    /// Whether it is started with this configuration.
    fn runs(&self, config: &Path) -> bool {
        let same = |own: &Path| match (own.canonicalize(), config.canonicalize()) {
            (Ok(own), Ok(config)) => own == config,
            _ => std::path::absolute(config).is_ok_and(|config| own == config),
        };
        self.config().is_some_and(same)
    }

    fn has(&self, server: &Running) -> bool {
        self.main.is_some_and(|main| server.is_process(main))
    }
}

/// Whom a command is for.
enum Whom {
    /// The unit, which runs with this configuration, and servers on its mail_root beside it.
    Service(PathBuf, Vec<Running>),
    /// Servers that run without systemd.
    Servers(Vec<Running>),
}

/// Who answers on the mail_root comes first: the unit may be that of another one.
fn whom(config: &Path) -> Result<Whom, Failure> {
    let service = Service::look();
    // No configuration is named, and none is here: as with `rmail start`, the service is meant.
    if let Some(service) = &service
        && config == Path::new(super::CONFIG)
        && !config.exists()
    {
        let own = service.config().unwrap_or(config);
        return Ok(Whom::Service(own.to_path_buf(), Vec::new()));
    }
    let running = alive(config)?;
    let Some(service) = service else {
        return match running.is_empty() {
            true => Err(nobody()),
            false => Ok(Whom::Servers(running)),
        };
    };
    let (own, others): (Vec<Running>, Vec<Running>) =
        running.into_iter().partition(|server| service.has(server));
    let nobody_answers = own.is_empty() && others.is_empty();
    if !own.is_empty() || (nobody_answers && service.runs(config)) {
        return Ok(Whom::Service(config.to_path_buf(), others));
    }
    match service.config().filter(|_| service.is_active) {
        _ if !nobody_answers => Ok(Whom::Servers(others)),
        Some(other) => Err(Failure(format!(
            "no server answers on this mail_root; {UNIT} runs with {}, which `--config` has to name if that is meant",
            other.display()
        ))),
        None => Err(nobody()),
    }
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
    tell(config, "stop", &Request::Stop, "was told to end")
}

/// `rmail reload`
pub(super) fn reload(config: &Path) -> Result<(), Failure> {
    let told = "was told to read its configuration; its log says what came of it";
    tell(config, "reload", &Request::Reload, told)
}

/// The unit is told by systemd, others by themselves.
fn tell(config: &Path, verb: &str, request: &Request, told: &str) -> Result<(), Failure> {
    let servers = match whom(config)? {
        Whom::Servers(servers) => servers,
        Whom::Service(_, others) => {
            systemctl(&[verb, UNIT])?;
            others
        }
    };
    let mut failed = Vec::new();
    for server in servers {
        let reply = server
            .ask(request, SOON)
            .and_then(|mut replies| replies.next().transpose());
        match reply {
            Ok(Some(Reply::Told)) => println!("process {} {told}", server.id()),
            Ok(Some(Reply::Failed { why })) => failed.push(format!("process {}: {why}", server.id())),
            Ok(_) => failed.push(format!("process {} did not answer", server.id())),
            Err(error) => failed.push(format!("process {}: {error}", server.id())),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure(failed.join("\n"))),
    }
}

/// `rmail restart`: by the running server itself, which starts the next before it ends. Where the service does not run it is
/// started.
pub(super) fn restart(config: &Path) -> Result<(), Failure> {
    let running = match whom(config)? {
        Whom::Servers(servers) => servers,
        Whom::Service(config, _) => {
            // Its server is restarted without systemd, if it answers, and refuses nobody.
            let running = alive(&config)?;
            if running.is_empty() {
                return systemctl(&["restart", UNIT]);
            }
            running
        }
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_shows_is_understood() {
        let text = "LoadState=loaded\nActiveState=active\nMainPID=1207\nExecStart={ path=/usr/bin/rmail ; \
            argv[]=/usr/bin/rmail --config /srv/my mail/config.json serve ; ignore_errors=no ; pid=1207 }\n";
        let service = Service::read(text).expect("a unit");
        assert!(service.is_active);
        assert_eq!(service.main, Some(1_207));
        assert_eq!(service.config(), Some(Path::new("/srv/my mail/config.json")));
        assert!(service.runs(Path::new("/srv/my mail/config.json")));
        assert!(!service.runs(Path::new("/srv/config.json")));

        let text = "LoadState=loaded\nActiveState=failed\nMainPID=0\nExecStart=\n";
        let service = Service::read(text).expect("a unit");
        assert!(!service.is_active && service.main.is_none() && service.config().is_none());
        assert!(Service::read("LoadState=not-found\nActiveState=inactive\n").is_none());
    }
}
