//! The host of one attempt: asks the resolver, connects, drives the sending session.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use futures_lite::FutureExt as _;
use rmail_core::machine::Machine as _;
use rmail_core::relay::attempt::{Action, Attempt, Connect, Input, Order};
use rmail_core::relay::{Enhanced, Outcome, Report, TlsPolicy};
use rmail_core::smtp::client;
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::service::Pool;
use rustls::pki_types::ServerName;

use super::message::Reader;
use crate::dns::Dns;
use crate::drive::{Context, drive};
use crate::io::Stream;
use crate::note_log::Label;
use crate::server::Host;
use crate::tls::{ClientTls, TlsParty};

/// Carries out an order: one outcome for each recipient of its job.
pub(super) async fn run<S: MailStore, D: Disk>(
    host: &Arc<Host<S, D>>,
    dns: &Dns,
    tls: &Arc<ClientTls>,
    entry: &str,
    order: Order,
) -> Vec<Outcome> {
    let count = order.job.recipients.len();
    match check_release(host, entry).await {
        None => {}
        Some(outcome) => return vec![outcome; count],
    }
    let message = match open(host, entry).await {
        Ok(message) => message,
        Err(why) => return vec![ours(&why); count],
    };
    let (answers, answered) = async_channel::unbounded();
    let mut machine = Attempt::new(order);
    let mut asked = 0_usize;
    loop {
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Query(question) => {
                    asked += 1;
                    let (dns, answers) = (dns.clone(), answers.clone());
                    let id = entry.to_owned();
                    let ask = async move {
                        let result = dns.ask(question.clone()).await;
                        log::debug!(target: "relay", "event=dns id={id} name={} kind={:?} result={result:?}",
                            question.name, question.kind);
                        let _ = answers.try_send(Input::Answer { question, result });
                    };
                    host.executor.spawn(ask).detach();
                }
                Action::Connect(connect) => {
                    let input = connected(host, tls, &message, entry, *connect).await;
                    machine.handle_input(host.clock.now(), input);
                }
                Action::Done(outcomes) => return outcomes,
            }
        }
        if asked == 0 {
            return vec![ours("an attempt without an end"); count];
        }
        let Ok(answer) = answered.recv().await else {
            return vec![ours("the resolver is gone"); count];
        };
        asked -= 1;
        machine.handle_input(host.clock.now(), answer);
    }
}

fn ours(why: &str) -> Outcome {
    Outcome::Temporary(Report::ours(Enhanced(4, 3, 0), why).severe())
}

/// What is said to all recipients in the place of an attempt, if the message may not go.
async fn check_release<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>, entry: &str) -> Option<Outcome> {
    let (service, entry) = (Arc::clone(&host.service), entry.to_owned());
    let check = move || futures_lite::future::block_on(service.check_release(&entry));
    match host.pools.run(Pool::Read, check).await {
        Ok(outcome) => outcome,
        Err(panicked) => Some(ours(&panicked.to_string())),
    }
}

async fn open<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>, entry: &str) -> Result<Arc<Reader<S>>, String> {
    let (service, entry) = (Arc::clone(&host.service), entry.to_owned());
    let open = move || futures_lite::future::block_on(service.open_outbound(&entry));
    match host.pools.run(Pool::Read, open).await {
        Ok(Ok(message)) => Ok(Arc::new(Reader(message))),
        Ok(Err(error)) => Err(format!("the message cannot be read: {error}")),
        Err(panicked) => Err(panicked.to_string()),
    }
}

/// Makes a connection and runs a session on it to its end.
async fn connected<S: MailStore, D: Disk>(
    host: &Arc<Host<S, D>>,
    tls: &Arc<ClientTls>,
    message: &Arc<Reader<S>>,
    entry: &str,
    connect: Connect,
) -> Input {
    let Connect {
        address,
        timeout,
        settings,
        job,
    } = connect;
    let deadline = host.clock.now().mono + timeout;
    let party = match party(host, tls, &settings, address).await {
        Ok(party) => party,
        Err(why) => return Input::NoConnection(why),
    };
    let late = async {
        Timer::after(timeout).await;
        Err(io::Error::from(io::ErrorKind::TimedOut))
    };
    let stream = match Stream::connect(address).or(late).await {
        Ok(stream) => stream,
        Err(error) => return Input::NoConnection(error.to_string()),
    };
    let mut limits = host.config().drive;
    let implicit_tls = settings.tls == TlsPolicy::Implicit;
    if implicit_tls {
        limits.handshake = (deadline - host.clock.now().mono).max(Duration::from_secs(1));
    }
    let context = Context {
        clock: host.clock,
        pools: Arc::clone(&host.pools),
        signal: Arc::default(),
        tls: party,
        implicit_tls,
        limits,
        label: Label {
            protocol: "relay",
            connection: host.sessions.number(),
            peer: address.ip(),
        },
        lines: None,
    };
    log::debug!(target: "relay", "{} event=connected id={entry} address={address}", context.label);
    let present = host.sessions.enter(context.label.connection, &context.signal);
    let count = job.recipients.len();
    let machine = client::Session::new(host.clock.now(), settings, job);
    let ended = drive(machine, stream, Arc::clone(message), context).await;
    drop(present);
    let outcome = ended.machine.as_ref().and_then(client::Session::outcome).cloned();
    Input::Session(outcome.unwrap_or_else(|| client::Outcome {
        recipients: vec![ours(&ended.end.to_string()); count],
        end: client::End::Ours,
    }))
}

/// Whom we trust to be the server.
async fn party<S: MailStore, D: Disk>(
    host: &Arc<Host<S, D>>,
    tls: &Arc<ClientTls>,
    settings: &client::Settings,
    address: std::net::SocketAddr,
) -> Result<Option<TlsParty>, String> {
    if settings.tls == TlsPolicy::None {
        return Ok(None);
    }
    let named = server_name(&settings.server);
    if !settings.tls.verifies() {
        // Nobody looks at the name but the server, which may choose its certificate by it.
        let name = named.unwrap_or_else(|| ServerName::IpAddress(address.ip().into()));
        let config = tls.opportunistic();
        return Ok(Some(TlsParty::Client { config, name }));
    }
    let Some(name) = named else {
        return Err(format!("no certificate can be good for {:?}", settings.server));
    };
    let tls = Arc::clone(tls);
    let roots = host.pools.run(Pool::Read, move || tls.verified());
    let config = roots.await.map_err(|panicked| panicked.to_string())?;
    Ok(Some(TlsParty::Client { config, name }))
}

/// A host name, an IP address, or an address literal.
fn server_name(server: &str) -> Option<ServerName<'static>> {
    let plain = server
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(server);
    let plain = plain.strip_prefix("IPv6:").unwrap_or(plain);
    ServerName::try_from(plain.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_names_and_addresses() {
        let show = |text| server_name(text).map(|name| name.to_str().into_owned());
        assert_eq!(show("mx.example.com").as_deref(), Some("mx.example.com"));
        assert_eq!(show("[192.0.2.1]").as_deref(), Some("192.0.2.1"));
        assert_eq!(show("[IPv6:2001:db8::1]").as_deref(), Some("2001:db8::1"));
        assert_eq!(show("no host"), None);
    }
}
