//! Root that works on the mail_root of another user: what it made there would be root's, and the server could not read it.

use std::path::Path;

use super::load::load;
use super::{Command, Failure};
use crate::privileges;

/// Commands that touch nothing but the mail_root work as whom it belongs to. Those that also touch files of the caller are
/// refused, if they write to it.
pub(super) fn work_as(command: &Command, config: &Path) -> Result<(), Failure> {
    let root = || {
        // What is wrong with the configuration is told by the command.
        let loaded = load(config).ok()?;
        Some(loaded.path(&loaded.config.mail_root))
    };
    match command {
        Command::User(_) | Command::Alias(_) | Command::Queue(_) | Command::Unban(_) | Command::Fsck(_) => {
            root().map_or(Ok(()), |root| {
                privileges::become_owner(&root).map_err(Failure::new)
            })
        }
        // What it keeps is in a tree that the server's user may change: links there lead root nowhere.
        #[cfg(feature = "acme")]
        Command::Acme(_) => root().map_or(Ok(()), |root| {
            privileges::become_owner(&root).map_err(Failure::new)
        }),
        Command::Import(_) | Command::Restore(_) | Command::Migrate(_) => {
            match root().and_then(|root| privileges::owner(&root)) {
                Some(owner) => Err(Failure(format!(
                    "the mail_root belongs to {0}, and what root put there the server could not read; run this as {0}, \
                     such as with `setpriv --reuid {1} --regid {2} --clear-groups rmail …`",
                    owner.name(),
                    owner.user(),
                    owner.group(),
                ))),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
