//! One attempt: which hosts are tried in which order, and what their answers come to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use rmail_core::addr::{Address, Domain, ReversePath};
use rmail_core::dns::mx::Ourselves;
use rmail_core::dns::{Answer, Data, DnsError, Kind, Name};
use rmail_core::machine::Machine as _;
use rmail_core::relay::attempt::{Action, Attempt, Connect, Input, Order};
use rmail_core::relay::tls::Protect;
use rmail_core::relay::{Credentials, Enhanced, Outcome, Report, Route, Target, TlsPolicy};
use rmail_core::secret::Secret;
use rmail_core::smtp::client::{self, End, Job};
use rmail_core::smtp::envelope::Wishes;
use rmail_core::time::Now;

type Zone<'a> = &'a [(&'a str, Kind, Result<Answer, DnsError>)];

fn a(list: &[u8]) -> Result<Answer, DnsError> {
    let record = |last: &u8| Data::A(Ipv4Addr::new(192, 0, 2, *last));
    Ok(Answer {
        records: list.iter().map(record).collect(),
        ..Answer::default()
    })
}

fn mx(list: &[(u16, &str)]) -> Result<Answer, DnsError> {
    let record = |(preference, name): &(u16, &str)| Data::Mx {
        preference: *preference,
        exchange: Name::parse(name),
    };
    Ok(Answer {
        records: list.iter().map(record).collect(),
        ..Answer::default()
    })
}

fn order(route: Route, recipients: usize) -> Order {
    let recipient = |n| Address::parse(&format!("r{n}@d.example")).expect("address");
    Order {
        route,
        job: Job {
            reverse_path: ReversePath::Null,
            recipients: (0..recipients).map(|n| recipient(n).into()).collect(),
            offset: 3,
            size: 9,
            eight_bit: false,
            wishes: Wishes::default(),
        },
        hostname: "us.example".into(),
        ourselves: Ourselves {
            names: Name::parse("us.example").into_iter().collect(),
            addresses: Vec::new(),
        },
        seed: [1; 32],
        protect: Protect::default(),
    }
}

fn by_mx() -> Route {
    Route::Mx {
        domain: Domain::parse("d.example").expect("domain"),
        port: 2525,
        tls: TlsPolicy::Opportunistic,
    }
}

fn report(text: &str) -> Report {
    Report::parse(text).expect("a report")
}

fn delivered() -> Outcome {
    Outcome::Delivered(report("250 2.0.0 ok"))
}

fn later(text: &str) -> Outcome {
    Outcome::Temporary(report(text))
}

fn never(text: &str) -> Outcome {
    Outcome::Permanent(report(text))
}

/// What a connection gives: no connection, or a session's outcomes and its end.
type Given = Option<(Vec<Outcome>, End)>;

/// Runs an attempt; connections find `given` in order. What was connected to, and the outcomes.
fn run(order: Order, zone: Zone<'_>, given: &[Given]) -> (Vec<Connect>, Vec<Outcome>) {
    let mut attempt = Attempt::new(order);
    let mut connects: Vec<Connect> = Vec::new();
    let mut given = given.iter();
    loop {
        let action = attempt.poll_action().expect("an action until it is done");
        let input = match action {
            Action::Query(question) => {
                let known = zone.iter().find(|(name, kind, _)| {
                    Name::parse(name).as_ref() == Some(&question.name) && *kind == question.kind
                });
                let result = known.map_or(Err(DnsError::NoSuchName), |(.., answer)| answer.clone());
                Input::Answer { question, result }
            }
            Action::Connect(connect) => {
                assert!(connects.len() < 200, "no end");
                connects.push(*connect);
                match given.next() {
                    Some(Some((recipients, end))) => Input::Session(client::Outcome {
                        recipients: recipients.clone(),
                        end: *end,
                        tls: None,
                    }),
                    Some(None) | None => Input::NoConnection("refused".into()),
                }
            }
            Action::Done(outcomes) => {
                assert_eq!((attempt.poll_action(), attempt.poll_timeout()), (None, None));
                return (connects, outcomes);
            }
            Action::Counted(_) => continue,
            Action::Policy(_) => panic!("nobody looks at MTA-STS here"),
        };
        attempt.handle_input(Now::default(), input);
    }
}

fn addresses(connects: &[Connect]) -> Vec<String> {
    connects
        .iter()
        .map(|connect| connect.address.to_string())
        .collect()
}

const HOSTS: &[(u16, &str)] = &[(10, "a.example"), (20, "b.example")];

fn zone() -> Vec<(&'static str, Kind, Result<Answer, DnsError>)> {
    vec![
        ("d.example", Kind::Mx, mx(HOSTS)),
        ("a.example", Kind::A, a(&[1, 2])),
        ("b.example", Kind::A, a(&[3])),
    ]
}

#[test]
fn all_addresses_of_all_hosts_in_order() {
    let (connects, outcomes) = run(order(by_mx(), 1), &zone(), &[]);
    assert_eq!(
        addresses(&connects),
        ["192.0.2.1:2525", "192.0.2.2:2525", "192.0.2.3:2525"]
    );
    assert_eq!(connects[2].settings.server, "b.example");
    assert_eq!((connects[0].job.offset, connects[0].job.size), (3, 9));
    let Outcome::Temporary(report) = &outcomes[0] else {
        panic!("temporary");
    };
    assert_eq!(
        report.to_string(),
        "4.4.1 connect to b.example (192.0.2.3:2525): refused; before that: a.example (192.0.2.1:2525): refused, \
         a.example (192.0.2.2:2525): refused"
    );
}

#[test]
fn a_broken_session_tells_what_was_tried_before_and_the_text_is_bounded() {
    let lost = Some((vec![later("4.4.2 connection lost")], End::NextHost));
    let (_, outcomes) = run(order(by_mx(), 1), &zone(), &[None, None, lost.clone()]);
    assert_eq!(
        outcomes[0].report().to_string(),
        "4.4.2 connection lost; before that: a.example (192.0.2.1:2525): refused, a.example (192.0.2.2:2525): refused"
    );
    let (_, outcomes) = run(order(by_mx(), 1), &zone(), &[lost, None, None]);
    assert!(
        outcomes[0]
            .report()
            .text
            .contains("(192.0.2.1:2525): 4.4.2 connection lost")
    );
    let many: Vec<u8> = (1..=30).collect();
    let zone = [
        ("d.example", Kind::Mx, mx(&[(10, "a.example")])),
        ("a.example", Kind::A, a(&many)),
    ];
    let (connects, outcomes) = run(order(by_mx(), 1), &zone, &[]);
    assert!(connects.len() > 10, "{}", connects.len());
    let text = &outcomes[0].report().text;
    assert!(text.len() < 500 && text.ends_with(", and more"), "{text}");
}

#[test]
fn a_message_that_a_kept_connection_failed_goes_to_the_same_address_again() {
    let stale = Some((vec![later("421 4.3.2 bye")], End::Stale));
    let ok = Some((vec![delivered()], End::Complete));
    let (connects, outcomes) = run(order(by_mx(), 1), &zone(), &[stale, ok]);
    assert_eq!(outcomes, [delivered()]);
    assert_eq!(addresses(&connects), ["192.0.2.1:2525"; 2]);
}

#[test]
fn the_first_host_that_takes_it_is_the_last_one_asked() {
    let ok = Some((vec![delivered()], End::Complete));
    let (connects, outcomes) = run(order(by_mx(), 1), &zone(), &[None, ok]);
    assert_eq!((connects.len(), outcomes), (2, vec![delivered()]));
    let no = Some((vec![never("550 5.1.1 no")], End::Complete));
    let (connects, outcomes) = run(order(by_mx(), 1), &zone(), &[no]);
    assert_eq!(
        (connects.len(), outcomes),
        (1, vec![never("550 5.1.1 no")]),
        "5xx is final at once"
    );
}

#[test]
fn a_host_in_trouble_gives_way_to_the_next() {
    let greeting = later("554 4.0.0 no service");
    let trouble = Some((vec![greeting.clone()], End::NextHost));
    let ok = Some((vec![delivered()], End::Complete));
    let (connects, outcomes) = run(order(by_mx(), 1), &zone(), &[trouble.clone(), None, ok.clone()]);
    assert_eq!((connects.len(), outcomes), (3, vec![delivered()]));
    let (_, outcomes) = run(order(by_mx(), 1), &zone(), &[trouble]);
    assert_eq!(
        outcomes,
        [greeting],
        "what a server said outweighs that others were not reached"
    );
    let busy = Some((vec![later("451 4.7.1 greylisted")], End::Complete));
    let (connects, _) = run(order(by_mx(), 1), &zone(), &[busy, ok]);
    assert_eq!(
        addresses(&connects),
        ["192.0.2.1:2525", "192.0.2.3:2525"],
        "not the same host's other address"
    );
}

#[test]
fn only_open_recipients_are_asked_for_again() {
    let mixed = vec![
        delivered(),
        later("450 4.2.1 busy"),
        never("550 5.1.1 no"),
        later("450 4.2.1 busy"),
    ];
    let second = vec![never("550 5.1.1 gone"), delivered()];
    let given = [Some((mixed, End::Complete)), Some((second, End::Complete))];
    let (connects, outcomes) = run(order(by_mx(), 4), &zone(), &given);
    let asked: Vec<String> = connects[1]
        .job
        .recipients
        .iter()
        .map(|recipient| recipient.address.to_string())
        .collect();
    assert_eq!(asked, ["r1@d.example", "r3@d.example"]);
    assert_eq!(
        outcomes,
        [
            delivered(),
            never("550 5.1.1 gone"),
            never("550 5.1.1 no"),
            delivered()
        ]
    );
}

#[test]
fn a_full_transaction_goes_on_in_another() {
    let full = |n: usize| {
        let mut all = vec![delivered()];
        all.resize(n, later("452 4.5.3 too many"));
        Some((all, End::Complete))
    };
    let (connects, outcomes) = run(order(by_mx(), 3), &zone(), &[full(3), full(2), full(1)]);
    assert_eq!(outcomes, [delivered(), delivered(), delivered()]);
    assert_eq!(addresses(&connects), ["192.0.2.1:2525"; 3]);
    let none = Some((vec![later("452 4.5.3 too many"); 2], End::Complete));
    let (connects, _) = run(order(by_mx(), 2), &zone(), &[none]);
    assert_eq!(
        addresses(&connects)[1],
        "192.0.2.3:2525",
        "without progress the next host"
    );
    let rounds = vec![full(60); 60];
    let (connects, outcomes) = run(order(by_mx(), 60), &zone(), &rounds);
    assert_eq!((connects.len(), outcomes.len()), (40, 60), "bounded");
}

#[test]
fn an_uncertain_end_is_not_repeated_now() {
    for end in [End::Uncertain, End::Ours] {
        let lost = later("4.4.2 lost");
        let (connects, outcomes) = run(order(by_mx(), 1), &zone(), &[Some((vec![lost.clone()], end))]);
        assert_eq!((connects.len(), outcomes), (1, vec![lost]));
    }
}

#[test]
fn without_tls_the_same_address_again() {
    let broken = Some((vec![later("4.7.5 TLS")], End::RetryWithoutTls));
    let ok = Some((vec![delivered()], End::Complete));
    let (connects, outcomes) = run(order(by_mx(), 1), &zone(), &[broken.clone(), ok]);
    assert_eq!(outcomes, [delivered()]);
    assert_eq!(addresses(&connects), ["192.0.2.1:2525"; 2]);
    let policies: Vec<TlsPolicy> = connects.iter().map(|connect| connect.settings.tls).collect();
    assert_eq!(policies, [TlsPolicy::Opportunistic, TlsPolicy::None]);
    let (connects, _) = run(order(by_mx(), 1), &zone(), &[broken, None]);
    let policies: Vec<TlsPolicy> = connects.iter().map(|connect| connect.settings.tls).collect();
    assert_eq!(
        policies[2],
        TlsPolicy::Opportunistic,
        "the next address begins anew"
    );
}

#[test]
fn what_dns_says() {
    let ask = |answer| {
        let zone = [("d.example", Kind::Mx, answer), ("us.example", Kind::A, a(&[9]))];
        let (connects, mut outcomes) = run(order(by_mx(), 2), &zone, &[]);
        assert!(connects.is_empty());
        assert_eq!(outcomes.len(), 2);
        let outcome = outcomes.remove(0);
        (
            matches!(outcome, Outcome::Permanent(_)),
            outcome.report().enhanced,
        )
    };
    assert_eq!(ask(Err(DnsError::NoSuchName)), (true, Enhanced(5, 1, 2)));
    assert_eq!(ask(a(&[])), (true, Enhanced(5, 1, 2)));
    assert_eq!(ask(mx(&[(0, ".")])), (true, Enhanced(5, 1, 10)));
    assert_eq!(ask(mx(&[(10, "us.example")])), (true, Enhanced(5, 4, 6)));
    assert_eq!(ask(mx(&[(10, "gone.example")])), (true, Enhanced(5, 4, 4)));
    assert_eq!(ask(Err(DnsError::Timeout)), (false, Enhanced(4, 4, 3)));
    assert_eq!(
        ask(Err(DnsError::ServerFailure("SERVFAIL".into()))),
        (false, Enhanced(4, 4, 3))
    );
}

#[test]
fn a_named_host_gets_its_credentials_and_no_mx() {
    let target = |host: &str| {
        Route::Target(Target {
            host: host.into(),
            port: 587,
            credentials: Some(Credentials {
                username: "u".into(),
                password: Secret::new("p"),
            }),
            tls: TlsPolicy::Verify,
        })
    };
    let zone = [("smart.example", Kind::A, a(&[7]))];
    let (connects, _) = run(order(target("smart.example"), 1), &zone, &[]);
    assert_eq!(addresses(&connects), ["192.0.2.7:587"]);
    assert_eq!(connects[0].settings.tls, TlsPolicy::Verify);
    assert!(connects[0].settings.credentials.is_some());
    let (connects, _) = run(order(target("127.0.0.1"), 1), &[], &[]);
    assert_eq!(connects[0].address.ip(), IpAddr::from([127, 0, 0, 1]));
    let (connects, outcomes) = run(order(target("misspelt.example"), 1), &[], &[]);
    assert!(connects.is_empty());
    assert!(
        !outcomes[0].is_final() && outcomes[0].report().severe,
        "an operator mends it, mail waits"
    );
}

#[test]
fn answers_of_the_resolver_may_come_in_any_order() {
    let mut attempt = Attempt::new(order(by_mx(), 1));
    let mut table: BTreeMap<_, _> = zone()
        .into_iter()
        .map(|(name, kind, answer)| ((name, kind), answer))
        .collect();
    let mut open = Vec::new();
    let mut connect = None;
    while connect.is_none() {
        while let Some(action) = attempt.poll_action() {
            match action {
                Action::Query(question) => open.push(question),
                other => connect = Some(other),
            }
        }
        if let Some(question) = open.pop() {
            let key = (question.name.as_str(), question.kind);
            let found = table
                .iter()
                .find(|((name, kind), _)| (*name, *kind) == key)
                .map(|(key, _)| *key);
            let result = found
                .and_then(|key| table.remove(&key))
                .unwrap_or(Err(DnsError::NoSuchName));
            attempt.handle_input(Now::default(), Input::Answer { question, result });
        }
    }
    assert!(matches!(connect, Some(Action::Connect(connect)) if connect.settings.server == "a.example"));
    assert!(open.is_empty());
}

#[test]
fn what_no_host_can_is_the_end_and_what_another_can_is_not() {
    let lacks = Outcome::Temporary(report("5.7.30 REQUIRETLS support required"));
    let given = [
        Some((vec![lacks.clone()], End::NextHost)),
        Some((vec![delivered()], End::Complete)),
    ];
    let (_, outcomes) = run(order(by_mx(), 1), &zone(), &given);
    assert_eq!(outcomes, [delivered()]);
    let all: Vec<Given> = (0..10)
        .map(|_| Some((vec![lacks.clone()], End::NextHost)))
        .collect();
    let (connects, outcomes) = run(order(by_mx(), 1), &zone(), &all);
    assert!(connects.len() > 1);
    assert_eq!(outcomes, [never("5.7.30 REQUIRETLS support required")]);
}

#[test]
fn what_requires_tls_goes_only_to_servers_that_were_named() {
    let wanting = |route| {
        let mut order = order(route, 2);
        order.job.reverse_path = ReversePath::Address(Address::parse("s@us.example").expect("address"));
        order.job.wishes.require_tls = true;
        order
    };
    let (connects, outcomes) = run(wanting(by_mx()), &zone(), &[]);
    assert!(connects.is_empty(), "plain DNS confirms no name");
    for outcome in outcomes {
        let Outcome::Permanent(report) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(report.enhanced, Enhanced(5, 7, 10));
        assert!(report.text.contains("neither DNSSEC nor MTA-STS"));
    }
    let target = Route::Target(Target {
        host: "a.example".into(),
        port: 25,
        credentials: None,
        tls: TlsPolicy::Verify,
    });
    let (connects, _) = run(wanting(target), &zone(), &[]);
    assert_eq!(connects.len(), 2);
    let mut notice = wanting(by_mx());
    notice.job.reverse_path = ReversePath::Null;
    let (connects, _) = run(notice, &zone(), &[]);
    assert_eq!(connects.len(), 3, "a notification is better sent than lost");
}

#[test]
fn who_was_left_out_is_asked_for_though_the_first_is_put_off() {
    let over = later("4.5.3 the server takes no more recipients at once");
    let busy = later("450 4.2.1 busy");
    let given = [
        Some((vec![busy.clone(), over.clone(), over.clone()], End::Complete)),
        Some((vec![delivered(), over.clone()], End::Complete)),
        Some((vec![never("550 5.1.1 no")], End::Complete)),
        Some((vec![busy.clone()], End::Complete)),
    ];
    let (connects, outcomes) = run(order(by_mx(), 3), &zone(), &given);
    let asked: Vec<usize> = connects
        .iter()
        .map(|connect| connect.job.recipients.len())
        .collect();
    assert_eq!(asked, [3, 2, 1, 1]);
    let at = addresses(&connects);
    assert_eq!(at[..3], ["192.0.2.1:2525", "192.0.2.1:2525", "192.0.2.1:2525"]);
    assert_eq!(
        at[3], "192.0.2.3:2525",
        "the one who was put off, at the next host"
    );
    assert_eq!(outcomes, [busy.clone(), delivered(), never("550 5.1.1 no")]);
    // Without progress, and without end.
    let none = Some((vec![over.clone(); 2], End::Complete));
    let (connects, _) = run(order(by_mx(), 2), &zone(), &[none]);
    assert_eq!(addresses(&connects)[1], "192.0.2.3:2525");
    let rounds: Vec<Given> = (0..60)
        .map(|n| {
            let mut all = vec![busy.clone()];
            all.resize(60 - n, over.clone());
            Some((all, End::Complete))
        })
        .collect();
    let (connects, _) = run(order(by_mx(), 60), &zone(), &rounds);
    assert_eq!(connects.len(), 40, "bounded");
}

#[test]
fn recipients_beyond_the_limit_of_a_server_follow_at_once() {
    let over = Outcome::Temporary(report("4.5.3 the server takes no more recipients at once"));
    let given = [
        Some((vec![delivered(), over], End::Complete)),
        Some((vec![delivered()], End::Complete)),
    ];
    let (connects, outcomes) = run(order(by_mx(), 2), &zone(), &given);
    assert_eq!((connects.len(), outcomes), (2, vec![delivered(), delivered()]));
    assert_eq!(connects[0].address, connects[1].address);
}
