//! From a command that was read to the file that answers it.

use super::Session;
use super::news::After;
use crate::imap::command::{Command, QResync, Tagged};

/// Octets of a command that a note shows.
const MAX_NOTE: usize = 256;

impl Session {
    /// Executes a command that was read.
    pub(super) fn execute(&mut self, tagged: Tagged) {
        let problem = match state_of(&tagged.command) {
            State::NotAuthenticated if self.account.is_some() => Some("Already logged in"),
            State::Authenticated | State::Selected if self.account.is_none() => Some("Log in first"),
            State::Selected if self.selected.is_none() => Some("No mailbox is selected"),
            _ => None,
        };
        if let Some(problem) = problem {
            return self.refuse_bad(&tagged.tag, &["[CLIENTBUG] ", problem].concat());
        }
        if self.enabled.uid_only && has_numbers(&tagged.command) {
            // RFC 9586 §3.
            return self.refuse_bad(&tagged.tag, "[UIDREQUIRED] Message numbers are not allowed");
        }
        // Flags that others changed are told before a command that shows or tests flags; and COPY by numbers must know
        // whether all of its messages are there.
        let looks = matches!(
            tagged.command,
            Command::Fetch { .. }
                | Command::Search(_)
                | Command::Copy { uid: false, .. }
                | Command::UidBatches { .. }
        );
        let dirty = self.selected.as_ref().is_some_and(|open| open.dirty);
        if dirty && looks {
            return self.tell(After::Execute(Box::new(tagged)));
        }
        self.run(tagged);
    }

    /// Runs a command that is in place.
    pub(super) fn run(&mut self, tagged: Tagged) {
        let Tagged { tag, command } = tagged;
        match command {
            Command::Capability => self.capability(tag),
            Command::Noop => self.look(tag, "OK NOOP completed"),
            Command::Check => self.look(tag, "OK CHECK completed"),
            Command::Logout => self.logout(&tag),
            Command::Id(_) => self.id(tag),
            Command::Enable(names) => self.enable(tag, &names),
            Command::Compress { mechanism } => self.compress(&tag, &mechanism),
            Command::Unauthenticate => self.unauthenticate(tag),
            Command::Namespace => self.namespace(tag),
            Command::StartTls => self.start_tls(&tag),
            Command::Login { user, password } => self.login(tag, user, password),
            Command::Authenticate { mechanism, initial } => self.authenticate(tag, &mechanism, initial),
            Command::Select { mailbox, params } => self.select(tag, mailbox, params, false),
            Command::Examine { mailbox, params } => self.select(tag, mailbox, params, true),
            Command::Close => self.close_mailbox(tag),
            Command::Unselect => self.unselect(tag, "OK UNSELECT completed"),
            Command::Create {
                mailbox,
                special_use,
                use_known,
                denormal,
            } => self.create(tag, mailbox, (special_use, use_known), denormal),
            Command::Delete { mailbox, denormal } => self.delete(tag, mailbox, denormal),
            Command::Rename { from, to, denormal } => self.rename(tag, from, to, denormal),
            Command::Subscribe { mailbox } => self.subscribe(tag, mailbox, true),
            Command::Unsubscribe { mailbox } => self.subscribe(tag, mailbox, false),
            Command::List(list) => self.list(tag, list),
            Command::Lsub { reference, pattern } => self.lsub(tag, &reference, &pattern),
            Command::Status { mailbox, items } => self.status(tag, mailbox, items),
            Command::GetQuota { root } => self.get_quota(tag, &root),
            Command::GetQuotaRoot { mailbox } => self.get_quota_root(tag, mailbox),
            Command::SetQuota { root, limits } => self.set_quota(tag, &root, &limits),
            Command::GetMetadata { mailbox, get } => self.get_metadata(tag, mailbox, get),
            Command::SetMetadata { mailbox, values } => self.set_metadata(tag, mailbox, values),
            Command::GetAcl { mailbox } => self.get_acl(tag, mailbox),
            Command::DeleteAcl { mailbox, identifier } => self.delete_acl(tag, mailbox, identifier),
            Command::SetAcl {
                mailbox,
                identifier,
                change,
            } => self.set_acl(tag, mailbox, identifier, change),
            Command::ListRights { mailbox, identifier } => self.list_rights(tag, mailbox, identifier),
            Command::MyRights { mailbox } => self.my_rights(tag, mailbox),
            Command::Expunge { uids } => self.expunge(tag, uids.as_ref()),
            Command::Search(search) => self.search(tag, search),
            Command::CancelUpdate(tags) => self.cancel_update(tag, &tags),
            Command::UidBatches { size, batches } => self.uid_batches(tag, size, batches),
            Command::Fetch {
                uid,
                set,
                items,
                modifiers,
            } => self.fetch(tag, uid, &set, items, modifiers),
            Command::Store {
                uid,
                set,
                silent,
                change,
                unchanged_since,
            } => self.store(tag, uid, &set, silent, change, unchanged_since),
            Command::Copy { uid, set, mailbox } => self.copy(tag, uid, &set, mailbox, false),
            Command::Move { uid, set, mailbox } => self.copy(tag, uid, &set, mailbox, true),
            Command::Idle => self.idle(tag),
            Command::Notify(wanted) => self.notify(tag, *wanted),
        }
    }
}

