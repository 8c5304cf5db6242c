//! `rmail diagnose`: who is asked, and how the answers are shown.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use rmail_core::config::Config;
use rmail_core::diagnose::{Finding, Phase, Report, Service, Status};

use super::load::{LoadError, Loaded, load};
use super::open::{self, Opened};
use super::{Failure, serve, wrong_usage};
use crate::diagnose::{self, Event, Files, Local, Login, Place, Stop, Subject};
use crate::engine::{Engine, Signal, Signals};
use crate::tls::CertificateSource;

/// As the usual one, but for that a line which cannot be written (a full disk, a terminal that is gone) is lost: what was made
/// for the diagnosis has to be removed still.
macro_rules! println {
    ($($word:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stdout(), $($word)*);
    }};
}

/// Options of `diagnose`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Phases: 1 configuration, 2 users, 3 store, 4 SMTP, 5 delivery, 6 IMAP, 7 API, 8 cleanup (always).\n\
Everything is tried over real connections with a temporary user (diagnose-…), who is removed whatever happens. No mail \
leaves the server.\n\n\
Exit codes: 0 no failures, 1 failures, 2 wrong usage, 3 no failures, but a phase of --phase could not be run.\n\n\
Examples:\n  rmail diagnose\n  rmail diagnose --phase 1,4 --json\n  \
rmail diagnose --host mail.example.com --user you@example.com --password-file ./password")]
pub(super) struct Options {
    /// Only these phases.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=8))]
    phase: Vec<u8>,
    /// Look at the published records too, as `rmail dns --check` does; asks the name servers.
    #[arg(long, conflicts_with = "host")]
    dns: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
    /// Another server, of whatever kind, by its name: what needs its disk or configuration is left out.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// An account there.
    #[arg(long, value_name = "ADDRESS", requires = "host", requires = "password_file")]
    user: Option<String>,
    /// A file that holds its password.
    #[arg(long, value_name = "PATH", requires = "user")]
    password_file: Option<PathBuf>,
    /// Ports there: smtp, submission, smtps, imap, imaps, api, api_secure, each with =PORT; 0: it has none.
    #[arg(long, value_name = "NAME=PORT", value_delimiter = ',', requires = "host", value_parser = port)]
    ports: Vec<(Service, u16)>,
}

/// The exit code for phases that were asked for and could not be run, where nothing failed: "all is well" it is not.
const MISSED: i32 = 3;

fn port(text: &str) -> Result<(Service, u16), String> {
    let (name, port) = text.split_once('=').ok_or("expected NAME=PORT")?;
    let service = Service::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Service::ALL.iter().map(|service| service.name()).collect();
        format!("expected one of {}", names.join(", "))
    })?;
    Ok((
        service,
        port.parse().map_err(|_| "expected a port from 0 to 65535")?,
    ))
}

pub(super) fn run(path: &Path, options: &Options) -> Result<(), Failure> {
    let stop = stop_at_signals()?;
    let mut show = Show::new(options.json);
    let mut tell = |event: Event<'_>| show.event(&event);
    let report = match &options.host {
        Some(host) => diagnose::run(&remote(host, options)?, &stop, &mut tell),
        None => match load(path) {
            Ok(loaded) => of_this_host(path, &loaded, options, &stop, &mut tell)?,
            Err(LoadError::Unreadable(text)) => diagnose::unusable(&text, &mut tell),
            Err(LoadError::Wrong(problems)) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                diagnose::unusable(&lines.join("\n"), &mut tell)
            }
        },
    };
    show.finish(&report);
    match report.is_good() {
        _ if stop.is_set() => Err(Failure("stopped early; what was made for it is removed".into())),
        true if report.missed().next().is_some() => {
            show.missed(&report);
            std::process::exit(MISSED);
        }
        true => Ok(()),
        false => Err(Failure(format!(
            "{} of what was tried failed",
            report.count(Status::Failure)
        ))),
    }
}

/// Ctrl-C and SIGTERM end it early, but not before all is cleaned up.
fn stop_at_signals() -> Result<Stop, Failure> {
    let stop = Stop::default();
    let engine = Engine::new().map_err(Failure::new)?;
    let mut signals = {
        let _here = engine.enter();
        Signals::new(&[Signal::Int, Signal::Term, Signal::Hup]).map_err(Failure::new)?
    };
    let asked = stop.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            engine.block_on(async {
                while signals.next().await.is_ok() {
                    asked.set();
                }
            });
        })
        .map_err(Failure::new)?;
    Ok(stop)
}

fn phases(options: &Options) -> Vec<Phase> {
    options
        .phase
        .iter()
        .filter_map(|number| Phase::from_number(*number))
        .collect()
}

