//! How much one address and one account may do, and how operators let somebody go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limiter::{Rates, Target};
use rmail_core::peer::Peer;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::server::RecipientKind;
use rmail_core::time::{Now, Unix};
use rmail_store::board::{self, Listed, Told};
use rmail_store::disk::Disk as _;
use rmail_store::service::{Answer, Pool, Serve as _, Service};

const ANN: &str = "alice@example.com";
const WAIT: Refusal = Refusal::TooManyAttempts;
const WRONG: Refusal = Refusal::BadCredentials;

fn world() -> World {
    World::with(|settings| {
        settings.rates = Rates {
            messages_per_minute: 2,
            auth_failures_per_10_minutes: 3,
            recipients_per_hour: 2,
            recipients_per_day: 10,
        };
    })
}

/// Another process on the same disk.
fn beside(world: &World) -> World {
    let store = Arc::new(open_store(&world.disk));
    let settings = (*world.service.settings()).clone();
    World {
        disk: Arc::clone(&world.disk),
        service: Service::new(Arc::clone(&store), accounts(&world.disk, 9), settings),
        store,
        told: Arc::default(),
    }
}

fn peer(text: &str) -> Peer {
    Peer {
        address: text.parse::<IpAddr>().expect("an address"),
        trusted: false,
    }
}

fn smtp_from(world: &World, address: &str) -> Smtp {
    world.service.smtp_session(peer(address))
}

fn lift(world: &World, target: &str) -> board::Mark {
    let target = Target::parse(target).expect("target");
    let mark = block_on(board::ask(&*world.disk, &target, now().unix)).expect("asked");
    mark.expect("somebody is asked")
}

fn told(world: &World) -> Vec<Told> {
    let all = block_on(board::told(&*world.disk)).expect("told");
    all.into_iter().map(|(_, told)| told).collect()
}

/// Somebody, so that there is something to tell.
fn hold_back(world: &World) {
    let session = smtp_from(world, "192.0.2.99");
    for password in ["a", "b", "c"] {
        assert_eq!(refusal(login(&session, "x", password)), Some(WRONG));
    }
    block_on(world.service.tend_limits(now()));
}

fn refusal<T>(result: Result<T, Refusal>) -> Option<Refusal> {
    result.err()
}

