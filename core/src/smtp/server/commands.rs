//! What each command does, AUTH and DATA apart.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::check::helo_fault;
use super::printable::printable;
use super::session::{Helo, Phase, Session, Then, line_too_long};
use super::transaction::Transaction;
use super::{Call, RecipientKind, Role};
use crate::addr::Domain;
use crate::machine::Action;
use crate::note::Note;
use crate::refusal::Refusal;
use crate::sasl::Mechanism;
use crate::smtp::bdat::{Bdat, Mark};
use crate::smtp::command::{self, Command, MAX_LINE};
use crate::smtp::envelope::{Recipient, Wishes};
use crate::smtp::reply::{Context, Reply, refusal};

/// RCPTs of one transaction that are answered in any case: a client may send all that it has in one pipeline, and learn
/// from the replies how many are taken (RFC 5321 §4.5.3.1.10).
const MIN_ASKED: usize = 1_000;

const OK: Reply = Reply::new(250, "2.0.0", "OK");

impl Session {
    /// A line, with its line end.
    pub(super) fn command_line(&mut self, line: &[u8]) {
        // White space in front makes it no command, but a secret is one still.
        let is_auth = line
            .trim_ascii_start()
            .get(..4)
            .is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
        if line.len() > MAX_LINE && !is_auth {
            return self.bad_line(&line_too_long());
        }
        let parsed = command::parse(line);
        let shown = match &parsed {
            Ok(Command::Auth(auth)) if auth.initial.is_some() => format!("AUTH {} ***", auth.mechanism),
            Ok(_) => printable(line.trim_ascii_end()),
            Err(_) if is_auth => "AUTH ***".to_owned(),
            Err(_) if self.auth_seen => "***".to_owned(),
            Err(_) => printable(line.trim_ascii_end()),
        };
        self.auth_seen |= is_auth;
        self.out.note(Note::Command(shown));
        match parsed {
            Ok(command) => self.command(command),
            Err(syntax) => self.bad_line(&syntax.reply()),
        }
    }

    fn command(&mut self, command: Command) {
        self.commands += usize::from(brings_nothing(&command));
        if self.commands > self.settings.max_commands {
            let reply = self.closing(421, "4.7.0", "too many commands, closing connection");
            self.goodbye(&reply, "too many commands");
            return;
        }
        if let Some(reply) = self.misgreeted(&command) {
            return self.fail(&reply);
        }
        if !self.drop_chunks_for(&command) {
            self.obey(command);
        }
    }

