//! What it costs to look at a message once: `cargo bench -p rmail-core --bench mime`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use sha2::Digest as _;

use rmail_core::mime::digest::Digest;
use rmail_core::mime::envelope::envelope;
use rmail_core::mime::preview::preview;
use rmail_core::mime::scanner::scan;
use rmail_core::mime::structure::body_structure;

fn main() {
    divan::main();
}

/// A text, and an attachment of about so many octets.
fn with_attachment(octets: usize) -> Vec<u8> {
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n";
    format!(
        "{}Content-Type: multipart/mixed; boundary=\"=_boundary\"\r\n\r\n--=_boundary\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{}--=_boundary\r\n\
         Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--=_boundary--\r\n",
        header(3),
        "A line of text as people write them.\r\n".repeat(40),
        line.repeat(octets / line.len()),
    )
    .into_bytes()
}

fn header(recipients: usize) -> String {
    let to: Vec<String> = (0..recipients)
        .map(|n| format!("\"Some Body {n}\" <some.body{n}@example.org>"))
        .collect();
    format!(
        "Received: from a.example.org by b.example.org with ESMTPS id 1; Mon, 1 Jan 2024 00:00:00 +0000\r\n\
         Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: Joe Doe <joe@example.org>\r\n\
         Subject: =?utf-8?q?a_subject?=\r\nMessage-ID: <1@example.org>\r\nTo: {}\r\n",
        to.join(",\r\n ")
    )
}

#[divan::bench(args = [1024, 4 * 1024, 1024 * 1024])]
fn scanning(bencher: Bencher<'_, '_>, octets: usize) {
    let message = with_attachment(octets);
    bencher
        .counter(BytesCount::of_slice(&message))
        .bench(|| scan(black_box(&message)));
}

#[divan::bench(args = [1, 100, 10_000])]
fn envelopes(bencher: Bencher<'_, '_>, recipients: usize) {
    let header = header(recipients).into_bytes();
    bencher
        .counter(BytesCount::of_slice(&header))
        .bench(|| envelope(black_box(&header)));
}

#[divan::bench]
fn body_structures(bencher: Bencher<'_, '_>) {
    let structure = scan(&with_attachment(4 * 1024));
    bencher.bench(|| body_structure(black_box(&structure), true));
}

#[divan::bench(args = [1024, 4 * 1024, 1024 * 1024])]
fn digesting(bencher: Bencher<'_, '_>, octets: usize) {
    let message = with_attachment(octets);
    bencher.counter(BytesCount::of_slice(&message)).bench(|| {
        let mut digest = Digest::new(usize::MAX);
        digest.push(black_box(&message));
        digest.finish(&message).parsed
    });
}

#[divan::bench(args = [1024, 4 * 1024, 1024 * 1024])]
fn hashing(bencher: Bencher<'_, '_>, octets: usize) {
    let message = with_attachment(octets);
    bencher
        .counter(BytesCount::of_slice(&message))
        .bench(|| sha2::Sha256::digest(black_box(&message)));
}

#[divan::bench]
fn previews(bencher: Bencher<'_, '_>) {
    let message = with_attachment(1024);
    let structure = scan(&message);
    bencher.bench(|| preview(black_box(&structure), &message));
}
