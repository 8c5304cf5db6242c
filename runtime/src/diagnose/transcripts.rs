//! Phases 4, 6 and 7: the transcripts that are part of the program and marked `@live`, played against the server.
//!
//! Each has users of its own, because UIDs and MODSEQs in them count from the beginning; they are there while it is played.

use std::collections::BTreeSet;

use futures_lite::future::block_on;
use rmail_conformance::live::{self, SHIPPED, Service as Played};
use rmail_conformance::transcript::Transcript;
use rmail_core::addr::{AccountName, Address};
use rmail_core::diagnose::Service;
use rmail_core::secret::Secret;
use rmail_store::accounts::NewUser;

use super::mark::random;
use super::{Checked, Files, Run, Trouble, cleanup, users};
use crate::clock;
use crate::replay::{Dial, Security, Target};

/// Users that a transcript may need.
const MOST_USERS: usize = 3;
/// MiB that each may have.
const QUOTA_MB: u64 = 20;

/// Plays those of one protocol: `smtp`, `imap`, `http`.
pub(super) fn play(run: &mut Run<'_>, protocol: &str) -> Checked<()> {
    let files = run
        .files()
        .ok_or_else(|| Trouble::skipped("each needs users of its own"))?;
    let (mut dial, known) = dial(run);
    let mut count = 0;
    let of_it = |(name, _): &&(&str, &str)| name.split('/').next() == Some(protocol);
    for (name, text) in SHIPPED.iter().filter(of_it) {
        if run.stop.is_set() {
            return Err(Trouble::skipped("it was ended"));
        }
        let transcript = Transcript::parse(text).map_err(|mistake| Trouble::broken(name, mistake))?;
        let services = transcript.sessions.values().filter_map(Played::of);
        if !services.into_iter().all(|service| known.contains(&service)) {
            continue;
        }
        count += 1;
        let wanted = (0..=MOST_USERS).find(|count| live::runnable(&transcript, *count).is_ok());
        let wanted = wanted.ok_or_else(|| Trouble::broken(name, "it needs more users"))?;
        let logins = (0..wanted)
            .map(|_| user(run, files))
            .collect::<Checked<Vec<_>>>()?;
        let played = live::play(&transcript, &mut dial, &logins);
        remove(run, files)?;
        played.map_err(|why| {
            Trouble::broken(format!("what `rmail replay --shipped` expects in {name}"), why)
        })?;
    }
    match count {
        0 => Err(Trouble::skipped("its ports are switched off")),
        _ => Ok(()),
    }
}

/// Removes the users of transcripts.
pub(super) fn remove(run: &mut Run<'_>, files: Files<'_>) -> Checked<()> {
    while let Some(account) = run.players.last().cloned() {
        cleanup::user(run, files, &account)?;
        run.players.pop();
    }
    Ok(())
}

fn user(run: &mut Run<'_>, files: Files<'_>) -> Checked<live::Login> {
    let local = run
        .local()
        .ok_or_else(|| Trouble::skipped("there is no mail_root"))?;
    let domain = local.hosting.domains.first();
    let domain = domain.ok_or_else(|| Trouble::broken("a hosted domain", "domains is empty"))?;
    let name = format!("{}{}", users::PREFIX, random(12));
    let address = Address::new(&name, domain.clone())
        .ok_or_else(|| Trouble::broken("an address", format!("{name}@{domain}")))?;
    let account: AccountName = address.canonical();
    let password = random(12);
    let new = NewUser {
        password: Some(Secret::new(password.as_bytes())),
        rounds: files.rounds,
        admin: false,
        quota_mb: QUOTA_MB,
    };
    // From here on there may be something to remove.
    run.players.push(account.clone());
    block_on(files.accounts.create(files.store, &account, &new, clock::unix()))?;
    Ok(live::Login {
        user: account.as_str().to_owned(),
        password: Secret::new(password.as_bytes()),
    })
}

/// Where the services are, and which there are. What begins in clear text is asked where that is possible.
fn dial(run: &Run<'_>) -> (Dial, BTreeSet<Played>) {
    let (mut dial, mut known) = (Dial::default(), BTreeSet::new());
    let clear = match run.subject.tls {
        true => Security::Starttls,
        false => Security::None,
    };
    for (played, service, security) in [
        (Played::Smtp, Service::Smtp, clear),
        (Played::Submission, Service::Smtps, Security::Implicit),
        (Played::Submission, Service::Submission, clear),
        (Played::Imap, Service::Imaps, Security::Implicit),
        (Played::Imap, Service::Imap, clear),
        (Played::Http, Service::Api, Security::None),
        (Played::Http, Service::ApiSecure, Security::Implicit),
    ] {
        if let Ok([place, ..]) = run.places(service) {
            let address = place.to_string();
            dial.set(played, Target { address, security });
            known.insert(played);
        }
    }
    (dial, known)
}
