//! Phase 7: the HTTP API, if this server has rmail's.

use std::time::Duration;

use futures_lite::future::block_on;
use rmail_core::auth::token::Key;
use rmail_core::diagnose::{Id, Service};
use rmail_core::time::Unix;
use serde_json::{Value, json};

use super::http_client::{Ask, Response};
use super::users::{good_token, set_admin, token};
use super::{Checked, Login, Place, Run, SUBJECT, Trouble, ensure, transcripts};
use crate::clock;

/// Attempts that are made at most to be locked out.
const MAX_ATTEMPTS: u64 = 30;
const JSON: &str = "application/json";
/// What names of our aliases begin with; the mark of the diagnosis follows.
pub(super) const ALIAS_PREFIX: &str = "diagnose-alias-";
/// Under which name the server keeps the key of its tokens.
const TOKENS: &str = "tokens";

pub(super) fn run(run: &mut Run<'_>) {
    let alive = run.check(Id::ApiHealth, |run| {
        let answer = get(run, "/health", None);
        if run.local().is_none()
            && !answer
                .as_ref()
                .is_ok_and(|answer| answer.json()["status"].is_string())
        {
            return Err(Trouble::skipped("this server has another API, or none"));
        }
        let answer = answer?;
        let up = answer.status == 200 && answer.json()["status"] == "up";
        ensure(up, "200, up", answer.shown())
    });
    if alive.is_none() {
        return;
    }
    run.check(Id::ApiAutoconfig, autoconfig);
    run.check(Id::ApiAutodiscover, autodiscover);
    run.check(Id::ApiCors, |run| {
        let ask = Ask {
            method: "OPTIONS",
            path: "/folders",
            headers: "Origin: https://diagnose.invalid\r\nAccess-Control-Request-Method: POST\r\n",
            ..Ask::default()
        };
        let answer = ask.of(run, run.api_service()?)?;
        let allowed = answer.header("Access-Control-Allow-Origin");
        let own = run.local().is_some_and(|local| {
            !local
                .config
                .exchange_api
                .cors_origins
                .iter()
                .any(|one| one == "*")
        });
        if allowed.is_none() && own {
            return Err(Trouble::chosen("exchange_api.cors_origins names whose pages may"));
        }
        ensure(
            answer.status / 100 == 2 && allowed.is_some(),
            "Access-Control-Allow-Origin",
            answer.shown(),
        )
    });
    run.check(Id::ApiNoToken, |run| {
        get(run, "/folders", None)?
            .wanted(401, "GET /folders without a token")
            .map(drop)
    });
    run.check(Id::ApiBadToken, bad_token);
    if run.local().is_none() {
        run.check(Id::ApiCleartext, cleartext);
    }
    if run.login.is_none() {
        return;
    }
    let Some(token) = run.check(Id::ApiLogin, |run| good_token(run)) else {
        return;
    };
    mail(run, &token);
    run.check(Id::ApiBadRequest, |run| {
        let answer = send(run, "POST", "/folders", &token, &json!({"nme": "x"}))?
            .wanted(400, "a folder without a name")?;
        ensure(
            answer.json()["error"].is_string(),
            "{\"error\": …}",
            answer.shown(),
        )
    });
    run.check(Id::ApiTranscripts, |run| transcripts::play(run, "http"));
    run.check(Id::ApiExpiry, |run| expiry(run, &token));
    run.check(Id::ApiAliasForbidden, |run| alias_forbidden(run, &token));
    run.check(Id::ApiAliasAdmin, alias_admin);
    run.check(Id::ApiLockout, lockout);
}

fn get(run: &Run<'_>, path: &str, token: Option<&str>) -> Checked<Response> {
    let ask = Ask {
        method: "GET",
        path,
        token,
        ..Ask::default()
    };
    ask.of(run, run.api_service()?)
}

