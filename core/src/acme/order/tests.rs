use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use super::*;

const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

/// An authority of one order, in memory.
#[derive(Default)]
struct Authority {
    nonces: u32,
    /// Names that were shown to be ours.
    shown: Vec<String>,
    proof: Option<Proof>,
    finalized: bool,
    /// `order` and `account` as they were told to be kept.
    kept: (Option<String>, Option<String>),
    /// What was asked, by the last segment of the URL.
    asked: Vec<String>,
    /// What a new account was asked for with.
    account: Value,
    /// Accounts must be made elsewhere first.
    bound: bool,
    /// What goes wrong at which request, and how often.
    faults: Vec<(&'static str, Fault, u32)>,
    names: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Lost,
    /// The request comes through, the answer does not.
    AnswerLost,
    Problem(u16, &'static str),
    /// The body is this.
    Body(&'static str),
}

impl Authority {
    fn object(&self, path: &str) -> Value {
        let status = |good: bool, yes: &str| {
            if good {
                yes.to_owned()
            } else {
                "pending".to_owned()
            }
        };
        match path {
            "dir" => json!({"newNonce": "https://ca.test/nonce", "newAccount": "https://ca.test/new-account",
                "newOrder": "https://ca.test/new-order", "meta": {"externalAccountRequired": self.bound}}),
            "new-order" | "order" | "finalize" => {
                let all = self.names.iter().all(|name| self.shown.contains(name));
                let state = if self.finalized {
                    "valid".to_owned()
                } else {
                    status(all, "ready")
                };
                let list: Vec<String> = (0..self.names.len())
                    .map(|index| format!("https://ca.test/authz{index}"))
                    .collect();
                json!({"status": state, "authorizations": list, "finalize": "https://ca.test/finalize",
                    "certificate": self.finalized.then_some("https://ca.test/cert")})
            }
            authz => {
                let index: usize = authz
                    .trim_start_matches(char::is_alphabetic)
                    .parse()
                    .expect("a number");
                let name = &self.names[index];
                let state = status(self.shown.contains(name), "valid");
                json!({"status": state, "identifier": {"type": "dns", "value": name}, "challenges": [
                    {"type": "dns-01", "url": "https://ca.test/other", "token": "x", "status": "pending"},
                    {"type": "http-01", "url": format!("https://ca.test/chall{index}"), "token": format!("token{index}"),
                     "status": state}]})
            }
        }
    }

    fn answer(&mut self, url: &str, unsigned: Option<&Unsigned>) -> Input {
        let path = url.strip_prefix("https://ca.test/").expect("the authority's");
        self.asked.push(path.to_owned());
        let fault = self
            .faults
            .iter_mut()
            .find(|(at, _, left)| *at == path && *left > 0);
        let fault = fault.map(|(_, fault, left)| {
            *left -= 1;
            *fault
        });
        self.nonces += 1;
        let mut response = Response {
            status: 200,
            nonce: (path != "dir").then(|| format!("nonce-{}", self.nonces)),
            ..Response::default()
        };
        match fault {
            Some(Fault::Lost) => return Input::Lost("the line is cut".into()),
            Some(Fault::Problem(status, kind)) => {
                response.status = status;
                response.retry_after = (kind == "rateLimited").then_some(Duration::from_secs(3_600));
                let body = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "no"});
                response.body = body.to_string().into_bytes();
                return Input::Response(response);
            }
            _ => {}
        }
        if path != "dir" && path != "nonce" {
            let head = unsigned.expect("signed").octets();
            let head = String::from_utf8(head).expect("text");
            let (head, payload) = head.split_once('.').expect("two parts");
            if path == "new-account" {
                let payload = BASE64.decode(payload).expect("base64");
                self.account = serde_json::from_slice(&payload).expect("JSON");
            }
            let head: Value = serde_json::from_slice(&BASE64.decode(head).expect("base64")).expect("JSON");
            assert_eq!(head["url"], url);
            assert_eq!(head.get("jwk").is_some(), path == "new-account", "{head}");
        }
        match path {
            "nonce" => {}
            "new-account" => response.location = Some("https://ca.test/account/1".into()),
            "cert" => response.body = CHAIN.into(),
            chall if chall.starts_with("chall") => {
                let proof = self.proof.clone().expect("shown before it is said");
                self.shown.push(proof.name);
                response.body = b"{}".to_vec();
            }
            other => {
                self.finalized |= other == "finalize";
                if other == "new-order" {
                    response.location = Some("https://ca.test/order".into());
                }
                response.body = self.object(other).to_string().into_bytes();
            }
        }
        match fault {
            Some(Fault::AnswerLost) => Input::Lost("the line is cut".into()),
            Some(Fault::Body(text)) => {
                response.body = text.into();
                Input::Response(response)
            }
            _ => Input::Response(response),
        }
    }

    /// Runs an order to its end; how it ended, and how long it took.
    fn run(&mut self, settings: Settings) -> (Result<Outcome, Failure>, Duration) {
        self.names.clone_from(&settings.names);
        let mut now = Now::default();
        let mut order = Order::new(now, settings);
        for _ in 0..2_000 {
            let input = match order.poll_action() {
                Some(Action::Get(url)) => self.answer(&url, None),
                Some(Action::Post(url, unsigned)) => self.answer(&url, Some(&unsigned)),
                Some(Action::Show(proof)) => {
                    assert_eq!(self.proof.replace(proof), None, "one at a time");
                    continue;
                }
                Some(Action::Hide(proof)) => {
                    assert_eq!(self.proof.take(), Some(proof));
                    continue;
                }
                Some(Action::Account(url)) => {
                    self.kept.1 = url;
                    continue;
                }
                Some(Action::Order(url)) => {
                    self.kept.0 = url;
                    continue;
                }
                Some(Action::End) => {
                    assert_eq!((self.proof.clone(), order.poll_timeout()), (None, None));
                    let result = order.result().cloned().expect("it has ended");
                    return (result, now.mono.0);
                }
                None => {
                    now.mono = order.poll_timeout().expect("it waits for something");
                    Input::Tick
                }
            };
            order.handle_input(now, input);
        }
        panic!("it does not end: {:?}", self.asked);
    }
}

fn settings(names: &[&str]) -> Settings {
    Settings {
        directory: "https://ca.test/dir".into(),
        email: Some("it@here.test".into()),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        challenge: ChallengeKind::Http01,
        key: PublicKey::from_point(&[4; 65]).expect("a point"),
        account: None,
        binding: None,
        order: None,
        csr: vec![1, 2, 3],
        trial: false,
    }
}

fn given() -> Result<Outcome, Failure> {
    Ok(Outcome::Certificate(CHAIN.to_owned()))
}

fn run_with(faults: &[(&'static str, Fault, u32)]) -> (Authority, Result<Outcome, Failure>, Duration) {
    let mut authority = Authority {
        faults: faults.to_vec(),
        ..Authority::default()
    };
    let (result, took) = authority.run(settings(&["a.test", "b.test"]));
    (authority, result, took)
}

#[test]
fn a_certificate_is_ordered_for_all_names() {
    let (authority, result, _) = run_with(&[]);
    assert_eq!(result, given());
    assert_eq!(authority.shown, ["a.test", "b.test"]);
    let kept = (
        Some("https://ca.test/order".into()),
        Some("https://ca.test/account/1".into()),
    );
    assert_eq!(authority.kept, kept);
    let asked = [
        "dir",
        "nonce",
        "new-account",
        "new-order",
        "authz0",
        "chall0",
        "authz0",
        "authz1",
        "chall1",
        "authz1",
        "order",
        "finalize",
        "cert",
    ];
    assert_eq!(authority.asked, asked);
}

#[test]
fn an_account_and_an_order_of_before_are_used_again() {
    let mut authority = Authority {
        shown: vec!["a.test".into()],
        ..Authority::default()
    };
    let resumed = Settings {
        account: Some("https://ca.test/account/1".into()),
        order: Some("https://ca.test/order".into()),
        ..settings(&["a.test"])
    };
    assert_eq!(authority.run(resumed.clone()).0, given());
    assert_eq!(authority.asked, ["dir", "nonce", "order", "finalize", "cert"]);
    let mut gone = Authority {
        faults: vec![
            ("order", Fault::Problem(404, "malformed"), 1),
            ("new-order", Fault::Problem(400, "accountDoesNotExist"), 1),
        ],
        ..Authority::default()
    };
    assert_eq!(gone.run(resumed).0, given());
    assert!(gone.asked.contains(&"new-account".to_owned()), "{:?}", gone.asked);
}

#[test]
fn a_trial_ends_before_the_certificate() {
    let mut authority = Authority::default();
    let trial = Settings {
        trial: true,
        ..settings(&["a.test"])
    };
    assert_eq!(authority.run(trial).0, Ok(Outcome::WouldBeGiven));
    assert!(!authority.finalized);
}

#[test]
fn refused_nonces_and_single_faults_at_any_step_are_overcome() {
    for path in [
        "dir",
        "nonce",
        "new-account",
        "new-order",
        "authz0",
        "chall1",
        "order",
        "finalize",
        "cert",
    ] {
        for fault in [
            Fault::Lost,
            Fault::AnswerLost,
            Fault::Problem(500, "serverInternal"),
            Fault::Problem(400, "badNonce"),
        ] {
            if matches!(fault, Fault::Problem(400, _)) && matches!(path, "dir" | "nonce") {
                continue;
            }
            let (authority, result, took) = run_with(&[(path, fault, 2)]);
            assert_eq!(result, given(), "{path}: {:?}", authority.asked);
            assert!(took < Duration::from_secs(60), "{path}: {took:?}");
        }
    }
}

#[test]
fn what_does_not_pass_ends_the_order_and_says_what_to_do() {
    for (path, fault, words, advice) in [
        ("dir", Fault::Lost, "the line is cut", "reaches acme.directory"),
        ("dir", Fault::Body("<html>"), "no directory", "acme.directory"),
        (
            "new-order",
            Fault::Problem(429, "rateLimited"),
            "takes no order: no (rateLimited)",
            "wait",
        ),
        ("new-order", Fault::Problem(400, "badNonce"), "badNonce", "again"),
        (
            "new-order",
            Fault::Problem(400, "rejectedIdentifier"),
            "rejectedIdentifier",
            "acme.names",
        ),
        (
            "new-account",
            Fault::Problem(403, "externalAccountRequired"),
            "no account",
            "acme.eab_key_id",
        ),
        (
            "authz0",
            Fault::Problem(503, "serverInternal"),
            "authorization",
            "troubles",
        ),
        ("authz0", Fault::Body("{}"), "no authorization", "report"),
        (
            "finalize",
            Fault::Problem(400, "badCSR"),
            "request for the certificate",
            "P-256",
        ),
        ("cert", Fault::Body("hello"), "no certificate", "report"),
    ] {
        let (_, result, _) = run_with(&[(path, fault, u32::MAX)]);
        let failure = result.expect_err(path);
        assert!(failure.text.contains(words), "{path}: {failure:?}");
        assert!(failure.advice.contains(advice), "{path}: {failure:?}");
        assert_eq!(
            failure.retry_after.is_some(),
            words.contains("rateLimited"),
            "{failure:?}"
        );
    }
}

#[test]
fn a_proof_that_failed_is_told_by_its_name_and_the_order_forgotten() {
    let invalid = r#"{"status":"invalid","identifier":{"type":"dns","value":"b.test"},"challenges":[{"type":"http-01",
        "url":"https://ca.test/c","token":"t","status":"invalid","error":{"type":"urn:ietf:params:acme:error:connection",
        "detail":"192.0.2.1: refused"}}]}"#;
    let (authority, result, _) = run_with(&[("authz1", Fault::Body(invalid), 9)]);
    let failure = result.expect_err("invalid");
    assert_eq!(
        failure.text,
        "b.test could not be shown to be ours: 192.0.2.1: refused (connection)"
    );
    assert!(failure.advice.contains("port 80"), "{failure:?}");
    assert_eq!(authority.kept.0, None);
}

