//! What strangers can see of the accounts of a domain.

use std::io;

use rmail_core::addr::{AccountName, Domain};
use rmail_core::auth::lookalike::{Lookalikes, Shape};

use super::{Accounts, DOMAINS, USER_FILE, USERS, cache, is_missing};
use crate::disk::Disk;
use crate::escape::{account_of, escape};

impl<D: Disk> Accounts<D> {
    /// The shapes of enabled users of the domain who have a password: of up to [`Lookalikes::MAX`], chosen by this
    /// secret. Users whose files cannot be read are passed over.
    ///
    /// # Errors
    /// The directory could not be read.
    pub(crate) async fn shapes(
        &self,
        domain: &Domain,
        secret: &[u8; 32],
    ) -> io::Result<Vec<(AccountName, Shape)>> {
        let Some(domain) = escape(domain.as_str()) else {
            return Ok(Vec::new());
        };
        let users = match self.open_path(&[DOMAINS, &domain, USERS]).await {
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            opened => opened?,
        };
        let entries = self.disk.list(&users).await?.entries;
        let named = entries
            .iter()
            .filter_map(|entry| account_of(&domain, &entry.name));
        let mut found = Vec::new();
        for account in Lookalikes::choose(secret, named.collect()) {
            let Some(name) = escape(account.parts().0) else {
                continue;
            };
            let Ok(dir) = self.disk.open_dir(&users, &name).await else {
                continue;
            };
            let path = format!("{DOMAINS}/{domain}/{USERS}/{name}/{USER_FILE}");
            let user = cache::look(&*self.disk, &dir, USER_FILE, &path, &self.users, &account).await;
            if let Ok(Some(user)) = user
                && user.enabled
                && let Some(shape) = user.shape()
            {
                found.push((account, shape));
            }
        }
        Ok(found)
    }
}