fn send(run: &Run<'_>, method: &str, path: &str, token: &str, body: &Value) -> Checked<Response> {
    let body = body.to_string();
    let ask = Ask {
        method,
        path,
        token: Some(token),
        body: Some((JSON, &body)),
        ..Ask::default()
    };
    ask.of(run, run.api_service()?)
}

fn autoconfig(run: &mut Run<'_>) -> Checked<()> {
    let path = format!("/mail/config-v1.1.xml?emailaddress=somebody@{}", run.domain());
    let answer = get(run, &path, None)?.wanted(200, "GET /mail/config-v1.1.xml")?;
    // From outside a server may be known by another name than its own.
    let by_name = run.local().is_none() || answer.body.contains(&run.subject.name);
    let named = answer.body.contains("<incomingServer") && answer.body.contains("<outgoingServer");
    ensure(named && by_name, "servers by the host's name", answer.shown())?;
    let imap = run.imap_service().and_then(|service| run.places(service));
    match imap {
        Ok([place, ..]) if run.local().is_some() => {
            let port = format!("<port>{}</port>", place.port);
            ensure(answer.body.contains(&port), port, answer.shown())
        }
        _ => Ok(()),
    }
}

fn autodiscover(run: &mut Run<'_>) -> Checked<()> {
    let address = format!("somebody@{}", run.domain());
    let path = format!("/autodiscover/autodiscover.json?Email={address}&Protocol=AutodiscoverV1");
    let answer = get(run, &path, None)?.wanted(200, "GET /autodiscover/autodiscover.json")?;
    ensure(answer.json()["Url"].is_string(), "a Url", answer.shown())?;
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Autodiscover \
         xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006\"><Request>\
         <EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>\
         http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a\
         </AcceptableResponseSchema></Request></Autodiscover>"
    );
    let ask = Ask {
        method: "POST",
        path: "/autodiscover/autodiscover.xml",
        body: Some(("text/xml", &body)),
        ..Ask::default()
    };
    let answer = ask
        .of(run, run.api_service()?)?
        .wanted(200, "POST /autodiscover/autodiscover.xml")?;
    ensure(answer.body.contains("<Protocol>"), "protocols", answer.shown())
}

fn bad_token(run: &mut Run<'_>) -> Checked<()> {
    // {"alg":"none"} and {"sub":"postmaster"}, and what somebody else has signed.
    for forged in [
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwb3N0bWFzdGVyIn0.",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwb3N0bWFzdGVyIn0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        get(run, "/folders", Some(forged))?.wanted(401, "GET /folders with a forged token")?;
    }
    Ok(())
}

/// From outside, a password in clear text has to be refused before it is looked at.
fn cleartext(run: &mut Run<'_>) -> Checked<()> {
    let places = run.places(Service::Api)?;
    let body = json!({"username": "nobody@diagnose.invalid", "password": "none"}).to_string();
    let ask = Ask {
        method: "POST",
        path: "/auth/login",
        body: Some((JSON, &body)),
        ..Ask::default()
    };
    if places.iter().all(Place::is_loopback) {
        return Err(Trouble::skipped("from this host it may be"));
    }
    ask.of(run, Service::Api)?
        .wanted(403, "a login over plain HTTP")
        .map(drop)
}

