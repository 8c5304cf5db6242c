use std::collections::{BTreeMap, BTreeSet};

use rmail_core::note::Note;

use super::*;

/// Series with their values, after the text was checked against the grammar of the exposition format.
fn read(text: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    let (mut family, mut kind) = (String::new(), String::new());
    let mut told = BTreeSet::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(told.insert(name.to_owned()), "{name} is told twice");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n']), "{line}");
            family = name.to_owned();
            kind.clear();
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, given) = rest.split_once(' ').expect("a type");
            assert_eq!(name, family, "the type stands behind the help");
            assert!(matches!(given, "counter" | "gauge" | "histogram"), "{line}");
            kind = given.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().expect("a name");
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        assert!(
            name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit()),
            "{line}"
        );
        if let Some(labels) = series.strip_prefix(name).filter(|rest| !rest.is_empty()) {
            let inner = labels
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'))
                .expect("braces");
            for pair in inner.split(',') {
                let (label, value) = pair.split_once('=').expect("a label");
                assert!(
                    !label.is_empty() && label.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                    "{line}"
                );
                let value = value
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
                    .expect("quotes");
                let plain = [r"\\", "\\\"", r"\n"]
                    .iter()
                    .fold(value.to_owned(), |value, escape| value.replace(escape, ""));
                assert!(!plain.contains(['"', '\\', '\n']), "{line}");
            }
        }
        let suffixes: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(
            suffixes.iter().any(|suffix| name == format!("{family}{suffix}")),
            "{line}: of {family}"
        );
        assert!(kind != "counter" || name.ends_with("_total"), "{line}: a counter");
        let value: f64 = value.parse().expect("a number");
        assert!(
            found.insert(series.to_owned(), value).is_none(),
            "{series} is there twice"
        );
    }
    found
}

