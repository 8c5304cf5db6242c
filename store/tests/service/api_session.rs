//! Logins to the API: who gets a token, what it is good for, and what ends it.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;
use rmail_core::api::{Origins, Settings};
use rmail_core::auth::token::{Claims, Key};
use rmail_core::directory::Access;
use rmail_core::limiter::Rates;
use rmail_core::peer::Peer;
use rmail_core::time::Unix;
use rmail_store::service::Service;
use serde_json::json;

use crate::api_client::{Client, SECRET};
use crate::common::*;

const ANN: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

fn peer(address: &str) -> Peer {
    Peer {
        address: address.parse().expect("an address"),
        trusted: false,
    }
}

#[test]
fn a_login_gives_a_token_that_says_whose_it_is() {
    let world = World::new();
    let mut client = Client::new(&world);
    for body in [
        json!({ "username": ANN, "password": PASSWORD }),
        json!({ "username": ANN, "password": PASSWORD, "domain": "EXAMPLE.com" }),
        json!({ "username": ANN, "password": PASSWORD, "domain": null }),
        json!({ "username": "Alice", "password": PASSWORD, "domain": "example.com" }),
    ] {
        let answered = client.ask("POST /auth/login", "", &body.to_string());
        assert_eq!(answered.status, 200, "{body}");
        let given = answered.json();
        assert_eq!(
            (&given["username"], &given["domain"], &given["expires_in"]),
            (&json!("alice"), &json!("example.com"), &json!(3600))
        );
        assert!(client.holds(given["token"].as_str().expect("a token")));
        assert_eq!(answered.field("Cache-Control"), Some("no-store"));
    }
    // Two domains are hosted: a bare name is nobody.
    assert_eq!(client.try_login("alice", PASSWORD).status, 401);
}

