//! Phase 6: how mail is read; what is done in a mailbox is in [`mailboxes`](super::mailboxes).

use rmail_core::diagnose::answers::cleartext_login;
use rmail_core::diagnose::{Id, Service};

use super::imap_client::Imap;
use super::wire::Place;
use super::{Checked, Run, Trouble, ensure, mailboxes, transcripts};

pub(super) fn run(run: &mut Run<'_>) {
    let greeted = run.check(Id::ImapGreeting, |run| {
        let service = run.first_of(&[Service::Imap, Service::Imaps])?;
        let mut imap = Imap::open(run, service)?;
        ensure(imap.greeting.starts_with("* OK"), "* OK", &imap.greeting)?;
        imap.logout();
        Ok(())
    });
    if greeted.is_none() {
        return;
    }
    run.check(Id::ImapCapability, |run| {
        let mut imap = Imap::open(run, run.first_of(&[Service::Imap, Service::Imaps])?)?;
        imap.learn()?;
        imap.logout();
        let known = imap.has("IMAP4rev1") || imap.has("IMAP4rev2");
        ensure(known, "IMAP4rev1 or IMAP4rev2", imap.capabilities.join(" "))
    });
    run.check(Id::ImapAuthOnCleartext, on_cleartext);
    run.check(Id::ImapStarttls, |run| {
        if !run.subject.tls {
            return Err(Trouble::skipped("tls.enabled is false"));
        }
        let run: &Run<'_> = run;
        run.at_each(Service::Imap, |place| starttls_at(run, place))
    });
    run.check(Id::ImapBadCommand, |run| {
        let mut imap = Imap::ready(run, run.imap_service()?)?;
        let answer = imap.say("XDIAGNOSE")?;
        ensure(answer.status == "BAD", "BAD", answer.shown())?;
        imap.want("NOOP")?;
        imap.logout();
        Ok(())
    });
    let session = run.check(Id::ImapLogin, |run| Imap::logged_in(run, &run.login()?));
    let Some(mut imap) = session else { return };
    asked(run, &mut imap);
    mailboxes::run(run, &mut imap);
    run.check(Id::ImapTranscripts, |run| transcripts::play(run, "imap"));
    run.check(Id::ImapLogout, |_| {
        let answer = imap.want("LOGOUT")?;
        ensure(answer.response("BYE").is_some(), "BYE", answer.shown())
    });
}

fn starttls_at(run: &Run<'_>, place: &Place) -> Checked<()> {
    let mut imap = Imap::open_at(run, Service::Imap, place)?;
    imap.learn()?;
    ensure(imap.has("STARTTLS"), "STARTTLS", imap.capabilities.join(" "))?;
    imap.starttls(run)?;
    ensure(
        !imap.has("STARTTLS"),
        "no STARTTLS behind STARTTLS",
        imap.capabilities.join(" "),
    )?;
    imap.logout();
    Ok(())
}

fn on_cleartext(run: &mut Run<'_>) -> Checked<()> {
    let run: &Run<'_> = run;
    run.at_each(Service::Imap, |place| on_cleartext_at(run, place))
}

fn on_cleartext_at(run: &Run<'_>, place: &Place) -> Checked<()> {
    let mut imap = Imap::open_at(run, Service::Imap, place)?;
    imap.learn()?;
    imap.logout();
    let Some(ways) = cleartext_login(&imap.capabilities) else {
        return Ok(());
    };
    Err(match () {
        () if !run.subject.tls => Trouble::chosen(format!("{ways}; tls.enabled is false")),
        () if run.may_send_cleartext() => {
            Trouble::chosen(format!("{ways}; auth.cleartext_networks allows that from here"))
        }
        () if run.local().is_none() && place.is_loopback() => Trouble::chosen(format!(
            "{ways}; from the host itself that may be meant: ask from another to know"
        )),
        () => Trouble::broken("LOGINDISABLED, and no AUTH= before TLS", ways),
    })
}

/// A command of an extension is tried only where it is offered.
pub(super) fn needs(imap: &Imap, capabilities: &[&str]) -> Checked<()> {
    if capabilities.iter().any(|wanted| imap.has(wanted)) || imap.has("IMAP4rev2") {
        return Ok(());
    }
    Err(Trouble::skipped(format!(
        "{} is not offered",
        capabilities.join(" or ")
    )))
}

/// What a session can ask before it has a mailbox.
fn asked(run: &mut Run<'_>, imap: &mut Imap) {
    run.check(Id::ImapId, |_| {
        needs(imap, &["ID"])?;
        let answer = imap.want("ID (\"name\" \"rmail diagnose\")")?;
        ensure(answer.response("ID ").is_some(), "a name", answer.shown())
    });
    run.check(Id::ImapNamespace, |_| {
        needs(imap, &["NAMESPACE"])?;
        let answer = imap.want("NAMESPACE")?;
        ensure(
            answer.response("NAMESPACE ((").is_some(),
            "a personal namespace",
            answer.shown(),
        )
    });
    run.check(Id::ImapEnable, |_| {
        needs(imap, &["ENABLE"])?;
        if !imap.has("CONDSTORE") {
            return Err(Trouble::skipped("there is nothing to enable"));
        }
        let answer = imap.want("ENABLE CONDSTORE")?;
        ensure(
            answer.response("ENABLED CONDSTORE").is_some(),
            "ENABLED CONDSTORE",
            answer.shown(),
        )
    });
    run.check(Id::ImapSpecialUse, |_| {
        needs(imap, &["SPECIAL-USE"])?;
        let answer = imap.want("LIST \"\" \"*\"")?;
        for wanted in ["\\Drafts", "\\Sent", "\\Trash"] {
            ensure(answer.says(wanted), wanted, answer.shown())?;
        }
        Ok(())
    });
}
