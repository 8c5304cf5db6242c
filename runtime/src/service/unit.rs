//! The unit of systemd, as text.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

/// What a unit has to know.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// The program.
    pub(crate) program: PathBuf,
    /// The configuration, as an absolute path.
    pub(crate) config: PathBuf,
    /// Where it is started.
    pub(crate) directory: PathBuf,
    /// As whom; none: as root, with as few rights as it needs.
    pub(crate) user: Option<String>,
    /// With which group; none: the user's.
    pub(crate) group: Option<String>,
    /// What it writes to.
    pub(crate) writable: Vec<PathBuf>,
    /// Directories below `/run` that systemd makes at each start, for this user, and takes away at the end.
    pub(crate) runtime: Vec<PathBuf>,
    /// Seconds that sessions get at the end.
    pub(crate) grace: u64,
}

/// Behind the grace time, until systemd kills what is left: the last jobs have their own bound.
const END: u64 = 30;

/// Where [`Unit::runtime`] is, by its two names.
const RUN: [&str; 2] = ["/run", "/var/run"];

/// How long the server may be silent.
const WATCHDOG: u64 = 60;

/// What a server does not need is not there for it; each line is explained in systemd.exec(5).
const HARDENING: &str = "\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

impl Unit {
    /// Whether systemd can make a directory at each start: one below `/run`.
    pub(crate) fn is_volatile(path: &Path) -> bool {
        below_run(path).is_some()
    }

    /// The whole file.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(
            "# Written by `rmail install`; `rmail uninstall` takes it away. Changes of yours belong into\n\
             # `systemctl edit rmail`.\n\
             [Unit]\n\
             Description=rmail, a whole mail server\n\
             Wants=network-online.target\n\
             After=network-online.target nss-lookup.target time-sync.target\n\
             StartLimitIntervalSec=0\n\n\
             [Service]\n\
             Type=notify\n\
             NotifyAccess=main\n",
        );
        let program = quoted(&self.program);
        let mut line = |text_of_line: String| {
            text.push_str(&text_of_line);
            text.push('\n');
        };
        line(format!(
            "ExecStart={program} --config {} serve",
            quoted(&self.config)
        ));
        line("ExecReload=/bin/kill -HUP $MAINPID".to_owned());
        line(format!("WorkingDirectory={}", unquoted(&self.directory)));
        if let Some(user) = &self.user {
            line(format!("User={user}"));
        }
        if let Some(group) = &self.group {
            line(format!("Group={group}"));
        }
        line("UMask=0077".to_owned());
        line("Restart=on-failure\nRestartSec=5".to_owned());
        line(format!("WatchdogSec={WATCHDOG}"));
        // A long queue is read before the server is ready.
        line("TimeoutStartSec=300".to_owned());
        line(format!("TimeoutStopSec={}", self.grace + END));
        // The first signal is for the server; what it has started ends with it.
        line("KillMode=mixed".to_owned());
        line("LimitNOFILE=65536".to_owned());
        let rights = match self.user {
            Some(_) => "CAP_NET_BIND_SERVICE",
            None => "CAP_NET_BIND_SERVICE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETGID CAP_SETUID",
        };
        if self.user.is_some() {
            line(format!("AmbientCapabilities={rights}"));
        }
        line(format!("CapabilityBoundingSet={rights}"));
        let runtime = self.runtime.iter().filter_map(|path| below_run(path));
        let runtime: Vec<String> = runtime.map(quoted).collect();
        if !runtime.is_empty() {
            line(format!("RuntimeDirectory={}", runtime.join(" ")));
        }
        let writable: Vec<String> = self.writable.iter().map(|path| quoted(path)).collect();
        if !writable.is_empty() {
            line(format!("ReadWritePaths={}", writable.join(" ")));
        }
        text.push_str(HARDENING);
        let written = write!(text, "\n[Install]\nWantedBy=multi-user.target\n");
        debug_assert!(written.is_ok(), "writing to a String never fails");
        text
    }
}

/// What a path is called below `/run`; none if it is not there, or is that itself.
fn below_run(path: &Path) -> Option<&Path> {
    let name = RUN.iter().find_map(|run| path.strip_prefix(run).ok())?;
    let plain = |part| matches!(part, Component::Normal(_));
    (!name.as_os_str().is_empty() && name.components().all(plain)).then_some(name)
}

/// A path as one word of a command line or a list.
fn quoted(path: &Path) -> String {
    let text = unquoted(path).replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%$".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// A path that takes the whole line.
fn unquoted(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(user: Option<&str>) -> Unit {
        Unit {
            program: "/usr/local/bin/rmail".into(),
            config: "/srv/my mail/100%/config.json".into(),
            directory: "/srv/my mail/100%".into(),
            user: user.map(str::to_owned),
            group: None,
            writable: vec!["/srv/my mail/100%/mailstore".into()],
            runtime: Vec::new(),
            grace: 30,
        }
    }

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|found| found == line)
    }

    #[test]
    fn what_a_manager_has_to_know_is_there() {
        let text = unit(Some("rmail")).text();
        for line in [
            "Type=notify",
            "ExecStart=/usr/local/bin/rmail --config \"/srv/my mail/100%%/config.json\" serve",
            "WorkingDirectory=/srv/my mail/100%%",
            "ReadWritePaths=\"/srv/my mail/100%%/mailstore\"",
            "User=rmail",
            "UMask=0077",
            "Restart=on-failure",
            "RestartSec=5",
            "WatchdogSec=60",
            "TimeoutStopSec=60",
            "ProtectSystem=strict",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE",
            "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
            "WantedBy=multi-user.target",
        ] {
            assert!(has(&text, line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn root_has_what_it_needs_to_become_somebody_else() {
        let text = unit(None).text();
        assert!(
            !text.contains("User=") && !text.contains("AmbientCapabilities="),
            "{text}"
        );
        assert!(text.contains("CAP_SETUID"), "{text}");
    }

    #[test]
    fn a_directory_that_systemd_makes_is_none_that_has_to_be_there() {
        let mut unit = unit(None);
        unit.writable = vec!["/srv/mail".into()];
        unit.runtime = vec!["/run/rmail".into(), "/var/run/mail/lmtp".into()];
        let text = unit.text();
        assert!(
            has(&text, "RuntimeDirectory=rmail mail/lmtp") && has(&text, "ReadWritePaths=/srv/mail"),
            "{text}"
        );
        for path in ["/run", "/run/../etc", "/srv/run/rmail", "/runner"] {
            assert!(!Unit::is_volatile(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn odd_paths_are_one_word() {
        assert_eq!(quoted(Path::new("/a/b-c_1.2")), "/a/b-c_1.2");
        assert_eq!(quoted(Path::new("/a b")), "\"/a b\"");
        assert_eq!(quoted(Path::new("/a\"b\\$c")), "\"/a\\\"b\\\\$$c\"");
    }
}
