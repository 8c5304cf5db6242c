//! A host for SMTP sessions without sockets: it performs the actions against a small service in memory that always
//! answers alike, and keeps everything that was said and done.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use rmail_core::addr::{AccountName, Address, ForwardPath};
use rmail_core::auth::password::ScramKeys;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, Bytes, CallId, Input, Machine as _, SpoolId, TlsInfo, WatchId};
use rmail_core::note::Note;
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::sasl::ScramUser;
use rmail_core::secret::Secret;
use rmail_core::smtp::envelope::Envelope;
use rmail_core::smtp::server::{Call, Checked, RecipientKind, Reply, Role, Session, Settings};
use rmail_core::time::{Mono, Now, Unix};

/// 2025-09-28T12:00:00Z.
pub(crate) const START: u64 = 1_759_060_800;

/// Account epoch that the service tells.
pub(crate) const EPOCH: u64 = 7;

/// What a test may want otherwise.
pub(crate) fn settings(role: Role) -> Settings {
    Settings {
        starttls: true,
        max_message_size: 10_000,
        max_recipients: 5,
        max_text_line: 1_000,
        data_timeout: Duration::from_secs(180),
        max_commands: usize::MAX,
        ..Settings::new("mail.demo.test", role, IpAddr::from([192, 0, 2, 1]))
    }
}

/// A message that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) envelope: Envelope,
    pub(crate) text: String,
}

/// One connection and its service.
pub(crate) struct Host {
    pub(crate) session: Session,
    pub(crate) now: Now,
    /// Every action, neighbouring `Send`s and `Spool`s joined.
    pub(crate) log: Vec<Action<Call>>,
    pub(crate) mail: Vec<Mail>,
    pub(crate) notes: Vec<Note>,
    /// What the next commits answer instead of success.
    pub(crate) commit: Option<Refusal>,
    /// What the next opens answer instead of success.
    pub(crate) open: Option<Refusal>,
    /// What is known of the peer.
    pub(crate) checked: Checked,
    /// Whether a recheck says that the login still holds.
    pub(crate) login_holds: bool,
    pub(crate) watches: Vec<WatchId>,
    pub(crate) tls_wanted: bool,
    pub(crate) closed: bool,
    calls: VecDeque<(CallId, Call)>,
    spools: BTreeMap<SpoolId, Vec<u8>>,
    output: Vec<u8>,
}

impl Host {
    pub(crate) fn new(settings: Settings) -> Self {
        let now = Now {
            mono: Mono::default(),
            unix: Unix::from_secs(START),
        };
        Self {
            session: Session::new(settings, Random::from_seed([3; 32]), now),
            now,
            log: Vec::new(),
            mail: Vec::new(),
            notes: Vec::new(),
            commit: None,
            open: None,
            checked: Checked::default(),
            login_holds: true,
            watches: Vec::new(),
            tls_wanted: false,
            closed: false,
            calls: VecDeque::new(),
            spools: BTreeMap::new(),
            output: Vec::new(),
        }
    }

    /// A session that has been greeted and has said EHLO; on submission over TLS and logged in.
    pub(crate) fn ready(settings: Settings) -> Self {
        let submission = settings.role == Role::Submission;
        let mut host = Self::new(settings);
        host.settle();
        if submission {
            host.input(Input::TlsStarted(tls()));
        }
        host.say("EHLO client.example\r\n");
        if submission {
            host.say("AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=\r\n");
        }
        host.take();
        host
    }

    pub(crate) fn input(&mut self, input: Input<Reply>) {
        self.session.handle_input(self.now, input);
    }

    pub(crate) fn feed(&mut self, octets: &[u8]) {
        self.input(Input::Bytes(Chunk::copy_from(octets)));
    }

    /// Feeds, works until there is nothing to do, and gives what was sent since the last time.
    pub(crate) fn say(&mut self, text: &str) -> String {
        self.feed(text.as_bytes());
        self.settle();
        self.take()
    }

