//! The relay of the stage: what a transcript says wrongly of it is found.

use std::path::Path;

use rmail_conformance::replay::replay;
use rmail_conformance::transcript::Transcript;
use rmail_conformance::world::World;

const HEAD: &str = "# x\n@session smtp role=submission user=alice\n@session 2 relay HOST\n@given relay\n\
    @given dns example.net MX \"10 mx.example.net\"\n@given dns mx.example.net A 192.0.2.25\n\
    C: MAIL FROM:<alice@example.com>\nC: RCPT TO:<bob@TO>\nC: DATA\n\
    S: 250 2.1.0 OK\nS: 250 2.1.5 OK\nS: 354 ${*}\nC| Subject: x\nC: .\n\
    S: 250 2.0.0 OK: message accepted for delivery ${*}\n";

fn play(options: &str, domain: &str, rest: &str) -> Result<(), String> {
    let text = HEAD
        .replace("HOST", options)
        .replace("TO>", &format!("{domain}>"))
        + rest;
    let transcript = Transcript::parse(&text).map_err(|mistake| mistake.to_string())?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let played = replay(&transcript, |transcript, now| {
        World::open(transcript, &fixtures, now)
    });
    played.map_err(|failure| failure.to_string())
}

#[test]
fn a_connection_is_where_it_is_wanted() {
    let connect = "A2: Connect 192.0.2.25:25 mx.example.net Opportunistic Roots\n";
    assert_eq!(play("", "example.net", connect), Ok(()));
    assert_eq!(play("host=mx.example.net", "example.net", connect), Ok(()));
    let other = play("host=mx2.example.net", "example.net", connect);
    assert!(other.is_err_and(|text| text.contains("does not connect to mx2.example.net")));
    let wrong = "A2: Connect 192.0.2.26:25 ${*}\n";
    assert!(play("", "example.net", wrong).is_err_and(|text| text.contains("no such action")));
}

#[test]
fn idle_is_true_or_false() {
    let idle = play("", "example.net", "!: idle\n");
    assert!(idle.is_err_and(|text| text.contains("the relay wants this: Connect 192.0.2.25:25")));
    assert_eq!(play("", "nowhere.example", "!: idle\n"), Ok(()));
    assert_eq!(
        play("", "example.net", "!: unreachable mx.example.net\n!: idle\n"),
        Ok(())
    );
    let nobody = play("", "nowhere.example", "!: unreachable\n");
    assert!(nobody.is_err_and(|text| text.contains("does not connect to anybody")));
}

#[test]
fn time_brings_the_next_attempt() {
    let later = "!: unreachable\nT: +59s\n!: idle\nT: +1s\nA2: Connect ${*}\n";
    assert_eq!(play("", "example.net", later), Ok(()));
    let too_soon = "!: unreachable\nT: +59s\nA2: Connect ${*}\n";
    assert!(play("", "example.net", too_soon).is_err());
}
