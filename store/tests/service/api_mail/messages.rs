use serde_json::json;

use super::{Client, folder, ids, put};
use crate::common::World;

const ALICE: &str = "alice@example.com";

const MIXED: &str = "From: =?utf-8?q?J=C3=BCrgen?= <j@x.test>\nTo: alice@example.com\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\
    Date: Fri, 21 Nov 1997 09:55:06 -0600\nMessage-ID: <1@x.test>\nContent-Type: multipart/mixed; boundary=b\n\n\
    --b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nSch=F6n\n\
    --b\nContent-Type: text/html\nContent-Disposition: attachment; filename=\"=?utf-8?q?=C3=A4?=.html\"\n\
    Content-Transfer-Encoding: base64\n\nPHNjcmlwdD4=\n--b--\n";

#[test]
fn pages_stay_right_while_mail_comes_and_goes() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let all: Vec<String> = (0..7)
        .map(|n| {
            put(
                &world,
                &mut client,
                ALICE,
                "INBOX",
                &format!("Subject: {n}\n\nbody {n}"),
            )
        })
        .collect();
    let inbox = folder(&mut client, "INBOX");
    let first = client.get(&format!("/folders/{inbox}/messages?limit=3")).json();
    assert_eq!(ids(&first), [all[6].as_str(), &all[5], &all[4]]);
    assert_eq!((&first["total"], &first["next"]), (&json!(7), &json!(all[4])));
    put(&world, &mut client, ALICE, "INBOX", "Subject: new\n\nx");
    assert_eq!(
        client
            .delete(&format!("/messages/{}?permanent=true", all[4]))
            .status,
        204
    );
    assert_eq!(client.delete(&format!("/messages/{}", all[2])).status, 200);
    let next = first["next"].as_str().expect("more");
    let second = client
        .get(&format!("/folders/{inbox}/messages?limit=3&before={next}"))
        .json();
    assert_eq!(ids(&second), [all[3].as_str(), &all[1], &all[0]]);
    assert_eq!((&second["total"], &second["next"]), (&json!(6), &json!(null)));
    let none = client
        .get(&format!("/folders/{inbox}/messages?before={}", all[0]))
        .json();
    assert_eq!((ids(&none).len(), &none["next"]), (0, &json!(null)));
    for wrong in [
        "limit=0",
        "limit=501",
        "limit=x",
        "before=F1-1x",
        "q=is:x",
        "limt=1",
    ] {
        assert_eq!(
            client.get(&format!("/folders/{inbox}/messages?{wrong}")).status,
            400,
            "{wrong}"
        );
    }
    let elsewhere = client.get(&format!("/folders/{inbox}/messages?before=F1-1"));
    assert_eq!(elsewhere.status, 404);
}

#[test]
fn summaries_and_messages_are_decoded() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let id = put(&world, &mut client, ALICE, "INBOX", MIXED);
    let inbox = folder(&mut client, "INBOX");
    // Once by reading it, once by what was kept.
    for _ in 0..2 {
        let page = client.get(&format!("/folders/{inbox}/messages")).json();
        let told = &page["messages"][0];
        assert_eq!(told["subject"], "Grüße");
        assert_eq!(told["from"], json!([{ "name": "Jürgen", "address": "j@x.test" }]));
        assert_eq!(told["date"], "1997-11-21T15:55:06Z");
        assert_eq!(told["received"], "2023-11-14T22:13:20Z");
        assert_eq!(
            (&told["preview"], &told["has_attachments"]),
            (&json!("Schön"), &json!(true))
        );
        assert_eq!(told["flags"], json!([]));
        let message = client.get(&format!("/messages/{id}")).json();
        assert_eq!(
            (&message["text"], &message["html"]),
            (&json!("Schön"), &json!(null))
        );
        assert_eq!(message["message_id"], "<1@x.test>");
        assert_eq!(message["thread_id"], told["thread_id"]);
        assert!(message["email_id"].as_str().is_some_and(|id| id.starts_with('M')));
        let attachment = &message["attachments"][0];
        assert_eq!(
            (&attachment["part"], &attachment["name"]),
            (&json!("2"), &json!("ä.html"))
        );
        assert_eq!(
            (&attachment["type"], &attachment["inline"]),
            (&json!("text/html"), &json!(false))
        );
    }
}

