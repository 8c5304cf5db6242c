//! Before login, and logging in: dialogues.

use std::time::Duration;

use crate::common::{Client, PASSWORD, USER, World, settings, tls};
use rmail_core::machine::Input;
use rmail_core::note::Note;

/// What is offered to everybody at all times.
fn always() -> String {
    let mut clear = settings();
    clear.cleartext_auth = false;
    let greeting = Client::new(clear).listen(&mut World::new());
    let words = greeting.strip_prefix("* OK [CAPABILITY ");
    let end = " STARTTLS LOGINDISABLED] mail.demo.test rmail ready\r\n";
    let words = words.and_then(|words| words.strip_suffix(end));
    words.unwrap_or_else(|| panic!("{greeting}")).to_owned()
}

#[test]
fn greeting_and_capabilities_follow_tls() {
    let world = &mut World::new();
    let mut clear = settings();
    clear.cleartext_auth = false;
    let mut client = Client::new(clear.clone());
    let always = always();
    assert!(
        always.starts_with("IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE "),
        "{always}"
    );
    assert_eq!(
        client.listen(world),
        format!("* OK [CAPABILITY {always} STARTTLS LOGINDISABLED] mail.demo.test rmail ready\r\n")
    );
    assert_eq!(
        client.say(world, "a LOGIN x y\r\n"),
        "a NO [PRIVACYREQUIRED] Start TLS first\r\n"
    );
    assert_eq!(
        client.say(world, "a AUTHENTICATE PLAIN\r\n"),
        "a NO [PRIVACYREQUIRED] Start TLS first\r\n"
    );
    // What was sent before the handshake is not executed after it.
    assert_eq!(
        client.say(world, "b STARTTLS\r\nc NOOP\r\n"),
        "b OK Begin TLS negotiation now\r\n"
    );
    assert_eq!(client.say(world, "d NOOP\r\n"), "");
    client.start_tls();
    assert_eq!(
        client.say(world, "e CAPABILITY\r\n"),
        format!(
            "* CAPABILITY {always} AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN\r\ne OK CAPABILITY completed\r\n"
        )
    );
    assert_eq!(client.say(world, "f STARTTLS\r\n"), "f BAD TLS is on already\r\n");

    let mut implicit = Client::new(clear);
    implicit.input(Input::TlsStarted(tls()));
    assert!(
        implicit
            .listen(world)
            .contains(" AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN] mail.demo.test")
    );
}

#[test]
fn login_names_capabilities_and_watches_the_account() {
    let world = &mut World::new();
    let mut client = Client::new(settings());
    client.listen(world);
    assert_eq!(
        client.say(world, &format!("a LOGIN {USER} wrong\r\n")),
        "a NO [AUTHENTICATIONFAILED] Authentication failed\r\n"
    );
    assert_eq!(
        client.say(world, "b SELECT INBOX\r\n"),
        "b BAD [CLIENTBUG] Log in first\r\n"
    );
    assert_eq!(
        client.say(world, &format!("c login \"{USER}\" {{6}}\r\n")),
        "+ Ready for more\r\n"
    );
    assert_eq!(
        client.say(world, &format!("{PASSWORD}\r\n")),
        format!(
            "c OK [CAPABILITY {} UNAUTHENTICATE COMPRESS=DEFLATE] Logged in\r\n",
            always()
        )
    );
    assert_eq!(
        client.say(world, "d LOGIN x y\r\n"),
        "d BAD [CLIENTBUG] Already logged in\r\n"
    );
    assert!(
        client
            .notes
            .iter()
            .any(|note| matches!(note, Note::LoggedIn { .. }))
    );
    assert!(
        client
            .notes
            .iter()
            .any(|note| matches!(note, Note::LoginFailed { .. }))
    );
    let notes = format!("{:?}", client.notes);
    assert!(!notes.contains(PASSWORD) && !notes.contains("wrong"), "{notes}");

    // Another password: the session ends.
    world.epoch += 1;
    assert_eq!(client.listen(world), "* BYE Your login is no longer valid\r\n");
    assert!(client.closed);
}

#[test]
fn a_changed_account_that_still_holds_goes_on() {
    let world = &mut World::new();
    let mut client = Client::logged_in(world);
    client.input(Input::Dirty(rmail_core::machine::WatchId(1)));
    assert_eq!(client.say(world, "a NOOP\r\n"), "a OK NOOP completed\r\n");
    assert!(client.calls.iter().any(|call| call.starts_with("Recheck")));
}

#[test]
fn authenticate_plain_in_all_its_forms() {
    let world = &mut World::new();
    // alice@demo.test NUL-separated, in Base64.
    let good = "AGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=";
    let mut client = Client::new(settings());
    client.listen(world);
    assert_eq!(client.say(world, "a AUTHENTICATE PLAIN\r\n"), "+ \r\n");
    assert_eq!(client.say(world, "*\r\n"), "a BAD Authentication cancelled\r\n");
    client.say(world, "b AUTHENTICATE PLAIN\r\n");
    assert_eq!(client.say(world, "!!!\r\n"), "b BAD Malformed Base64\r\n");
    client.say(world, "c AUTHENTICATE PLAIN\r\n");
    assert_eq!(
        client.say(world, "QUJD\r\n"),
        "c BAD Malformed authentication data\r\n"
    );
    assert_eq!(
        client.say(world, "d AUTHENTICATE CRAM-MD5\r\n"),
        "d NO Unsupported mechanism\r\n"
    );
    client.say(world, "e AUTHENTICATE PLAIN\r\n");
    assert!(
        client
            .say(world, &format!("{good}\r\n"))
            .starts_with("e OK [CAPABILITY ")
    );

    let mut client = Client::new(settings());
    client.listen(world);
    let answer = client.say(world, &format!("a AUTHENTICATE PLAIN {good}\r\n"));
    assert!(answer.starts_with("a OK [CAPABILITY "), "{answer}");
    assert!(!format!("{:?}", client.notes).contains(good));

    // To act as somebody else.
    let mut client = Client::new(settings());
    client.listen(world);
    let answer = client.say(world, "a AUTHENTICATE PLAIN Ym9iAGFsaWNlAHNlY3JldA==\r\n");
    assert_eq!(
        answer,
        "a NO [AUTHORIZATIONFAILED] Nobody can act as somebody else\r\n"
    );
}

