//! The records as text for a zone file (RFC 1035 §5).

use std::fmt::Write as _;

use super::record::{Absolute, Record};
use super::{Advice, Need, Topic};

/// Seconds for which others may keep the records.
const TTL: u32 = 3600;

/// Lines to paste. What is optional, and what belongs to the zone of the addresses, is commented out.
#[must_use]
pub fn zone(advice: &[Advice]) -> String {
    let mut out = String::new();
    let mut subject = None;
    for one in advice {
        if subject != Some(&one.subject) {
            let gap = if subject.is_some() { "\n" } else { "" };
            // Writing into a string does not fail, here and below.
            let _ = writeln!(out, "{gap}; {}", one.subject);
            subject = Some(&one.subject);
        }
        if one.records.is_empty() {
            let _ = writeln!(out, "; {}: {}", one.topic.title(), one.text);
            continue;
        }
        let off = match (one.topic, one.need) {
            (Topic::Ptr, _) => Some("belongs to whoever gives you the address"),
            (_, Need::Optional) => Some("optional"),
            _ => None,
        };
        if let Some(why) = off {
            let _ = writeln!(out, "; {}, {why}: {}", one.topic.title(), one.text);
        }
        let mark = if off.is_some() { "; " } else { "" };
        for record in &one.records {
            let _ = writeln!(out, "{mark}{}", line(record));
        }
    }
    out
}

fn line(record: &Record) -> String {
    format!(
        "{} {TTL} IN {} {}",
        Absolute(&record.name),
        record.value.kind(),
        record.value.data()
    )
}
