//! Which users those resemble who do not exist, see [`rmail_core::auth::lookalike`].
//!
//! Who exists is looked for anew every ten minutes, before any login of the domain, so that the wait tells nothing of the
//! name. An account whose password was changed a shorter time ago, after the rounds were, may be alone in how it looks
//! until then.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::addr::{AccountName, Domain};
use rmail_core::auth::lookalike::Lookalikes;
use rmail_core::time::{Mono, Now};

use super::Service;
use crate::disk::Disk;
use crate::mailstore::MailStore;

/// For how long what was found is good.
const KEPT: Duration = Duration::from_secs(600);

/// Domains of which it is known; then it is found out again. Only hosted ones are looked at.
const MAX: usize = 1_024;

/// What was found, by domain, and when. Held while it is looked for: one looks for all.
pub(super) type Known = async_lock::Mutex<BTreeMap<String, (Mono, Arc<Lookalikes>)>>;

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Whom a name of this account's domain resembles if it does not exist. A name in no hosted domain resembles nobody.
    pub(super) async fn lookalikes(
        &self,
        now: Now,
        secret: &[u8; 32],
        account: Option<&AccountName>,
    ) -> Arc<Lookalikes> {
        let Some(name) = account.map(|account| account.parts().1) else {
            return Arc::default();
        };
        let mut known = self.lookalikes.lock().await;
        let before = known.get(name).cloned();
        if let Some((_, all)) = before.as_ref().filter(|(found, _)| now.mono - *found < KEPT) {
            return Arc::clone(all);
        }
        let found = match Domain::parse(name) {
            Some(domain) => self.accounts.shapes(&domain, secret).await,
            None => Ok(Vec::new()),
        };
        let all = match found {
            Ok(found) => Arc::new(Lookalikes::new(
                secret,
                found.iter().map(|(account, shape)| (account, *shape)),
            )),
            // It was logged for the login itself, which fails for everybody.
            Err(_) => return before.map(|(_, all)| all).unwrap_or_default(),
        };
        if known.len() >= MAX {
            known.clear();
        }
        known.insert(name.to_owned(), (now.mono, Arc::clone(&all)));
        all
    }
}