#[test]
fn an_order_of_which_nothing_more_comes_is_forgotten() {
    for (path, fault) in [
        ("finalize", Fault::Problem(400, "badCSR")),
        ("finalize", Fault::Problem(403, "unauthorized")),
        ("cert", Fault::Body("hello")),
        ("cert", Fault::Problem(404, "malformed")),
        ("authz0", Fault::Body("{}")),
        ("order", Fault::Body("{}")),
        ("chall0", Fault::Problem(403, "unauthorized")),
    ] {
        let (authority, result, _) = run_with(&[(path, fault, u32::MAX)]);
        assert!(result.is_err(), "{path}");
        assert_eq!(authority.kept.0, None, "{path}");
    }
    // What passes by itself, or counts, says nothing of the order.
    for fault in [
        Fault::Lost,
        Fault::Problem(503, "serverInternal"),
        Fault::Problem(429, "rateLimited"),
    ] {
        let (authority, result, _) = run_with(&[("cert", fault, u32::MAX)]);
        assert!(result.is_err());
        assert!(authority.kept.0.is_some());
        // Once: what goes wrong again in the next run may be the order.
        let mut again = Authority {
            faults: vec![("cert", fault, u32::MAX)],
            shown: authority.shown,
            finalized: true,
            kept: authority.kept.clone(),
            ..Authority::default()
        };
        let resumed = Settings {
            account: authority.kept.1,
            order: authority.kept.0,
            ..settings(&["a.test", "b.test"])
        };
        assert!(again.run(resumed).0.is_err());
        let counts = matches!(fault, Fault::Problem(429, _));
        assert_eq!(again.kept.0.is_some(), counts);
    }
}

