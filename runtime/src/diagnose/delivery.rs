//! Phase 5: what was sent is there, as it was sent, and who waits for mail hears of it.

use std::time::{Duration, Instant};

use rmail_core::diagnose::answers::body_of;
use rmail_core::diagnose::{Id, Service};

use super::imap_client::Imap;
use super::smtp_client::Smtp;
use super::{Checked, LOOK, Letter, Login, Run, Trouble, ensure, letter_body};

/// A message has to be there by then.
const LATE: Duration = Duration::from_secs(5);
/// And is late from here on.
const SLOW: Duration = Duration::from_secs(2);

pub(super) fn run(run: &mut Run<'_>) {
    if run.letters.is_empty() {
        // Phase 4 was not asked for, or nothing was taken: this tells why.
        let sent = run.check(Id::DeliveryArrives, |run| {
            let login = run.login()?;
            let letter = send(run, &login)?;
            let mut imap = open(run, &login)?;
            find(run, &mut imap, &letter)?;
            run.letters.push(letter);
            Ok(())
        });
        if sent.is_none() {
            return;
        }
    } else {
        run.check(Id::DeliveryArrives, arrives);
    }
    let found = run.check(Id::DeliveryIntact, intact);
    if let Some(text) = found {
        run.check(Id::DeliveryReceived, |_| {
            let fields = text.split("\r\n\r\n").next().unwrap_or_default();
            let received = fields
                .lines()
                .any(|line| line.to_ascii_lowercase().starts_with("received:"));
            ensure(
                received,
                "Received:",
                fields.lines().take(4).collect::<Vec<_>>().join("\n"),
            )
        });
    }
    if let Some((told, there)) = run.check(Id::ImapIdle, idle) {
        let within = format!("less than {} seconds", SLOW.as_secs());
        let came = |time: Duration| format!("{:.1} seconds", time.as_secs_f64());
        run.check(Id::ImapIdleSlow, |_| ensure(told < SLOW, &within, came(told)));
        run.check(Id::DeliverySlow, |_| ensure(there < SLOW, &within, came(there)));
    }
}

fn open(run: &Run<'_>, login: &Login) -> Checked<Imap> {
    let mut imap = Imap::logged_in(run, login)?;
    imap.want("SELECT INBOX")?;
    Ok(imap)
}

/// Sends one on the first way there is.
fn send(run: &Run<'_>, login: &Login) -> Checked<Letter> {
    let service = run.first_of(&[Service::Submission, Service::Smtps])?;
    let (letter, text) = run.letter(&login.address, &login.address, service.name());
    let mut smtp = Smtp::logged_in(run, service, login)?;
    smtp.deliver(&login.address, &login.address, &text)?;
    smtp.quit();
    Ok(letter)
}

/// The number of a message, as soon as it is there.
fn find(run: &Run<'_>, imap: &mut Imap, letter: &Letter) -> Checked<u32> {
    let begun = Instant::now();
    loop {
        imap.want("NOOP")?;
        let found = imap.want(&format!("SEARCH SUBJECT \"{}\"", letter.mark))?.found();
        if let [only] = found.as_slice() {
            return Ok(*only);
        }
        if begun.elapsed() > LATE || run.stop.is_set() {
            let came = format!(
                "by {}: {} of it after {} seconds",
                letter.way,
                found.len(),
                LATE.as_secs()
            );
            return Err(Trouble::broken("the message in INBOX, once", came));
        }
        std::thread::sleep(LOOK / 4);
    }
}

fn arrives(run: &mut Run<'_>) -> Checked<()> {
    let login = run.login()?;
    let mut imap = open(run, &login)?;
    for letter in run.letters.clone() {
        find(run, &mut imap, &letter)?;
    }
    imap.logout();
    Ok(())
}

/// The text of the first message.
fn intact(run: &mut Run<'_>) -> Checked<String> {
    let login = run.login()?;
    let mut imap = open(run, &login)?;
    let mut first = None;
    for letter in run.letters.clone() {
        let number = find(run, &mut imap, &letter)?;
        let answer = imap.want(&format!("FETCH {number} BODY.PEEK[]"))?;
        let response = answer.untagged.iter().find(|line| line.contains("BODY[]"));
        let response = response.ok_or_else(|| Trouble::broken("its text", answer.shown()))?;
        let text = response
            .split_once("}\r\n")
            .map_or("", |(_, text)| text)
            .to_owned();
        let whole = body_of(&text).contains(letter_body(&letter.mark).trim_end());
        ensure(
            whole,
            format!("the text that was sent by {}", letter.way),
            body_of(&text),
        )?;
        first = first.or(Some(text));
    }
    imap.logout();
    first.ok_or_else(|| Trouble::skipped("nothing was sent"))
}

/// How long it takes until who waits is told of a message, and until who looks finds it.
fn idle(run: &mut Run<'_>) -> Checked<(Duration, Duration)> {
    let login = run.login()?;
    let mut looking = open(run, &login)?;
    let mut waiting = open(run, &login)?;
    if !waiting.has("IDLE") {
        return Err(Trouble::skipped("IDLE is not offered"));
    }
    let tag = waiting.idle()?;
    let letter = send(run, &login)?;
    let sent = Instant::now();
    let told = waiting.wait_for(" EXISTS", LATE)?;
    let told = told.ok_or_else(|| {
        let came = format!("nothing within {} seconds", LATE.as_secs());
        Trouble::broken("EXISTS while idling", came)
    })?;
    let found = Instant::now();
    run.letters.push(letter.clone());
    find(run, &mut looking, &letter)?;
    let there = if told < SLOW {
        sent.elapsed()
    } else {
        found.elapsed()
    };
    waiting.done(&tag)?;
    waiting.logout();
    looking.logout();
    Ok((told, there))
}