#[test]
fn octets_are_told_as_they_are_and_cannot_act_in_a_browser() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let id = put(&world, &mut client, ALICE, "INBOX", MIXED);
    let raw = client.get(&format!("/messages/{id}/raw"));
    assert_eq!(
        (raw.status, raw.field("Content-Type")),
        (200, Some("message/rfc822"))
    );
    assert_eq!(raw.octets, MIXED.replace('\n', "\r\n").as_bytes());
    let part = client.get(&format!("/messages/{id}/parts/2"));
    assert_eq!((part.status, part.octets.as_slice()), (200, &b"<script>"[..]));
    assert_eq!(part.field("Content-Type"), Some("text/html"));
    assert_eq!(
        part.field("Content-Disposition"),
        Some("attachment; filename=\"_.html\"; filename*=UTF-8''%C3%A4.html")
    );
    assert!(
        part.field("Content-Security-Policy")
            .is_some_and(|policy| policy.starts_with("sandbox;"))
    );
    assert_eq!(part.field("X-Content-Type-Options"), Some("nosniff"));
    let text = client.get(&format!("/messages/{id}/parts/1"));
    assert_eq!(
        (text.octets.as_slice(), text.field("Content-Type")),
        (&b"Sch\xf6n"[..], Some("text/plain; charset=iso-8859-1"))
    );
    for none in ["3", "0", "2.1", "x", "1.1.1"] {
        assert_eq!(
            client.get(&format!("/messages/{id}/parts/{none}")).status,
            404,
            "{none}"
        );
    }
    for none in ["F1-1", "nothing", "F0-0"] {
        assert_eq!(client.get(&format!("/messages/{none}/raw")).status, 404, "{none}");
    }
}

#[test]
fn an_attached_message_is_had_whole_and_by_its_parts() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let inner = "Subject: inner\nContent-Type: text/plain; charset=utf-8\n\ninner text";
    let outer = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nSee below.\n--b\nContent-Type: message/rfc822\n\n{inner}\n--b--\n"
    );
    let id = put(&world, &mut client, ALICE, "INBOX", &outer);
    let shown = client.get(&format!("/messages/{id}")).json();
    assert_eq!(
        shown["text"], "See below.",
        "what is attached is no text of the message"
    );
    let whole = client.get(&format!("/messages/{id}/parts/2"));
    assert_eq!(whole.field("Content-Type"), Some("message/rfc822"));
    assert_eq!(whole.octets, inner.replace('\n', "\r\n").as_bytes());
    let text = client.get(&format!("/messages/{id}/parts/2.1"));
    assert_eq!(
        (text.octets.as_slice(), text.field("Content-Type")),
        (&b"inner text"[..], Some("text/plain; charset=utf-8"))
    );
}

#[test]
fn a_large_part_is_decoded_while_it_is_sent() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let line = format!("{}\n", "QUJD".repeat(18));
    let body = line.repeat(30_000);
    let message =
        format!("Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n{body}");
    let id = put(&world, &mut client, ALICE, "INBOX", &message);
    let part = client.get(&format!("/messages/{id}/parts/1"));
    assert_eq!(part.octets.len(), 30_000 * 54);
    assert!(part.octets.chunks(3).all(|three| three == b"ABC"));
}

#[test]
fn what_is_looked_for_is_found() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let mixed = put(&world, &mut client, ALICE, "INBOX", MIXED);
    let plain = put(
        &world,
        &mut client,
        ALICE,
        "INBOX",
        "From: bob@x.test\nSubject: two words\n\nhello there",
    );
    let inbox = folder(&mut client, "INBOX");
    client.send(
        "PATCH",
        &format!("/messages/{plain}"),
        &json!({ "flags": { "add": ["seen", "Work"] } }),
    );
    for (q, want) in [
        ("from:bob", vec![&plain]),
        ("subject:%22two+words%22", vec![&plain]),
        ("-from:bob", vec![&mixed]),
        ("gr%C3%BC%C3%9Fe", vec![&mixed]),
        ("body:hello", vec![&plain]),
        ("has:attachment", vec![&mixed]),
        ("-has:attachment", vec![&plain]),
        ("is:unread", vec![&mixed]),
        ("keyword:work", vec![&plain]),
        ("larger:100", vec![&mixed]),
        ("since:2023-11-14+before:2023-11-15", vec![&plain, &mixed]),
        ("body:nothing", vec![]),
        ("", vec![&plain, &mixed]),
    ] {
        let page = client.get(&format!("/folders/{inbox}/messages?q={q}")).json();
        let want: Vec<String> = want.into_iter().cloned().collect();
        assert_eq!(
            (ids(&page), page["total"].as_u64()),
            (want.clone(), Some(want.len() as u64)),
            "{q}"
        );
    }
    let page = client
        .get(&format!("/folders/{inbox}/messages?q=x.test&limit=1"))
        .json();
    assert_eq!(
        (ids(&page), &page["total"], &page["next"]),
        (vec![plain.clone()], &json!(2), &json!(plain))
    );
    let page = client
        .get(&format!(
            "/folders/{inbox}/messages?q=x.test&limit=1&before={plain}"
        ))
        .json();
    assert_eq!((ids(&page), &page["next"]), (vec![mixed], &json!(null)));
    let wrong = client.get(&format!("/folders/{inbox}/messages?q=is:x+from:"));
    assert_eq!(
        (wrong.status, wrong.json()["details"].as_array().map(Vec::len)),
        (400, Some(2))
    );
}

