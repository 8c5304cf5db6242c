//! What the relay keeps of other domains' TLS: MTA-STS policies and counts for TLS reports.

use std::sync::Arc;

use futures_lite::future::block_on;
use rmail_core::addr::Domain;
use rmail_core::random::Random;
use rmail_core::relay::tls::policy::{Mode as Sts, Policy};
use rmail_core::relay::tls::report::{Applied, Day, Event};
use rmail_core::relay::tls::sts::Stored;
use rmail_core::time::Unix;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::mem::{Model, Outcome};
use rmail_store::service::Service;

use super::common::*;

fn domain(name: &str) -> Domain {
    Domain::parse(name).expect("a domain")
}

fn stored(id: &str, fetched: u64) -> Stored {
    let mx = vec!["*.example".into()];
    let policy = Policy {
        mode: Sts::Enforce,
        max_age: 100,
        mx,
    };
    Stored {
        id: id.into(),
        fetched,
        policy,
    }
}

fn counted(name: &str) -> Day {
    let mut day = Day::default();
    day.add(&Event {
        domain: domain(name),
        applied: Applied::None,
        host: "mx".into(),
        remote: None,
        fault: None,
    });
    day
}

#[test]
fn a_policy_is_kept_until_it_holds_no_longer() {
    let world = World::new();
    let service = Arc::clone(&world.service);
    let (one, two) = (domain("one.example"), domain("two.example"));
    block_on(async {
        assert_eq!(service.load_sts(&one).await, None);
        service.save_sts(&one, &stored("1", 1000)).await.expect("saved");
        service
            .save_sts(&one, &stored("2", 1000))
            .await
            .expect("saved over it");
        service.save_sts(&two, &stored("3", 1050)).await.expect("saved");
        assert_eq!(service.load_sts(&one).await, Some(stored("2", 1000)));
        service.tidy_sts(Unix::from_secs(1099)).await.expect("tidied");
        assert!(service.load_sts(&one).await.is_some());
        service.tidy_sts(Unix::from_secs(1100)).await.expect("tidied");
        assert_eq!(service.load_sts(&one).await, None);
        assert_eq!(service.load_sts(&two).await, Some(stored("3", 1050)));
        // No literal has a policy, and no name is too long for a file.
        let literal = domain("[192.0.2.1]");
        service
            .save_sts(&literal, &stored("1", 1000))
            .await
            .expect("nothing to save");
        assert_eq!(service.load_sts(&literal).await, None);
        let long = domain(&[["a"; 60].concat().as_str(); 4].join("."));
        service
            .save_sts(&long, &stored("1", 1000))
            .await
            .expect("saved or left out");
    });
}

#[test]
fn a_policy_survives_a_power_cut_and_a_broken_file_is_none() {
    let world = World::new();
    let name = domain("one.example");
    block_on(world.service.save_sts(&name, &stored("1", 1000))).expect("saved");
    world
        .disk
        .power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
    let disk = world.disk.process();
    let service = Service::new(Arc::new(open_store(&disk)), accounts(&disk, 2), settings());
    assert_eq!(block_on(service.load_sts(&name)), Some(stored("1", 1000)));
    block_on(async {
        let dir = disk.open_dir(disk.root(), "mta-sts").await.expect("a directory");
        let file = disk
            .open(&dir, "one.example.json", Mode::Write)
            .await
            .expect("a file");
        disk.write_at(&file, b"#", 0).await.expect("written");
    });
    assert_eq!(block_on(service.load_sts(&name)), None);
}

#[test]
fn counts_of_several_processes_come_together_and_one_sends_them() {
    let world = World::new();
    let service = Arc::clone(&world.service);
    block_on(async {
        service
            .add_tls_counts(7, counted("a.example"))
            .await
            .expect("added");
        service
            .add_tls_counts(7, counted("b.example"))
            .await
            .expect("added");
        service
            .add_tls_counts(8, counted("a.example"))
            .await
            .expect("added");
        assert_eq!(service.tls_count_days().await.expect("days"), [7, 8]);
        let mut both = counted("a.example");
        both.merge(counted("b.example"));
        assert_eq!(service.tls_counts(7).await.expect("counts"), both);
        let sending = service.begin_tls_reports().await.expect("no fault");
        assert!(sending.is_some());
        assert!(service.begin_tls_reports().await.expect("no fault").is_none());
        drop(sending);
        assert!(service.begin_tls_reports().await.expect("no fault").is_some());
        service
            .forget_tls_counts(7, "a.example")
            .await
            .expect("forgotten");
        assert_eq!(service.tls_counts(7).await.expect("counts"), counted("b.example"));
        service.remove_tls_counts(7).await.expect("removed");
        assert!(service.tls_counts(7).await.expect("counts").is_empty());
        assert_eq!(service.tls_count_days().await.expect("days"), [8]);
    });
}
