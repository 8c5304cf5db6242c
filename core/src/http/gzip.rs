//! Responses in gzip (RFC 1952) for clients that take it (RFC 9110 §12.5.3).

use super::head::{Head, trimmed};
use crate::deflate::Compressor;

/// A body of fewer octets is sent as it is: one packet, with or without.
const WORTH: usize = 1024;
/// Octets that are compressed at once. More would hold up others, and is cut into steps.
const STEP: usize = 64 * 1024;
/// A head without name and time, "fastest", from nobody knows which system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff];

/// Whether this is worth it: text, and not too short.
pub(super) fn is_worth_it(media_type: &str, octets: usize) -> bool {
    let kind = media_type.split(';').next().map(trimmed).unwrap_or_default();
    let (top, sub) = kind.split_once('/').unwrap_or_default();
    octets > WORTH
        && (top.eq_ignore_ascii_case("text")
            || ["json", "xml", "problem+json"]
                .iter()
                .any(|text| sub.eq_ignore_ascii_case(text)))
}

/// Whether the client takes gzip, and likes the plain form no better.
pub(super) fn is_taken(head: &Head) -> bool {
    let (mut gzip, mut plain, mut rest) = (None, None, None);
    for member in head.list("accept-encoding") {
        let (coding, weight) = member.split_once(';').map_or((member, 1000), |(coding, weight)| {
            (trimmed(coding), quality(weight))
        });
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            gzip = Some(weight);
        } else if coding.eq_ignore_ascii_case("identity") {
            plain = Some(weight);
        } else if coding == "*" {
            rest = Some(weight);
        }
    }
    let gzip = gzip.or(rest).unwrap_or(0);
    gzip > 0 && gzip >= plain.unwrap_or(0)
}

/// `OWS "q=" qvalue` in thousandths; 0 if it is none (RFC 9110 §12.4.2).
fn quality(weight: &str) -> u32 {
    let Some((name, value)) = weight.split_once('=') else {
        return 0;
    };
    if !trimmed(name).eq_ignore_ascii_case("q") {
        return 0;
    }
    let (whole, fraction) = trimmed(value).split_once('.').unwrap_or((trimmed(value), ""));
    if fraction.len() > 3 || !fraction.bytes().all(|octet| octet.is_ascii_digit()) {
        return 0;
    }
    let digits = fraction.bytes().chain([b'0'; 3]).take(3);
    let fraction = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    match whole {
        "0" => fraction,
        "1" if fraction == 0 => 1000,
        _ => 0,
    }
}

/// A body on its way through the compressor.
#[derive(Debug)]
pub(super) struct Gzip {
    body: Vec<u8>,
    done: usize,
    sum: u32,
    /// None: all is said.
    compressor: Option<Compressor>,
}

impl Gzip {
    /// Of these octets.
    pub(super) fn new(body: Vec<u8>) -> Self {
        Self {
            body,
            done: 0,
            sum: 0,
            compressor: Some(Compressor::new()),
        }
    }

    /// Whether one step does it.
    pub(super) fn is_short(&self) -> bool {
        self.body.len() <= STEP
    }

    /// The next octets, perhaps none yet; `None` at the end.
    pub(super) fn step(&mut self) -> Option<Vec<u8>> {
        let mut compressor = self.compressor.take()?;
        let mut out = Vec::new();
        if self.done == 0 {
            out.extend_from_slice(&HEAD);
        }
        let end = self.body.len().min(self.done + STEP);
        let octets = self.body.get(self.done..end).unwrap_or_default();
        compressor.write(octets, &mut out);
        let mut sum = crc32fast::Hasher::new_with_initial(self.sum);
        sum.update(octets);
        self.sum = sum.finalize();
        self.done = end;
        if end < self.body.len() {
            self.compressor = Some(compressor);
            return Some(out);
        }
        compressor.finish(&mut out);
        out.extend_from_slice(&self.sum.to_le_bytes());
        // The length modulo 2^32.
        out.extend_from_slice(&(end as u32).to_le_bytes());
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> bool {
        is_taken(&Head {
            fields: vec![("accept-encoding".to_owned(), value.as_bytes().to_vec())],
            ..Head::default()
        })
    }

    #[test]
    fn weights_decide() {
        for yes in [
            "gzip",
            "GZIP",
            "x-gzip",
            "br, gzip;q=0.5",
            "*",
            "*;q=0.1",
            "gzip ; q=1.000",
            "gzip;q=0.001, identity;q=0",
            "deflate, gzip;q=1.0, *;q=0.5",
        ] {
            assert!(accepts(yes), "{yes}");
        }
        for no in [
            "",
            "br",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=0, *",
            "*;q=0",
            "identity, gzip;q=0.5",
            "gzip;q=2",
            "gzip;q=0.0001",
            "gzip;q=",
            "gzip;level=9",
            "gzip;q",
            "gzippo",
        ] {
            assert!(!accepts(no), "{no}");
        }
        assert!(!is_taken(&Head::default()));
    }

    #[test]
    fn text_is_worth_it_unless_it_is_short() {
        for kind in [
            "application/json",
            "text/html; charset=utf-8",
            "Application/XML",
            "text/plain",
        ] {
            assert!(is_worth_it(kind, 2000) && !is_worth_it(kind, 1024), "{kind}");
        }
        for kind in ["image/png", "application/octet-stream", "", "json"] {
            assert!(!is_worth_it(kind, 2000), "{kind}");
        }
    }

    #[test]
    fn what_comes_out_is_gzip() {
        for len in [0, 1, 5000, STEP, STEP + 1, 5 * STEP + 3] {
            let body: Vec<u8> = (0..len).map(|n| b'a' + (n % 7) as u8).collect();
            let mut gzip = Gzip::new(body.clone());
            assert_eq!(gzip.is_short(), len <= STEP);
            let mut octets = Vec::new();
            let mut steps = 0;
            while let Some(piece) = gzip.step() {
                octets.extend_from_slice(&piece);
                steps += 1;
            }
            assert_eq!(steps, len.div_ceil(STEP).max(1));
            assert_eq!(&octets[..10], &HEAD);
            let (deflated, sums) = octets[10..].split_at(octets.len() - 18);
            let inflated = miniz_oxide::inflate::decompress_to_vec(deflated).expect("DEFLATE");
            assert_eq!(inflated, body);
            assert_eq!(sums[..4], crc32fast::hash(&body).to_le_bytes());
            assert_eq!(sums[4..], (len as u32).to_le_bytes());
        }
    }
}