#[test]
fn a_long_search_goes_in_steps() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    for n in 0..12 {
        world.append(ALICE, "INBOX", format!("Subject: {n}\r\n\r\nx").as_bytes());
    }
    // Copies in bulk: 12 · 2^9 messages.
    let inbox = folder(&mut client, "INBOX");
    for _ in 0..9 {
        let mut before = String::new();
        let mut all = Vec::new();
        loop {
            let page = client
                .get(&format!("/folders/{inbox}/messages?limit=500{before}"))
                .json();
            all.extend(ids(&page));
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        for some in all.chunks(1_000) {
            let told = client.send("POST", "/messages/copy", &json!({ "ids": some, "folder": inbox }));
            assert_eq!(told.status, 200);
        }
    }
    let later = client.later.load(std::sync::atomic::Ordering::Relaxed);
    let page = client
        .get(&format!("/folders/{inbox}/messages?q=subject:7&limit=1"))
        .json();
    let calls = client.later.load(std::sync::atomic::Ordering::Relaxed) - later;
    assert_eq!((&page["total"], calls), (&json!(512), 2));
}

#[test]
fn a_draft_is_described_and_written() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let drafts = folder(&mut client, "Drafts");
    let target = format!("/folders/{drafts}/messages?flags=draft,seen");
    let draft = json!({ "to": ["b@x.test"], "bcc": ["c@x.test"], "subject": "Grüße", "text": "Hello\n" });
    let told = client.send("POST", &target, &draft);
    assert_eq!(told.status, 201);
    let id = told.json()["id"].as_str().expect("an id").to_owned();
    let shown = client.get(&format!("/messages/{id}")).json();
    assert_eq!(
        (&shown["subject"], &shown["flags"]),
        (&json!("Grüße"), &json!(["seen", "draft"]))
    );
    assert_eq!(
        (&shown["from"][0]["address"], &shown["bcc"][0]["address"]),
        (&json!(ALICE), &json!("c@x.test"))
    );
    assert_eq!(
        (&shown["date"], shown["message_id"].is_string()),
        (&json!("2023-11-14T22:13:20Z"), true)
    );
    let wrong = client.send("POST", &target, &json!({ "to": "nobody", "colour": 1 }));
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.json()["details"]
            .as_array()
            .is_some_and(|details| details.len() == 2)
    );
}

#[test]
fn messages_are_put_into_folders() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let drafts = folder(&mut client, "Drafts");
    let target = format!("/folders/{drafts}/messages?flags=seen,draft,$Label&date=2020-02-29T12:00:00Z");
    let message = MIXED.replace('\n', "\r\n");
    let told = client.request("POST", &target, &[], "message/rfc822", message.as_bytes());
    assert_eq!(told.status, 201);
    let id = told.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(told.field("Location"), Some(format!("/messages/{id}").as_str()));
    let shown = client.get(&format!("/messages/{id}")).json();
    assert_eq!(shown["flags"], json!(["seen", "draft", "$Label"]));
    assert_eq!(shown["received"], "2020-02-29T12:00:00Z");
    assert_eq!(
        client.get(&format!("/messages/{id}/raw")).octets,
        message.as_bytes()
    );

    let mut post =
        |target: &str, body: &[u8]| client.request("POST", target, &[], "message/rfc822", body).status;
    assert_eq!(post(&format!("/folders/{drafts}/messages?flags=a b"), b"x"), 400);
    assert_eq!(post(&format!("/folders/{drafts}/messages?date=today"), b"x"), 400);
    assert_eq!(post(&format!("/folders/{drafts}/messages"), b""), 400);
    assert_eq!(post("/folders/F999/messages", b"x"), 404);
    // The quota is 1 MiB.
    let target = format!("/folders/{drafts}/messages");
    assert_eq!(post(&target, &[b'x'; 600_000]), 201);
    let told = client.request("POST", &target, &[], "message/rfc822", &[b'x'; 600_000]);
    assert_eq!(
        (told.status, told.json()["error"].as_str()),
        (413, Some("Quota exceeded"))
    );
    let page = client.get(&target).json();
    assert_eq!(page["total"], 2, "nothing of it stays");
}
