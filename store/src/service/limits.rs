//! Limits of addresses and accounts: what is refused because there was too much of it. Clients in
//! `limits.trusted_networks` are neither counted nor refused.

use core::future::Future;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use rmail_core::addr::AccountName;
use rmail_core::auth::password::hmac;
use rmail_core::limiter::{Guess, Limiter, LoginName, Shown, Target};
use rmail_core::note::Note;
use rmail_core::peer::Peer;
use rmail_core::refusal::Refusal;
use rmail_core::secret::Secret;
use rmail_core::time::Now;

use super::{Service, Settings, lock};
use crate::board::{Board, Listed};
use crate::disk::Disk;
use crate::mailstore::MailStore;

/// Entries that are told to operators at most.
const LISTED: usize = 10_000;

/// What a process has counted, and where it tells of it.
pub(super) struct Limits<D: Disk> {
    pub(super) limiter: Mutex<Limiter>,
    /// For hashes of wrong passwords.
    key: [u8; 32],
    board: Board<D>,
}

impl<D: Disk> Limits<D> {
    /// With an unguessable seed.
    pub(super) fn new(seed: &[u8; 32], disk: Arc<D>) -> Self {
        Self {
            limiter: Mutex::default(),
            key: hmac(seed, b"wrong passwords"),
            board: Board::new(disk, front(&hmac(seed, b"board"))),
        }
    }

    /// What is known of a password that may be wrong. Its being wrong depends on the user's file and, for passwords of
    /// applications, on the protocol.
    fn guess(&self, protocol: &str, user: &[u8], password: &Secret) -> Guess {
        let hash = hmac(&self.key, password.expose());
        let more = [&hash[..], protocol.as_bytes(), b" ", user].concat();
        Guess {
            password: front(&hash),
            exactly: front(&hmac(&self.key, &more)),
        }
    }
}

fn front(hash: &[u8; 32]) -> u64 {
    hash.first_chunk()
        .map_or(0, |front: &[u8; 8]| u64::from_be_bytes(*front))
}

/// The logins that one session tries.
#[derive(Debug)]
pub(super) struct Tries {
    peer: Peer,
    protocol: &'static str,
    /// Of SCRAM the session knows whether it worked: here is who tries, until it tells.
    scram: Mutex<Option<LoginName>>,
}

impl Tries {
    pub(super) fn new(peer: Peer, protocol: &'static str) -> Self {
        Self {
            peer,
            protocol,
            scram: Mutex::default(),
        }
    }
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Whether a client may connect to send mail: it has not sent too much in the last minute. Looks at memory only.
    #[must_use]
    pub fn admits(&self, now: Now, peer: Peer) -> bool {
        let rates = self.settings().rates;
        peer.trusted
            || lock(&self.limits.limiter)
                .message_wait(now.mono, &rates, peer.address)
                .is_none()
    }

    /// How long the next login under this name has to wait, if it comes from there: for `Retry-After`.
    #[must_use]
    pub fn login_wait(&self, now: Now, peer: Peer, login: &str) -> Option<Duration> {
        let settings = self.settings();
        let name = login_name(&settings, login);
        self.wait(&settings, now, peer, &name)
    }

    /// Hears what operators lift and tells them who is held back. To be called every few seconds, and every second while
    /// [`Service::has_limits_to_tell`].
    pub async fn tend_limits(&self, now: Now) {
        self.hear_unbans().await;
        let state = lock(&self.limits.limiter).changes();
        self.limits.board.tell(state, || self.listed(now)).await;
    }

    /// Whether [`Service::tend_limits`] has something to tell, or somebody is held back who might be let go.
    #[must_use]
    pub fn has_limits_to_tell(&self, now: Now) -> bool {
        let rates = self.settings().rates;
        let limiter = lock(&self.limits.limiter);
        let changes = limiter.changes();
        changes > 0
            && (self.limits.board.has_news(changes) || limiter.held(now.mono, &rates).next().is_some())
    }

    /// Whether this process has ever held somebody back: operators who lift limits wait until it has heard them.
    #[must_use]
    pub fn has_held_back(&self) -> bool {
        lock(&self.limits.limiter).changes() > 0
    }

