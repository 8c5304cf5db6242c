//! The unit of systemd, as text.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

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
    /// Seconds that sessions get at the end.
    pub(crate) grace: u64,
}

/// Behind the grace time, until systemd kills what is left: the last jobs have their own bound.
const END: u64 = 30;

/// What systemd makes at each start.
const RUNTIME_DIRECTORY: &str = "/run/rmail";

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
    /// Whether a place that it writes to is there at each start without anybody having made it.
    pub(crate) fn is_made_by_systemd(path: &Path) -> bool {
        path == Path::new(RUNTIME_DIRECTORY)
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
        let (runtime, writable): (Vec<&PathBuf>, Vec<&PathBuf>) = self
            .writable
            .iter()
            .partition(|path| Self::is_made_by_systemd(path));
        if !runtime.is_empty() {
            line("RuntimeDirectory=rmail".to_owned());
        }
        let writable: Vec<String> = writable.into_iter().map(|path| quoted(path)).collect();
        if !writable.is_empty() {
            line(format!("ReadWritePaths={}", writable.join(" ")));
        }
        text.push_str(HARDENING);
        let written = write!(text, "\n[Install]\nWantedBy=multi-user.target\n");
        debug_assert!(written.is_ok(), "writing to a String never fails");
        text
    }
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
        unit.writable = vec!["/run/rmail".into(), "/srv/mail".into()];
        let text = unit.text();
        assert!(
            has(&text, "RuntimeDirectory=rmail") && has(&text, "ReadWritePaths=/srv/mail"),
            "{text}"
        );
    }

    #[test]
    fn odd_paths_are_one_word() {
        assert_eq!(quoted(Path::new("/a/b-c_1.2")), "/a/b-c_1.2");
        assert_eq!(quoted(Path::new("/a b")), "\"/a b\"");
        assert_eq!(quoted(Path::new("/a\"b\\$c")), "\"/a\\\"b\\\\$$c\"");
    }
}
