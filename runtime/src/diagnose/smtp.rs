//! Phase 4: how mail comes in. What a stranger may is here, what users may in [`submission`](super::submission).

use rmail_core::diagnose::answers::{ehlo_lacks, ehlo_mechanisms};
use rmail_core::diagnose::{Id, Service};

use super::smtp_client::Smtp;
use super::sum::Sum;
use super::wire::Place;
use super::{Checked, Run, Trouble, ensure, smtp_rules, submission, transcripts};

/// What limits may be without keeping users from their work, or letting guessers do theirs.
const MESSAGES: std::ops::RangeInclusive<u64> = 5..=100_000;
const FAILURES: std::ops::RangeInclusive<u64> = 3..=1_000;
const RECIPIENTS: std::ops::RangeInclusive<u64> = 20..=1_000_000;

pub(super) fn run(run: &mut Run<'_>) {
    limits(run);
    let Some(mut first) = run.check(Id::SmtpGreeting, |run| {
        let service = clear_service(run)?;
        let smtp = Smtp::open(run, service)?;
        let names_itself = smtp.greeting.text().contains('.');
        ensure(
            smtp.greeting.code == 220 && names_itself,
            "220 and a host name",
            &smtp.greeting,
        )?;
        Ok(smtp)
    }) else {
        return;
    };
    let hello = run.check(Id::SmtpEhlo, |_| {
        first.hello()?;
        ehlo_lacks(&first.ehlo).map_or(Ok(()), |lacks| {
            Err(Trouble::broken("PIPELINING, 8BITMIME, SIZE", lacks))
        })
    });
    if hello.is_some() {
        run.check(Id::SmtpAuthOnCleartext, on_cleartext);
        run.check(Id::SmtpStarttls, starttls);
        run.check(Id::SmtpStarttlsInjection, injection);
    }
    first.quit();
    smtp_rules::run(run);
    run.check(Id::SmtpTranscripts, |run| transcripts::play(run, "smtp"));
    submission::run(run);
}

fn clear_service(run: &Run<'_>) -> Checked<Service> {
    run.first_of(&[Service::Smtp, Service::Submission, Service::Smtps])
}

fn limits(run: &mut Run<'_>) {
    let Some(local) = run.local() else { return };
    run.check(Id::SmtpRateLimits, |_| {
        let limits = &local.config.limits;
        for (key, range, value) in [
            ("messages_per_minute", MESSAGES, limits.messages_per_minute),
            (
                "auth_failures_per_10_minutes",
                FAILURES,
                limits.auth_failures_per_10_minutes,
            ),
            ("recipients_per_hour", RECIPIENTS, limits.recipients_per_hour),
            ("recipients_per_day", RECIPIENTS, limits.recipients_per_day),
        ] {
            let expected = format!("limits.{key} from {} to {}", range.start(), range.end());
            ensure(range.contains(&value), expected, value)?;
        }
        Ok(())
    });
}

/// Before TLS neither port may ask for a password.
fn on_cleartext(run: &mut Run<'_>) -> Checked<()> {
    let run: &Run<'_> = run;
    let mut sum = Sum::default();
    for service in [Service::Smtp, Service::Submission] {
        if run.places(service).is_ok() {
            let looked = run.at_each(service, |place| on_cleartext_at(run, service, place));
            sum.add("", looked);
        }
    }
    sum.result()
}

fn on_cleartext_at(run: &Run<'_>, service: Service, place: &Place) -> Checked<()> {
    let mut smtp = Smtp::open_at(run, service, place)?;
    smtp.hello()?;
    smtp.quit();
    let Some(mechanisms) = ehlo_mechanisms(&smtp.ehlo) else {
        return Ok(());
    };
    let came = format!("{}: AUTH {mechanisms} before TLS", service.name());
    Err(match () {
        () if !run.subject.tls => Trouble::chosen(format!("{came}; tls.enabled is false")),
        () if run.may_send_cleartext() => {
            Trouble::chosen(format!("{came}; auth.cleartext_networks allows that from here"))
        }
        () if run.local().is_none() && place.is_loopback() => Trouble::chosen(format!(
            "{came}; from the host itself that may be meant: ask from another to know"
        )),
        () => Trouble::broken("no AUTH before TLS", came),
    })
}

fn starttls(run: &mut Run<'_>) -> Checked<()> {
    let run: &Run<'_> = run;
    if !run.subject.tls {
        return Err(Trouble::skipped("tls.enabled is false"));
    }
    run.first_of(&[Service::Smtp, Service::Submission])?;
    let mut sum = Sum::default();
    for service in [Service::Smtp, Service::Submission] {
        if run.places(service).is_ok() {
            let looked = run.at_each(service, |place| starttls_at(run, service, place));
            sum.add("", looked);
        }
    }
    sum.result()
}

fn starttls_at(run: &Run<'_>, service: Service, place: &Place) -> Checked<()> {
    let mut smtp = Smtp::open_at(run, service, place)?;
    smtp.hello()?;
    let offered = format!("{}: {}", service.name(), smtp.ehlo.join(" "));
    ensure(smtp.offers("STARTTLS"), "STARTTLS", offered)?;
    smtp.starttls(run)?;
    let offered = format!("{}: {}", service.name(), smtp.ehlo.join(" "));
    ensure(!smtp.offers("STARTTLS"), "no STARTTLS behind STARTTLS", offered)?;
    smtp.quit();
    Ok(())
}

/// A command that stands behind STARTTLS in one packet was not encrypted, and must not be carried out.
fn injection(run: &mut Run<'_>) -> Checked<()> {
    if !run.subject.tls {
        return Err(Trouble::skipped("tls.enabled is false"));
    }
    let run: &Run<'_> = run;
    let service = run.first_of(&[Service::Smtp, Service::Submission])?;
    run.at_each(service, |place| injection_at(run, service, place))
}

fn injection_at(run: &Run<'_>, service: Service, place: &Place) -> Checked<()> {
    let mut smtp = Smtp::open_at(run, service, place)?;
    smtp.hello()?;
    if !smtp.offers("STARTTLS") {
        return Err(Trouble::skipped("STARTTLS is not offered"));
    }
    // What is unknown is answered with 500, NOOP with 250.
    let reply = smtp.starttls_with(run, "XDIAGNOSE")?;
    ensure(
        reply.code == 250,
        "the command to be dropped",
        format!("it was answered behind TLS: {reply}"),
    )
}