#[test]
fn what_is_never_ready_is_not_resumed_for_ever() {
    let pending = r#"{"status":"processing","authorizations":["https://ca.test/authz0"],"finalize":"https://ca.test/finalize"}"#;
    let order = Some("https://ca.test/order".to_owned());
    let mut authority = Authority {
        faults: vec![("order", Fault::Body(pending), u32::MAX)],
        kept: (order.clone(), None),
        ..Authority::default()
    };
    let resumed = Settings {
        account: Some("https://ca.test/account/1".into()),
        order,
        ..settings(&["a.test"])
    };
    let failure = authority.run(resumed).0.expect_err("in vain");
    assert!(failure.advice.contains("another order"), "{failure:?}");
    assert_eq!(authority.kept.0, None);
}

#[test]
fn an_account_is_bound_where_the_authority_wants_it() {
    let mut authority = Authority {
        bound: true,
        ..Authority::default()
    };
    let failure = authority.run(settings(&["a.test"])).0.expect_err("not bound");
    assert!(failure.text.contains("external account"), "{failure:?}");
    assert!(failure.advice.contains("acme.eab_hmac_key"), "{failure:?}");
    let key = crate::secret::Secret::new(*b"MDEyMzQ1Njc4OWFiY2RlZg");
    let bound = Settings {
        binding: Binding::new("kid-1", &key),
        ..settings(&["a.test"])
    };
    assert_eq!(authority.run(bound.clone()).0, given());
    let binding = authority.account["externalAccountBinding"].clone();
    assert!(binding["signature"].is_string(), "{binding}");
    // Whoever has an account is not asked again.
    let kept = Settings {
        account: authority.kept.1.clone(),
        binding: None,
        ..bound
    };
    assert_eq!(authority.run(kept).0, given());
}

