//! Certificates: made at the first start, kept, reloaded, refused when broken.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rmail_runtime::tls::{CertificateSource, ServerTls, end_point_of};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

fn self_signed(dir: &Path) -> CertificateSource {
    CertificateSource::SelfSigned {
        mail_root: dir.to_owned(),
        names: vec!["mail.example.com".into(), "autoconfig.example.com".into()],
    }
}

/// A handshake in memory by a client that trusts only this certificate.
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
    let mut server = rustls::ServerConnection::new(server.current().config())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn the_first_start_makes_a_pair_and_the_next_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = ServerTls::load(&self_signed(dir.path())).unwrap();
    let (cert, key) = (dir.path().join("tls/cert.pem"), dir.path().join("tls/key.pem"));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let made = fs::read(&cert).unwrap();
    let der = CertificateDer::from_pem_slice(&made).unwrap();
    for name in ["mail.example.com", "autoconfig.example.com"] {
        handshake(&server, &der, name).unwrap();
    }
    assert!(handshake(&server, &der, "www.example.com").is_err());
    assert_eq!(server.current().end_point(), end_point_of(&der));

    assert!(
        !server.reload(&self_signed(dir.path())).unwrap(),
        "nothing is new"
    );
    ServerTls::load(&self_signed(dir.path())).unwrap();
    assert_eq!(fs::read(&cert).unwrap(), made);

    fs::remove_file(&cert).unwrap();
    ServerTls::load(&self_signed(dir.path())).unwrap();
    assert_ne!(
        fs::read(&cert).unwrap(),
        made,
        "a new certificate for the key that was there"
    );
    fs::remove_file(&key).unwrap();
    let refused = ServerTls::load(&self_signed(dir.path())).unwrap_err().to_string();
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
                    ServerTls::load(&self_signed(dir.path()))
                        .unwrap()
                        .current()
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
    let server = ServerTls::load(&self_signed(dir.path())).unwrap();
    ServerTls::load(&self_signed(other.path())).unwrap();
    let files = CertificateSource::Files {
        cert: dir.path().join("tls/cert.pem"),
        key: dir.path().join("tls/key.pem"),
    };
    let CertificateSource::Files { cert, key } = &files else {
        unreachable!()
    };
    let old = server.current().end_point();
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
        let refused = server.reload(&files).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(server.current().end_point(), old);
    }
    fs::remove_file(cert).unwrap();
    assert!(
        server
            .reload(&files)
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );

    fs::copy(other.path().join("tls/cert.pem"), cert).unwrap();
    fs::copy(other.path().join("tls/key.pem"), key).unwrap();
    let before = server.current();
    assert!(server.reload(&files).unwrap());
    assert_ne!(server.current().end_point(), old);
    assert_eq!(
        before.end_point(),
        old,
        "a connection that began before keeps its own"
    );
    let der = CertificateDer::from_pem_slice(&fs::read(cert).unwrap()).unwrap();
    handshake(&server, &der, "mail.example.com").unwrap();
}
