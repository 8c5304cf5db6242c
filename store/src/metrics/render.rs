//! Figures as text, in the form 0.0.4 of Prometheus.

use core::fmt::Write as _;
use core::sync::atomic::Ordering;
use std::sync::PoisonError;

use super::table::BUCKETS;
use super::{Description, Kind, Metrics, TABLE};

impl Metrics {
    /// The media type of [`Metrics::text`].
    pub const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// All figures.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(32 * 1024);
        for (description, start) in TABLE.iter().zip(&self.starts) {
            self.family(&mut out, description, *start);
        }
        self.certificates(&mut out);
        out
    }

    fn certificates(&self, out: &mut String) {
        const NAME: &str = "rmail_tls_certificate_days_left";
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if certificates.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "# HELP {NAME} Whole days until each of our certificates expires; -1: it has.\n# TYPE {NAME} gauge"
        );
        for one in certificates.iter() {
            let (name, file) = (escaped(&one.name), escaped(&one.file));
            let _ = writeln!(
                out,
                "{NAME}{{certificate=\"{name}\",file=\"{file}\"}} {}",
                one.days
            );
        }
    }

    fn family(&self, out: &mut String, description: &Description, start: usize) {
        let name = description.name;
        let kind = match description.kind {
            Kind::Counter(_) => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", description.help);
        let width = description.width();
        for index in 0..description.series() {
            let labels = labels_of(description, index);
            let from = start + index * width;
            let values: Vec<u64> = self
                .cells
                .get(from..from + width)
                .unwrap_or_default()
                .iter()
                .map(|cell| cell.load(Ordering::Relaxed))
                .collect();
            series(out, description, &labels, &values);
        }
    }
}

/// A label's value that comes from outside: backslash, quote and line end are escaped.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// `service="imap",reason="total"`. Values of the table need no escapes.
fn labels_of(description: &Description, mut index: usize) -> String {
    let mut parts = Vec::with_capacity(description.labels.len());
    for label in description.labels.iter().rev() {
        let count = label.values.len().max(1);
        let value = label.values.get(index % count).unwrap_or(&"");
        parts.push(format!("{}=\"{value}\"", label.name));
        index /= count;
    }
    parts.reverse();
    parts.join(",")
}

fn series(out: &mut String, description: &Description, labels: &str, values: &[u64]) {
    let name = description.name;
    let braced = match labels {
        "" => String::new(),
        labels => format!("{{{labels}}}"),
    };
    let first = values.first().copied().unwrap_or_default();
    match description.kind {
        Kind::Gauge => _ = writeln!(out, "{name}{braced} {}", first.cast_signed()),
        Kind::Counter(1) => _ = writeln!(out, "{name}{braced} {first}"),
        Kind::Counter(unit) => {
            _ = writeln!(out, "{name}{braced} {}", parts_of(first, u64::from(unit)));
        }
        Kind::Histogram => {
            let comma = if labels.is_empty() { "" } else { "," };
            let mut count = 0;
            let ends = BUCKETS.iter().map(|(_, shown)| *shown).chain(["+Inf"]);
            for (end, more) in ends.zip(values) {
                count += more;
                let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {count}");
            }
            let sum = values.last().copied().unwrap_or_default();
            let _ = writeln!(out, "{name}_sum{braced} {}", parts_of(sum, 1_000_000_000));
            let _ = writeln!(out, "{name}_count{braced} {count}");
        }
    }
}

/// A number that is counted in such parts of its unit, a power of ten.
fn parts_of(value: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    format!("{}.{:0digits$}", value / unit, value % unit)
}
