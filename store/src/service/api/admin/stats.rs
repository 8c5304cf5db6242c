//! How much of everything there is.

use rmail_core::api::Failure;
use rmail_core::api::admin::stats::{Queue, Sessions, Stats, Usage, Users};
use rmail_core::relay::view::Sum;
use rmail_core::time::Now;

use crate::disk::Disk;
use crate::mailstore::MailStore;
use crate::service::api::ApiService;

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Answers `/stats`.
    pub(super) async fn stats(&self, now: Now) -> Result<Stats, Failure> {
        let service = &self.service;
        let (mut users, mut usage) = (Users::default(), Usage::default());
        for account in self.all_users(None).await? {
            users.total += 1;
            match service.accounts.find(&account).await {
                Ok(Some(user)) => {
                    users.enabled += usize::from(user.enabled);
                    users.admins += usize::from(user.enabled && user.admin);
                }
                // Gone since the list was made.
                Ok(None) => users.total -= 1,
                Err(_) => users.broken += 1,
            }
            if let Ok(used) = service.store.usage(&account).await {
                usage.octets = usage.octets.saturating_add(used.octets);
                usage.messages = usage.messages.saturating_add(used.messages);
            }
        }
        let snapshot = self.queues(|_| true).await?;
        Ok(Stats {
            hostname: self.settings.hostname.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: now.mono.0.as_secs(),
            domains: self.settings.hosting.domains.len(),
            users,
            usage,
            queue: Queue {
                sum: Sum::of(&snapshot.found, &self.settings.retry_delays, now.unix.secs()),
                servers: snapshot.servers,
                unreadable: snapshot.broken.len(),
            },
            sessions: Sessions {
                smtp: service.present.smtp.count(),
                imap: service.present.imap.count(),
                api: service.present.api.count(),
            },
        })
    }
}
