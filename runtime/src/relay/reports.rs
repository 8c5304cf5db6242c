//! TLS reports (RFC 8460): counts what attempts saw, keeps it on disk, and once a day tells the domains that want it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::Timer;
use futures_lite::FutureExt as _;
use futures_lite::future::block_on;
use rmail_core::dns::{Kind, Name, Question};
use rmail_core::relay::tls::report::{self, Day, Event, day_of};
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::service::Pool;

use super::https::Https;
use crate::entropy;
use crate::server::Host;

/// Between two writes of what was counted: so much is lost if the process dies.
const FLUSH: Duration = Duration::from_secs(300);
/// Days before today that are still told: "up to 24 hours after the initial attempt" (RFC 8460 §5.5).
const OLDEST: u64 = 2;
/// Between two tries to send what could not be sent.
const RETRY: Duration = Duration::from_secs(3600);
/// "A random delay of up to four hours" behind the end of the day (RFC 8460 §4.1).
const DELAY: u64 = 14_400;
/// Media type (RFC 8460 §6.4).
const GZIP: &str = "application/tlsrpt+gzip";

/// What was counted and is not on disk yet. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(Arc<Mutex<Vec<(u64, Day)>>>);

impl Reports {
    /// Counts.
    pub(super) fn count(&self, today: u64, event: &Event) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counted.last_mut().filter(|(day, _)| *day == today) {
            Some((_, day)) => day.add(event),
            None => {
                let mut day = Day::default();
                day.add(event);
                counted.push((today, day));
            }
        }
    }

    /// Writes what was counted. It blocks.
    pub(super) fn flush<S: MailStore, D: Disk>(&self, host: &Host<S, D>) {
        let counted = core::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (day, counts) in counted {
            if let Err(error) = block_on(host.service.add_tls_counts(day, counts)) {
                log::warn!(target: "relay", "event=tls_counts_lost error={:?}", error.to_string());
            }
        }
    }

    /// Flushes and sends for as long as it is polled.
    pub(super) async fn run<S: MailStore, D: Disk>(self, host: Arc<Host<S, D>>, https: Https) {
        let mut random = entropy::random();
        let delay = random.next_u64() % DELAY;
        let mut sent_at = None;
        loop {
            Timer::after(FLUSH).await;
            let (reports, flushed) = (self.clone(), Arc::clone(&host));
            let _ = host.pools.run(Pool::Sync, move || reports.flush(&flushed)).await;
            let now = host.clock.now();
            let due = now.unix.secs() % 86_400 >= delay;
            let rested = sent_at.is_none_or(|at| now.mono - at >= RETRY);
            if due && rested {
                sent_at = Some(now.mono);
                // A panic in one day's work must not end that of all days.
                let _ = AssertUnwindSafe(send_all(&host, &https)).catch_unwind().await;
            }
        }
    }
}

/// Tells what there is of past days, and removes what is too old.
async fn send_all<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>, https: &Https) {
    let now = host.clock.now().unix;
    let today = day_of(now);
    let service = Arc::clone(&host.service);
    let begin = move || {
        block_on(async {
            service.tidy_sts(now).await?;
            let sending = service.begin_tls_reports().await?;
            Ok::<_, std::io::Error>((sending, service.tls_count_days().await?))
        })
    };
    let (sending, days) = match host.pools.run(Pool::Sync, begin).await {
        Ok(Ok((Some(sending), days))) => (sending, days),
        Ok(Ok((None, _))) | Err(_) => return,
        Ok(Err(error)) => {
            log::warn!(target: "relay", "event=tls_reports_unread error={:?}", error.to_string());
            return;
        }
    };
    for day in days.into_iter().filter(|day| *day < today) {
        let service = Arc::clone(&host.service);
        if day + OLDEST < today || !host.config().relay.tls_report {
            let keep = day + OLDEST >= today;
            if !keep {
                let remove = move || drop(block_on(service.remove_tls_counts(day)));
                let _ = host.pools.run(Pool::Sync, remove).await;
            }
            continue;
        }
        let read = host
            .pools
            .run(Pool::Read, move || block_on(service.tls_counts(day)));
        let Ok(Ok(counts)) = read.await else {
            continue;
        };
        send_day(host, https, day, counts).await;
    }
    drop(sending);
}

async fn send_day<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>, https: &Https, day: u64, mut counts: Day) {
    let config = host.config();
    let domains: Vec<String> = counts.domains().map(str::to_owned).collect();
    for domain in domains {
        let part = counts.take(&domain);
        let id = format!("{day}.{:016x}@{}", entropy::random().next_u64(), config.hostname);
        let contact = format!("postmaster@{}", config.hostname);
        let report = part.report(day, &config.hostname, &contact, &id);
        if !tell(https, &domain, report.to_string().as_bytes()).await {
            continue;
        }
        let service = Arc::clone(&host.service);
        let forget = move || {
            if let Err(error) = block_on(service.forget_tls_counts(day, &domain)) {
                log::warn!(target: "relay", "event=tls_report_again domain={domain} error={:?}", error.to_string());
            }
        };
        let _ = host.pools.run(Pool::Sync, forget).await;
    }
}

/// Sends a report to all who want it. False: none of them took it, and it is to be tried again.
async fn tell(https: &Https, domain: &str, report: &[u8]) -> bool {
    let Some(name) = Name::parse(&format!("_smtp._tls.{domain}")) else {
        return true;
    };
    let kind = Kind::Txt;
    let wanted = match https.dns.ask(Question { name, kind }).await {
        Ok(answer) => report::wanted(&answer),
        Err(error) => return !error.is_temporary(),
    };
    if wanted.mailto > 0 && wanted.https.is_empty() {
        // By mail it would have to be signed with DKIM (RFC 8460 §3).
        log::debug!(target: "relay", "event=tls_report_unsent domain={domain} why=\"it is wanted by mail\"");
        return true;
    }
    let mut taken = wanted.https.is_empty();
    for url in &wanted.https {
        match https.post(url, GZIP, gzip(report)).await {
            Ok(()) => {
                log::info!(target: "relay", "event=tls_report domain={domain} to={}", url.host);
                taken = true;
            }
            Err(why) => {
                log::warn!(target: "relay", "event=tls_report_failed domain={domain} to={} why={why:?}", url.host);
            }
        }
    }
    taken
}

/// The gzip form (RFC 1952) of these octets.
fn gzip(octets: &[u8]) -> Vec<u8> {
    /// ID1, ID2, deflate, no flags, no time, no hint, system unknown.
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut out = HEAD.to_vec();
    out.extend(miniz_oxide::deflate::compress_to_vec(octets, 6));
    out.extend(crc32fast::hash(octets).to_le_bytes());
    out.extend(
        u32::try_from(octets.len() & 0xffff_ffff)
            .unwrap_or_default()
            .to_le_bytes(),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_that_of_gzip() {
        let text = br#"{"organization-name": "Company-X"}"#.repeat(10);
        let packed = gzip(&text);
        assert!(packed.len() < text.len());
        let (head, rest) = packed.split_at(10);
        let (deflated, tail) = rest.split_at(rest.len() - 8);
        assert_eq!(head[..3], [0x1f, 0x8b, 8]);
        assert_eq!(
            miniz_oxide::inflate::decompress_to_vec(deflated).expect("deflate"),
            text
        );
        assert_eq!(tail[..4], crc32fast::hash(&text).to_le_bytes());
        assert_eq!(tail[4..], u32::try_from(text.len()).expect("short").to_le_bytes());
    }
}