fn mail(run: &mut Run<'_>, token: &str) {
    let folder = run.check(Id::ApiFolders, |run| {
        let answer = get(run, "/folders", Some(token))?.wanted(200, "GET /folders")?;
        let folders = answer.json();
        let folders = folders["folders"].as_array().cloned().unwrap_or_default();
        let archive = folders
            .iter()
            .find(|folder| folder["role"] == "archive")
            .or(folders.first());
        let id = archive
            .and_then(|folder| folder["id"].as_str())
            .map(str::to_owned);
        id.ok_or_else(|| Trouble::broken("folders with ids", answer.shown()))
    });
    let Some(folder) = folder else { return };
    let login = run.login.clone();
    let from = login.map_or_else(String::new, |login| login.address);
    let appended = run.check(Id::ApiAppend, |run| {
        let path = format!("/folders/{folder}/messages");
        for _ in 0..2 {
            let (letter, text) = run.letter(&from, &from, "the API");
            let ask = Ask {
                method: "POST",
                path: &path,
                token: Some(token),
                body: Some(("message/rfc822", &text)),
                ..Ask::default()
            };
            ask.of(run, run.api_service()?)?.wanted(201, "POST …/messages")?;
            drop(letter);
        }
        Ok(())
    });
    if appended.is_some() {
        let id = run.check(Id::ApiMessages, |run| pages(run, token, &folder));
        if let Some(id) = id {
            run.check(Id::ApiFlags, |run| flags(run, token, &id));
        }
    }
    tidy(run, token, &folder);
    run.check(Id::ApiSend, |run| {
        let body = json!({
            "to": [from], "subject": format!("{SUBJECT} {}", run.mark), "text": "It goes by itself.\n",
            "save_to_sent": false,
        });
        let answer = send(run, "POST", "/send", token, &body)?.wanted(200, "POST /send")?;
        let sent = answer.json()["sent"]
            .as_array()
            .is_some_and(|sent| sent.len() == 1);
        ensure(sent, "one recipient who has it", answer.shown())
    });
}

/// The id of the newest message.
fn pages(run: &Run<'_>, token: &str, folder: &str) -> Checked<String> {
    let path = format!("/folders/{folder}/messages?limit=1&q=subject:{}", run.mark);
    let first = get(run, &path, Some(token))?.wanted(200, "GET …/messages")?;
    let page = first.json();
    let id = page["messages"][0]["id"].as_str().map(str::to_owned);
    let (Some(id), Some(next)) = (id, page["next"].as_str()) else {
        return Err(Trouble::broken(
            "a message, and where the list goes on",
            first.shown(),
        ));
    };
    let path = format!("{path}&before={next}");
    let second = get(run, &path, Some(token))?.wanted(200, "the next page")?;
    let other = second.json()["messages"][0]["id"].as_str().map(str::to_owned);
    ensure(
        other.is_some() && other.as_deref() != Some(&id),
        "another message",
        second.shown(),
    )?;
    Ok(id)
}

/// Removes what is left of our messages in a folder; the account may be one that stays.
fn tidy(run: &Run<'_>, token: &str, folder: &str) {
    let path = format!("/folders/{folder}/messages?limit=100&q=subject:{}", run.mark);
    let Ok(page) = get(run, &path, Some(token)) else {
        return;
    };
    let page = page.json();
    let messages = page["messages"].as_array().into_iter().flatten();
    for id in messages.filter_map(|message| message["id"].as_str()) {
        let ask = Ask {
            method: "DELETE",
            path: &format!("/messages/{id}"),
            token: Some(token),
            ..Ask::default()
        };
        let _ = run.api_service().and_then(|service| ask.of(run, service));
    }
}

/// Sets and looks.
fn flags(run: &Run<'_>, token: &str, id: &str) -> Checked<()> {
    let path = format!("/messages/{id}");
    let change = json!({"flags": {"add": ["flagged"]}});
    send(run, "PATCH", &path, token, &change)?.wanted(200, "PATCH /messages/ID")?;
    let answer = get(run, &path, Some(token))?.wanted(200, "GET /messages/ID")?;
    ensure(
        answer.json()["flags"].to_string().contains("lagged"),
        "flagged",
        answer.shown(),
    )?;
    let ask = Ask {
        method: "DELETE",
        path: &path,
        token: Some(token),
        ..Ask::default()
    };
    let answer = ask.of(run, run.api_service()?)?;
    ensure(
        answer.status / 100 == 2,
        "204 to DELETE /messages/ID",
        answer.shown(),
    )
}

