//! Phase 1: what can be seen before anybody logs in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use futures_lite::FutureExt as _;
use futures_lite::future::block_on;
use rmail_core::addr::ForwardPath;
use rmail_core::diagnose::Id;
use rmail_core::diagnose::answers::is_reserved;
use rmail_core::directory::alias::Leaf;
use rmail_core::dns::{DnsError, Kind, Name, Question};
use rmail_core::dns_records::{Finding as Record, State};
use rmail_core::relay::view::Found;
use rmail_store::mailstore::MailStore as _;
use rmail_store::queue_view;

use super::wire::{Place, Stop, Wire};
use super::{Checked, Files, Local, Records, Run, Trouble, certificates, cleanup, disk, ensure, ports};
use crate::clock::{self, Clock};
use crate::dns::{Dns, servers};

/// What a name server may take.
const DNS_PATIENCE: Duration = Duration::from_secs(8);
/// A name that the whole world knows to exist, and to take no mail.
const KNOWN: &str = "example.com";
/// Seconds after which a message waits long.
const LONG: u64 = 24 * 3_600;
/// The value of `hostname` that nobody has changed.
const PLACEHOLDER: &str = "mail.example.com";

pub(super) fn run(run: &mut Run<'_>) {
    if let Some(local) = run.local() {
        configuration(run, local);
        disk::run(run, local);
        if let Ok(files) = &local.files {
            people(run, local, *files);
        }
        cleanup::leftovers(run);
    }
    let seen = ports::run(run);
    certificates::run(run, &seen);
    if let Some(local) = run.local() {
        relaying(run, local);
    }
}

fn configuration(run: &mut Run<'_>, local: &Local<'_>) {
    let config = local.config;
    run.check(Id::ConfigLoads, |_| Ok(()));
    run.check(Id::ConfigWarnings, |_| {
        ensure(
            local.warnings.is_empty(),
            "no doubtful values",
            local.warnings.join("\n"),
        )
    });
    run.check(Id::ConfigHostname, |_| {
        let name = &config.hostname;
        if name.parse::<IpAddr>().is_err() && name.contains('.') && name != PLACEHOLDER {
            return Ok(());
        }
        Err(Trouble::broken(
            "a fully qualified name of your own",
            format!("hostname is {name:?}"),
        ))
    });
    run.check(Id::ConfigTrust, |_| {
        // Each of these is far from any other: a network that has both has most of the world.
        let strangers: [IpAddr; 4] = [
            [8, 8, 8, 8].into(),
            [203, 0, 113, 1].into(),
            [0x2001, 0x4860, 0, 0, 0, 0, 0, 1].into(),
            [0x2a00, 0, 0, 0, 0, 0, 0, 1].into(),
        ];
        let wide = |networks: &[rmail_core::config::Network]| {
            networks.iter().any(|network| {
                strangers
                    .iter()
                    .filter(|stranger| network.contains(**stranger))
                    .count()
                    > 1
            })
        };
        ensure(
            !wide(&config.limits.trusted_networks),
            "networks of your own",
            "limits.trusted_networks has most of the Internet",
        )?;
        ensure(
            !wide(&config.auth.cleartext_networks),
            "networks of your own",
            "auth.cleartext_networks has most of the Internet",
        )
    });
}

/// Users and aliases as they are on disk.
fn people(run: &mut Run<'_>, local: &Local<'_>, files: Files<'_>) {
    run.check(Id::ConfigPostmaster, |_| postmaster(local, files));
    let (mut broken, mut full) = (Vec::new(), Vec::new());
    for domain in &local.hosting.domains {
        let accounts = match block_on(files.accounts.list(domain)) {
            Ok(accounts) => accounts,
            Err(error) => {
                broken.push(format!("{domain}: {error}"));
                continue;
            }
        };
        for account in accounts {
            match block_on(files.accounts.find(&account)) {
                Err(error) => broken.push(format!("{account}: {error}")),
                Ok(Some(user)) if user.quota_mb > 0 => {
                    let limit = user.quota_mb.saturating_mul(1 << 20);
                    let used = block_on(files.store.usage(&account)).map_or(0, |usage| usage.octets);
                    if used >= limit / 100 * 98 {
                        full.push(format!("{account} has {} of {} MiB", used >> 20, user.quota_mb));
                    }
                }
                Ok(_) => {}
            }
        }
    }
    run.check(Id::UsersBroken, |_| {
        ensure(broken.is_empty(), "JSON that is a user", broken.join("\n"))
    });
    run.check(Id::UsersQuota, |_| {
        ensure(full.is_empty(), "room in every mailbox", full.join("\n"))
    });
    run.check(Id::AliasesBroken, |_| {
        let mut wrong = Vec::new();
        for domain in &local.hosting.domains {
            match block_on(files.accounts.aliases(domain)) {
                Ok(Some(file)) => wrong.extend(
                    file.complaints()
                        .into_iter()
                        .map(|text| format!("{domain}: {text}")),
                ),
                Ok(None) => {}
                Err(error) => wrong.push(error.to_string()),
            }
        }
        ensure(
            wrong.is_empty(),
            "JSON that is a file of aliases",
            wrong.join("\n"),
        )
    });
}

fn postmaster(local: &Local<'_>, files: Files<'_>) -> Checked<()> {
    if let Some(address) = &local.hosting.postmaster {
        if local.config.relay.enabled && !local.hosting.hosts(&address.domain) {
            return Ok(());
        }
        let expanded = block_on(
            files
                .accounts
                .expand(&local.hosting, &ForwardPath::Address(address.clone())),
        )?;
        let leaves = expanded.leaves().unwrap_or_default();
        if leaves.iter().any(|leaf| matches!(leaf, Leaf::Account(_))) {
            return Ok(());
        }
    }
    let admin = block_on(files.accounts.first_admin(&local.hosting.domains))?;
    ensure(
        admin.is_some(),
        "an enabled administrator",
        "there is none: such mail has to wait",
    )
}

