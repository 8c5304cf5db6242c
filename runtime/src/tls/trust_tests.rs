//! Handshakes in memory: what the relay accepts of servers with certificates of all kinds.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _, date_time_ymd,
};
use rmail_core::dns::Tlsa;
use rmail_core::relay::tls::FaultKind;
use rmail_core::relay::tls::dane::Anchors;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use sha2::{Digest as _, Sha256, Sha512};

use super::fault::fault_of;
use super::{ClientTls, VERSIONS, Watch, provider};

const NAME: &str = "mx.example.com";

/// A server's chain, its own certificate first, and its key.
struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).expect("a name")
}

fn expired(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 1);
    params
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "authority of tests");
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

fn self_signed(params: CertificateParams) -> Chain {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    Chain {
        certificates: vec![certificate.der().clone()],
        key,
    }
}

/// With the authority's certificate behind its own.
fn issued(params: CertificateParams, authority: &CertifiedIssuer<'static, KeyPair>) -> Chain {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    Chain {
        certificates: vec![certificate.der().clone(), authority.der().clone()],
        key,
    }
}

/// What comes of a handshake.
fn shake(client: Arc<ClientConfig>, chain: &Chain) -> Result<(), rustls::Error> {
    let key = PrivateKeyDer::try_from(chain.key.serialize_der()).expect("a key");
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.certificates.clone(), key)
        .expect("a pair");
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(client, name).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    while client.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("written");
        server.read_tls(&mut &wire[..]).expect("read");
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("written");
        client.read_tls(&mut &wire[..]).expect("read");
        client.process_new_packets()?;
    }
    Ok(())
}

fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Tlsa {
    Tlsa {
        usage,
        selector,
        matching,
        data: data.to_vec(),
    }
}

/// What DANE says of a server with these records.
fn dane(records: &[Tlsa], chain: &Chain) -> Result<(), FaultKind> {
    let names = vec![NAME.to_owned(), "example.com".to_owned()];
    let anchors = Arc::new(Anchors::usable(records, names).expect("usable"));
    shake(ClientTls::dane(&anchors), chain).map_err(|error| fault_of(&error).kind)
}

#[test]
fn dane_ee_looks_at_nothing_but_the_certificate() {
    let chain = self_signed(expired("other.example.org"));
    let (der, spki) = (
        chain.certificates[0].to_vec(),
        chain.key.subject_public_key_info(),
    );
    for record in [
        record(3, 0, 0, &der),
        record(3, 0, 1, &Sha256::digest(&der)),
        record(3, 0, 2, &Sha512::digest(&der)),
        record(3, 1, 0, &spki),
        record(3, 1, 1, &Sha256::digest(&spki)),
        record(3, 1, 2, &Sha512::digest(&spki)),
    ] {
        assert_eq!(dane(std::slice::from_ref(&record), &chain), Ok(()), "{record}");
        let other = self_signed(params(NAME));
        assert_eq!(dane(&[record], &other), Err(FaultKind::CertificateNotTrusted));
    }
    // One of several records is enough (a key is changed).
    let old = record(3, 1, 1, &[1; 32]);
    assert_eq!(
        dane(&[old, record(3, 1, 1, &Sha256::digest(&spki))], &chain),
        Ok(())
    );
}

#[test]
fn dane_ta_wants_a_good_chain_and_one_of_the_names() {
    let authority = authority();
    let whole = authority.der().to_vec();
    let key = authority.key().subject_public_key_info();
    for record in [
        record(2, 0, 0, &whole),
        record(2, 0, 1, &Sha256::digest(&whole)),
        record(2, 1, 1, &Sha256::digest(&key)),
        record(2, 1, 2, &Sha512::digest(&key)),
    ] {
        let records = std::slice::from_ref(&record);
        assert_eq!(
            dane(records, &issued(params(NAME), &authority)),
            Ok(()),
            "{record}"
        );
        assert_eq!(
            dane(records, &issued(params("example.com"), &authority)),
            Ok(()),
            "the next-hop domain"
        );
        let bad = |chain: &Chain| dane(records, chain).expect_err("refused");
        assert_eq!(
            bad(&issued(params("other.example.org"), &authority)),
            FaultKind::CertificateHostMismatch
        );
        assert_eq!(
            bad(&issued(expired(NAME), &authority)),
            FaultKind::CertificateExpired
        );
        // The authority's certificate is shown, but has not signed.
        let mut stranger = self_signed(params(NAME));
        stranger.certificates.push(authority.der().clone());
        assert_eq!(bad(&stranger), FaultKind::CertificateNotTrusted);
    }
    // A whole certificate in the record need not be sent by the server; for a digest it must be.
    let mut alone = issued(params(NAME), &authority);
    alone.certificates.truncate(1);
    assert_eq!(dane(&[record(2, 0, 0, &whole)], &alone), Ok(()));
    let digest = record(2, 0, 1, &Sha256::digest(&whole));
    assert_eq!(dane(&[digest], &alone), Err(FaultKind::CertificateNotTrusted));
}

#[test]
fn what_is_only_watched_is_told_and_accepted() {
    let authority = authority();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a root");
    let tls = ClientTls::with_roots(roots);
    let told = |chain: &Chain| {
        let watch = Watch::default();
        shake(tls.watched(&watch), chain).expect("accepted");
        shake(tls.opportunistic(), chain).expect("accepted");
        let verified = shake(tls.verified(), chain)
            .map_err(|error| fault_of(&error).kind)
            .err();
        let told = watch.get().map(|fault| fault.kind);
        assert_eq!(told, verified, "as verification says");
        told
    };
    assert_eq!(told(&issued(params(NAME), &authority)), None);
    assert_eq!(
        told(&issued(params("a.example"), &authority)),
        Some(FaultKind::CertificateHostMismatch)
    );
    assert_eq!(
        told(&issued(expired(NAME), &authority)),
        Some(FaultKind::CertificateExpired)
    );
    assert_eq!(
        told(&self_signed(params(NAME))),
        Some(FaultKind::CertificateNotTrusted)
    );
}