/// With the server's own key a token is made that was good yesterday.
fn expiry(run: &mut Run<'_>, good: &str) -> Checked<()> {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let (Some(local), Some(files)) = (run.local(), run.files()) else {
        return Err(Trouble::skipped("it needs the server's key"));
    };
    let key = match &local.token_key {
        Some(key) => key.clone(),
        None => {
            let secret = block_on(files.accounts.secret(TOKENS));
            Key::new(secret.map_err(|error| Trouble::broken("the key of tokens", error))?)
        }
    };
    let mut claims = key.verify(good, clock::unix()).map_err(|error| {
        Trouble::broken(
            "the server's token to be signed with the key in mail_root",
            error.text(),
        )
    })?;
    claims.issued = Unix(claims.issued.0.saturating_sub(DAY));
    claims.expires = Unix(claims.expires.0.saturating_sub(DAY));
    let old = key.sign(&claims);
    get(run, "/folders", Some(&old))?
        .wanted(401, "a token of yesterday")
        .map(drop)
}

fn alias_name(run: &Run<'_>) -> String {
    format!("{ALIAS_PREFIX}{}@{}", run.mark, run.domain())
}

fn new_alias(run: &mut Run<'_>, token: &str) -> Checked<Response> {
    let name = alias_name(run);
    let body = json!({"alias": name, "targets": [run.login()?.address]});
    // From here on there may be something to remove, whatever is answered.
    run.aliases.push(name);
    send(run, "POST", "/aliases", token, &body)
}

fn alias_forbidden(run: &mut Run<'_>, token: &str) -> Checked<()> {
    if run.temporary.is_none() {
        return Err(Trouble::skipped(
            "the account that was given may be an administrator's",
        ));
    }
    new_alias(run, token)?
        .wanted(403, "POST /aliases by a user")
        .map(drop)
}

fn alias_admin(run: &mut Run<'_>) -> Checked<()> {
    let (Some(files), Some(account)) = (run.files(), run.temporary.clone()) else {
        return Err(Trouble::skipped("it needs an administrator"));
    };
    set_admin(files, &account, true)?;
    let worked = by_admin(run);
    set_admin(files, &account, false)?;
    worked
}

fn by_admin(run: &mut Run<'_>) -> Checked<()> {
    let token = good_token(run)?;
    run.until(|| {
        let answer = get(run, "/aliases?limit=1", Some(&token))?;
        ensure(answer.status == 200, "200 to GET /aliases", answer.status)
    })?;
    new_alias(run, &token)?.wanted(201, "POST /aliases by an administrator")?;
    let path = format!("/aliases/{}", alias_name(run));
    let ask = Ask {
        method: "DELETE",
        path: &path,
        token: Some(&token),
        ..Ask::default()
    };
    let answer = ask.of(run, run.api_service()?)?;
    ensure(
        answer.status / 100 == 2,
        "204 to DELETE /aliases/ALIAS",
        answer.shown(),
    )
}

/// Guesses until it is locked out: the temporary user, and nobody else.
fn lockout(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    let Some(local) = run.local().filter(|_| run.temporary.is_some()) else {
        return Err(Trouble::skipped("it would lock out a user who is real"));
    };
    if run.is_trusted() {
        return Err(Trouble::skipped(
            "this address is in limits.trusted_networks, and never locked out",
        ));
    }
    let limit = local.config.limits.auth_failures_per_10_minutes;
    if limit > MAX_ATTEMPTS {
        return Err(Trouble::skipped(format!(
            "limits.auth_failures_per_10_minutes is {limit}: it would take too long"
        )));
    }
    run.locked_out = true;
    for attempt in 0..=limit {
        let guess = Login {
            address: login.address.clone(),
            password: format!("guess {attempt}"),
        };
        let answer = token(run, &guess)?;
        if answer.status == 429 {
            let after = answer.header("Retry-After").is_some();
            return ensure(after, "Retry-After", answer.shown());
        }
        ensure(answer.status == 401, "401 to a guess", answer.shown())?;
    }
    Err(Trouble::broken(
        "429",
        format!("{} guesses were answered", limit + 1),
    ))
}