#[test]
fn all_that_is_wrong_with_a_login_is_told() {
    let world = World::new();
    let mut client = Client::new(&world);
    let wrong = |answered: crate::api_client::Answered| {
        assert_eq!(answered.status, 400);
        let details = answered.json()["details"].as_array().expect("details").clone();
        let paths: Vec<String> = details
            .iter()
            .map(|detail| detail["path"].as_str().expect("a path").to_owned())
            .collect();
        paths.join(" ")
    };
    let mut login = |body: &str| wrong(client.ask("POST /auth/login", "", body));
    assert_eq!(
        login(r#"{"usernme":"a","password":1}"#),
        "$.username $.password $.usernme"
    );
    assert_eq!(login(r#"{"username":"","password":""}"#), "$.username $.password");
    assert_eq!(
        login(r#"{"username":"alice@example.com","password":"x","domain":"example.org"}"#),
        "$.domain"
    );
    assert_eq!(login("not JSON"), "$");
    let answered = client.send("POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wrong(answered), "$");
}

#[test]
fn nobody_and_a_wrong_password_look_alike() {
    let world = World::new();
    let mut client = Client::new(&world);
    let answers = [
        client.try_login(ANN, "wrong"),
        client.try_login("nobody@example.com", "wrong"),
        client.try_login("nobody@elsewhere.example", "wrong"),
    ];
    for answered in &answers {
        assert_eq!((answered.status, &answered.body), (401, &answers[0].body));
        assert!(answered.field("WWW-Authenticate").is_some());
    }
    block_on(world.service.accounts().set_enabled(&account(BOB), false)).expect("disabled");
    assert_eq!(client.try_login(BOB, PASSWORD).status, 401);
}

#[test]
fn a_logout_ends_all_tokens_of_the_account_and_no_others() {
    let world = World::new();
    let mut client = Client::new(&world);
    let (one, two) = (
        client.login(ANN, PASSWORD),
        Client::new(&world).login(ANN, PASSWORD),
    );
    let other = client.login(BOB, PASSWORD);
    let answered = client.ask("POST /auth/refresh", &one, "");
    let renewed = answered.json()["token"].as_str().expect("a token").to_owned();
    assert!(client.holds(&renewed) && client.holds(&two));
    assert_eq!(client.ask("POST /auth/logout", &two, "").status, 204);
    for ended in [&one, &two, &renewed] {
        assert!(!client.holds(ended));
        assert_eq!(client.ask("POST /auth/logout", ended, "").status, 401);
    }
    assert!(client.holds(&other));
    let again = client.login(ANN, PASSWORD);
    assert!(client.holds(&again) && !client.holds(&one));
}

#[test]
fn what_changes_the_account_ends_its_tokens_at_once_in_every_process() {
    let world = World::new();
    // Another process on the same disk.
    let store = Arc::new(open_store(&world.disk));
    let beside = World {
        disk: Arc::clone(&world.disk),
        service: Service::new(Arc::clone(&store), accounts(&world.disk, 9), settings()),
        store,
        told: Arc::default(),
    };
    let (mut here, mut there) = (Client::new(&world), Client::new(&beside));
    let users = world.service.accounts();
    let changes: [&dyn Fn(); 4] = [
        &|| world.set_password(BOB, "another"),
        &|| block_on(users.set_enabled(&account(BOB), false)).expect("disabled"),
        &|| world.edit(&user_file(BOB), "{}"),
        &|| block_on(users.delete(&*world.store, &account(BOB))).expect("deleted"),
    ];
    for (at, change) in changes.iter().enumerate() {
        block_on(users.set_enabled(&account(BOB), true)).expect("enabled");
        world.set_password(BOB, PASSWORD);
        let (one, two) = (here.login(BOB, PASSWORD), there.login(BOB, PASSWORD));
        assert!(
            here.holds(&two) && there.holds(&one),
            "change {at}: a token is good everywhere"
        );
        change();
        assert!(!here.holds(&one) && !there.holds(&one), "change {at}");
        assert!(!here.holds(&two) && !there.holds(&two), "change {at}");
    }
    // A user of the same name is another.
    block_on(users.create(&*world.store, &account(BOB), &new_user(false), now().unix)).expect("made");
    let old = Key::new(SECRET).sign(&Claims {
        account: account(BOB),
        epoch: 1,
        tokens: 0,
        issued: now().unix,
        expires: Unix::from_secs(now().unix.secs() + 60),
    });
    assert!(!here.holds(&old));
    assert!(here.try_login(BOB, PASSWORD).status == 200);
}

#[test]
fn a_file_that_cannot_be_read_just_now_ends_no_token() {
    let world = World::new();
    let mut client = Client::new(&world);
    let token = client.login(BOB, PASSWORD);
    let good = world.read_file(&user_file(BOB));
    world.edit(&user_file(BOB), "{ broken");
    assert!(client.holds(&token), "the last good copy counts");
    world.edit(&user_file(BOB), &good);
    assert!(client.holds(&token));
}

#[test]
fn a_token_ends_after_an_hour() {
    let world = World::new();
    let mut client = Client::new(&world);
    let token = client.login(ANN, PASSWORD);
    client.now.unix.0 += Duration::from_secs(3_599);
    assert!(client.holds(&token));
    client.now.unix.0 += Duration::from_secs(1);
    let answered = client.ask("POST /auth/refresh", &token, "");
    assert_eq!(
        (answered.status, answered.error().as_str()),
        (401, "The token has expired")
    );
    let challenge = answered.field("WWW-Authenticate").expect("a challenge");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[test]
fn application_passwords_open_the_api_within_their_scope() {
    let world = World::new();
    add_app(&world, ANN, "script", "one", &[Access::Api], None);
    add_app(&world, ANN, "phone", "two", &[Access::Imap, Access::Smtp], None);
    let soon = Unix::from_secs(now().unix.secs() + 60);
    add_app(&world, ANN, "visitor", "three", &[Access::Api], Some(soon));
    let mut client = Client::new(&world);
    assert_eq!(client.try_login(ANN, "two").status, 401);
    let (script, visitor) = (client.login(ANN, "one"), client.login(ANN, "three"));
    let own = client.login(ANN, PASSWORD);
    client.now.unix = soon;
    assert!(client.holds(&script) && !client.holds(&visitor), "it has expired");
    let users = world.service.accounts();
    block_on(users.remove_app_password(&account(ANN), "script")).expect("removed");
    assert!(!client.holds(&script) && client.holds(&own));
    world.set_password(ANN, "another");
    assert!(!client.holds(&own));
}

#[test]
fn guessing_is_slowed_together_with_the_other_protocols() {
    let world = World::with(|settings| {
        settings.rates = Rates {
            auth_failures_per_10_minutes: 3,
            ..settings.rates
        };
    });
    let address = "192.0.2.1";
    let settings = || Settings {
        cleartext_auth: true,
        ..Settings::default()
    };
    let mut client = Client::from(&world, peer(address), settings());
    assert_eq!(client.try_login(ANN, "a").status, 401);
    assert_eq!(
        client.try_login(ANN, "a").status,
        401,
        "the same again counts once"
    );
    let smtp = world.service.smtp_session(peer(address));
    assert!(login(&smtp, ANN, "b").is_err());
    assert_eq!(client.try_login(ANN, "c").status, 401);
    let held = client.try_login(ANN, PASSWORD);
    assert_eq!(held.status, 429);
    let wait: u64 = held.field("Retry-After").expect("when").parse().expect("seconds");
    assert!((60..=600).contains(&wait), "{wait}");
    let mut elsewhere = Client::from(&world, peer("192.0.2.2"), settings());
    assert_eq!(
        elsewhere.try_login(ANN, PASSWORD).status,
        200,
        "the owner is not locked out"
    );
    client.now.mono = client.now.mono + Duration::from_secs(wait);
    assert_eq!(client.try_login(ANN, PASSWORD).status, 200);
}

#[test]
fn credentials_go_in_clear_text_only_where_they_may() {
    let world = World::new();
    let token = Client::new(&world).login(ANN, PASSWORD);
    let far = || Client::from(&world, peer("192.0.2.1"), Settings::default());
    let refused = [
        far().try_login(ANN, PASSWORD),
        far().ask("POST /auth/refresh", &token, ""),
        far().ask("POST /auth/refresh", "", ""),
        far().ask("GET /health", &token, ""),
        far().ask("GET /nowhere", &token, ""),
        far().send("GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YTpi\r\n\r\n"),
    ];
    for answered in refused {
        assert_eq!(answered.status, 403, "{answered:?}");
        assert!(answered.error().contains("TLS"));
    }
    assert_eq!(far().ask("GET /health", "", "").status, 200);
    let mut over_tls = far();
    over_tls.encrypt();
    assert!(over_tls.holds(&token));
    for near in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
        let mut near = Client::from(&world, peer(near), Settings::default());
        assert_eq!(near.try_login(ANN, PASSWORD).status, 200);
    }
}

#[test]
fn a_token_of_another_server_is_worthless() {
    let world = World::new();
    let token = Client::new(&world).login(ANN, PASSWORD);
    let key = Key::new([8; 32]);
    let mut other = Client::new(&world);
    assert!(other.holds(&token));
    let foreign = key.issue(&account(ANN), 1, 0, now().unix);
    assert!(!other.holds(&foreign), "another server's");
}

#[test]
fn a_token_stands_in_one_field_of_one_form() {
    let world = World::new();
    let mut client = Client::new(&world);
    let token = client.login(ANN, PASSWORD);
    let mut status = |fields: &str| {
        let request = format!("POST /auth/refresh HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        client.send(&request).status
    };
    assert_eq!(status(&format!("Authorization: Bearer {token}\r\n")), 200);
    assert_eq!(status(&format!("authorization: bearer   {token}\r\n")), 200);
    for bad in [
        String::new(),
        format!("Authorization: {token}\r\n"),
        format!("Authorization: Bearer{token}\r\n"),
        format!("Authorization: Basic {token}\r\n"),
        format!("Authorization: Bearer {token} {token}\r\n"),
        format!("Authorization: Bearer {token}, Bearer {token}\r\n"),
        format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"),
        "Authorization: Bearer \r\n".to_owned(),
        format!("Cookie: token={token}\r\n"),
    ] {
        assert_eq!(status(&bad), 401, "{bad}");
    }
}

#[test]
fn pages_of_other_origins_are_told_what_they_may() {
    let world = World::new();
    let ask = |origins: Origins, request: &str| {
        let settings = Settings {
            origins,
            ..Settings::default()
        };
        Client::from(&world, Peer::LOCAL, settings).send(request)
    };
    let preflight = "OPTIONS /auth/login HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n";
    let all = ask(Origins::Any, preflight);
    assert_eq!(
        (all.status, all.field("Access-Control-Allow-Origin")),
        (204, Some("*"))
    );
    assert_eq!(all.field("Access-Control-Max-Age"), Some("86400"));
    assert_eq!(all.field("Access-Control-Allow-Credentials"), None);
    let listed = ask(Origins::new(&["https://a.example".to_owned()]), preflight);
    assert_eq!(
        listed.field("Access-Control-Allow-Origin"),
        Some("https://a.example")
    );
    assert_eq!(listed.field("Vary"), Some("Origin"));
    let other = ask(Origins::new(&["https://b.example".to_owned()]), preflight);
    assert_eq!(other.field("Access-Control-Allow-Origin"), None);
    // Errors can be read too.
    let missing = ask(
        Origins::Any,
        "GET /nowhere HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\r\n",
    );
    assert_eq!(
        (missing.status, missing.field("Access-Control-Allow-Origin")),
        (404, Some("*"))
    );
    let plain = ask(Origins::Any, "OPTIONS /auth/login HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((plain.status, plain.field("Allow")), (204, Some("POST, OPTIONS")));
    assert_eq!(
        ask(Origins::Any, "OPTIONS /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").status,
        404
    );
}

#[test]
fn what_is_not_wanted_is_refused_before_the_body_is_read() {
    let world = World::new();
    let mut client = Client::new(&world);
    let mut status = |fields: &str| {
        let request = format!("POST /auth/login HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let answered = client.send(&request);
        (answered.status, answered.field("Connection").map(str::to_owned))
    };
    assert_eq!(status("Content-Type: text/plain\r\nContent-Length: 0\r\n").0, 415);
    assert_eq!(
        status("Content-Type: application/json; charset=utf-16\r\nContent-Length: 0\r\n").0,
        415
    );
    assert_eq!(status("Accept: text/html\r\nContent-Length: 0\r\n").0, 406);
    let (status, connection) = status("Content-Type: application/json\r\nContent-Length: 99999999\r\n");
    assert_eq!((status, connection.as_deref()), (413, Some("close")));
}
