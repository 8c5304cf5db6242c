//! Certificates of a running server: several names, files that change, what is told of them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rmail_runtime::tls::{Begin, Shown, look};
use rmail_tests::{PATIENCE, Server, rmail, wait_for};
use serde_json::{Value, json};

/// Files of a pair.
struct Pair(PathBuf);

impl Pair {
    fn new(dir: &Path, name: &str) -> Self {
        Self(dir.join(name))
    }

    fn cert(&self) -> PathBuf {
        self.0.with_extension("pem")
    }

    fn key(&self) -> PathBuf {
        self.0.with_extension("key")
    }

    /// Makes the pair anew, good for these names up to the end of this year. The files are replaced, the key first: what
    /// is read between the two is no pair.
    fn make(&self, names: &[&str], last_year: i32) -> &Self {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(last_year, 12, 31);
        let made = parameters.self_signed(&key).expect("a certificate");
        for (path, text, mode) in [
            (self.key(), key.serialize_pem(), 0o600),
            (self.cert(), made.pem(), 0o644),
        ] {
            let new = path.with_extension("new");
            fs::write(&new, text).expect("written");
            fs::set_permissions(&new, PermissionsExt::from_mode(mode)).expect("its mode");
            fs::rename(&new, path).expect("renamed");
        }
        self
    }

    fn json(&self) -> Value {
        json!({"cert_file": self.cert(), "key_file": self.key()})
    }
}

/// What a port shows to a client that asks for a name.
fn shown(server: &Server, port: &str, begin: Begin, name: &str) -> Shown {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port(port)));
    look(address, begin, name, PATIENCE).unwrap_or_else(|error| panic!("{port} {name}: {error}"))
}

/// The same on the port for IMAP with implicit TLS.
fn shown_by_imaps(server: &Server, name: &str) -> Shown {
    shown(server, "/imap/imaps_port", Begin::Implicit, name)
}

/// `rmail ARGUMENTS`: exit code, and standard output as JSON.
fn ask(server: &Server, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(rmail())
        .arg("--config")
        .arg(server.dir.join("config.json"))
        .args(arguments)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code(), json)
}

const OWN: &str = "mail.here.test";

