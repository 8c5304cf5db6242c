use super::*;
use crate::addr::Address;
use proptest::prelude::*;

const RATES: Rates = Rates {
    messages_per_minute: 3,
    auth_failures_per_10_minutes: 3,
    recipients_per_hour: 4,
    recipients_per_day: 6,
};

fn at(secs: u64) -> Mono {
    Mono(Duration::from_secs(secs))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn name(text: &str) -> LoginName {
    LoginName::new(text)
}

fn account(text: &str) -> AccountName {
    Address::parse(text).expect("address").canonical()
}

fn guess(password: u64) -> Option<Guess> {
    Some(Guess {
        password,
        exactly: password,
    })
}

fn held(limiter: &Limiter, secs: u64) -> Vec<Held> {
    limiter.held(at(secs), &RATES).collect()
}

#[test]
fn a_network_of_ipv6_counts_as_one() {
    let address = |text: &str| counted_as(ip(text));
    assert_eq!(address("2001:db8:0:1::1"), address("2001:db8:0:1:ffff::2"));
    assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
    assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
}

#[test]
fn an_address_sends_so_many_messages_a_minute() {
    let mut limiter = Limiter::default();
    let mut take = |secs, address| limiter.take_message(at(secs), &RATES, ip(address));
    assert!(take(0, "2001:db8::1") && take(10, "2001:db8::2") && take(20, "2001:db8::3"));
    assert!(!take(30, "2001:db8::4") && take(30, "2001:db8:0:1::4"));
    assert!(!take(59, "2001:db8::1") && take(60, "2001:db8::1") && !take(61, "2001:db8::1"));
    let wait = limiter.message_wait(at(61), &RATES, ip("2001:db8::9"));
    assert_eq!(wait, Some(Duration::from_secs(9)));
    let all = held(&limiter, 61);
    assert_eq!(
        (all.len(), all[0].limit, all[0].until),
        (1, Limit::Messages, at(70))
    );
    let wider = Rates {
        messages_per_minute: 4,
        ..RATES
    };
    assert!(
        limiter.take_message(at(61), &wider, ip("2001:db8::1")),
        "a reload counts at once"
    );
}

#[test]
fn who_guesses_shuts_out_himself_and_not_the_owner_elsewhere() {
    let mut limiter = Limiter::default();
    let (ann, bad, own) = (name("ann@example.com"), ip("192.0.2.1"), ip("198.51.100.1"));
    for (secs, password) in [(0, 1), (1, 2)] {
        assert!(!limiter.login_failed(at(secs), &RATES, &ann, bad, guess(password)));
    }
    assert_eq!(limiter.login_wait(at(2), &RATES, &ann, bad), None);
    assert!(
        limiter.login_failed(at(2), &RATES, &ann, bad, guess(3)),
        "told once"
    );
    assert!(!limiter.login_failed(at(2), &RATES, &ann, bad, guess(4)));
    let wait =
        |limiter: &Limiter, secs, who: &LoginName, from| limiter.login_wait(at(secs), &RATES, who, from);
    assert_eq!(wait(&limiter, 3, &ann, bad), Some(Duration::from_secs(598)));
    assert_eq!(wait(&limiter, 3, &ann, own), None);
    assert_eq!(wait(&limiter, 3, &name("bob@example.com"), bad), None);
    assert_eq!(wait(&limiter, 602, &ann, bad), None, "the window slides");
}

#[test]
fn the_same_wrong_password_counts_once() {
    let mut limiter = Limiter::default();
    let (ann, phone) = (name("ann@example.com"), ip("192.0.2.1"));
    for secs in 0..2_000 {
        assert!(!limiter.login_failed(at(secs), &RATES, &ann, phone, guess(7)));
    }
    let known = |limiter: &Limiter, password, exactly, from| {
        limiter.is_known_wrong(at(2_000), &ann, from, Guess { password, exactly })
    };
    assert!(known(&limiter, 7, 7, phone));
    assert!(
        !known(&limiter, 7, 8, phone)
            && !known(&limiter, 8, 8, phone)
            && !known(&limiter, 7, 7, ip("192.0.2.2"))
    );
    limiter.login_failed(at(2_000), &RATES, &ann, phone, guess(8));
    limiter.login_failed(at(2_000), &RATES, &ann, phone, None);
    assert!(
        limiter.login_failed(at(2_000), &RATES, &ann, phone, None),
        "what cannot be told apart counts"
    );
}

#[test]
fn a_login_forgives() {
    let mut limiter = Limiter::default();
    let (ann, home) = (name("ann@example.com"), ip("192.0.2.1"));
    for password in 0..3 {
        limiter.login_failed(at(0), &RATES, &ann, home, guess(password));
        if password == 1 {
            limiter.logged_in(&ann, home);
        }
    }
    assert_eq!(limiter.login_wait(at(0), &RATES, &ann, home), None);
}

#[test]
fn an_address_that_tries_every_account_is_slowed_and_those_who_belong_there_are_not() {
    let mut limiter = Limiter::default();
    let (ann, office) = (name("ann@example.com"), ip("192.0.2.1"));
    limiter.logged_in(&ann, office);
    let held: Vec<bool> = (0..30)
        .map(|n| {
            limiter.login_failed(
                at(n),
                &RATES,
                &name(&format!("u{n}@example.com")),
                office,
                guess(1),
            )
        })
        .collect();
    assert_eq!(held.iter().position(|held| *held), Some(29));
    let other = name("bob@example.com");
    assert!(limiter.login_wait(at(30), &RATES, &other, office).is_some());
    assert_eq!(limiter.login_wait(at(30), &RATES, &other, ip("192.0.2.2")), None);
    assert_eq!(limiter.login_wait(at(30), &RATES, &ann, office), None);
    let all: Vec<Held> = limiter.held(at(30), &RATES).collect();
    assert_eq!(
        all.iter().map(|held| held.limit).collect::<Vec<_>>(),
        [Limit::LoginsOfAddress]
    );
}

#[test]
fn recipients_are_counted_by_the_hour_and_by_the_day() {
    let mut limiter = Limiter::default();
    let (ann, bob) = (account("ann@example.com"), account("bob@example.com"));
    let mut take = |secs, who: &AccountName| limiter.take_recipient(at(secs), &RATES, who);
    assert!((0..4).all(|secs| take(secs, &ann)));
    assert!(!take(4, &ann) && take(4, &bob));
    assert!(take(3_600, &ann) && take(3_601, &ann) && !take(7_300, &ann));
    let wait = limiter.recipient_wait(at(7_300), &RATES, &ann);
    assert_eq!(wait, Some(Duration::from_secs(86_400 - 7_300)));
    let all = held(&limiter, 7_300);
    assert_eq!((all.len(), all[0].limit), (1, Limit::RecipientsPerDay));
    assert_eq!(all[0].account.as_deref(), Some("ann@example.com"));
}

#[test]
fn operators_let_go_by_address_by_account_or_all() {
    let mut limiter = Limiter::default();
    let fill = |limiter: &mut Limiter| {
        for n in 0..6 {
            for (who, from) in [("ann@example.com", "192.0.2.1"), ("bob@example.com", "192.0.2.2")] {
                limiter.login_failed(at(0), &RATES, &name(who), ip(from), guess(n));
                limiter.take_message(at(0), &RATES, ip(from));
                limiter.take_recipient(at(0), &RATES, &account(who));
            }
        }
    };
    let left = |limiter: &Limiter| {
        let mut left: Vec<String> = held(limiter, 1)
            .into_iter()
            .map(|held| held.account.or(held.address.map(|address| address.to_string())))
            .map(Option::unwrap_or_default)
            .collect();
        left.sort();
        left
    };
    fill(&mut limiter);
    let all = left(&limiter);
    let before = limiter.changes();
    let lift = |limiter: &mut Limiter, text: &str| limiter.lift(&Target::parse(text).expect("target"));
    assert_eq!(
        lift(&mut limiter, "192.0.2.1"),
        3,
        "messages, logins of the address, logins of the pair"
    );
    assert!(limiter.changes() > before);
    assert_eq!(
        left(&limiter),
        [
            "192.0.2.2",
            "ann@example.com",
            "bob@example.com",
            "bob@example.com"
        ]
    );
    assert_eq!(lift(&mut limiter, "BOB@example.com"), 2);
    assert_eq!(left(&limiter), ["192.0.2.2", "ann@example.com"]);
    assert_eq!(lift(&mut limiter, "nobody@example.com"), 0);
    fill(&mut limiter);
    assert_eq!(left(&limiter), all);
    lift(&mut limiter, "*");
    assert!(left(&limiter).is_empty());
}

#[test]
fn the_tables_are_bounded() {
    let mut limiter = Limiter::default();
    let count = u32::try_from(MOST).expect("small") + 100;
    for n in 0..count {
        let address = IpAddr::from(n.to_be_bytes());
        limiter.take_message(at(0), &RATES, address);
        limiter.login_failed(at(0), &RATES, &name(&format!("{n}@x.y")), address, guess(1));
        limiter.logged_in(&name(&format!("{n}@example.com")), address);
        limiter.take_recipient(at(0), &RATES, &account(&format!("u{n}@example.com")));
    }
    let sizes = [
        limiter.messages.len(),
        limiter.failures.len(),
        limiter.sources.len(),
        limiter.proven.len(),
        limiter.recipients.len(),
    ];
    assert_eq!(sizes, [MOST; 5]);
    let failures = limiter.failures.get(&(
        name(&format!("{}@x.y", count - 1)),
        IpAddr::from((count - 1).to_be_bytes()),
    ));
    assert!(failures.is_some(), "the newest are there");
    for password in 0..1_000 {
        limiter.login_failed(at(0), &RATES, &name("ann"), ip("::1"), guess(password));
    }
    let failures = limiter.failures.get(&(name("ann"), ip("::"))).expect("an entry");
    assert_eq!(failures.guesses.len(), GUESSES);
}

#[test]
fn names_are_bounded_and_have_one_case() {
    assert_eq!(name("Ann@Example.com"), name("ann@example.COM"));
    let long = "ä".repeat(4_000);
    assert!(name(&long).as_str().len() <= MAX_NAME);
    assert!(name(&"a".repeat(4_000)).as_str().len() <= MAX_NAME);
}

proptest! {
    /// Whatever comes in whatever order: in no minute an address gets more than its messages through.
    #[test]
    fn no_minute_has_more_messages_than_permitted(
        limit in 1_u64..100,
        steps in prop::collection::vec(0_u64..3_000, 1..400),
    ) {
        let rates = Rates { messages_per_minute: limit, ..RATES };
        let (mut limiter, mut now, mut passed) = (Limiter::default(), Mono::default(), Vec::new());
        for step in steps {
            now = now + Duration::from_millis(step);
            let wait = limiter.message_wait(now, &rates, ip("::1"));
            prop_assert_eq!(limiter.take_message(now, &rates, ip("::1")), wait.is_none());
            if let Some(wait) = wait {
                prop_assert!(wait > Duration::ZERO && wait <= MINUTE + MINUTE / 60);
                prop_assert!(limiter.message_wait(now + wait, &rates, ip("::1")).is_none());
            } else {
                passed.push(now);
            }
            let recent = passed.iter().filter(|at| **at + MINUTE > now).count();
            prop_assert!(recent as u64 <= limit);
        }
    }
}