    /// What the command does.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Ehlo(name) | Command::Lhlo(name) => self.ehlo(name),
            Command::Helo(name) => {
                self.greeted(name, false);
                let hostname = self.settings.hostname.clone();
                self.respond(&Reply::plain(250, "").with_text(hostname));
            }
            Command::Mail(mail) => self.mail(Box::new(mail)),
            Command::Rcpt(rcpt) => self.rcpt(rcpt),
            Command::Data => self.data(),
            Command::Bdat(bdat) => self.bdat(bdat),
            Command::Rset => {
                self.transaction = None;
                self.respond(&OK);
            }
            Command::Noop => self.respond(&OK),
            Command::Vrfy => self.respond(&Reply::new(
                252,
                "2.5.2",
                "Cannot VRFY user, but will accept message and attempt delivery",
            )),
            Command::Expn => self.fail(&Reply::new(502, "5.5.1", "EXPN not implemented")),
            Command::Help => {
                let known = if self.lmtp.is_some() {
                    "LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT (RFC 2033)"
                } else {
                    "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS AUTH QUIT (RFC 5321)"
                };
                self.respond(&Reply::new(214, "2.0.0", known));
            }
            Command::Quit => {
                let reply = self.closing(221, "2.0.0", "closing connection");
                self.goodbye(&reply, "QUIT");
            }
            Command::StartTls => self.start_tls(),
            Command::Auth(auth) => self.auth(&auth),
        }
    }

    /// The rules of submission hold: on its ports, and on port 25 for those who have logged in.
    pub(super) fn is_submission(&self) -> bool {
        self.settings.role == Role::Submission || self.login.is_some()
    }

    pub(super) fn may_start_tls(&self) -> bool {
        self.settings.starttls && self.tls.is_none()
    }

    /// AUTH has a place on this port.
    pub(super) fn knows_auth(&self) -> bool {
        match self.settings.role {
            Role::Submission => true,
            Role::Mx => self.settings.auth_on_mx,
            Role::Lmtp => false,
        }
    }

    /// A password would not be seen by others.
    pub(super) fn is_private(&self) -> bool {
        self.tls.is_some() || self.settings.cleartext_auth
    }

    /// EHLO and HELO also reset (RFC 5321 §4.1.4).
    fn greeted(&mut self, name: Option<Domain>, extended: bool) {
        self.transaction = None;
        let fault = helo_fault(name.as_ref());
        let name = name.unwrap_or_else(|| Domain::literal(self.settings.peer));
        self.helo = Some(Helo {
            name,
            extended,
            fault,
        });
    }

    fn ehlo(&mut self, name: Option<Domain>) {
        self.greeted(name, true);
        let mut lines: Vec<Cow<'_, str>> = vec![
            Cow::Owned(self.settings.hostname.clone()),
            Cow::Borrowed("PIPELINING"),
            Cow::Owned(format!("SIZE {}", self.settings.max_message_size)),
            Cow::Borrowed("8BITMIME"),
            Cow::Borrowed("CHUNKING"),
            Cow::Borrowed("BINARYMIME"),
            Cow::Borrowed("ENHANCEDSTATUSCODES"),
        ];
        if self.may_start_tls() {
            lines.push(Cow::Borrowed("STARTTLS"));
        }
        if self.knows_auth() && self.is_private() && self.login.is_none() {
            let bindings = self.bindings().is_some();
            let names = Mechanism::offered(bindings).map(Mechanism::name);
            lines.push(Cow::Owned(
                names.fold("AUTH".to_owned(), |line, name| line + " " + name),
            ));
        }
        self.offer_wishes(&mut lines);
        lines.push(Cow::Borrowed("HELP"));
        self.respond_lines(250, &lines);
    }

    fn mail(&mut self, mail: Box<command::Mail>) {
        if self.helo.is_none() {
            let first = if self.lmtp.is_some() {
                "Send LHLO first"
            } else {
                "Send EHLO first"
            };
            return self.fail(&Reply::new(503, "5.5.1", first));
        }
        if self.in_transaction() {
            return self.fail(&Reply::new(503, "5.5.1", "Nested MAIL command"));
        }
        if self.settings.role == Role::Submission && self.login.is_none() {
            return self.fail(&Reply::new(530, "5.7.0", "Authentication required"));
        }
        if self.transactions >= self.settings.max_messages {
            let reply = self.closing(421, "4.7.0", "too many messages, closing connection");
            self.goodbye(&reply, "too many messages");
            return;
        }
        if mail
            .size
            .is_some_and(|size| size > self.settings.max_message_size)
        {
            let reply = refusal(Context::Mail, Refusal::TooLarge);
            return self.refuse(&format!("MAIL FROM:{}", mail.path), &reply);
        }
        if let Some(reply) = self.check_wishes(&mail) {
            return self.fail(&reply);
        }
        self.check_first(mail);
    }

    /// May this client send as this?
    pub(super) fn ask_sender(&mut self, mail: Box<command::Mail>) {
        let call = Call::Sender {
            account: self.login.as_ref().map(|login| login.account.clone()),
            path: mail.path.clone(),
            trusted: self.settings.trusted,
        };
        self.ask(call, Then::Sender(mail));
    }

    pub(super) fn sender_checked(&mut self, mail: Box<command::Mail>, result: Result<(), Refusal>) {
        match result {
            Ok(()) => self.ask_priority(mail),
            Err(word) => self.refuse_mail(&mail, word),
        }
    }

    pub(super) fn priority_known(&mut self, mail: Box<command::Mail>, result: Result<i8, Refusal>) {
        match result {
            Ok(priority) => self.begin(*mail, priority),
            Err(word) => self.refuse_mail(&mail, word),
        }
    }

    fn refuse_mail(&mut self, mail: &command::Mail, word: Refusal) {
        let reply = refusal(Context::Mail, word);
        self.refuse(&format!("MAIL FROM:{}", mail.path), &reply);
    }

    /// MAIL is accepted.
    pub(super) fn begin(&mut self, mail: command::Mail, priority: i8) {
        let (hold_until, hold) = self.release(mail.hold);
        let changed = mail.priority.is_some_and(|wanted| wanted != priority);
        self.transactions += 1;
        self.forget_answers();
        self.transaction = Some(Box::new(Transaction {
            from: mail.path,
            size: mail.size,
            binary: mail.binary,
            recipients: Vec::new(),
            known: BTreeSet::new(),
            first: None,
            refused: false,
            asked: 0,
            wishes: Wishes {
                priority,
                hold,
                ..mail.wishes
            },
            hold_until,
        }));
        self.respond(&if changed {
            // RFC 6710 §4.1.
            Reply::new(250, "2.3.6", "").with_text(format!("{priority} is the new priority of the message"))
        } else {
            Reply::new(250, "2.1.0", "OK")
        });
    }

    fn rcpt(&mut self, rcpt: command::Rcpt) {
        if self.chunked.is_some() {
            return self.fail(&Reply::new(503, "5.5.1", "RCPT not permitted after BDAT"));
        }
        let full = self.answers_are_full();
        let Some(transaction) = &mut self.transaction else {
            return self.fail(&Reply::new(503, "5.5.1", "Send MAIL first"));
        };
        if rcpt.utf8 && !transaction.wishes.utf8 {
            let reply = Reply::new(553, "5.6.7", "Non-ASCII address without SMTPUTF8");
            transaction.refused = true;
            return self.fail(&reply);
        }
        transaction.asked += 1;
        if transaction.asked > MIN_ASKED.max(self.settings.max_recipients.saturating_mul(10)) {
            let reply = self.closing(421, "4.5.3", "too many recipients, closing connection");
            self.goodbye(&reply, "too many recipients");
            return;
        }
        let (size, sender) = (transaction.size, transaction.from.clone());
        let recipient = rcpt.recipient;
        let path = recipient.path.clone();
        if transaction.recipients.len() >= self.settings.max_recipients || full {
            transaction.refused = true;
            let reply = Reply::new(452, "4.5.3", "Too many recipients");
            return self.refuse(&format!("RCPT TO:{path}"), &reply);
        }
        if let Some(reply) = self.check_refusal(&path) {
            if let Some(transaction) = &mut self.transaction {
                transaction.refused = true;
            }
            return self.refuse(&format!("RCPT TO:{path}"), &reply);
        }
        let call = Call::Recipient {
            account: self.login.as_ref().map(|login| login.account.clone()),
            path,
            size,
            sender,
        };
        self.ask(call, Then::Recipient(Box::new(recipient)));
    }

    pub(super) fn recipient_checked(&mut self, recipient: Recipient, result: Result<RecipientKind, Refusal>) {
        let context = Context::Rcpt {
            submission: self.is_submission(),
        };
        // No command is consumed while the call is out, so the transaction is still there.
        if let Some(transaction) = &mut self.transaction {
            match result {
                Ok(kind) => {
                    let path = recipient.path.clone();
                    if transaction.known.insert(path.clone()) {
                        transaction.recipients.push(recipient);
                        transaction.first.get_or_insert(kind);
                    }
                    self.promise_answer(&path);
                    self.respond(&Reply::new(250, "2.1.5", "OK"));
                }
                Err(word) => {
                    transaction.refused = true;
                    self.commands += usize::from(!word.is_temporary());
                    let what = format!("RCPT TO:{}", recipient.path);
                    self.refuse(&what, &refusal(context, word));
                }
            }
        }
    }

    /// RFC 3207 §4: what came behind the command is dropped, and all that was learned is forgotten.
    fn start_tls(&mut self) {
        if self.tls.is_some() {
            return self.fail(&Reply::new(503, "5.5.1", "TLS already active"));
        }
        if !self.settings.starttls {
            return self.fail(&Reply::new(502, "5.5.1", "STARTTLS not available"));
        }
        self.respond(&Reply::new(220, "2.0.0", "Ready to start TLS"));
        self.inbox.clear();
        self.helo = None;
        self.transaction = None;
        self.dirty = false;
        if let Some(login) = self.login.take() {
            self.out.push(Action::Unwatch(login.watch));
        }
        self.out.push(Action::StartTls);
        self.phase = Phase::Tls;
    }
}

/// Commands of which a client needs a few for each message, and somebody who wants to be a burden has any number. Those
/// that carry recipients and bodies have bounds of their own.
fn brings_nothing(command: &Command) -> bool {
    matches!(
        command,
        Command::Ehlo(_)
            | Command::Helo(_)
            | Command::Lhlo(_)
            | Command::Mail(_)
            | Command::Rset
            | Command::Noop
            | Command::Vrfy
            | Command::Expn
            | Command::Help
            | Command::Auth(_)
            | Command::Bdat(Bdat {
                size: Some(0),
                mark: Mark::More
            })
    )
}
