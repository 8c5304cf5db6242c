//! Folders and messages, for the account that a token is of.

mod append;
mod deeds;
mod folders;
mod look;
mod message;
mod page;
mod place;

use rmail_core::addr::AccountName;
use rmail_core::api::mail::{Answer, Ask};
use rmail_core::api::{self, Failure};
use rmail_core::refusal::Refusal;
use rmail_core::time::Now;

pub(in crate::service) use folders::FolderCache;

use super::ApiService;
use crate::disk::Disk;
use crate::error::Error;
use crate::mailstore::MailStore;
use crate::service::{Pool, refused};

/// What a call comes to.
type Told<T> = Result<T, Failure>;

/// Whether [`ApiService::mail_now`] is worth asking.
pub(super) fn may_be_now(ask: &Ask) -> bool {
    matches!(ask, Ask::Folders | Ask::Look(_))
}

/// Where a call has to run.
pub(super) fn pool(ask: &Ask) -> Pool {
    match ask {
        Ask::List(listing) if listing.key.is_some() => Pool::Cpu,
        Ask::Folders
        | Ask::Folder(_)
        | Ask::List(_)
        | Ask::Message(_)
        | Ask::Raw(_)
        | Ask::Part(..)
        | Ask::Open { .. }
        | Ask::Look(_) => Pool::Read,
        Ask::CreateFolder { .. }
        | Ask::ChangeFolder { .. }
        | Ask::DeleteFolder(_)
        | Ask::Do { .. }
        | Ask::Append(_) => Pool::Sync,
    }
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Answers what is known without waiting.
    pub(super) fn mail_now(&self, account: &AccountName, ask: &Ask) -> Option<api::Reply> {
        let answer = match ask {
            Ask::Folders => Answer::Folders(self.folders_now(account)?),
            Ask::Look(look) => Answer::Looked(self.look_now(account, look)?),
            _ => return None,
        };
        Some(Ok(api::Answer::Mail(answer)))
    }

    /// Answers a call that is permitted.
    pub(super) async fn mail(&self, now: Now, account: &AccountName, ask: Ask) -> api::Reply {
        let answer = match ask {
            Ask::Folders => Answer::Folders(self.folders(account).await?),
            Ask::Folder(folder) => Answer::Folder(self.folder(account, folder).await?),
            Ask::CreateFolder {
                name,
                role,
                subscribed,
            } => Answer::Folder(
                self.create_folder(now, account, &name, (role, subscribed))
                    .await?,
            ),
            Ask::ChangeFolder {
                folder,
                name,
                subscribed,
            } => Answer::Folder(
                self.change_folder(now, account, folder, (name, subscribed))
                    .await?,
            ),
            Ask::DeleteFolder(folder) => {
                self.delete_folder(account, folder).await?;
                Answer::Done
            }
            Ask::List(listing) => self.page(account, listing).await?,
            Ask::Message(id) => Answer::Message(Box::new(self.message(account, id).await?)),
            Ask::Raw(id) => Answer::Download(self.raw(account, id).await?),
            Ask::Part(id, numbers) => Answer::Download(self.part(account, id, &numbers).await?),
            Ask::Do { ids, deed } => Answer::Outcomes(self.perform_deed(now, account, &ids, &deed).await?),
            Ask::Open { spool, folder, size } => {
                self.open_upload(account, spool, folder, size).await?;
                Answer::Done
            }
            Ask::Append(message) => Answer::Appended(self.append(now, account, message).await?),
            Ask::Look(look) => Answer::Looked(self.look(account, look).await?),
        };
        Ok(api::Answer::Mail(answer))
    }
}

/// Logs what went wrong, and gives what the client is told.
fn failed(what: &str, account: &AccountName, error: Error) -> Failure {
    match refused(&format!("{what} of {account}"), error) {
        Refusal::NoSuchMailbox => rmail_core::api::mail::no_such_folder(),
        refusal => refusal.into(),
    }
}