fn relaying(run: &mut Run<'_>, local: &Local<'_>) {
    let config = local.config;
    run.check(Id::RelayEnabled, |_| {
        ensure(
            config.relay.enabled,
            "relay.enabled true",
            "it is false: users can write to the domains of this server only",
        )
    });
    if !config.relay.smarthost.is_empty() {
        run.check(Id::RelaySmarthost, |run| smarthost(run, local));
    }
    run.check(Id::RelayQueue, |run| queue(run, local));
    run.check(Id::DnsResolver, |run| resolver(local, &run.stop));
    if let Some(find) = local.records {
        records(run, find);
    }
}

/// One line for each thing that is not as it should be; one for all of them, if there is none.
fn records(run: &mut Run<'_>, find: &Records<'_>) {
    let mut wrong = Vec::new();
    match find() {
        Ok(found) => wrong.extend(found.iter().filter_map(not_published)),
        Err(why) => wrong.push(Trouble::broken("records to compare with", why)),
    }
    if wrong.is_empty() {
        run.check(Id::DnsRecords, |_| Ok(()));
    }
    for trouble in wrong {
        run.check(Id::DnsRecords, |_| Err::<(), _>(trouble));
    }
}

fn not_published(found: &Record) -> Option<Trouble> {
    let what = format!("{} of {}", found.advice.topic.title(), found.advice.subject);
    let came = format!("{what}: {}", found.text);
    match found.state {
        State::Good | State::Note => None,
        State::Unknown => Some(Trouble::skipped(came)),
        State::Warning | State::Failure => {
            let wanted: Vec<String> = found.advice.records.iter().map(ToString::to_string).collect();
            Some(Trouble::broken(format!("{what}: {}", wanted.join(", ")), came))
        }
    }
}

fn smarthost(run: &Run<'_>, local: &Local<'_>) -> Checked<()> {
    let place = Place {
        host: local.config.relay.smarthost.trim_matches(['[', ']']).to_owned(),
        port: local.config.relay.smarthost_port,
    };
    let mut wire = Wire::connect(&place, &run.stop)?;
    if local.config.relay.smarthost_tls == Some(rmail_core::config::TlsPolicyName::Implicit) {
        wire.encrypt(&run.tls, &place.host)?;
    }
    let greeting = wire.line()?;
    ensure(greeting.starts_with("220"), format!("220 from {place}"), greeting)
}

/// Ids alone are counted; of few entries the age is looked at, too.
fn queue(run: &Run<'_>, local: &Local<'_>) -> Checked<()> {
    const FEW: usize = 2_000;
    let Some(files) = run.files() else {
        return Err(Trouble::skipped("mail_root could not be opened"));
    };
    let homes = block_on(files.store.outbound_homes())?;
    let count: usize = homes.iter().map(|home| home.ids.len()).sum();
    let max = local.config.delivery.max_queue_size;
    ensure(
        count < max / 10 * 8 + 1,
        format!("room in the queue of {max}"),
        format!("{count} messages wait"),
    )?;
    if count > FEW {
        return Ok(());
    }
    let queues = block_on(queue_view::snapshot(
        files.store,
        &**files.accounts.disk(),
        |_| true,
    ))?;
    ensure(
        queues.broken.is_empty(),
        "entries that can be read",
        format!("{} cannot be", queues.broken.len()),
    )?;
    let late = clock::unix().secs().saturating_sub(LONG);
    let waits =
        |entry: &&Found| entry.entry.arrived < late && !entry.entry.held && entry.entry.hold_until == 0;
    let old = queues.found.iter().filter(waits).count();
    ensure(
        old == 0,
        "nothing that waits for more than a day",
        format!("{old} of {count} messages do"),
    )
}

/// Asks for a name that exists: any answer will do.
fn resolver(local: &Local<'_>, stop: &Stop) -> Checked<()> {
    let config = local.config;
    if !config.relay.enabled {
        return Err(Trouble::skipped("nothing is relayed"));
    }
    let configured = &config.relay.dns_servers;
    let whom = servers(configured, config.relay.dns_trusted);
    let asked: Vec<String> = whom.addresses.iter().map(ToString::to_string).collect();
    let Some(name) = Name::parse(KNOWN) else {
        return Err(Trouble::skipped("there is nothing to ask for"));
    };
    let executor =
        Arc::new(Engine::new().map_err(|error| Trouble::broken("a free descriptor", error.to_string()))?);
    let dns = Dns::start(&executor, Clock::start(), whom);
    let question = Question { name, kind: Kind::Mx };
    let late = async {
        crate::engine::Timer::after(DNS_PATIENCE).await;
        Err(DnsError::Timeout)
    };
    let stopped = async {
        stop.wait().await;
        Err(DnsError::Timeout)
    };
    let answer = executor.block_on(dns.ask(question).or(late).or(stopped));
    let Err(error @ (DnsError::Timeout | DnsError::NoServers | DnsError::ServerFailure(_))) = answer else {
        return Ok(());
    };
    let came = format!("{}: {error}", asked.join(", "));
    // A demo has nobody to write to.
    if configured.is_empty() && config.domains.iter().all(|domain| is_reserved(domain.as_str())) {
        return Err(Trouble::chosen(format!(
            "{came}; the domains hosted here are for tests, and write to nobody"
        )));
    }
    Err(Trouble::broken("an answer of any kind", came))
}
