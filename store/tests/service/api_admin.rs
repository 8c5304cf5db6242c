//! `/users`, `/aliases`, `/queue` and `/stats`: what administrators see and change.

use std::sync::{Arc, Mutex};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::api::admin::queue::Place;
use rmail_core::api::admin::{Answer, Ask, aliases, queue, stats, users};
use rmail_core::api::{self, Access, Call, Caller, Failure};
use rmail_core::directory::{Access as Scope, UserChange};
use rmail_core::peer::Peer;
use rmail_core::relay::queue::Command;
use rmail_core::relay::view::{Choice, Filter};
use rmail_core::secret::Secret;
use rmail_core::time::Unix;
use serde_json::{Value, json};

const ALICE: &str = "alice@example.com";

fn admin_as(world: &World, by: &str, ask_for: Ask) -> Result<Answer, Failure> {
    let user = block_on(world.service.accounts().find(&account(by)));
    let user = user.expect("read").expect("a user");
    let call = Call {
        caller: Some(Caller {
            account: account(by),
            epoch: user.epoch(),
            tokens: 0,
            expires: Unix::from_secs(u64::MAX),
        }),
        access: Access::Admin,
        ask: api::Ask::Admin(ask_for),
    };
    let session = world.service.api_session(Peer::LOCAL);
    match ask(&session, call)? {
        api::Answer::Admin(answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

fn of_users(world: &World, ask: users::Ask) -> Result<users::Answer, Failure> {
    match admin_as(world, ALICE, Ask::Users(ask))? {
        Answer::Users(answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

fn of_aliases(world: &World, ask: aliases::Ask) -> Result<aliases::Answer, Failure> {
    match admin_as(world, ALICE, Ask::Aliases(ask))? {
        Answer::Aliases(answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

fn of_queue(world: &World, ask: queue::Ask) -> Result<queue::Answer, Failure> {
    match admin_as(world, ALICE, Ask::Queue(ask))? {
        Answer::Queue(answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

/// A user as the API shows it.
fn shown(answer: Result<users::Answer, Failure>) -> Value {
    match answer {
        Ok(users::Answer::One(user)) => json!(*user),
        other => panic!("{other:?}"),
    }
}

fn change(change: impl FnOnce(&mut UserChange)) -> Box<UserChange> {
    let mut made = UserChange::default();
    change(&mut made);
    Box::new(made)
}

fn status<T: std::fmt::Debug>(result: Result<T, Failure>) -> u16 {
    result.expect_err("refused").status
}

#[test]
fn only_administrators_are_answered() {
    let world = World::new();
    let show = || Ask::Users(users::Ask::Show(ALICE.to_owned()));
    assert_eq!(status(admin_as(&world, "bob@example.com", show())), 403);
    assert!(admin_as(&world, ALICE, show()).is_ok());
}

#[test]
fn a_user_is_made_changed_and_removed() {
    let world = World::new();
    let name = || "dan@example.com".to_owned();
    let made = change(|made| {
        made.password = Some(Secret::new("secret"));
        made.quota_mb = Some(7);
        made.send_as = Some(vec![address("team@example.org")]);
    });
    let dan = shown(of_users(&world, users::Ask::Create(name(), made.clone())));
    assert_eq!(
        (dan["quota_mb"].as_u64(), dan["send_as"][0].as_str()),
        (Some(7), Some("team@example.org"))
    );
    assert_eq!(
        (dan["enabled"].as_bool(), dan["used_messages"].as_u64()),
        (Some(true), Some(0))
    );
    assert!(login(&world.imap(), &name(), "secret").is_ok());
    assert_eq!(status(of_users(&world, users::Ask::Create(name(), made))), 409);

    let other = change(|made| {
        made.password = Some(Secret::new("other"));
        made.quota_messages = Some(3);
        made.admin = Some(true);
    });
    let dan = shown(of_users(&world, users::Ask::Change(name(), other)));
    assert_eq!(
        (dan["quota_mb"].as_u64(), dan["quota_messages"].as_u64()),
        (Some(7), Some(3))
    );
    assert!(login(&world.imap(), &name(), "secret").is_err());
    assert!(login(&world.imap(), &name(), "other").is_ok());

    assert!(matches!(
        of_users(&world, users::Ask::Remove(name())),
        Ok(users::Answer::Done)
    ));
    assert_eq!(status(of_users(&world, users::Ask::Show(name()))), 404);
    assert_eq!(status(of_users(&world, users::Ask::Remove(name()))), 404);
    let away = of_users(
        &world,
        users::Ask::Create("x@away.test".to_owned(), change(|_| {})),
    );
    let failure = away.expect_err("not hosted");
    assert_eq!(
        (failure.status, failure.details[0].path.as_str()),
        (400, "$.address")
    );
}

#[test]
fn the_last_administrator_stays() {
    let world = World::new();
    let alice = || ALICE.to_owned();
    let disable = || change(|made| made.enabled = Some(false));
    for ask in [
        users::Ask::Remove(alice()),
        users::Ask::Change(alice(), disable()),
        users::Ask::Change(alice(), change(|made| made.admin = Some(false))),
    ] {
        assert_eq!(status(of_users(&world, ask)), 409);
    }
    let more = users::Ask::Change(
        "bob@example.com".to_owned(),
        change(|made| made.admin = Some(true)),
    );
    assert!(of_users(&world, more).is_ok());
    assert!(of_users(&world, users::Ask::Change(alice(), disable())).is_ok());
    // Whose token does not hold any more.
    assert_eq!(status(of_users(&world, users::Ask::Show(alice()))), 401);
    let last = Ask::Users(users::Ask::Remove("bob@example.com".to_owned()));
    assert_eq!(status(admin_as(&world, "bob@example.com", last)), 409);
}

#[test]
fn users_are_listed_page_by_page() {
    let world = World::new();
    world.append("bob@example.com", "INBOX", b"Subject: x\r\n\r\n");
    let page = |domain: Option<&str>, after: Option<String>| {
        let ask = users::Ask::List {
            domain: domain.map(str::to_owned),
            after,
            limit: 2,
        };
        match of_users(&world, ask) {
            Ok(users::Answer::List(list)) => json!(list),
            other => panic!("{other:?}"),
        }
    };
    let first = page(None, None);
    let names = |page: &Value| -> Vec<String> {
        let users = page["users"].as_array().expect("a list").iter();
        users
            .map(|user| user["address"].as_str().expect("text").to_owned())
            .collect()
    };
    assert_eq!(names(&first), [ALICE, "bob@example.com"]);
    assert_eq!(
        (
            first["total"].as_u64(),
            first["users"][1]["used_messages"].as_u64()
        ),
        (Some(3), Some(1))
    );
    let next = first["next"].as_str().map(str::to_owned);
    let second = page(None, next);
    assert_eq!(
        (names(&second), &second["next"]),
        (vec!["carol@example.org".to_owned()], &Value::Null)
    );
    assert_eq!(names(&page(Some("example.org"), None)), ["carol@example.org"]);

    world.edit(&user_file("bob@example.com"), "{");
    let fresh = page(None, None);
    assert!(fresh["users"][1]["error"].is_null(), "the last good copy holds");
    let unknown = users::Ask::List {
        domain: Some("away.test".to_owned()),
        after: None,
        limit: 2,
    };
    assert_eq!(status(of_users(&world, unknown)), 400);
}

#[test]
fn an_application_password_is_shown_once() {
    let world = World::new();
    let bob = || "bob@example.com".to_owned();
    let app = |name: &str| users::NewApp {
        name: name.to_owned(),
        password: None,
        scope: vec![Scope::Imap],
        expires: None,
    };
    let add = |name: &str| of_users(&world, users::Ask::AddApp(bob(), Box::new(app(name))));
    let Ok(users::Answer::App(_, Some(made))) = add("phone") else {
        panic!("a password")
    };
    assert!(login(&world.imap(), &bob(), &made).is_ok());
    assert!(login(&world.smtp(), &bob(), &made).is_err());
    let text = shown(of_users(&world, users::Ask::Show(bob()))).to_string();
    assert!(text.contains("phone") && !text.contains(&made));
    assert_eq!(status(add("phone")), 409);
    let remove = |name: &str| of_users(&world, users::Ask::RemoveApp(bob(), name.to_owned()));
    assert!(remove("phone").is_ok());
    assert_eq!(status(remove("phone")), 404);
    assert!(login(&world.imap(), &bob(), &made).is_err());
}

fn alias(answer: Result<aliases::Answer, Failure>) -> Value {
    match answer {
        Ok(aliases::Answer::One(alias)) => json!(alias),
        other => panic!("{other:?}"),
    }
}

fn targets(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn an_alias_is_made_changed_tested_and_removed() {
    let world = World::new();
    let name = || "Team@example.com".to_owned();
    let made = |list: &[&str]| {
        Box::new(aliases::Change {
            targets: targets(list),
            ..aliases::Change::default()
        })
    };
    let team = alias(of_aliases(
        &world,
        aliases::Ask::Create(name(), made(&["alice", "x@away.test"])),
    ));
    assert_eq!(
        (team["alias"].as_str(), team["kind"].as_str()),
        (Some("team@example.com"), Some("exact"))
    );
    assert_eq!(
        status(of_aliases(&world, aliases::Ask::Create(name(), made(&["bob"])))),
        409
    );
    let change = Box::new(aliases::Change {
        add: vec!["bob".to_owned()],
        remove: vec!["x@away.test".to_owned()],
        comment: Some(Some("us".to_owned())),
        ..aliases::Change::default()
    });
    let team = alias(of_aliases(&world, aliases::Ask::Change(name(), change)));
    assert_eq!(
        (&team["targets"], &team["comment"]),
        (&json!(["alice", "bob"]), &json!("us"))
    );

    let Ok(aliases::Answer::Test(told)) = of_aliases(&world, aliases::Ask::Test(name())) else {
        panic!("a test")
    };
    let told = json!(*told);
    assert_eq!(
        (told["accepted"].as_bool(), told["path"].as_array().map(Vec::len)),
        (Some(true), Some(3))
    );
    let Ok(aliases::Answer::Test(told)) = of_aliases(&world, aliases::Ask::Test("no@example.com".to_owned()))
    else {
        panic!("a test")
    };
    assert!(!told.accepted && told.reply.is_some_and(|reply| reply.starts_with("550 5.1.1")));

    for (bad, path) in [(made(&["a b"]), "$.targets"), (made(&["alice"]), "$.alias")] {
        let name = if path == "$.alias" {
            "x@away.test"
        } else {
            "new@example.com"
        };
        let failure = of_aliases(&world, aliases::Ask::Create(name.to_owned(), bad)).expect_err("wrong");
        assert_eq!((failure.status, failure.details[0].path.as_str()), (400, path));
    }
    let all_gone = Box::new(aliases::Change {
        remove: vec!["alice".to_owned(), "bob".to_owned()],
        ..aliases::Change::default()
    });
    assert!(matches!(
        of_aliases(&world, aliases::Ask::Change(name(), all_gone)),
        Ok(aliases::Answer::Done)
    ));
    assert_eq!(status(of_aliases(&world, aliases::Ask::Show(name()))), 404);
    assert_eq!(status(of_aliases(&world, aliases::Ask::Remove(name()))), 404);
}

#[test]
fn aliases_are_listed_in_their_order() {
    let world = World::new();
    for text in ["b@example.com", "a@example.com", "*@example.org"] {
        let made = Box::new(aliases::Change {
            targets: targets(&["alice@example.com"]),
            ..aliases::Change::default()
        });
        of_aliases(&world, aliases::Ask::Create(text.to_owned(), made)).expect("made");
    }
    let page = |after: Option<&str>, domain: Option<&str>| {
        let ask = aliases::Ask::List {
            domain: domain.map(str::to_owned),
            after: after.map(str::to_owned),
            limit: 2,
        };
        match of_aliases(&world, ask) {
            Ok(aliases::Answer::List(list)) => {
                let names: Vec<String> = list.aliases.iter().map(|one| one.alias.clone()).collect();
                (names.join(" "), list.total, list.next)
            }
            other => panic!("{other:?}"),
        }
    };
    let next = Some("b@example.com".to_owned());
    assert_eq!(
        page(None, None),
        ("a@example.com b@example.com".to_owned(), 3, next)
    );
    assert_eq!(
        page(Some("b@example.com"), None),
        ("*@example.org".to_owned(), 3, None)
    );
    assert_eq!(page(None, Some("example.org")).0, "*@example.org");
}

/// Puts a message into the queue; its id is the local part.
fn enqueue(world: &World, to: &str) -> String {
    let mut envelope = envelope(Some(ALICE), ALICE, &[to]);
    envelope.id = to.split('@').next().expect("a local part").to_owned();
    let id = envelope.id.clone();
    send(
        &world.smtp(),
        b"From: alice@example.com\r\n\r\nText\r\n",
        envelope,
    )
    .expect("sent");
    id
}

fn listed(world: &World, filter: Filter, state: Option<&'static str>, after: Option<Place>) -> Value {
    let ask = queue::Ask::List {
        filter: Box::new(filter),
        state,
        after,
        limit: 2,
    };
    match of_queue(world, ask) {
        Ok(queue::Answer::List(list)) => json!(list),
        other => panic!("{other:?}"),
    }
}

fn ids(list: &Value) -> Vec<&str> {
    let entries = list["entries"].as_array().expect("a list").iter();
    entries.map(|entry| entry["id"].as_str().expect("text")).collect()
}

#[test]
fn the_queue_is_listed_and_told_of() {
    let world = World::new();
    for to in ["m1@away.test", "m2@far.net", "m3@away.test"] {
        enqueue(&world, to);
    }
    let first = listed(&world, Filter::default(), None, None);
    assert_eq!(
        (ids(&first), first["total"].as_u64()),
        (vec!["m1", "m2"], Some(3))
    );
    let place = Place {
        arrived: now().unix.secs(),
        id: "m2".to_owned(),
    };
    assert_eq!(first["next"].as_str(), Some(place.text().as_str()));
    let second = listed(&world, Filter::default(), None, Some(place));
    assert_eq!((ids(&second), &second["next"]), (vec!["m3"], &Value::Null));
    let away = Filter::default().with_domain("away.test").expect("a domain");
    assert_eq!(
        ids(&listed(&world, away.clone(), Some("due"), None)),
        ["m1", "m3"]
    );
    assert!(ids(&listed(&world, away, Some("held"), None)).is_empty());

    let Ok(queue::Answer::One(story)) = of_queue(&world, queue::Ask::Show("m1".to_owned())) else {
        panic!("a story")
    };
    let story = json!(*story);
    assert_eq!(
        story["entry"]["recipients"][0]["address"].as_str(),
        Some("m1@away.test")
    );
    assert_eq!(story["history"][0]["event"].as_str(), Some("accepted"));
    assert_eq!(status(of_queue(&world, queue::Ask::Show("m9".to_owned()))), 404);
}

#[test]
fn what_is_asked_of_messages_reaches_who_has_them() {
    let world = World::new();
    for to in ["m1@away.test", "m2@far.net"] {
        enqueue(&world, to);
    }
    let heard: Arc<Mutex<Vec<(String, Command)>>> = Arc::default();
    let listener = Arc::clone(&heard);
    let listener = Arc::new(move |id, command| listener.lock().unwrap().push((id, command)));
    block_on(world.service.set_command_listener(listener));
    let command = |command, choice, one| {
        let ask = queue::Ask::Command {
            command,
            choice: Box::new(choice),
            one,
        };
        match of_queue(&world, ask)? {
            queue::Answer::Commanded(done) => Ok(json!(done)),
            other => panic!("{other:?}"),
        }
    };
    let one = |id: &str| Choice::Ids(vec![id.to_owned()]);
    let done = command(Command::Hold, one("m1"), true).expect("asked");
    assert_eq!(
        (&done["command"], &done["asked"]),
        (&json!("hold"), &json!(["m1"]))
    );
    assert_eq!(*heard.lock().unwrap(), [("m1".to_owned(), Command::Hold)]);
    assert_eq!(status::<Value>(command(Command::Release, one("m2"), true)), 409);
    assert_eq!(status::<Value>(command(Command::Retry, one("m9"), true)), 404);
    let both = Choice::Ids(vec!["m2".to_owned(), "m9".to_owned()]);
    let done = command(Command::Fail, both, false).expect("asked");
    assert_eq!(
        (&done["asked"], &done["left_out"][0]["id"]),
        (&json!(["m2"]), &json!("m9"))
    );
    let done = command(Command::Retry, Choice::Where(Filter::default()), false).expect("asked");
    assert_eq!(done["asked"], json!(["m1", "m2"]));
    assert_eq!(heard.lock().unwrap().len(), 4);
}

#[test]
fn the_figures_add_up() {
    let world = World::new();
    world.append("bob@example.com", "INBOX", b"Subject: x\r\n\r\n");
    enqueue(&world, "m1@away.test");
    let _imap = world.imap();
    let stats: stats::Stats = match admin_as(&world, ALICE, Ask::Stats) {
        Ok(Answer::Stats(stats)) => *stats,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (stats.users.total, stats.users.enabled, stats.users.admins),
        (3, 3, 1)
    );
    assert_eq!(
        (stats.usage.messages, stats.domains, stats.uptime_seconds),
        (1, 2, 1_000)
    );
    assert_eq!((stats.queue.sum.messages, stats.queue.servers), (1, 1));
    assert_eq!(
        (stats.sessions.imap, stats.sessions.smtp, stats.sessions.api),
        (1, 0, 1)
    );
    assert_eq!(stats.queue.sum.oldest, Some(now().unix.secs()));
}

#[test]
fn a_moment_in_the_past_ends_an_application_password_at_once() {
    let world = World::new();
    let app = users::NewApp {
        name: "old".to_owned(),
        password: Some(Secret::new("old secret")),
        scope: Scope::ALL.to_vec(),
        expires: Some(Unix::from_secs(now().unix.secs() - 1)),
    };
    let bob: AccountName = account("bob@example.com");
    let added = of_users(&world, users::Ask::AddApp(bob.to_string(), Box::new(app)));
    assert!(matches!(added, Ok(users::Answer::App(_, None))));
    assert!(login(&world.imap(), "bob@example.com", "old secret").is_err());
}
