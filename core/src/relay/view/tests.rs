use super::*;
use crate::relay::queue::Command;
use crate::smtp::envelope::{DsnRequest, Wishes};

fn recipient(address: &str, next: u64) -> Recipient {
    Recipient {
        address: address.to_owned(),
        attempts: 1,
        next,
        last: Some("450 4.7.1 later".to_owned()),
        delay_told: false,
        dsn: DsnRequest::default(),
        local: false,
        done: None,
        failed: false,
        expanded: false,
    }
}

fn found(id: &str, recipients: Vec<Recipient>) -> Found {
    Found {
        home: "01".to_owned(),
        served: true,
        entry: Entry {
            id: id.to_owned(),
            sender: "Ann@x.y".to_owned(),
            account: None,
            arrived: 100,
            offset: 0,
            size: 10,
            eight_bit: false,
            hold_until: 0,
            held: false,
            wishes: Wishes::default(),
            recipients,
        },
        asked: None,
    }
}

#[test]
fn a_filter_takes_what_fits_all_of_it() {
    let one = found("1", vec![recipient("a@b.test", 50)]);
    let takes = |filter: Result<Filter, BadFilter>| filter.expect("good").takes(&one, 7_300);
    let all = Filter::default();
    assert!(all.is_empty() && takes(Ok(all.clone())));
    assert!(takes(all.clone().with_domain("B.TEST")) && !takes(all.clone().with_domain("c.test")));
    assert!(takes(all.clone().with_sender("ann@x.y")) && takes(all.clone().with_sender("@x.y")));
    assert!(!takes(all.clone().with_sender("<>")) && !takes(all.clone().with_sender("bob@x.y")));
    let of = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        takes(Ok(filter))
    };
    assert!(!of(|filter| filter.held = true));
    assert!(
        of(|filter| filter.reason = Some("4.7.1".to_owned()))
            && !of(|filter| filter.reason = Some("5.".to_owned()))
    );
    assert!(of(|filter| filter.older_hours = Some(2)) && !of(|filter| filter.older_hours = Some(3)));
    assert!(!of(|filter| filter.older_hours = Some(u64::MAX)));
    assert!(all.clone().with_domain("a b").is_err() && all.with_sender("x").is_err());
}

#[test]
fn a_plan_leaves_out_what_the_command_is_not_for() {
    let mut held = found("2", vec![recipient("a@b.test", 50)]);
    held.entry.held = true;
    let all = || {
        vec![
            found("1", vec![recipient("a@b.test", 50), recipient("a@c.test", 50)]),
            held.clone(),
        ]
    };
    let plan = |command, choice: &Choice| {
        let plan = Plan::new(all(), command, choice, &[60, 60], 100);
        let chosen: Vec<String> = plan.chosen.into_iter().map(|one| one.entry.id).collect();
        let left: Vec<String> = plan.left_out.into_iter().map(|(id, _)| id).collect();
        (chosen.join(" "), left.join(" "))
    };
    let text = |one: &str, two: &str| (one.to_owned(), two.to_owned());
    let ids = Choice::Ids(vec!["1".to_owned(), "2".to_owned(), "3".to_owned()]);
    let every = Choice::Where(Filter::default());
    assert_eq!(plan(Command::Retry, &ids), text("1", "2 3"));
    assert_eq!(plan(Command::Release, &ids), text("2", "1 3"));
    assert_eq!(plan(Command::Hold, &ids), text("1 2", "3"));
    assert_eq!(plan(Command::Retry, &every), text("1", ""));
    assert_eq!(plan(Command::Release, &every), text("2", ""));
    let there = Choice::Where(Filter::default().with_domain("b.test").expect("good"));
    assert_eq!(plan(Command::Fail, &there), text("2", "1"));
}

#[test]
fn the_sum_counts_every_recipient_once() {
    let mut done = recipient("a@c.test", 10);
    done.done = Some("2.1.5 delivered".to_owned());
    let mut alarm = recipient("b@b.test", 300);
    alarm.last = Some("535 5.7.8 no".to_owned());
    let all = [found("1", vec![recipient("a@b.test", 50), alarm, done])];
    let sum = Sum::of(&all, &[60, 60], 100);
    assert_eq!((sum.messages, sum.recipients, sum.octets), (1, 3, 10));
    assert_eq!((sum.due, sum.waiting, sum.delivered, sum.alarms), (1, 1, 1, 1));
    assert_eq!((sum.oldest, sum.next), (Some(100), Some(50)));
    let [only] = sum.destinations.as_slice() else {
        panic!("{:?}", sum.destinations)
    };
    assert_eq!(
        (only.domain.as_str(), only.recipients, only.next),
        ("b.test", 2, Some(50))
    );
}

#[test]
fn an_entry_reads_well_for_programs() {
    let shown = Shown::of(&found("1", vec![recipient("a@b.test", 150)]), &[60], 100);
    assert_eq!(
        serde_json::to_value(shown).expect("JSON"),
        serde_json::json!({
            "id": "1", "queue": "01", "served": true, "sender": "Ann@x.y", "account": null, "arrived": 100, "size": 10,
            "held": false, "hold_until": null, "asked": null,
            "recipients": [{
                "address": "a@b.test", "state": "waiting", "attempts": 1, "next": 150, "last": "450 4.7.1 later",
                "here": false, "delay_told": false,
            }],
        })
    );
}
