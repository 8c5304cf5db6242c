//! Greylisting and LMTP, as the service answers them: durable, shared by processes, harmless when the disk is not there.

use std::net::IpAddr;
use std::sync::Arc;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::peer::Peer;
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::server::{Call, Reply};
use rmail_core::time::{Now, Unix};
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::mem::{End, Fault, MemDisk, Model, Outcome};
use rmail_store::service::{Serve as _, Service, Settings};

const BOB: &str = "bob@example.com";

/// A process of its own on the disk.
fn process(disk: &MemDisk) -> Arc<Service<Store, MemDisk>> {
    let disk = disk.process();
    disk.set_yields(false);
    service_on(&disk)
}

fn service_on(disk: &MemDisk) -> Arc<Service<Store, MemDisk>> {
    let store = open_store(disk);
    let accounts = accounts(disk, 5);
    let settings = Settings {
        greylist: Some(rmail_core::greylist::Settings::default()),
        ..settings()
    };
    Service::new(Arc::new(store), accounts, settings)
}

fn stranger(service: &Arc<Service<Store, MemDisk>>) -> Smtp {
    service.smtp_session(Peer {
        address: IpAddr::from([192, 0, 2, 1]),
        trusted: false,
    })
}

fn disk_with_bob() -> MemDisk {
    let disk = MemDisk::new();
    disk.set_yields(false);
    let service = process(&disk);
    let user = new_user(false);
    let bob = account(BOB);
    let created = service
        .accounts()
        .create(&**service.store(), &bob, &user, Unix::from_secs(1));
    block_on(created).expect("created");
    disk
}

fn rcpt(session: &Smtp, at: u64) -> Result<(), Refusal> {
    let now = Now {
        unix: Unix::from_secs(at),
        ..Now::default()
    };
    let call = Call::Recipient {
        account: None,
        path: forward_path(BOB),
        size: None,
        sender: reverse_path("a@b.example"),
    };
    match block_on(session.run(now, call)) {
        Reply::Recipient(result) => result.map(drop),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_greylisting_knows_is_shared_by_processes_and_outlives_a_power_cut() {
    let disk = disk_with_bob();
    let (one, two) = (process(&disk), process(&disk));
    assert_eq!(rcpt(&stranger(&one), 1_000), Err(Refusal::Greylisted));
    assert_eq!(rcpt(&stranger(&two), 1_299), Err(Refusal::Greylisted));
    assert_eq!(rcpt(&stranger(&two), 1_300), Ok(()));
    assert_eq!(rcpt(&stranger(&one), 1_301), Ok(()));
    drop((one, two));
    disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([9; 32]));
    assert_eq!(rcpt(&stranger(&process(&disk)), 2_000_000), Ok(()));
}

/// A crash while a stranger is noted for the first time; whether it was reached.
fn noted_and_cut(world: &MemDisk, at: u64, end: End) -> bool {
    let disk = world.fork();
    let service = service_on(&disk);
    let session = stranger(&service);
    disk.fault(disk.calls() + at, Fault::Crash);
    let _ = rcpt(&session, 1_000);
    let cut = disk.is_dead();
    drop((session, service));
    disk.end(end, at);
    let service = process(&disk);
    let session = stranger(&service);
    let what = format!("{end:?} at call {at}");
    assert_eq!(
        rcpt(&session, 1_100),
        Err(Refusal::Greylisted),
        "{what}: too early"
    );
    assert_eq!(
        rcpt(&session, 1_400),
        Ok(()),
        "{what}: noted at 1,100 at the latest"
    );
    assert_eq!(rcpt(&session, 9_000), Ok(()), "{what}: known");
    cut
}

#[test]
fn a_crash_while_a_stranger_is_noted_keeps_nobody_away_and_lets_nobody_pass_early() {
    let world = disk_with_bob();
    let mut ends = vec![End::Kill];
    for model in [Model::Adversary, Model::Ordered] {
        ends.push(End::Power(model, Outcome::Lost, 0));
        ends.extend((1..4).map(|seed| End::Power(model, Outcome::Random, seed)));
    }
    // What comes before is the look for the recipient. The table is large, and forked for each crash.
    let disk = world.fork();
    let service = service_on(&disk);
    let before = disk.calls();
    assert_eq!(rcpt(&stranger(&service), 1_000), Err(Refusal::Greylisted));
    let calls = disk.calls() - before;
    for at in calls.saturating_sub(11)..=calls {
        for end in &ends {
            assert!(noted_and_cut(&world, at, *end), "{at} of {calls}");
        }
    }
}

#[test]
fn a_table_that_cannot_be_written_keeps_no_mail_away_and_one_that_is_deleted_begins_anew() {
    let disk = disk_with_bob();
    let service = process(&disk);
    let session = stranger(&service);
    assert_eq!(rcpt(&session, 1_000), Err(Refusal::Greylisted));
    disk.set_read_only(true);
    assert_eq!(
        rcpt(&session, 1_400),
        Ok(()),
        "it cannot be noted, and so nobody waits"
    );
    disk.set_read_only(false);
    assert_eq!(rcpt(&session, 1_400), Ok(()));
    block_on(disk.unlink(disk.root(), "greylist")).expect("deleted");
    assert_eq!(rcpt(&session, 1_500), Err(Refusal::Greylisted));
    block_on(disk.open(disk.root(), "greylist", Mode::Read)).expect("there again");
}

#[test]
fn who_is_trusted_or_unknown_here_is_not_noted() {
    let disk = disk_with_bob();
    let service = process(&disk);
    let trusted = service.smtp_session(Peer::LOCAL);
    assert_eq!(rcpt(&trusted, 1_000), Ok(()));
    assert!(block_on(disk.open(disk.root(), "greylist", Mode::Read)).is_err());
}