#[test]
fn every_figure_of_the_table_is_told_in_the_right_form() {
    let metrics = Metrics::default();
    let found = read(&metrics.text());
    let expected: usize = TABLE
        .iter()
        .map(|family| match family.kind {
            Kind::Histogram => family.series() * (BUCKETS.len() + 3),
            _ => family.series(),
        })
        .sum();
    assert_eq!(found.len(), expected);
    let version = format!("rmail_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(found.get(&version), Some(&1.0));
}

#[test]
fn every_series_moves_alone() {
    let families = TABLE.iter().zip(0_usize..);
    for (description, number) in families {
        for index in 0..description.series() {
            let metrics = Metrics::default();
            let before = read(&metrics.text());
            let mut labels = Vec::new();
            let mut rest = index;
            for label in description.labels.iter().rev() {
                labels.insert(0, rest % label.values.len());
                rest /= label.values.len();
            }
            let family = family(number);
            match description.kind {
                Kind::Histogram => metrics.observe(family, &labels, Duration::from_millis(3)),
                Kind::Gauge => metrics.set(family, &labels, -7),
                Kind::Counter(unit) => metrics.add(family, &labels, u64::from(unit)),
            }
            let after = read(&metrics.text());
            let moved: Vec<&String> = after.keys().filter(|key| before[*key] != after[*key]).collect();
            let expected = match description.kind {
                // The buckets from 5 ms on, the sum and the count.
                Kind::Histogram => 11 + 2,
                _ => 1,
            };
            assert_eq!(
                moved.len(),
                expected,
                "{} {labels:?}: {moved:?}",
                description.name
            );
            for (label, value) in description.labels.iter().zip(&labels) {
                let shown = format!("{}=\"{}\"", label.name, label.values[*value]);
                assert!(moved.iter().all(|key| key.contains(&shown)), "{moved:?} {shown}");
            }
        }
    }
}

/// The family of this number.
fn family(number: usize) -> Family {
    const ALL: &[Family] = Family::ALL;
    assert_eq!(ALL.len(), TABLE.len());
    ALL[number]
}

#[test]
fn buckets_count_what_is_not_longer() {
    let metrics = Metrics::default();
    for micros in [50, 51, 99, 100, 20_000_000] {
        metrics.observe(Family::LoopDelay, &[], Duration::from_micros(micros));
    }
    let found = read(&metrics.text());
    let bucket = |end: &str| found[&format!("rmail_event_loop_delay_seconds_bucket{{le=\"{end}\"}}")];
    assert_eq!(
        (bucket("0.00005"), bucket("0.0001"), bucket("10"), bucket("+Inf")),
        (1.0, 4.0, 4.0, 5.0)
    );
    assert_eq!(found["rmail_event_loop_delay_seconds_count"], 5.0);
    assert!((found["rmail_event_loop_delay_seconds_sum"] - 20.0003).abs() < 1e-9);
}

#[test]
fn the_queue_is_told_by_age() {
    let metrics = Metrics::default();
    let ages = [0, 60, 61, 3_600, 90_000, 100_000];
    metrics.set_queue(1_000_000, ages.iter().map(|age| (1_000_000 - age, *age == 61)));
    let found = read(&metrics.text());
    let count = |age: &str| found[&format!("rmail_queue_entries{{age=\"{age}\"}}")];
    assert_eq!(
        ["1m", "5m", "1h", "4h", "1d", "older"].map(count),
        [2.0, 1.0, 1.0, 0.0, 0.0, 2.0]
    );
    assert_eq!(
        (found["rmail_queue_held"], found["rmail_queue_oldest_seconds"]),
        (1.0, 100_000.0)
    );
    metrics.set_queue(1_000_000, core::iter::empty());
    assert!(
        read(&metrics.text())
            .iter()
            .all(|(key, value)| !key.starts_with("rmail_queue") || *value == 0.0)
    );
}

#[test]
fn notes_are_counted_where_they_belong() {
    let metrics = Metrics::default();
    let command = |line: &str| Note::Command(line.to_owned());
    let response = |line: &str| Note::Response(line.to_owned());
    for (protocol, note, series) in [
        (
            "smtp",
            command("MAIL FROM:<a@b.c>"),
            "rmail_smtp_commands_total{command=\"mail\"}",
        ),
        (
            "lmtp",
            command("LHLO x"),
            "rmail_smtp_commands_total{command=\"lhlo\"}",
        ),
        (
            "smtp",
            command("***"),
            "rmail_smtp_commands_total{command=\"other\"}",
        ),
        (
            "smtp",
            response("250 2.1.0 OK"),
            "rmail_smtp_replies_total{class=\"2xx\"}",
        ),
        (
            "imap",
            command("a1 Fetch { uid: true }"),
            "rmail_imap_commands_total{command=\"fetch\"}",
        ),
        (
            "imap",
            command("a1 StartTls"),
            "rmail_imap_commands_total{command=\"starttls\"}",
        ),
        (
            "imap",
            command("a1 Resync"),
            "rmail_imap_commands_total{command=\"other\"}",
        ),
        (
            "imap",
            response("a1 NO [TRYCREATE] x"),
            "rmail_imap_replies_total{status=\"no\"}",
        ),
        (
            "http",
            command("GET /folders"),
            "rmail_http_requests_total{method=\"get\"}",
        ),
        (
            "http",
            response("404"),
            "rmail_http_responses_total{class=\"4xx\"}",
        ),
        (
            "imap",
            Note::LoginFailed {
                login: "x".to_owned(),
                mechanism: "LOGIN",
                reason: "x",
            },
            "rmail_logins_total{protocol=\"imap\",result=\"failed\"}",
        ),
        (
            "smtp",
            Note::Refused {
                what: "RCPT TO:<x>".to_owned(),
                reply: "550 5.1.1 no".to_owned(),
            },
            "rmail_rejections_total{reason=\"unknown_user\"}",
        ),
        (
            "smtp",
            Note::Check {
                what: "helo",
                found: String::new(),
            },
            "rmail_checks_total{check=\"helo\"}",
        ),
    ] {
        let before = read(&metrics.text());
        metrics.note(protocol, &note);
        let after = read(&metrics.text());
        let moved: Vec<&String> = after.keys().filter(|key| before[*key] != after[*key]).collect();
        assert_eq!(moved, [series], "{note:?}");
    }
    let before = read(&metrics.text());
    metrics.note("relay", &command("MAIL FROM:<a@b.c>"));
    assert_eq!(
        read(&metrics.text()),
        before,
        "what we do as a client is no client's"
    );
}

#[test]
fn each_certificate_has_a_series_whatever_its_name() {
    let metrics = Metrics::default();
    assert!(!metrics.text().contains("rmail_tls_certificate_days_left"));
    let certificate = |name: &str, file: &str, days| CertificateDays {
        name: name.to_owned(),
        file: file.to_owned(),
        days,
    };
    metrics.set_certificates(vec![
        certificate("mail.here.test", "/a \\ \"b\"\n", 12),
        certificate("*.there.test", "/c", -1),
    ]);
    let found = read(&metrics.text());
    let series = |name: &str, file: &str| {
        found[&format!("rmail_tls_certificate_days_left{{certificate=\"{name}\",file=\"{file}\"}}")]
    };
    assert_eq!(series("mail.here.test", r#"/a \\ \"b\"\n"#), 12.0);
    assert_eq!(series("*.there.test", "/c"), -1.0);
}
