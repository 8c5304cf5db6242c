//! Phase 4: what users may and may not.

use rmail_core::diagnose::answers::ehlo_mechanisms;
use rmail_core::diagnose::{Id, Service};

use super::smtp_client::Smtp;
use super::{Checked, NOWHERE, Run, Trouble, ensure, message};

/// Seconds for which what waits in the queue may not leave.
const HOLD: u32 = 3_600;

pub(super) fn run(run: &mut Run<'_>) {
    run.check(Id::SmtpAuthOffered, offered);
    run.check(Id::SmtpAuthRequired, required);
    run.check(Id::SmtpAuthWrong, wrong);
    if run.check(Id::SmtpAuth, right).is_none() {
        return;
    }
    run.check(Id::SmtpSpoofing, spoofing);
    run.check(Id::SmtpSpoofingHeader, spoofing_header);
    run.check(Id::SmtpExternal, external);
    run.check(Id::SmtpDeliverSubmission, |run| {
        deliver(run, Service::Submission, "port 587")
    });
    run.check(Id::SmtpDeliverSmtps, |run| {
        deliver(run, Service::Smtps, "port 465")
    });
    run.check(Id::SmtpRelayQueue, relay_queue);
}

fn service(run: &Run<'_>) -> Checked<Service> {
    run.first_of(&[Service::Submission, Service::Smtps])
}

fn ready(run: &Run<'_>) -> Checked<Smtp> {
    Smtp::ready(run, service(run)?)
}

fn logged_in(run: &Run<'_>) -> Checked<Smtp> {
    Smtp::logged_in(run, service(run)?, &run.login()?)
}

fn offered(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = ready(run)?;
    smtp.quit();
    let mechanisms = ehlo_mechanisms(&smtp.ehlo);
    let plain = mechanisms
        .iter()
        .any(|all| all.split(' ').any(|one| one.eq_ignore_ascii_case("PLAIN")));
    ensure(
        plain,
        "AUTH PLAIN",
        mechanisms.unwrap_or_else(|| "no AUTH".to_owned()),
    )
}

fn required(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = ready(run)?;
    let reply = smtp.say(&format!("MAIL FROM:<stranger@{NOWHERE}>"))?;
    // Some say so only to the recipient.
    let reply = match reply.class() {
        2 => smtp.say(&format!("RCPT TO:<somebody@{NOWHERE}>"))?,
        _ => reply,
    };
    smtp.quit();
    ensure(reply.class() == 5, "530 to MAIL before AUTH", reply)
}

fn wrong(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    if run.temporary.is_none() {
        return Err(Trouble::skipped("it would count against a user who is real"));
    }
    let mut smtp = ready(run)?;
    let reply = smtp.login(&login.address, &format!("not {}", login.password))?;
    smtp.quit();
    ensure(reply.class() == 5, "535 to a wrong password", reply)
}

fn right(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = logged_in(run)?;
    smtp.quit();
    Ok(())
}

/// Somebody else of the same domain.
fn other(run: &Run<'_>) -> String {
    format!("somebody-else@{}", run.domain())
}

fn spoofing(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = logged_in(run)?;
    for from in [other(run), format!("president@{NOWHERE}")] {
        let reply = smtp.say(&format!("MAIL FROM:<{from}>"))?;
        if reply.class() == 2 {
            // Some say so only to the recipient.
            let later = smtp.say(&format!("RCPT TO:<{}>", run.login()?.address))?;
            ensure(later.class() == 5, format!("550 to MAIL FROM:<{from}>"), reply)?;
        }
        smtp.want("RSET", &[250])?;
    }
    smtp.quit();
    Ok(())
}

fn spoofing_header(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    let mut smtp = logged_in(run)?;
    let (_, text) = run.letter(&other(run), &login.address, "another author");
    smtp.want(&format!("MAIL FROM:<{}>", login.address), &[250])?;
    smtp.want(&format!("RCPT TO:<{}>", login.address), &[250, 251])?;
    let reply = smtp.data(&text)?;
    smtp.quit();
    if reply.class() == 2 && run.temporary.is_none() {
        return Err(Trouble::chosen("this server takes any From of its users"));
    }
    ensure(reply.class() == 5, "550 to a message From: somebody else", reply)
}

/// No mail leaves: the recipient is taken back.
fn external(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    let mut smtp = logged_in(run)?;
    smtp.want(&format!("MAIL FROM:<{}>", login.address), &[250])?;
    let reply = smtp.say(&format!("RCPT TO:<somebody@{NOWHERE}>"))?;
    smtp.say("RSET")?;
    smtp.quit();
    if run.local().is_some_and(|local| !local.config.relay.enabled) {
        return ensure(reply.class() == 5, "550: relay.enabled is false", reply);
    }
    if run.temporary.is_none() && reply.class() == 5 {
        return Err(Trouble::chosen(format!(
            "this server looks whether the domain exists: {reply}"
        )));
    }
    ensure(reply.class() == 2, "250 to a recipient elsewhere", reply)
}

fn deliver(run: &mut Run<'_>, service: Service, way: &'static str) -> Checked<()> {
    run.places(service)?;
    if service.is_secure() && !run.subject.tls {
        return Err(Trouble::skipped("tls.enabled is false"));
    }
    let login = run.login()?;
    let (letter, text) = run.letter(&login.address, &login.address, way);
    let mut smtp = Smtp::logged_in(run, service, &login)?;
    smtp.deliver(&login.address, &login.address, &text)?;
    smtp.quit();
    run.letters.push(letter);
    Ok(())
}

/// A message to nobody is put into the queue and held there, until the last phase takes it out again. It never leaves.
fn relay_queue(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    let Some(local) = run.local() else {
        return Err(Trouble::skipped("its entry could not be removed from here"));
    };
    if !local.config.relay.enabled {
        return Err(Trouble::skipped("relay.enabled is false"));
    }
    let mut smtp = logged_in(run)?;
    if !smtp.offers("FUTURERELEASE") || !smtp.offers("DSN") {
        return Err(Trouble::skipped("without FUTURERELEASE and DSN it might leave"));
    }
    let to = format!("nobody@{NOWHERE}");
    smtp.want(&format!("MAIL FROM:<{}> HOLDFOR={HOLD}", login.address), &[250])?;
    smtp.want(&format!("RCPT TO:<{to}> NOTIFY=NEVER"), &[250])?;
    let text = message(&login.address, &to, &run.mark, "This message goes nowhere.\r\n");
    // Until its reply is heard it may be there, under an id that nobody knows.
    run.unheard = true;
    let reply = smtp.data(&text)?;
    if reply.code != 250 {
        run.unheard = false;
    }
    smtp.quit();
    ensure(reply.code == 250, "250 to the message", &reply)?;
    let id = reply.text().split(' ').next_back().unwrap_or_default().to_owned();
    run.queued.push(id.clone());
    run.unheard = false;
    let Some(files) = run.files() else { return Ok(()) };
    let homes =
        futures_lite::future::block_on(rmail_store::mailstore::MailStore::outbound_homes(files.store))?;
    let there = homes.iter().any(|home| home.ids.contains(&id));
    ensure(there, format!("the entry {id} in the queue"), "it is not there")
}