    fn listed(&self, now: Now) -> Vec<Listed> {
        let rates = self.settings().rates;
        let limiter = lock(&self.limits.limiter);
        limiter
            .held(now.mono, &rates)
            .take(LISTED)
            .map(|held| Listed {
                limit: held.limit.name().to_owned(),
                account: held.account,
                address: held.address,
                until: (now.unix.0 + (held.until - now.mono)).as_secs() + 1,
            })
            .collect()
    }

    async fn hear_unbans(&self) {
        for target in self.limits.board.requests().await {
            let count = lock(&self.limits.limiter).lift(&target);
            if count > 0 {
                let whose = match &target {
                    Target::All => "everybody".to_owned(),
                    other => format!("{:?}", other.to_string()),
                };
                log::info!("limits of {whose} are lifted: {count} counts forgotten");
            }
        }
    }

    /// Before somebody is refused: what `waits` says once operators were heard.
    async fn after_unbans(&self, waits: impl Fn() -> Option<Duration>) -> Result<(), Refusal> {
        if waits().is_none() {
            return Ok(());
        }
        self.hear_unbans().await;
        waits().map_or(Ok(()), |_| Err(Refusal::TooManyAttempts))
    }

    /// MAIL FROM that would be accepted otherwise: counts it, unless its address has sent too much.
    pub(super) async fn message_within(
        &self,
        settings: &Settings,
        now: Now,
        peer: Peer,
        checked: impl Future<Output = Result<(), Refusal>>,
    ) -> Result<(), Refusal> {
        if peer.trusted {
            return checked.await;
        }
        let limiter = &self.limits.limiter;
        let wait = || lock(limiter).message_wait(now.mono, &settings.rates, peer.address);
        self.after_unbans(wait).await?;
        checked.await?;
        match lock(limiter).take_message(now.mono, &settings.rates, peer.address) {
            true => Ok(()),
            false => Err(Refusal::TooManyAttempts),
        }
    }

    /// RCPT TO that would be accepted otherwise: counts it, unless the account has sent to too many.
    pub(super) async fn recipient_within<T>(
        &self,
        settings: &Settings,
        now: Now,
        peer: Peer,
        account: Option<&AccountName>,
        checked: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let Some(account) = account.filter(|_| !peer.trusted) else {
            return checked.await;
        };
        let limiter = &self.limits.limiter;
        let wait = || lock(limiter).recipient_wait(now.mono, &settings.rates, account);
        self.after_unbans(wait).await?;
        let found = checked.await?;
        let mut limiter = lock(limiter);
        let taken = limiter.take_recipient(now.mono, &settings.rates, account);
        let wait = limiter.recipient_wait(now.mono, &settings.rates, account);
        drop(limiter);
        if let Some(wait) = wait.filter(|_| taken) {
            log::warn!(
                "account {account} has sent to as many recipients as it may; the next in {} s",
                wait.as_secs()
            );
        }
        if taken {
            Ok(found)
        } else {
            Err(Refusal::TooManyAttempts)
        }
    }

    /// A login by password. Nobody at an address where it failed too often gets as far as `checked`, whatever the
    /// password is; nor does a password that was found wrong before, when nothing has changed since.
    pub(super) async fn login_within(
        &self,
        settings: &Settings,
        now: Now,
        tries: &Tries,
        (login, password): (&str, &Secret),
        checked: impl Future<Output = Result<(AccountName, u64), Refusal>>,
    ) -> Result<(AccountName, u64), Refusal> {
        lock(&tries.scram).take();
        let peer = tries.peer;
        if peer.trusted {
            return checked.await;
        }
        let name = login_name(settings, login);
        self.after_unbans(|| self.wait(settings, now, peer, &name))
            .await?;
        let user = self.user_now(settings, login).await;
        let guess = self.limits.guess(tries.protocol, &user, password);
        let known = lock(&self.limits.limiter).is_known_wrong(now.mono, &name, peer.address, guess);
        let result = if known {
            Err(Refusal::BadCredentials)
        } else {
            checked.await
        };
        self.tried(
            settings,
            now,
            peer,
            &name,
            Some(guess),
            result.as_ref().err().copied(),
        );
        result
    }

