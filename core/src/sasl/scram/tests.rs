//! The exchange against the RFC's own messages, and against a client of our own.

use super::*;
use crate::addr::Address;
use crate::secret::Secret;

/// RFC 7677 §3: user `user`, password `pencil`.
const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn user() -> ScramUser {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    ScramUser {
        keys: ScramKeys::derive(&Secret::new("pencil"), &salt, 4096),
        account: Some((Address::parse("user@x.y").expect("address").canonical(), 7)),
        others: Vec::new(),
    }
}

fn bindings() -> Bindings {
    Bindings {
        exporter: vec![0xee; 32],
        end_point: Some(vec![0xdd; 32]),
    }
}

fn exchange(plus: bool, bindings: Option<Bindings>) -> Scram {
    Scram::with_nonce(plus, bindings, SERVER_NONCE.to_owned())
}

/// What a client that knows the password `pencil` answers.
fn answer(gs2: &str, data: &[u8], bare: &str, server_first: &str, extension: &str) -> String {
    let nonce = server_first.split(',').next().expect("r=");
    let bound = STANDARD.encode([gs2.as_bytes(), data].concat());
    let without_proof = format!("c={bound},{nonce}{extension}");
    let messages = format!("{bare},{server_first},{without_proof}");
    let salt = user().keys.salt;
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(b"pencil", &salt, 4096, &mut salted);
    let mut proof = hmac(&salted, b"Client Key");
    let stored: [u8; 32] = Sha256::digest(proof).into();
    for (octet, signature) in proof.iter_mut().zip(hmac(&stored, messages.as_bytes())) {
        *octet ^= signature;
    }
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

/// A whole exchange of such a client.
fn run(scram: &mut Scram, gs2: &str, data: &[u8], bare: &str) -> Result<(), Failure> {
    let Progress::Lookup(_) = scram.respond(format!("{gs2}{bare}").as_bytes())? else {
        panic!("no look-up");
    };
    let Progress::Challenge(first) = scram.found(user())? else {
        panic!("no challenge");
    };
    scram.respond(answer(gs2, data, bare, &first, "").as_bytes())?;
    let Progress::Done(account, 7) = scram.respond(b"")? else {
        panic!("not done");
    };
    assert_eq!(account.as_str(), "user@x.y");
    Ok(())
}

#[test]
fn the_example_of_rfc_7677() {
    let mut scram = exchange(false, None);
    let challenge = |text: &str| Ok(Progress::Challenge(text.to_owned()));
    assert_eq!(
        scram.respond(CLIENT_FIRST.as_bytes()),
        Ok(Progress::Lookup("user".to_owned()))
    );
    assert_eq!(scram.found(user()), challenge(SERVER_FIRST));
    assert_eq!(scram.respond(CLIENT_FINAL.as_bytes()), challenge(SERVER_FINAL));
    let (account, epoch) = user().account.expect("an account");
    assert_eq!(scram.respond(b""), Ok(Progress::Done(account, epoch)));
    assert_eq!(scram.respond(b""), Err(Failure::Malformed), "it is over");
}

#[test]
fn nobody_and_a_wrong_password_fail_alike_and_late() {
    for user in [
        ScramUser {
            account: None,
            ..user()
        },
        ScramUser {
            keys: ScramKeys::derive(&Secret::new("eraser"), &user().keys.salt, 4096),
            ..user()
        },
    ] {
        let mut scram = exchange(false, None);
        scram.respond(CLIENT_FIRST.as_bytes()).expect("a look-up");
        assert_eq!(
            scram.found(user),
            Ok(Progress::Challenge(SERVER_FIRST.to_owned()))
        );
        assert_eq!(scram.respond(CLIENT_FINAL.as_bytes()), Err(Failure::Credentials));
        assert_eq!(scram.respond(b""), Err(Failure::Malformed));
    }
}

#[test]
fn a_proof_is_checked_against_every_secret() {
    let salt = user().keys.salt;
    let other = |password: &str, epoch| {
        let keys = ScramKeys::derive(&Secret::new(password), &salt, 4096);
        OtherKeys {
            stored_key: keys.stored_key,
            server_key: keys.server_key,
            epoch,
        }
    };
    let with = |account: Option<(AccountName, u64)>, others| {
        let mut scram = exchange(false, None);
        scram.respond(CLIENT_FIRST.as_bytes()).expect("a look-up");
        let keys = ScramKeys::derive(&Secret::new("eraser"), &salt, 4096);
        let user = ScramUser {
            keys,
            account,
            others,
        };
        scram.found(user).expect("a challenge");
        let signature = scram.respond(CLIENT_FINAL.as_bytes())?;
        assert_eq!(signature, Progress::Challenge(SERVER_FINAL.to_owned()));
        scram.respond(b"")
    };
    let account = || user().account;
    let name = account().expect("an account").0;
    assert_eq!(
        with(account(), vec![other("ink", 8), other("pencil", 9)]),
        Ok(Progress::Done(name, 9)),
        "with its own epoch, and signed with its own key"
    );
    assert_eq!(with(account(), vec![other("ink", 8)]), Err(Failure::Credentials));
    assert_eq!(with(None, vec![other("pencil", 9)]), Err(Failure::Credentials));
}

#[test]
fn bindings_are_checked() {
    let bare = "n=user,r=abc";
    let both = || Some(bindings());
    let (exporter, end_point) = (vec![0xee; 32], vec![0xdd; 32]);
    for (plus, has, gs2, data, result) in [
        (true, both(), "p=tls-exporter,,", &exporter[..], Ok(())),
        (true, both(), "p=tls-server-end-point,,", &end_point, Ok(())),
        (
            true,
            both(),
            "p=tls-exporter,,",
            &end_point,
            Err(Failure::Binding),
        ),
        (true, both(), "p=tls-unique,,", &exporter, Err(Failure::Binding)),
        // The mechanism says one thing, the flag another.
        (true, both(), "n,,", &[], Err(Failure::Binding)),
        (true, both(), "y,,", &[], Err(Failure::Binding)),
        (
            false,
            both(),
            "p=tls-exporter,,",
            &exporter,
            Err(Failure::Binding),
        ),
        // Downgraded on the way; without bindings of ours there is nothing to downgrade.
        (false, both(), "y,,", &[], Err(Failure::Binding)),
        (false, None, "y,,", &[], Ok(())),
        (false, both(), "n,,", &[], Ok(())),
        (false, None, "p=tls-exporter,,", &exporter, Err(Failure::Binding)),
        (false, None, "n,,", b"x", Err(Failure::Binding)),
    ] {
        let got = run(&mut exchange(plus, has), gs2, data, bare);
        assert_eq!(got, result, "{plus} {gs2}");
    }
}

#[test]
fn bindings_exist_on_tls_1_3_only() {
    let mut tls = TlsInfo {
        version: 0x0304,
        exporter: Some(vec![1; 32]),
        ..TlsInfo::default()
    };
    assert!(Bindings::of(&tls).is_some());
    tls.version = 0x0303;
    assert_eq!(Bindings::of(&tls), None);
    tls = TlsInfo {
        version: 0x0304,
        ..TlsInfo::default()
    };
    assert_eq!(Bindings::of(&tls), None);
}

#[test]
fn names_are_unescaped_and_authorization_repeats_them() {
    let look = |message: &str| exchange(false, None).respond(message.as_bytes());
    let found = |name: &str| Ok(Progress::Lookup(name.to_owned()));
    assert_eq!(look("n,,n=a=2Cb=3Dc,r=x"), found("a,b=c"));
    assert_eq!(look("n,a=USER,n=user,r=x"), found("user"));
    assert_eq!(look("n,a=admin,n=user,r=x"), Err(Failure::Authorization));
    // Prepared: a soft hyphen is nothing, a full-width letter is that letter.
    assert_eq!(look("n,,n=us\u{ad}er,r=x"), found("user"));
    assert_eq!(look("n,,n=\u{ff55}ser,r=x"), found("user"));
    // Unknown extensions are passed over.
    assert_eq!(look("n,,n=user,r=x,e=1,Z=y=z"), found("user"));
}

#[test]
fn what_has_no_form_is_malformed() {
    for message in [
        &b""[..],
        b"n",
        b"n,",
        b"n,,",
        b"N,,n=user,r=x",
        b"n,,n=user",
        b"n,,r=x,n=user",
        b"n,,n=,r=x",
        b"n,,n=us=er,r=x",
        b"n,,n=us=2cer,r=x",
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=us\0er,r=x",
        b"n,,n=\xff,r=x",
        b"n,a,n=user,r=x",
        b"n,,m=x,n=user,r=x",
        b"n,,n=user,r=x,m=x",
        b"n,,n=user,r=x,1=x",
        b"n,,n=user,r=x,e=",
    ] {
        let got = exchange(false, None).respond(message);
        assert_eq!(got, Err(Failure::Malformed), "{}", message.escape_ascii());
    }
    let long = format!("n,,n=user,r={}", "x".repeat(MAX_CLIENT_NONCE + 1));
    assert_eq!(
        exchange(false, None).respond(long.as_bytes()),
        Err(Failure::Malformed)
    );
}

#[test]
fn the_last_message_is_checked_whole() {
    let good = |extension| {
        answer(
            "n,,",
            b"",
            "n=user,r=rOprNGfwEbeRWgbNEkqO",
            SERVER_FIRST,
            extension,
        )
    };
    assert_eq!(good(""), CLIENT_FINAL);
    let (other_proof, short) = (
        CLIENT_FINAL.replace("p=d", "p=e"),
        CLIENT_FINAL.replace("p=dHzb", "p="),
    );
    for (message, result) in [
        (good(",x=y"), Ok(())),
        (good(",m=y"), Err(Failure::Malformed)),
        (other_proof, Err(Failure::Credentials)),
        (short, Err(Failure::Malformed)),
        (CLIENT_FINAL.replace("$k0", "$k1"), Err(Failure::Credentials)),
        (CLIENT_FINAL.replace("biws", "eSws"), Err(Failure::Binding)),
        (CLIENT_FINAL.replace("c=biws,", ""), Err(Failure::Malformed)),
        (String::new(), Err(Failure::Malformed)),
    ] {
        let mut scram = exchange(false, None);
        scram.respond(CLIENT_FIRST.as_bytes()).expect("a look-up");
        scram.found(user()).expect("a challenge");
        assert_eq!(scram.respond(message.as_bytes()).map(drop), result, "{message}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let mut scram = exchange(false, None);
    scram.respond(CLIENT_FIRST.as_bytes()).expect("a look-up");
    scram.found(user()).expect("a challenge");
    let shown = format!("{scram:?}");
    let key = format!("{:?}", user().keys.stored_key);
    assert!(shown.contains("***") && !shown.contains(&key), "{shown}");
}