fn remote(host: &str, options: &Options) -> Result<Subject<'static>, Failure> {
    if options.phase.iter().any(|number| matches!(number, 2 | 3)) {
        wrong_usage("phases 2 and 3 need the mail_root of the server, which --host does not have");
    }
    let mut places = BTreeMap::new();
    for service in Service::ALL {
        let given = options.ports.iter().rev().find(|(given, _)| *given == service);
        let port = given.map_or(service.usual_port(), |(_, port)| *port);
        if port != 0 {
            let host = host.to_owned();
            places.insert(service, vec![Place { host, port }]);
        }
    }
    let login = match (&options.user, &options.password_file) {
        (Some(user), Some(path)) => {
            let password = std::fs::read_to_string(path)
                .map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?;
            Some(Login {
                address: user.clone(),
                password: password.trim_end_matches(['\r', '\n']).to_owned(),
            })
        }
        _ => None,
    };
    Ok(Subject {
        name: host.to_owned(),
        places,
        tls: true,
        phases: phases(options),
        login,
        local: None,
    })
}

fn of_this_host(
    path: &Path,
    loaded: &Loaded,
    options: &Options,
    stop: &Stop,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Report, Failure> {
    let config = &loaded.config;
    let mail_root = loaded.path(&config.mail_root);
    let opened = opened(path, &mail_root);
    let files = match &opened {
        Ok(opened) => Ok(Files {
            accounts: opened.accounts(),
            store: opened.store(),
            rounds: opened.rounds(),
        }),
        Err(why) => Err(why.clone()),
    };
    let (self_signed, certificates, keys) = certificates(loaded, &mail_root);
    let records = || {
        let site = super::dns::site(loaded, &[]).map_err(|Failure(text)| text)?;
        let found = super::dns::check(loaded, &site, &config.domains, stop.wait());
        found.ok_or_else(|| "stopped".to_owned())
    };
    let subject = Subject {
        name: config.hostname.clone(),
        places: places(config),
        tls: config.tls.enabled,
        phases: phases(options),
        login: None,
        local: Some(Local {
            config,
            warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
            self_signed,
            certificates,
            keys,
            token_key: serve::token_key(loaded)?,
            hosting: serve::hosting(config)?,
            mail_root,
            files,
            records: options.dns.then_some(&records),
        }),
    };
    Ok(diagnose::run(&subject, stop, tell))
}

/// Whether the server makes its own, and the files of all that it may show: certificates and keys.
fn certificates(loaded: &Loaded, mail_root: &Path) -> (bool, Vec<PathBuf>, Vec<PathBuf>) {
    let (self_signed, [cert, key]) = match serve::certificate(loaded, mail_root) {
        CertificateSource::Files { cert, key } => (false, [cert, key]),
        CertificateSource::SelfSigned { mail_root, .. } => (
            true,
            ["cert.pem", "key.pem"].map(|name| mail_root.join("tls").join(name)),
        ),
        source @ CertificateSource::Acme { .. } => {
            let files = source.files();
            // Until the authority has given one, the self-signed pair serves; key and chain lie in one file then.
            (files.cert != files.key, [files.cert, files.key])
        }
    };
    let (mut certificates, mut keys) = (vec![cert], vec![key]);
    for pair in &loaded.config.tls.certificates {
        certificates.push(loaded.path(&pair.cert_file));
        keys.push(loaded.path(&pair.key_file));
    }
    let ordered = mail_root.join("tls/acme/certificate.pem");
    if ordered.is_file() {
        certificates.push(ordered.clone());
        keys.push(ordered);
    }
    (self_signed, certificates, keys)
}

/// The store, if it is there and ours: a diagnosis makes no mail_root, and no files that the server cannot use.
fn opened(path: &Path, mail_root: &Path) -> Result<Opened, String> {
    if !mail_root.is_dir() {
        return Err(format!(
            "there is no mail_root {}: has the server been started?",
            mail_root.display()
        ));
    }
    super::fsck::must_own(path, "diagnose").map_err(|Failure(text)| text)?;
    open::open(path).map_err(|Failure(text)| text)
}

fn places(config: &Config) -> BTreeMap<Service, Vec<Place>> {
    let all = [
        (Service::Smtp, &config.smtp.host, config.smtp.port),
        (
            Service::Submission,
            &config.smtp.host,
            config.smtp.submission_port,
        ),
        (Service::Smtps, &config.smtp.host, config.smtp.smtps_port),
        (Service::Imap, &config.imap.host, config.imap.port),
        (Service::Imaps, &config.imap.host, config.imap.imaps_port),
        (Service::Api, &config.exchange_api.host, config.exchange_api.port),
        (
            Service::ApiSecure,
            &config.exchange_api.host,
            config.exchange_api.secure_port,
        ),
    ];
    let places = |hosts: &[IpAddr], port: Option<u16>| {
        let port = port?;
        let mut places: Vec<Place> = Vec::new();
        for host in hosts.iter().flat_map(|host| reachable(*host)) {
            let place = Place {
                host: host.to_string(),
                port,
            };
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Some(places)
    };
    let there = |service: Service| config.tls.enabled || !service.is_secure();
    all.into_iter()
        .filter(|(service, _, _)| there(*service))
        .filter_map(|(service, hosts, port)| Some((service, places(hosts, port)?)))
        .collect()
}

/// An address that listens on all is reached by loopback, `::` by that of IPv4 too.
fn reachable(address: IpAddr) -> Vec<IpAddr> {
    let (four, six) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    match address {
        IpAddr::V4(any) if any.is_unspecified() => vec![four],
        IpAddr::V6(any) if any.is_unspecified() => vec![six, four],
        other => vec![other],
    }
}

/// Prints findings as they come.
struct Show {
    json: bool,
    bar: ProgressBar,
}

impl Show {
    fn new(json: bool) -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { json, bar }
    }

    fn event(&mut self, event: &Event<'_>) {
        if let Event::Looking(check) = event {
            self.bar.set_message(format!("{} {}", check.phase, check.id));
        }
        if self.json {
            return;
        }
        let strong = Style::new().bold();
        self.bar.suspend(|| match event {
            Event::Phase(phase) => println!("{}{phase}{}", strong.render(), strong.render_reset()),
            Event::Skipped(phase, why) => {
                println!(
                    "{}{phase}{}\n  skipped: {why}",
                    strong.render(),
                    strong.render_reset()
                );
            }
            Event::Found(finding) => print(finding),
            Event::Looking(_) => {}
        });
    }

    fn finish(&self, report: &Report) {
        self.bar.finish_and_clear();
        if self.json {
            println!("{}", report.json());
            return;
        }
        self.summary(report);
    }

    /// Phases that were asked for, and why they could not be run.
    fn missed(&self, report: &Report) {
        let style = color(Status::Warning);
        for left in report.missed() {
            anstream::eprintln!(
                "{}rmail:{} phase {} was asked for and could not be run: {}",
                style.render(),
                style.render_reset(),
                left.phase,
                left.why
            );
        }
    }

    fn summary(&self, report: &Report) {
        let style = match report.count(Status::Failure) + report.count(Status::Warning) {
            0 => color(Status::Passed),
            _ if report.is_good() => color(Status::Warning),
            _ => color(Status::Failure),
        };
        println!("{}{}{}", style.render(), report.summary(), style.render_reset());
    }
}

fn color(status: Status) -> Style {
    match status {
        Status::Passed => AnsiColor::Green.on_default(),
        Status::Skipped => Style::new().dimmed(),
        Status::Note => AnsiColor::Cyan.on_default(),
        Status::Warning => AnsiColor::Yellow.on_default().bold(),
        Status::Failure => AnsiColor::Red.on_default().bold(),
    }
}

/// A line, and below it what is to know of it.
fn print(finding: &Finding) {
    const WIDTH: usize = 25;
    let style = color(finding.status);
    println!(
        "  {}{:<7}{} {:<WIDTH$} {}",
        style.render(),
        finding.status.name(),
        style.render_reset(),
        finding.check.id,
        finding.check.title
    );
    let below = |name: &str, text: &str| {
        if !text.is_empty() {
            println!("          {name:<8} {text}");
        }
    };
    below("expected", &finding.expected);
    let name = match finding.status {
        Status::Note | Status::Skipped | Status::Passed => "",
        Status::Warning | Status::Failure => "came",
    };
    if name.is_empty() && !finding.came.is_empty() {
        println!("          {}", finding.came);
    } else {
        below(name, &finding.came);
    }
    below("do", finding.advice());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_names() {
        assert_eq!(port("imap=2143"), Ok((Service::Imap, 2143)));
        for bad in ["imap", "pop=1", "imap=x", "imap=70000"] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(reachable(address("0.0.0.0")), [address("127.0.0.1")]);
        assert_eq!(reachable(address("::")), [address("::1"), address("127.0.0.1")]);
        assert_eq!(reachable(address("192.0.2.1")), [address("192.0.2.1")]);
        let text = r#"{"imap": {"host": ["192.0.2.1", "::", "127.0.0.1"]}, "tls": {"enabled": false}}"#;
        let (config, _) = Config::parse(text).expect("a configuration");
        let hosts: Vec<_> = places(&config)[&Service::Imap]
            .iter()
            .map(|place| place.host.clone())
            .collect();
        assert_eq!(hosts, ["192.0.2.1", "::1", "127.0.0.1"], "each once");
    }
}