    /// Whether the login would be refused as it stands: then it need not wait for those whose passwords are hashed.
    pub(super) fn holds_back(&self, settings: &Settings, now: Now, tries: &Tries, login: &str) -> bool {
        let name = login_name(settings, login);
        self.wait(settings, now, tries.peer, &name).is_some()
    }

    /// SCRAM begins.
    pub(super) async fn scram_within<T>(
        &self,
        settings: &Settings,
        now: Now,
        tries: &Tries,
        login: &str,
        started: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let name = login_name(settings, login);
        self.after_unbans(|| self.wait(settings, now, tries.peer, &name))
            .await?;
        // Not counted: an exchange that could not begin, or was given up for another.
        *lock(&tries.scram) = None;
        let started = started.await?;
        *lock(&tries.scram) = Some(name);
        Ok(started)
    }

    /// SCRAM ends, as far as the service has a word in it.
    pub(super) async fn scram_done_within<T>(
        &self,
        settings: &Settings,
        now: Now,
        tries: &Tries,
        checked: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let name = lock(&tries.scram).take();
        if let Some(name) = &name {
            // Many exchanges may have begun before the first of them failed.
            self.after_unbans(|| self.wait(settings, now, tries.peer, name))
                .await?;
        }
        let result = checked.await;
        if let Some(name) = name {
            let refused = result.as_ref().err().copied();
            self.tried(settings, now, tries.peer, &name, None, refused);
        }
        result
    }

    /// What a session notes: that the proof of SCRAM was wrong.
    pub(super) fn noted(&self, settings: &Settings, now: Now, tries: &Tries, note: &Note) {
        if let Note::LoginFailed { .. } = note
            && let Some(name) = lock(&tries.scram).take()
        {
            let refused = Some(Refusal::BadCredentials);
            self.tried(settings, now, tries.peer, &name, None, refused);
        }
    }

    fn tried(
        &self,
        settings: &Settings,
        now: Now,
        peer: Peer,
        name: &LoginName,
        guess: Option<Guess>,
        refused: Option<Refusal>,
    ) {
        if peer.trusted {
            return;
        }
        let mut limiter = lock(&self.limits.limiter);
        match refused {
            None => limiter.logged_in(name, peer.address),
            Some(Refusal::BadCredentials) => {
                let rates = &settings.rates;
                let held = limiter.login_failed(now.mono, rates, name, peer.address, guess);
                let wait = limiter.login_wait(now.mono, rates, name, peer.address);
                drop(limiter);
                if let Some(wait) = wait.filter(|_| held) {
                    log::warn!(
                        "logins as {:?} from {} are refused for {} s: too many failed (`rmail unban`)",
                        name.as_str(),
                        Shown(peer.address),
                        wait.as_secs()
                    );
                }
            }
            // Nothing was said about the password, or it was right.
            Some(_) => {}
        }
    }

    fn wait(&self, settings: &Settings, now: Now, peer: Peer, name: &LoginName) -> Option<Duration> {
        if peer.trusted {
            return None;
        }
        lock(&self.limits.limiter).login_wait(now.mono, &settings.rates, name, peer.address)
    }

    /// The user's file as it is now.
    async fn user_now(&self, settings: &Settings, login: &str) -> Vec<u8> {
        let Some(account) = settings.hosting.login(login) else {
            return Vec::new();
        };
        let user = self.accounts.find(&account).await.ok().flatten();
        user.and_then(|user| serde_json::to_vec(&*user).ok())
            .unwrap_or_default()
    }
}

/// The account, or what was given if it can be none.
fn login_name(settings: &Settings, login: &str) -> LoginName {
    match settings.hosting.login(login) {
        Some(account) => LoginName::new(account.as_str()),
        None => LoginName::new(login),
    }
}

impl<D: Disk> core::fmt::Debug for Limits<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Limits({:?})", self.board)
    }
}