#[test]
fn a_session_has_patience_but_not_forever() {
    let world = &mut World::new();
    let mut client = Client::new(settings());
    client.listen(world);
    for n in 0..9 {
        let answer = client.say(world, &format!("{n} LOGIN {USER} wrong\r\n"));
        assert!(answer.ends_with("failed\r\n") && !client.closed);
    }
    let answer = client.say(world, &format!("x LOGIN {USER} wrong\r\n"));
    assert!(answer.ends_with("* BYE Too many failed logins\r\n") && client.closed);

    let mut client = Client::new(settings());
    client.listen(world);
    let answer = client.say(world, &"nonsense\r\n".repeat(25));
    assert_eq!(answer.matches("BAD").count(), 20);
    assert!(answer.ends_with("* BYE Too many bad commands\r\n") && client.closed);

    let mut client = Client::new(settings());
    client.listen(world);
    assert_eq!(client.wait(world, Duration::from_secs(59)), "");
    assert_eq!(client.say(world, "a NOOP\r\n"), "a OK NOOP completed\r\n");
    assert_eq!(client.wait(world, Duration::from_secs(59)), "");
    assert_eq!(
        client.wait(world, Duration::from_secs(1)),
        "* BYE Autologout; idle for too long\r\n"
    );
    assert!(client.closed);
}

#[test]
fn what_any_state_has() {
    let world = &mut World::new();
    let mut client = Client::new(settings());
    client.listen(world);
    assert_eq!(
        client.say(world, "a ID (\"name\" \"test\")\r\n"),
        format!(
            "* ID (\"name\" \"rmail\" \"version\" \"{}\")\r\na OK ID completed\r\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    let mut client = Client::logged_in(world);
    assert_eq!(
        client.say(world, "b ENABLE CONDSTORE\r\n"),
        "* ENABLED CONDSTORE\r\nb OK ENABLE completed\r\n"
    );
    assert_eq!(
        client.say(world, "c NAMESPACE\r\n"),
        "* NAMESPACE ((\"\" \"/\")) ((\"Other users/\" \"/\")) NIL\r\nc OK NAMESPACE completed\r\n"
    );
    assert_eq!(
        client.say(world, "d CHECK\r\n"),
        "d BAD [CLIENTBUG] No mailbox is selected\r\n"
    );
    assert_eq!(
        client.say(world, "e LOGOUT\r\nf NOOP\r\n"),
        "* BYE Logging out\r\ne OK LOGOUT completed\r\n"
    );
    assert!(client.closed);
}

#[test]
fn shutdown_and_end_of_input() {
    let world = &mut World::with_messages(1);
    let mut client = Client::logged_in(world);
    client.input(Input::Shutdown);
    assert_eq!(
        client.listen(world),
        "* BYE [UNAVAILABLE] Server is shutting down\r\n"
    );
    assert!(client.closed);

    // Commands that came before are answered.
    let mut client = Client::selected(world);
    client.input(Input::Bytes(b"a NOOP\r\nb IDLE\r\n"[..].into()));
    client.input(Input::Shutdown);
    assert_eq!(
        client.listen(world),
        "a OK NOOP completed\r\n+ idling\r\n* BYE [UNAVAILABLE] Server is shutting down\r\n"
    );
    assert!(client.closed && client.calls.last().unwrap().starts_with("Unselect"));

    let mut client = Client::selected(world);
    client.input(Input::Eof);
    assert_eq!(client.listen(world), "");
    assert!(client.closed);
}

#[test]
fn a_host_that_floods_is_cut_off() {
    let world = &mut World::new();
    let mut client = Client::logged_in(world);
    client.hold = true;
    client.say(world, "a STATUS INBOX (MESSAGES)\r\n");
    assert!(!client.reads());
    for _ in 0..5 {
        client.input(Input::Bytes(vec![b'x'; 1024 * 1024].into()));
    }
    client.listen(world);
    assert!(client.closed);
}

#[test]
fn what_may_be_a_password_is_not_noted() {
    let world = &mut World::new();
    let mut settings = settings();
    settings.cleartext_auth = false;
    let mut client = Client::new(settings);
    client.listen(world);
    // A client that does not wait to be asked.
    let answer = client.say(
        world,
        "a AUTHENTICATE PLAIN\r\nAHNlY3JldA\r\nb LOGIN x {99999}\r\nmy secret\r\n",
    );
    assert!(
        answer.contains("\r\nAHNlY3JldA BAD ")
            && answer.ends_with("my BAD unknown command SECRET (column 4)\r\n"),
        "{answer}"
    );
    let notes = format!("{:?}", client.notes).to_ascii_lowercase();
    assert!(notes.contains("response(\"bad\")"), "{notes}");
    assert!(
        !notes.contains("ahnly3jlda") && !notes.contains("secret"),
        "{notes}"
    );
    // Behind a login there is no password any more.
    let mut client = Client::logged_in(world);
    client.say(world, "c FOO\r\n");
    let last = Note::Response("c BAD unknown command FOO (column 3)".to_owned());
    assert_eq!(client.notes.last(), Some(&last));
}
