//! `rmail dns`: which records to publish, and how they stand.

use std::future::{Future, pending};
use std::net::IpAddr;
use std::path::Path;

use anstream::{print, println};
use anstyle::{AnsiColor, Style};
use rmail_core::addr::Domain;
use rmail_core::dns_records::{Advice, Certainty, Finding, Site, State, plan, zone};
use serde_json::{Value, json};

use super::load::{Loaded, load_or_fail};
use super::queue::Escaped;
use super::{Failure, serve};
use crate::{dns, dns_check};

/// Options of `dns`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The records are made of the configuration; with --check they are held against what the name servers say (relay.dns_servers, \
else those of this host). Each finding is good, a note, a warning, a failure, or unknown where no name server answered, and \
says how sure it is: validated by DNSSEC, seen, or guessed.\n\n\
Exit codes: 0 done, 1 --check found a failure or got no answer, 2 wrong usage.\n\n\
Examples:\n  rmail dns\n  rmail dns example.com --check --address 192.0.2.25\n  rmail dns --zone > records.zone\n  \
rmail dns --check --json")]
pub(super) struct Options {
    /// One of the configured domains; all of them without it.
    domain: Option<String>,
    /// Look at what is published now.
    #[arg(long)]
    check: bool,
    /// A public address of this server, where this host cannot know it; may be given several times.
    #[arg(long, value_name = "IP")]
    address: Vec<IpAddr>,
    /// Text to paste into zone files.
    #[arg(long, conflicts_with_all = ["check", "json"])]
    zone: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let loaded = load_or_fail(config)?;
    let domains = domains(&loaded, options.domain.as_deref())?;
    let site = site(&loaded, &options.address)?;
    if options.check {
        // Ctrl-C ends the program.
        let found = check(&loaded, &site, &domains, pending()).unwrap_or_default();
        return show_check(&site, &found, options.json);
    }
    let advice = plan(&site, &domains);
    if options.zone {
        print!("{}", zone(&advice));
    } else if options.json {
        let list: Vec<Value> = advice.iter().map(advice_json).collect();
        println!(
            "{}",
            json!({ "host": site.hostname.as_str(), "addresses": site.addresses.list, "advice": list })
        );
    } else {
        show_plan(&advice);
    }
    Ok(())
}

/// The server as the configuration has it, with the certificate that it uses.
pub(super) fn site(loaded: &Loaded, addresses: &[IpAddr]) -> Result<Site, Failure> {
    let config = &loaded.config;
    let addresses = dns_check::addresses(config, addresses);
    let root = loaded.path(&config.mail_root);
    let certificate = config
        .tls
        .enabled
        .then(|| dns_check::certificate(&serve::certificate(loaded, &root).files().cert));
    Site::from_config(config, addresses, certificate.flatten())
        .ok_or_else(|| Failure(format!("hostname: {} is no name for the DNS", config.hostname)))
}

/// How the records of these domains stand. `None`: `stop` was ready before that was known.
pub(super) fn check(
    loaded: &Loaded,
    site: &Site,
    domains: &[Domain],
    stop: impl Future<Output = ()>,
) -> Option<Vec<Finding>> {
    let relay = &loaded.config.relay;
    let servers = dns::servers(&relay.dns_servers, relay.dns_trusted);
    dns_check::run(servers, site, domains, stop)
}

fn domains(loaded: &Loaded, wanted: Option<&str>) -> Result<Vec<Domain>, Failure> {
    let Some(wanted) = wanted else {
        return Ok(loaded.config.domains.clone());
    };
    let domain = Domain::parse(wanted.strip_suffix('.').unwrap_or(wanted));
    match domain.filter(|domain| loaded.config.domains.contains(domain)) {
        Some(domain) => Ok(vec![domain]),
        None => Err(Failure(format!(
            "{wanted:?} is none of the configured domains; add it to `domains` first"
        ))),
    }
}

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();

fn show_plan(advice: &[Advice]) {
    let mut subject = None;
    for one in advice {
        head(&mut subject, one);
        println!("  {} ({})", one.topic.title(), one.need.word());
        for record in &one.records {
            println!("    {record}");
        }
        println!("    {FAINT}{}{FAINT:#}", one.text);
    }
    println!(
        "\n`rmail dns --check` looks at what is published now, `rmail dns --zone` writes it for zone files."
    );
}

fn head<'a>(subject: &mut Option<&'a rmail_core::dns::Name>, advice: &'a Advice) {
    if *subject != Some(&advice.subject) {
        let gap = if subject.is_some() { "\n" } else { "" };
        println!("{gap}{BOLD}{}{BOLD:#}", advice.subject);
        *subject = Some(&advice.subject);
    }
}

fn show_check(site: &Site, findings: &[Finding], for_programs: bool) -> Result<(), Failure> {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let [failures, warnings, unknown] = [State::Failure, State::Warning, State::Unknown].map(count);
    if for_programs {
        let list: Vec<Value> = findings.iter().map(finding_json).collect();
        println!(
            "{}",
            json!({
                "host": site.hostname.as_str(), "addresses": site.addresses.list, "failures": failures, "warnings": warnings, "unknown": unknown,
                "findings": list,
            })
        );
    } else {
        let mut subject = None;
        for finding in findings {
            head(&mut subject, &finding.advice);
            show(finding);
        }
        println!("\n{failures} failure(s), {warnings} warning(s), {unknown} unknown");
    }
    match (failures, unknown) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure(format!(
            "the name servers did not say how {unknown} thing(s) stand; try again, or set relay.dns_servers"
        ))),
        _ => Err(Failure(format!(
            "{failures} thing(s) in the DNS keep mail away or get it refused; what to publish is said above"
        ))),
    }
}

fn show(finding: &Finding) {
    let color = match finding.state {
        State::Good => AnsiColor::Green,
        State::Note => AnsiColor::Cyan,
        State::Warning | State::Unknown => AnsiColor::Yellow,
        State::Failure => AnsiColor::Red,
    };
    let style = Style::new().fg_color(Some(color.into()));
    let sure = match finding.certainty {
        Certainty::Validated => " (validated by DNSSEC)",
        Certainty::Guessed => " (a guess)",
        Certainty::Seen | Certainty::None => "",
    };
    println!(
        "  {style}{:<8}{style:#} {}{FAINT}{sure}{FAINT:#}",
        finding.state.word(),
        finding.advice.topic.title()
    );
    if !finding.text.is_empty() {
        println!("             {}", Escaped(&finding.text));
    }
    for seen in &finding.seen {
        println!("    now      {}", Escaped(seen));
    }
    if finding.state != State::Good {
        for record in &finding.advice.records {
            println!("    publish  {record}");
        }
    }
}

fn advice_json(advice: &Advice) -> Value {
    let records: Vec<Value> = advice
        .records
        .iter()
        .map(|record| {
            json!({
                "name": format!("{}.", record.name.as_str()), "type": record.value.kind(), "data": record.value.data(),
            })
        })
        .collect();
    json!({
        "id": advice.topic.id(), "subject": advice.subject.as_str(), "need": advice.need.word(),
        "records": records, "why": advice.text,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let mut value = advice_json(&finding.advice);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("state".to_owned(), finding.state.word().into());
        fields.insert("seen".to_owned(), finding.seen.clone().into());
        fields.insert("text".to_owned(), finding.text.clone().into());
        fields.insert("certainty".to_owned(), finding.certainty.word().into());
    }
    value
}