/// What the session must be at for a command (RFC 9051 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Any,
    NotAuthenticated,
    Authenticated,
    Selected,
}

fn state_of(command: &Command) -> State {
    match command {
        Command::Capability | Command::Noop | Command::Logout | Command::Id(_) => State::Any,
        Command::StartTls | Command::Login { .. } | Command::Authenticate { .. } => State::NotAuthenticated,
        Command::Check
        | Command::Close
        | Command::Unselect
        | Command::Expunge { .. }
        | Command::CancelUpdate(_)
        | Command::UidBatches { .. }
        | Command::Fetch { .. }
        | Command::Store { .. }
        | Command::Copy { .. }
        | Command::Move { .. } => State::Selected,
        Command::Search(search) if search.needs_selected() => State::Selected,
        _ => State::Authenticated,
    }
}

/// Whether a command speaks of messages by their numbers (RFC 9586 §3.2, §3.5, §3.7).
fn has_numbers(command: &Command) -> bool {
    match command {
        Command::Fetch { uid, .. }
        | Command::Store { uid, .. }
        | Command::Copy { uid, .. }
        | Command::Move { uid, .. } => !uid,
        Command::Search(search) => !search.uid || search.key.has_numbers(),
        Command::Select { params, .. } | Command::Examine { params, .. } => {
            let matched = |qresync: &QResync| qresync.matched.is_some();
            params.qresync.as_deref().is_some_and(matched)
        }
        _ => false,
    }
}

/// A command as a note shows it: bounded, and secrets hide themselves.
pub(super) fn shown(tagged: &Tagged) -> String {
    use core::fmt::Write as _;
    struct Bounded(String);
    impl core::fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            let room = MAX_NOTE.saturating_sub(self.0.len());
            if text.len() <= room {
                self.0.push_str(text);
                return Ok(());
            }
            let cut = (0..=room)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            self.0.push_str(text.get(..cut).unwrap_or_default());
            self.0.push('…');
            Err(core::fmt::Error)
        }
    }
    let mut text = Bounded(String::with_capacity(64));
    // It fails when the text is cut, which is meant.
    let _ = write!(text, "{} {:?}", tagged.tag, tagged.command);
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_commands_are_bounded_and_hide_secrets() {
        let login = Tagged {
            tag: "a1".into(),
            command: Command::Login {
                user: "ä".repeat(400),
                password: crate::secret::Secret::new("hidden"),
            },
        };
        let note = shown(&login);
        assert!(note.starts_with("a1 Login") && note.ends_with('…') && note.len() <= MAX_NOTE + 3);
        let short = Tagged {
            tag: "a2".into(),
            command: Command::Authenticate {
                mechanism: "PLAIN".into(),
                initial: Some(crate::secret::Secret::new("hidden")),
            },
        };
        assert!(shown(&short).contains("***") && !shown(&short).contains("hidden"));
    }
}
