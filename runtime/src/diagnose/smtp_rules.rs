//! Phase 4: what a stranger may and may not, on the port for other servers.

use std::time::Duration;

use futures_lite::future::block_on;
use rmail_core::addr::{Address, ForwardPath};
use rmail_core::diagnose::answers::ehlo_parameters;
use rmail_core::diagnose::{Id, Service};

use super::smtp_client::{Reply, Smtp};
use super::wire::Place;
use super::{Checked, NOWHERE, Run, Trouble, ensure};

/// Replies that take longer are slow.
const SLOW: Duration = Duration::from_secs(3);

pub(super) fn run(run: &mut Run<'_>) {
    if let Err(Trouble(outcome)) = run.places(Service::Smtp).map(drop) {
        run.check(Id::SmtpOpenRelay, |_| Err::<(), _>(Trouble(outcome)));
        return;
    }
    run.check(Id::SmtpOpenRelay, open_relay);
    run.check(Id::SmtpUnknownUser, unknown_user);
    run.check(Id::SmtpOwnSender, own_sender);
    run.check(Id::SmtpNullSender, null_sender);
    run.check(Id::SmtpPostmaster, postmaster);
    run.check(Id::SmtpSequence, sequence);
    run.check(Id::SmtpUnknownCommand, unknown_command);
    run.check(Id::SmtpVrfy, vrfy);
    run.check(Id::SmtpSize, size);
    run.check(Id::SmtpDeliverMx, deliver);
    run.check(Id::SmtpSmuggling, smuggling);
    run.check(Id::SmtpSlow, slow);
}

fn stranger() -> String {
    format!("stranger@{NOWHERE}")
}

/// A session in which a stranger has begun a message.
fn begun(run: &Run<'_>) -> Checked<Smtp> {
    let mut smtp = Smtp::ready(run, Service::Smtp)?;
    smtp.want(&format!("MAIL FROM:<{}>", stranger()), &[250])?;
    Ok(smtp)
}

/// Says whether a recipient is refused for good; the reply, if it is not.
fn refused(reply: &Reply) -> Option<String> {
    (reply.class() != 5).then(|| reply.to_string())
}

fn open_relay(run: &mut Run<'_>) -> Checked<()> {
    let run: &Run<'_> = run;
    run.at_each(Service::Smtp, |place| open_relay_at(run, place))
}

fn open_relay_at(run: &Run<'_>, place: &Place) -> Checked<()> {
    let mut smtp = Smtp::open_at(run, Service::Smtp, place)?.prepared(run, Service::Smtp)?;
    smtp.want(&format!("MAIL FROM:<{}>", stranger()), &[250])?;
    let host = run.subject.name.clone();
    let domain = run.domain();
    // The plain way, and the ways around it of thirty years.
    for to in [
        format!("<somebody@{NOWHERE}>"),
        format!("<somebody%{NOWHERE}@{domain}>"),
        format!("<@{host}:somebody@{NOWHERE}>"),
        format!("<\"somebody@{NOWHERE}\"@{domain}>"),
    ] {
        let reply = smtp.say(&format!("RCPT TO:{to}"))?;
        let plain = !to.contains('%') && !to.contains('"');
        // With a catch-all, what is left of the @ is anybody's name, and stays here.
        let stays = !plain && reply.class() == 2 && has_catch_all(run);
        ensure(reply.class() != 2 || stays, format!("550 to RCPT TO:{to}"), reply)?;
    }
    smtp.quit();
    Ok(())
}

/// Whether mail for a name that nobody has gets to somebody.
fn has_catch_all(run: &Run<'_>) -> bool {
    let address = Address::parse(&format!("nobody-{}@{}", run.mark, run.domain()));
    let (Some(local), Some(files), Some(address)) = (run.local(), run.files(), address) else {
        return false;
    };
    let expanded = block_on(
        files
            .accounts
            .expand(&local.hosting, &ForwardPath::Address(address)),
    );
    expanded.is_ok_and(|expanded| expanded.leaves().is_ok_and(|leaves| !leaves.is_empty()))
}

fn unknown_user(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = begun(run)?;
    let reply = smtp.say(&format!("RCPT TO:<nobody-{}@{}>", run.mark, run.domain()))?;
    smtp.quit();
    match refused(&reply) {
        None => Ok(()),
        Some(_) if has_catch_all(run) => Err(Trouble::chosen("a catch-all alias takes it")),
        Some(came) if reply.text().contains("4.7.1") => {
            Err(Trouble::chosen(format!("greylisting comes first: {came}")))
        }
        Some(came) => Err(Trouble::broken("550 5.1.1", came)),
    }
}

fn own_sender(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    if run.local().is_none() {
        return Err(Trouble::skipped(
            "whether that is wanted is in the server's configuration",
        ));
    }
    if run.is_trusted() {
        return Err(Trouble::skipped(
            "this address is in limits.trusted_networks, which may",
        ));
    }
    let mut smtp = Smtp::ready(run, Service::Smtp)?;
    let reply = smtp.say(&format!("MAIL FROM:<{}>", login.address))?;
    smtp.quit();
    if reply.class() == 2 && !rejects_own_sender(run) {
        return Err(Trouble::chosen("reject_own_sender is false for this domain"));
    }
    ensure(reply.class() == 5, "550 5.7.1", reply)
}

