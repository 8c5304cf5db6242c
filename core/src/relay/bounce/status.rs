//! The part of a notice for programs (RFC 3464, RFC 6533).

use std::fmt::Write as _;

use super::{Kind, Notice, date, one_line, printable, quoted_printable};
use crate::relay::outcome::Enhanced;
use crate::smtp::envelope::{DsnRequest, ascii};
use crate::time::Unix;

/// The part for programs. What is beyond ASCII stands in it as it is where the message was beyond ASCII too (RFC 6533
/// §4.1), else in the form for 7 bits (§3).
pub(super) fn status_part(out: &mut String, notice: &Notice, now: Unix) {
    let mut text = String::new();
    status(&mut text, notice, now);
    if text.is_ascii() {
        out.push_str("Content-Type: message/delivery-status\r\n\r\n");
        out.push_str(&text);
    } else {
        out.push_str(
            "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        );
        quoted_printable(out, text.as_bytes());
    }
}

/// `delivery-status-content` (RFC 3464 §2.1): fields of the message, then a block for each recipient.
fn status(out: &mut String, notice: &Notice, now: Unix) {
    let global = notice.wishes.utf8;
    let arrival = date(notice.arrived);
    if let Some(envid) = &notice.wishes.envid {
        let _ = write!(out, "Original-Envelope-Id: {}\r\n", printable(envid));
    }
    let _ = write!(
        out,
        "Reporting-MTA: dns; {}\r\nArrival-Date: {arrival}\r\n",
        notice.hostname
    );
    if let Some(hold) = &notice.wishes.hold {
        // RFC 4865 §5.1.2.
        let _ = write!(out, "Future-Release-Request: {}\r\n", printable(hold));
    }
    for about in &notice.recipients {
        let report = &about.report;
        let (action, enhanced) = match notice.kind {
            // RFC 3463 §3.5: delivery time expired.
            Kind::Failed if about.expired => ("failed", Enhanced(4, 4, 7)),
            Kind::Failed => ("failed", report.enhanced.with_class(5)),
            Kind::Delayed => ("delayed", report.enhanced.with_class(4)),
            Kind::Delivered => ("delivered", report.enhanced.with_class(2)),
            Kind::Relayed => ("relayed", report.enhanced.with_class(2)),
            Kind::Expanded => ("expanded", report.enhanced.with_class(2)),
        };
        out.push_str("\r\n");
        if let Some(original) = &about.original {
            let field = if global {
                unescaped(original)
            } else {
                DsnRequest::field(original)
            };
            let (kind, address) = field.split_once(';').unwrap_or(("rfc822", &field));
            let address = if global {
                one_line(address)
            } else {
                printable(address)
            };
            let _ = write!(out, "Original-Recipient: {kind}; {address}\r\n");
        }
        let _ = write!(
            out,
            "Final-Recipient: {}\r\nAction: {action}\r\nStatus: {enhanced}\r\n",
            typed_address(&about.address, global)
        );
        if let Some(remote) = &report.remote {
            let _ = write!(out, "Remote-MTA: dns; {}\r\n", printable(remote));
        }
        // RFC 3464 §2.3.6: `smtp` is for replies; reasons of our own are no SMTP.
        let kind = if report.code.is_some() { "smtp" } else { "x-rmail" };
        if !matches!(notice.kind, Kind::Delivered | Kind::Expanded) {
            let said = printable(&report.said());
            let _ = write!(out, "Diagnostic-Code: {kind}; {said}\r\n");
        }
        let _ = write!(out, "Last-Attempt-Date: {}\r\n", date(now));
        if let Some(until) = about.until {
            let _ = write!(out, "Will-Retry-Until: {}\r\n", date(until));
        }
    }
}

/// `rfc822; address`, or `utf-8; …` as it is, or with octets above 127 as `\x{…}` (RFC 6533 §3).
fn typed_address(address: &str, global: bool) -> String {
    if address.is_ascii() {
        format!("rfc822; {}", printable(address))
    } else if global {
        format!("utf-8; {}", one_line(address))
    } else {
        format!("utf-8; {}", ascii(address))
    }
}

/// An original recipient whose type is `utf-8`, without the escapes for 7 bits; what has not their form stays as it is
/// (RFC 6533 §3).
fn unescaped(original: &str) -> String {
    let Some((kind, address)) = original.split_once(';') else {
        return original.to_owned();
    };
    if !kind.eq_ignore_ascii_case("utf-8") {
        return original.to_owned();
    }
    let mut parts = address.split("\\x{");
    let mut out = format!("{kind};{}", parts.next().unwrap_or_default());
    for part in parts {
        let hex = part
            .split_once('}')
            .filter(|(hex, _)| (2..=6).contains(&hex.len()));
        let decoded = hex.and_then(|(hex, rest)| {
            let digits = hex.bytes().all(|octet| octet.is_ascii_hexdigit());
            let code = u32::from_str_radix(hex, 16).ok().filter(|_| digits)?;
            Some((char::from_u32(code).filter(|c| !c.is_control())?, rest))
        });
        let Some((c, rest)) = decoded else {
            return original.to_owned();
        };
        out.push(c);
        out.push_str(rest);
    }
    out
}