#[test]
fn each_name_gets_its_certificate_on_every_port() {
    let dir = tempfile::tempdir().expect("directory");
    let one = Pair::new(dir.path(), "one");
    let two = Pair::new(dir.path(), "two");
    one.make(&["mail.one.test"], 2099);
    two.make(&["*.two.test", "two.test"], 2099);
    let server = Server::start(
        dir.path(),
        json!({"tls": {"certificates": [one.json(), two.json()]}}),
    );
    for (port, begin) in [
        ("/smtp/port", Begin::Smtp),
        ("/smtp/submission_port", Begin::Smtp),
        ("/smtp/smtps_port", Begin::Implicit),
        ("/imap/port", Begin::Imap),
        ("/imap/imaps_port", Begin::Implicit),
    ] {
        for (name, first) in [
            ("mail.one.test", "mail.one.test"),
            ("imap.two.test", "*.two.test"),
            ("two.test", "*.two.test"),
            (OWN, OWN),
            ("elsewhere.test", OWN),
        ] {
            let shown = shown(&server, port, begin, name);
            assert_eq!(
                (shown.facts.names[0].as_str(), shown.version),
                (first, "TLS 1.3"),
                "{port} {name}"
            );
        }
    }
    let (code, told) = ask(&server, &["tls", "show", "--live", "--json"]);
    assert_eq!(code, Some(0), "{told}");
    let live = told["live"].as_array().expect("a list");
    // Each port for our name, one of them for the two others.
    assert_eq!(live.len(), 5 + 2, "{told}");
    assert!(live.iter().all(|one| one["as_configured"] == json!(true)));
    assert_eq!(told["certificates"][1]["names"], json!(["mail.one.test"]));
    assert_eq!(told["certificates"][2]["state"], json!("usable"));
    assert_eq!(told["remarks"], json!([]));

    // Without a server there is nothing to be seen, and it is said what to do.
    let config = server.dir.join("config.json");
    drop(server);
    let output = Command::new(rmail())
        .arg("--config")
        .arg(config)
        .args(["tls", "show", "--live"])
        .output()
        .expect("it runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("\n  names   *.two.test, two.test\n"), "{out}");
    assert!(
        out.contains("(mail.here.test): no TLS: ") && err.contains("does the server run"),
        "{out}{err}"
    );
}

#[test]
fn pairs_are_replaced_one_by_one_while_the_server_runs() {
    let dir = tempfile::tempdir().expect("directory");
    let (one, two) = (Pair::new(dir.path(), "one"), Pair::new(dir.path(), "two"));
    one.make(&["mail.one.test"], 2099);
    two.make(&["mail.two.test"], 2099);
    let mut server = Server::start(
        dir.path(),
        json!({"tls": {"certificates": [one.json(), two.json()]}}),
    );
    let (first, second) = (
        shown_by_imaps(&server, "mail.one.test"),
        shown_by_imaps(&server, "mail.two.test"),
    );

    // One is broken and the other new: seen without a signal.
    fs::write(one.cert(), "no certificate").expect("written");
    two.make(&["mail.two.test"], 2098);
    wait_for("the new pair", || {
        shown_by_imaps(&server, "mail.two.test") != second
    });
    assert_eq!(shown_by_imaps(&server, "mail.one.test"), first);
    wait_for("the reason in the log", || {
        server.log().contains("one.pem: holds no certificate")
    });
    let (code, told) = ask(&server, &["tls", "show", "--json"]);
    assert_eq!(
        (code, &told["certificates"][1]["state"]),
        (Some(1), &json!("broken"))
    );
    let (code, told) = ask(&server, &["config", "check", "--json"]);
    assert_eq!(
        (code, &told["errors"][0]["path"]),
        (Some(1), &json!("tls.certificates[0]"))
    );

    // Mended, and read at once when told to; a further pair comes with the configuration.
    let three = Pair::new(dir.path(), "three");
    three.make(&["mail.three.test"], 2099);
    one.make(&["mail.one.test"], 2097);
    server.config["tls"]["certificates"] = json!([one.json(), three.json()]);
    server.write_config();
    server.signal("HUP");
    wait_for("the pair that is new", || {
        shown_by_imaps(&server, "mail.three.test").facts.names == ["mail.three.test"]
    });
    assert_ne!(shown_by_imaps(&server, "mail.one.test"), first);
    assert_eq!(
        shown_by_imaps(&server, "mail.two.test").facts.names[0],
        OWN,
        "it is not in the configuration any more"
    );
}

#[test]
fn what_clients_will_not_like_is_told() {
    let dir = tempfile::tempdir().expect("directory");
    let (main, old) = (Pair::new(dir.path(), "main"), Pair::new(dir.path(), "old"));
    main.make(&["mx.here.test"], 2099);
    old.make(&["old.here.test"], 2021);
    let server = Server::start(
        dir.path(),
        json!({
            "tls": {"cert_file": main.cert(), "key_file": main.key(), "certificates": [old.json()]},
            "exchange_api": {"host": "127.0.0.1", "port": rmail_tests::free_port()},
        }),
    );
    let told = |event: &str| {
        let log = server.log();
        let line = log.lines().find(|line| line.contains(&format!("event={event} ")));
        line.map(str::to_owned)
    };
    wait_for("the certificate that has expired", || {
        told("certificate_expired").is_some_and(|line| line.contains("ERROR") && line.contains("old.pem"))
    });
    let lacks = told("certificate_lacks_names").expect("told at the same time");
    assert!(
        lacks.contains("no certificate is good for mail.here.test: "),
        "{lacks}"
    );

    fs::set_permissions(main.key(), PermissionsExt::from_mode(0o644)).expect("its mode");
    wait_for("the key that everybody can read", || {
        told("key_exposed").is_some_and(|line| line.contains("chmod 600"))
    });
    let count = server.log().matches("event=certificate_lacks_names").count();
    assert_eq!(count, 1, "told once");

    let (code, told) = ask(&server, &["config", "check", "--json"]);
    assert_eq!(code, Some(0), "nothing of it is in the way of the server: {told}");
    let warnings = told["warnings"].as_array().expect("a list").iter();
    let paths: Vec<_> = warnings
        .map(|warning| warning["path"].as_str().expect("a path"))
        .collect();
    assert_eq!(
        paths,
        ["tls.key_file", "tls.certificates", "tls.cert_file"],
        "{told}"
    );

    let metrics = get(server.port("/exchange_api/port"), "/metrics");
    let days = |name: &str| -> f64 {
        let begin = format!("rmail_tls_certificate_days_left{{certificate=\"{name}\",");
        let line = metrics.lines().find(|line| line.starts_with(&begin));
        let value = line.and_then(|line| line.rsplit_once(' ')).expect("a series").1;
        value.parse().expect("a number")
    };
    assert!(days("mx.here.test") > 20_000.0);
    assert_eq!(days("old.here.test"), -1.0);
    assert!(
        metrics.contains("\nrmail_certificate_days_left -1\n"),
        "the first that ends"
    );
}

/// A request of this host; the whole answer.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_start_with_a_pair_that_is_broken_is_refused_with_its_file() {
    let dir = tempfile::tempdir().expect("directory");
    let pair = Pair::new(dir.path(), "one");
    pair.make(&["mail.one.test"], 2099);
    let mut server = Server::start(dir.path(), json!({"tls": {"certificates": [pair.json()]}}));
    server.signal("TERM");
    assert!(server.wait());
    fs::remove_file(pair.key()).expect("removed");
    let output = server
        .command()
        .stderr(std::process::Stdio::piped())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("one.key: the private key cannot be read"), "{text}");
}

#[test]
fn versions_before_tls_1_2_are_refused() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    for (version, taken) in [(1_u8, false), (2, false), (3, true)] {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, server.port("/imap/imaps_port"))).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
        stream.write_all(&client_hello(version)).expect("it reads");
        let mut head = [0; 7];
        stream.read_exact(&mut head).expect("an answer");
        // A handshake record with ServerHello, or the fatal alert protocol_version (RFC 5246 §7.2.2).
        let answer = (head[0], head[5], head[6]);
        match taken {
            true => assert_eq!((answer.0, answer.1), (22, 2), "TLS 1.{}", version - 1),
            false => assert_eq!(answer, (21, 2, 70), "TLS 1.{}", version - 1),
        }
    }
}

/// ClientHello of a client whose newest version is 3.`version` (RFC 5246 §7.4.1.2).
fn client_hello(version: u8) -> Vec<u8> {
    let suites: [u16; 4] = [0xc02b, 0xc02f, 0xc009, 0xc013];
    let extensions: [&[u8]; 4] = [
        // supported_groups: P-256
        &[0, 10, 0, 4, 0, 2, 0, 23],
        // ec_point_formats: uncompressed
        &[0, 11, 0, 2, 1, 0],
        // signature_algorithms: ECDSA and RSA with SHA-256
        &[0, 13, 0, 6, 0, 4, 4, 3, 4, 1],
        // extended_master_secret
        &[0, 23, 0, 0],
    ];
    let mut body = vec![3, version];
    body.extend([7; 32]);
    body.push(0);
    body.extend((suites.len() as u16 * 2).to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    let extensions = extensions.concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend((body.len() as u16 + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}
