//! Certificates: made at the first start, kept, reloaded, refused when broken.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rmail_runtime::tls::{CertificateSource, PairFiles, ServerTls, end_point_of};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

fn self_signed(dir: &Path) -> CertificateSource {
    CertificateSource::SelfSigned {
        mail_root: dir.to_owned(),
        names: vec!["mail.example.com".into(), "autoconfig.example.com".into()],
    }
}

/// A handshake in memory by a client that trusts only this certificate, and asks for this name.
fn handshake(server: &ServerTls, trusted: &CertificateDer<'static>, name: &str) -> Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name)?;
    let mut acceptor = rustls::server::Acceptor::default();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    acceptor.read_tls(&mut &wire[..]).unwrap();
    let accepted = acceptor.accept().unwrap().unwrap();
    let config = server.current().choose(&accepted.client_hello()).config();
    let mut server = accepted.into_connection(config).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn the_first_start_makes_a_pair_and_the_next_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = ServerTls::load(&self_signed(dir.path()), &[]).unwrap();
    let (cert, key) = (dir.path().join("tls/cert.pem"), dir.path().join("tls/key.pem"));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let made = fs::read(&cert).unwrap();
    let der = CertificateDer::from_pem_slice(&made).unwrap();
    for name in ["mail.example.com", "autoconfig.example.com"] {
        handshake(&server, &der, name).unwrap();
    }
    assert!(handshake(&server, &der, "www.example.com").is_err());
    assert_eq!(server.current().main().end_point(), end_point_of(&der));

    let reloaded = server.reload(&self_signed(dir.path()), &[]);
    assert_eq!((reloaded.changed, reloaded.kept.len()), (0, 0), "nothing is new");
    ServerTls::load(&self_signed(dir.path()), &[]).unwrap();
    assert_eq!(fs::read(&cert).unwrap(), made);

    fs::remove_file(&cert).unwrap();
    ServerTls::load(&self_signed(dir.path()), &[]).unwrap();
    assert_ne!(
        fs::read(&cert).unwrap(),
        made,
        "a new certificate for the key that was there"
    );
    fs::remove_file(&key).unwrap();
    let refused = ServerTls::load(&self_signed(dir.path()), &[])
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("key.pem") && refused.contains("put it back"),
        "{refused}"
    );
}

#[test]
fn many_starts_at_once_make_one_pair() {
    let dir = tempfile::tempdir().unwrap();
    let points: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    ServerTls::load(&self_signed(dir.path()), &[])
                        .unwrap()
                        .current()
                        .main()
                        .end_point()
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(points.iter().all(|point| *point == points[0]));
}

#[test]
fn a_broken_pair_keeps_the_old_one_and_says_why() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = ServerTls::load(&self_signed(dir.path()), &[]).unwrap();
    ServerTls::load(&self_signed(other.path()), &[]).unwrap();
    let files = CertificateSource::Files {
        cert: dir.path().join("tls/cert.pem"),
        key: dir.path().join("tls/key.pem"),
    };
    let CertificateSource::Files { cert, key } = &files else {
        unreachable!()
    };
    let old = server.current().main().end_point();
    let good = fs::read(cert).unwrap();

    let broken: [(&[u8], &str); 4] = [
        (b"", "holds no certificate"),
        (
            b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            "cert.pem",
        ),
        (&good[..good.len() / 2], "cert.pem"),
        (
            &fs::read(other.path().join("tls/cert.pem")).unwrap(),
            "does not belong",
        ),
    ];
    for (content, why) in broken {
        fs::write(cert, content).unwrap();
        let refused = server.reload(&files, &[]).kept[0].to_string();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(server.current().main().end_point(), old);
    }
    fs::remove_file(cert).unwrap();
    let refused = server.reload(&files, &[]).kept[0].to_string();
    assert!(refused.contains("cannot be read"), "{refused}");

    fs::copy(other.path().join("tls/cert.pem"), cert).unwrap();
    fs::copy(other.path().join("tls/key.pem"), key).unwrap();
    let before = server.current();
    assert_eq!(server.reload(&files, &[]).changed, 1);
    assert_ne!(server.current().main().end_point(), old);
    assert_eq!(
        before.main().end_point(),
        old,
        "a connection that began before keeps its own"
    );
    let der = CertificateDer::from_pem_slice(&fs::read(cert).unwrap()).unwrap();
    handshake(&server, &der, "mail.example.com").unwrap();
}

/// Makes a pair for a name, and gives its certificate.
fn make(files: &PairFiles, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    fs::write(&files.cert, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

#[test]
fn a_client_gets_the_pair_of_the_name_that_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let others = ["one", "two"].map(|name| PairFiles {
        cert: dir.path().join(format!("{name}.pem")),
        key: dir.path().join(format!("{name}.key")),
    });
    let one = make(&others[0], "mail.one.test");
    let two = make(&others[1], "*.two.test");
    let main = self_signed(dir.path());
    let server = ServerTls::load(&main, &others).unwrap();
    let own = CertificateDer::from_pem_file(dir.path().join("tls/cert.pem")).unwrap();
    for (certificate, name) in [
        (&own, "mail.example.com"),
        (&one, "mail.one.test"),
        (&two, "imap.two.test"),
    ] {
        handshake(&server, certificate, name).unwrap();
    }
    assert!(handshake(&server, &one, "imap.two.test").is_err());

    // One is broken, and the other was replaced; the main one is gone.
    fs::write(&others[0].cert, "").unwrap();
    let new = make(&others[1], "new.two.test");
    fs::remove_file(dir.path().join("tls/key.pem")).unwrap();
    let reloaded = server.reload(&main, &others);
    assert_eq!((reloaded.changed, reloaded.kept.len()), (1, 2), "{reloaded:?}");
    handshake(&server, &own, "mail.example.com").unwrap();
    handshake(&server, &one, "mail.one.test").unwrap();
    handshake(&server, &new, "new.two.test").unwrap();
    assert!(handshake(&server, &two, "imap.two.test").is_err());

    // Who is not in the configuration any more is not used any more; a new pair that is broken is left out.
    let mut next = vec![others[1].clone(), others[0].clone()];
    next[1].key = dir.path().join("nowhere");
    let reloaded = server.reload(&main, &next);
    assert_eq!((reloaded.changed, reloaded.kept.len()), (1, 2), "{reloaded:?}");
    assert!(handshake(&server, &one, "mail.one.test").is_err());
    handshake(&server, &new, "new.two.test").unwrap();

    // A start has nothing to keep.
    let refused = ServerTls::load(&self_signed(&dir.path().join("new")), &next);
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("nowhere: the private key cannot be read"),
        "{refused}"
    );
}