fn rejects_own_sender(run: &Run<'_>) -> bool {
    let (Some(local), Some(files)) = (run.local(), run.files()) else {
        return true;
    };
    let Some(domain) = local.hosting.domains.first() else {
        return true;
    };
    block_on(files.accounts.domain(domain)).is_ok_and(|file| file.reject_own_sender)
}

fn null_sender(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    let mut smtp = Smtp::ready(run, Service::Smtp)?;
    smtp.want("MAIL FROM:<>", &[250])?;
    let reply = smtp.say(&format!("RCPT TO:<{}>", login.address))?;
    smtp.quit();
    accepted(&reply)
}

/// Taken, or put off by greylisting.
fn accepted(reply: &Reply) -> Checked<()> {
    if reply.class() == 4 && reply.text().contains("4.7.1") {
        return Err(Trouble::chosen(format!(
            "greylisting puts strangers off: {reply}"
        )));
    }
    ensure(reply.class() == 2, "250", reply)
}

fn postmaster(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = begun(run)?;
    let mut to = vec!["<postmaster>".to_owned()];
    if run.local().is_some() {
        to.push(format!("<postmaster@{}>", run.domain()));
    }
    for to in to {
        smtp.want(&format!("RCPT TO:{to}"), &[250, 251])?;
    }
    smtp.quit();
    Ok(())
}

fn sequence(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = Smtp::ready(run, Service::Smtp)?;
    let reply = smtp.say(&format!("RCPT TO:<postmaster@{}>", run.domain()))?;
    ensure(reply.class() == 5, "503 to RCPT before MAIL", reply)?;
    let reply = smtp.say("DATA")?;
    ensure(reply.class() == 5, "503 to DATA before MAIL", reply)?;
    smtp.want("RSET", &[250])?;
    smtp.want("NOOP", &[250])?;
    smtp.quit();
    Ok(())
}

fn unknown_command(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = Smtp::ready(run, Service::Smtp)?;
    smtp.want("XDIAGNOSE", &[500, 501, 502])?;
    smtp.want("NOOP", &[250])?;
    smtp.quit();
    Ok(())
}

fn vrfy(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = Smtp::ready(run, Service::Smtp)?;
    for command in ["VRFY postmaster", "EXPN postmaster"] {
        let reply = smtp.say(command)?;
        ensure(
            !matches!(reply.code, 250 | 251),
            format!("252 or 502 to {command}"),
            reply,
        )?;
    }
    smtp.quit();
    Ok(())
}

fn size(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = Smtp::ready(run, Service::Smtp)?;
    let max = ehlo_parameters(&smtp.ehlo, "SIZE").and_then(|digits| digits.trim().parse::<u64>().ok());
    let Some(max) = max.filter(|max| *max > 0) else {
        return Err(Trouble::skipped("SIZE names no bound"));
    };
    let reply = smtp.say(&format!(
        "MAIL FROM:<{}> SIZE={}",
        stranger(),
        max.saturating_add(1)
    ))?;
    smtp.quit();
    ensure(
        reply.class() == 5,
        format!("552 to a message of more than {max} octets"),
        reply,
    )
}

fn deliver(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    let (letter, text) = run.letter(&stranger(), &login.address, "port 25");
    let mut smtp = begun(run)?;
    let reply = smtp.say(&format!("RCPT TO:<{}>", login.address))?;
    accepted(&reply)?;
    let reply = smtp.data(&text)?;
    smtp.quit();
    ensure(reply.code == 250, "250 to the message", reply)?;
    run.letters.push(letter);
    Ok(())
}

/// A message in which a line ends with LF alone, then a dot, then LF: some take that for its end.
fn smuggling(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    let mut smtp = begun(run)?;
    let reply = smtp.say(&format!("RCPT TO:<{}>", login.address))?;
    accepted(&reply)?;
    let (_, text) = run.letter(&stranger(), &login.address, "smuggling");
    smtp.want("DATA", &[354])?;
    let text = format!("{text}\r\nbefore\n.\nMAIL FROM:<smuggled@{NOWHERE}>\r\n\r\n.\r\n");
    let reply = smtp.raw(text.as_bytes())?;
    // One reply to one message. Were it two, the next would be one to what was smuggled.
    let next = smtp.say("XDIAGNOSE")?;
    smtp.quit();
    ensure(
        next.class() == 5 && next.code != 554,
        "one reply to the message",
        format!("{reply}, then {next}"),
    )
}

fn slow(run: &mut Run<'_>) -> Checked<()> {
    let mut smtp = begun(run)?;
    smtp.say("RSET")?;
    smtp.quit();
    let came = format!("{:.1} seconds", smtp.slowest.as_secs_f64());
    ensure(
        smtp.slowest < SLOW,
        format!("less than {} seconds", SLOW.as_secs()),
        came,
    )
}