#[test]
fn strange_answers_show_nothing_and_end() {
    let asks = |value: &str, token: &str| {
        format!(
            "{{\"status\":\"pending\",\"identifier\":{{\"value\":\"{value}\"}},\"challenges\":[{{\"type\":\"http-01\",\
             \"url\":\"https://ca.test/c\",\"token\":\"{token}\",\"status\":\"pending\"}}]}}"
        )
    };
    for body in [
        asks("other.test", "t"),
        asks("a.test", "../x"),
        asks("a.test", ""),
    ] {
        let body: &'static str = body.leak();
        let (authority, result, _) = run_with(&[("authz0", Fault::Body(body), 9)]);
        assert!(result.is_err(), "{body}");
        assert_eq!(authority.proof, None);
    }
}

#[test]
fn what_is_never_ready_has_an_end() {
    let pending = r#"{"status":"pending","identifier":{"type":"dns","value":"a.test"},"challenges":[{"type":"http-01",
        "url":"https://ca.test/chall0","token":"token0","status":"pending"}]}"#;
    let (authority, result, took) = run_with(&[("authz0", Fault::Body(pending), u32::MAX)]);
    assert!(result.expect_err("in vain").text.contains("in time"));
    assert_eq!(took, LONGEST);
    let said = authority.asked.iter().filter(|path| *path == "chall0").count();
    assert_eq!(
        (said, authority.kept.0.is_some()),
        (1, true),
        "said once; it can go on later"
    );
}