    /// What was sent since the last time.
    pub(crate) fn take(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.output)).expect("replies are text")
    }

    /// Polls and answers until there is nothing to do.
    pub(crate) fn settle(&mut self) {
        while self.poll() || self.answer() {}
    }

    /// Time goes by.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.input(Input::Tick);
        self.settle();
    }

    /// Performs one action, if there is one.
    pub(crate) fn poll(&mut self) -> bool {
        let Some(action) = self.session.poll_action() else {
            return false;
        };
        assert!(!self.closed, "nothing follows Close, but there was {action:?}");
        match &action {
            Action::Send(octets) => self.output.extend_from_slice(octets.as_ref()),
            Action::Spool(spool, chunk) => {
                let text = self.spools.get_mut(spool).expect("octets for an open spool");
                text.extend_from_slice(chunk);
            }
            Action::Call(id, call) => {
                assert!(self.calls.is_empty(), "one call at a time");
                self.calls.push_back((*id, call.clone()));
            }
            Action::Watch(watch, ..) => self.watches.push(*watch),
            Action::Unwatch(watch) => self.watches.retain(|known| known != watch),
            Action::StartTls => self.tls_wanted = true,
            Action::Note(note) => self.notes.push(note.clone()),
            Action::Close => self.closed = true,
            Action::SendBlob(..) | Action::StartDeflate | Action::StopDeflate => {
                panic!("not in SMTP: {action:?}")
            }
        }
        self.record(action);
        true
    }

    /// Answers the outstanding call, if there is one.
    pub(crate) fn answer(&mut self) -> bool {
        let Some((id, call)) = self.calls.pop_front() else {
            return false;
        };
        let reply = self.serve(call);
        self.input(Input::Reply(id, reply));
        true
    }

    /// Spools that were neither committed nor discarded.
    pub(crate) fn open_spools(&self) -> usize {
        self.spools.len()
    }

    fn record(&mut self, action: Action<Call>) {
        match (self.log.last_mut(), action) {
            (Some(Action::Send(Bytes::Owned(old))), Action::Send(new)) => old.extend_from_slice(new.as_ref()),
            (Some(Action::Spool(id, old)), Action::Spool(new_id, new)) if *id == new_id => {
                *old = Chunk::from([old.as_slice(), new.as_slice()].concat());
            }
            (_, action) => self.log.push(action),
        }
    }

    fn serve(&mut self, call: Call) -> Reply {
        match call {
            Call::Authenticate { login, password } => Reply::Authenticated(match login.as_str() {
                "busy@demo.test" => Err(Refusal::Busy),
                "alice@demo.test" if password.expose() == b"secret" => Ok((alice(), EPOCH)),
                _ => Err(Refusal::BadCredentials),
            }),
            Call::ScramStart { login } => {
                let keys = ScramKeys::derive(&Secret::new("secret"), b"salt", 1);
                let account = (login == "alice@demo.test").then(|| (alice(), EPOCH));
                let others = Vec::new();
                Reply::Scram(Ok(ScramUser {
                    keys,
                    account,
                    others,
                }))
            }
            Call::ScramDone { account, epoch } => Reply::Authenticated(Ok((account, epoch))),
            Call::Sender {
                account,
                path,
                trusted,
            } => {
                let ours = |address: &Address| address.domain.as_str() == "demo.test";
                let owned = |address: &Address| address.canonical() == alice();
                let good = match (path.address(), account) {
                    (None, _) => true,
                    (Some(address), Some(_)) => owned(address),
                    (Some(address), None) => trusted || !ours(address),
                };
                Reply::Sender(if good {
                    Ok(())
                } else {
                    Err(Refusal::SenderNotOwned)
                })
            }
            Call::Priority { wanted, .. } => Reply::Priority(Ok(wanted.min(3))),
            Call::Recipient { account, path, .. } => Reply::Recipient(recipient(&path, account.is_some())),
            Call::Open { spool } => Reply::Opened(match self.open {
                Some(word) => Err(word),
                None => {
                    assert!(self.spools.insert(spool, Vec::new()).is_none(), "opened twice");
                    Ok(())
                }
            }),
            Call::Commit { spool, envelope } => {
                let text = self.spools.remove(&spool).expect("an open spool");
                let strange = |author: &Address| author.canonical() != alice();
                Reply::Committed(match self.commit {
                    Some(word) => Err(word),
                    None if envelope.authors.iter().any(strange) => Err(Refusal::AuthorNotOwned),
                    None => {
                        let text = String::from_utf8_lossy(&text).into_owned();
                        self.mail.push(Mail { envelope, text });
                        Ok(())
                    }
                })
            }
            Call::CommitEach { spool, envelope } => {
                let text = self.spools.remove(&spool).expect("an open spool");
                let outcomes = envelope.recipients.iter().map(|to| {
                    let full = to.path.to_string().contains("carol");
                    let word = full.then_some(Refusal::OverQuota).or(self.commit);
                    word.map_or(Ok(()), Err)
                });
                let outcomes: Vec<_> = outcomes.collect();
                if outcomes.contains(&Ok(())) {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    self.mail.push(Mail { envelope, text });
                }
                Reply::CommittedEach(outcomes)
            }
            Call::Check => Reply::Checked(self.checked.clone()),
            Call::Discard { spool } => {
                assert!(self.spools.remove(&spool).is_some(), "an open spool");
                Reply::Discarded
            }
            Call::Recheck { account, epoch } => {
                assert_eq!((account, epoch), (alice(), EPOCH));
                Reply::Recheck(self.login_holds)
            }
        }
    }
}

pub(crate) fn tls() -> TlsInfo {
    TlsInfo {
        version: 0x0304,
        cipher: "TLS13_AES_128_GCM_SHA256".into(),
        ..TlsInfo::default()
    }
}

fn alice() -> AccountName {
    Address::parse("alice@demo.test").expect("good").canonical()
}

fn recipient(path: &ForwardPath, known: bool) -> Result<RecipientKind, Refusal> {
    let ForwardPath::Address(address) = path else {
        return Ok(RecipientKind::Local);
    };
    if address.domain.as_str() != "demo.test" {
        return if known {
            Ok(RecipientKind::External)
        } else {
            Err(Refusal::RelayDenied)
        };
    }
    match address.local.to_ascii_lowercase().as_str() {
        "alice" | "bob" | "carol" => Ok(RecipientKind::Local),
        "full" => Err(Refusal::OverQuota),
        "off" => Err(Refusal::AccountDisabled),
        "broken" => Err(Refusal::Unavailable),
        _ => Err(Refusal::NoSuchUser),
    }
}