#[test]
fn guessing_shuts_out_the_guesser_alone() {
    let world = world();
    let (bad, good) = (smtp_from(&world, "192.0.2.1"), smtp_from(&world, "192.0.2.2"));
    for password in ["a", "a", "A", "a", "b"] {
        assert_eq!(refusal(login(&bad, ANN, password)), Some(WRONG), "{password}");
    }
    for name in [ANN, "ALICE@Example.com"] {
        assert_eq!(refusal(login(&bad, name, PASSWORD)), Some(WAIT));
    }
    let imap = world.service.imap_session(peer("192.0.2.1"));
    assert_eq!(
        refusal(login(&imap, ANN, PASSWORD)),
        Some(WAIT),
        "one count for all protocols"
    );
    let pool = |session: &Smtp, name: &str| {
        let call = rmail_core::smtp::server::Call::Authenticate {
            login: name.to_owned(),
            password: rmail_core::secret::Secret::new("d"),
        };
        match session.answer(now(), call) {
            Answer::Later(pool, _) => pool,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        pool(&bad, ANN),
        Pool::Read,
        "it takes nobody's place among those who are hashed"
    );
    assert_eq!(pool(&good, ANN), Pool::Password);
    assert_eq!(refusal(login(&bad, "bob@example.com", PASSWORD)), None);
    assert_eq!(refusal(login(&good, ANN, PASSWORD)), None);
    assert_eq!(
        refusal(login(&world.smtp(), ANN, PASSWORD)),
        None,
        "trusted networks always win"
    );
    let wait = world
        .service
        .login_wait(now(), peer("192.0.2.1"), ANN)
        .expect("it waits");
    assert_eq!(wait, Duration::from_secs(600));
    assert_eq!(world.service.login_wait(now(), peer("192.0.2.2"), ANN), None);
}

#[test]
fn nobody_can_tell_by_the_count_whether_a_user_exists() {
    let world = world();
    let session = smtp_from(&world, "192.0.2.1");
    for name in ["nobody@example.com", ANN, "nobody@elsewhere.net", "\u{1f600}", ""] {
        let answers =
            ["a", "b", "b", "c", "d"].map(|password| refusal(login(&session, name, password)).unwrap());
        assert_eq!(answers, [WRONG, WRONG, WRONG, WRONG, WAIT], "{name:?}");
    }
}

#[test]
fn a_password_that_was_wrong_is_looked_at_again_once_the_user_has_changed() {
    let world = world();
    let session = smtp_from(&world, "192.0.2.1");
    assert_eq!(refusal(login(&session, ANN, "new")), Some(WRONG));
    assert_eq!(refusal(login(&session, ANN, "new")), Some(WRONG));
    world.set_password(ANN, "new");
    assert_eq!(refusal(login(&session, ANN, "new")), None);
}

#[test]
fn messages_are_counted_by_address_and_recipients_by_account() {
    let world = world();
    let (one, two) = (smtp_from(&world, "2001:db8::1"), smtp_from(&world, "2001:db8::2"));
    let from = "x@away.example";
    assert!(world.service.admits(now(), peer("2001:db8::3")));
    assert_eq!(
        sender(&one, None, ANN, false),
        Err(Refusal::SenderNotOwned),
        "and not counted"
    );
    assert_eq!(sender(&one, None, from, false), Ok(()));
    assert_eq!(sender(&two, None, from, false), Ok(()));
    assert_eq!(sender(&one, None, from, false), Err(WAIT));
    assert!(!world.service.admits(now(), peer("2001:db8::3")));
    assert!(world.service.admits(now(), peer("2001:db8:0:1::3")));
    let trusted = Peer {
        trusted: true,
        ..peer("2001:db8::3")
    };
    assert!(world.service.admits(now(), trusted));

    let to = |session: &Smtp, by, to| recipient(session, by, to, None);
    let external = Ok(RecipientKind::External);
    assert_eq!(
        to(&one, Some(ANN), "nobody@example.com"),
        Err(Refusal::NoSuchUser)
    );
    assert_eq!(to(&one, Some(ANN), "a@away.example"), external);
    assert_eq!(to(&two, Some(ANN), "b@away.example"), external);
    assert_eq!(to(&one, Some(ANN), "c@away.example"), Err(WAIT));
    assert_eq!(to(&one, Some("bob@example.com"), "c@away.example"), external);
    assert_eq!(
        to(&one, None, "bob@example.com"),
        Ok(RecipientKind::Local),
        "nobody's account"
    );
    assert_eq!(
        to(&world.smtp(), Some(ANN), "c@away.example"),
        external,
        "trusted"
    );
}

#[test]
fn operators_see_whom_every_process_holds_back_and_let_go_in_all() {
    let world = world();
    let other = beside(&world);
    assert!(told(&world).is_empty());
    let nobody = block_on(board::ask(&*world.disk, &Target::All, now().unix));
    assert_eq!(nobody.expect("asked"), None, "nothing is made");
    let lock_out = |world: &World| {
        let session = smtp_from(world, "2001:db8::1");
        for password in ["a", "b", "c"] {
            assert_eq!(refusal(login(&session, ANN, password)), Some(WRONG));
        }
        assert!(world.service.has_limits_to_tell(now()));
        block_on(world.service.tend_limits(now()));
        session
    };
    let sessions = [lock_out(&world), lock_out(&other)];
    let listed = Listed {
        limit: "failed logins".to_owned(),
        account: Some(ANN.to_owned()),
        address: Some("2001:db8::".parse().unwrap()),
        until: 1_700_000_601,
    };
    let held: Vec<_> = told(&world).into_iter().map(|told| told.held).collect();
    assert_eq!(held, [vec![listed.clone()], vec![listed]]);

    lift(&world, "2001:db8::2/64");
    for session in &sessions {
        assert_eq!(
            refusal(login(session, ANN, PASSWORD)),
            None,
            "heard before it refuses"
        );
    }
}

#[test]
fn a_process_says_how_far_it_has_read() {
    let world = world();
    let session = smtp_from(&world, "192.0.2.1");
    for password in ["a", "b", "c"] {
        assert_eq!(refusal(login(&session, ANN, password)), Some(WRONG));
    }
    block_on(world.service.tend_limits(now()));
    let first = lift(&world, "bob@example.com");
    assert!(!told(&world)[0].read.is_past(first));
    block_on(world.service.tend_limits(now()));
    assert!(told(&world)[0].read.is_past(first));
    assert_eq!(told(&world)[0].held.len(), 1, "another account");
    let second = lift(&world, "*");
    block_on(world.service.tend_limits(now()));
    let now_told = &told(&world)[0];
    assert!(now_told.read.is_past(second) && now_told.held.is_empty());
    assert!(!world.service.has_limits_to_tell(now()));
}

#[test]
fn a_long_file_of_requests_begins_again() {
    let world = world();
    hold_back(&world);
    let mut last = lift(&world, "*");
    let name = format!("{}@example.com", "a".repeat(200));
    for _ in 0..700 {
        let mark = lift(&world, &name);
        if !mark.is_past(last) {
            let session = smtp_from(&world, "192.0.2.1");
            for password in ["a", "b", "c"] {
                assert_eq!(refusal(login(&session, ANN, password)), Some(WRONG));
            }
            block_on(world.service.tend_limits(now()));
            assert_eq!(refusal(login(&session, ANN, PASSWORD)), Some(WAIT));
            lift(&world, ANN);
            assert_eq!(
                refusal(login(&session, ANN, PASSWORD)),
                None,
                "read from its beginning"
            );
            return;
        }
        last = mark;
    }
    panic!("it grows without end");
}

#[test]
fn files_of_a_dead_process_go() {
    let world = world();
    let names = || {
        let dir = world.dir("limits");
        let mut names: Vec<String> = block_on(world.disk.list(&dir))
            .expect("list")
            .entries
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        names.sort();
        names
    };
    {
        let other = beside(&world);
        let session = smtp_from(&other, "192.0.2.1");
        for password in ["a", "b", "c"] {
            assert_eq!(refusal(login(&session, ANN, password)), Some(WRONG));
        }
        block_on(other.service.tend_limits(now()));
        assert_eq!((told(&world).len(), names().len()), (1, 3));
    }
    assert!(told(&world).is_empty());
    assert_eq!(names(), ["unban"]);
}

#[test]
fn a_disk_that_takes_nothing_changes_no_limit() {
    let world = world();
    world.disk.set_read_only(true);
    let session = smtp_from(&world, "192.0.2.1");
    for password in ["a", "b", "c"] {
        assert_eq!(refusal(login(&session, ANN, password)), Some(WRONG));
    }
    block_on(world.service.tend_limits(now()));
    assert_eq!(refusal(login(&session, ANN, PASSWORD)), Some(WAIT));
    world.disk.set_read_only(false);
    block_on(world.service.tend_limits(now()));
    assert_eq!(told(&world).len(), 1, "told as soon as that is possible");
}

#[test]
fn a_window_slides_with_the_time_that_calls_bring() {
    let world = world();
    let session = smtp_from(&world, "192.0.2.1");
    for password in ["a", "b", "c"] {
        assert_eq!(refusal(login(&session, ANN, password)), Some(WRONG));
    }
    let later = Now {
        mono: now().mono + Duration::from_secs(600),
        unix: Unix::from_secs(1_700_000_600),
    };
    let call = rmail_core::smtp::server::Call::Authenticate {
        login: ANN.to_owned(),
        password: rmail_core::secret::Secret::new(PASSWORD),
    };
    let reply = block_on(session.run(later, call));
    assert!(
        matches!(reply, rmail_core::smtp::server::Reply::Authenticated(Ok(_))),
        "{reply:?}"
    );
}
