//! Receiving servers that fail at every step, drop replies, hang, and keep what they took.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::lines::Lines;
use crate::link::Stream;
use crate::plan::{EVIL, FULL, MOVED, NEW, OLD, SINKS};
use crate::scene::Scene;
use crate::story::Copy;

/// Starts all of them.
pub fn start(scene: &Rc<Scene>) {
    for address in [SINKS[0], SINKS[1], FULL, OLD, NEW, EVIL] {
        let accepted = scene.listen(0, SocketAddr::new(address, 25));
        let scene = Rc::clone(scene);
        scene.clone().spawn(0, async move {
            loop {
                let stream = accepted.next().await;
                if address == EVIL || address == OLD && scene.clock.elapsed() > MOVED {
                    let fault = format!("somebody connects to {address}, where nobody should");
                    scene.story.borrow_mut().fault(fault);
                }
                let task = Rc::clone(&scene);
                scene.spawn(0, async move {
                    // Who leaves in the middle, or is left, has nothing to add.
                    let _ = serve(&task, stream, address).await;
                });
            }
        });
    }
}

/// What becomes of one reply.
enum Say {
    /// As it should be.
    Good,
    Later,
    Never,
    /// 421, and the end.
    Closing,
    /// Something that is no SMTP.
    Nonsense,
}

/// Draws it; `None`: the connection ends without a word.
async fn draw(scene: &Scene) -> Option<Say> {
    if !scene.is_rough() || !scene.happens(scene.plan.sinks) {
        return Some(Say::Good);
    }
    match scene.below(8) {
        0 | 1 => Some(Say::Later),
        2 => Some(Say::Never),
        3 => Some(Say::Closing),
        4 => Some(Say::Nonsense),
        5 => {
            // Longer than any time-out of RFC 5321 §4.5.3.2.
            scene.clock.sleep(Duration::from_secs(1_000)).await;
            None
        }
        6 => {
            scene.clock.sleep(Duration::from_secs(90)).await;
            Some(Say::Good)
        }
        _ => None,
    }
}

async fn serve(scene: &Rc<Scene>, stream: Stream, address: IpAddr) -> Option<()> {
    let extensions = EXTENSIONS[scene.below(EXTENSIONS.len())];
    let lines = Lines::new(scene, stream);
    if !answer(scene, &lines, "220 sink.test ESMTP").await? {
        return None;
    }
    let (mut recipients, mut sender) = (Vec::new(), false);
    loop {
        let line = lines.next().await?;
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                answer(scene, &lines, extensions).await?;
            }
            "STAR" => {
                lines.send("220 2.0.0 go on");
                lines.stream.handshake(false).await?;
            }
            "MAIL" => {
                recipients.clear();
                sender = answer(scene, &lines, "250 2.1.0 fine").await?;
            }
            "RCPT" if address == FULL => lines.send("452 4.2.2 mailbox full"),
            "RCPT" if sender => {
                let to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                if answer(scene, &lines, "250 2.1.5 fine").await? {
                    if recipients.contains(&to) {
                        let fault = format!("{to} twice in one transaction");
                        scene.story.borrow_mut().fault(fault);
                    }
                    recipients.push(to);
                }
            }
            "DATA" if recipients.is_empty() => lines.send("554 5.5.1 no valid recipients"),
            "DATA" => {
                if answer(scene, &lines, "354 go on").await? {
                    let text = data(&lines).await?;
                    end(scene, &lines, &mut recipients, text).await?;
                }
            }
            "BDAT" => {
                let count = line.split(' ').nth(1)?.parse().ok()?;
                let mut text = lines.octets(count).await?;
                // The sender may use several chunks.
                let mut last = line.ends_with("LAST");
                while !last {
                    lines.send("250 2.0.0 go on");
                    let line = lines.next().await?;
                    let count = line.split(' ').nth(1)?.parse().ok()?;
                    text.extend(lines.octets(count).await?);
                    last = line.ends_with("LAST");
                }
                let text = String::from_utf8(text).expect("text");
                if recipients.is_empty() {
                    lines.send("554 5.5.1 no valid recipients");
                } else {
                    end(scene, &lines, &mut recipients, text).await?;
                }
            }
            "QUIT" => {
                lines.send("221 2.0.0 bye");
                return Some(());
            }
            "RCPT" => lines.send("503 5.5.1 MAIL first"),
            _ => lines.send("250 2.0.0 fine"),
        }
    }
}

/// What the sinks offer.
const EXTENSIONS: [&str; 4] = [
    "250 sink.test",
    "250-sink.test\r\n250-8BITMIME\r\n250 SIZE 1000000",
    "250-sink.test\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 STARTTLS",
    "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 SIZE 1000000",
];

/// Answers well, or not; whether it was well.
async fn answer(scene: &Scene, lines: &Lines<'_>, good: &str) -> Option<bool> {
    let said = draw(scene).await?;
    match said {
        Say::Good => lines.send(good),
        Say::Later => lines.send("451 4.3.0 come back later"),
        Say::Never => lines.send("550 5.7.1 not here"),
        Say::Closing => {
            lines.send("421 4.3.2 closing");
            return None;
        }
        Say::Nonsense => {
            lines.send("hello there");
            return None;
        }
    }
    Some(matches!(said, Say::Good))
}

/// A message up to its dot.
async fn data(lines: &Lines<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        let line = lines.next().await?;
        if line == "." {
            return Some(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push_str("\r\n");
    }
}

/// Takes the message, or not; it may be taken although nobody hears of it.
async fn end(scene: &Scene, lines: &Lines<'_>, recipients: &mut Vec<String>, text: String) -> Option<()> {
    let said = draw(scene).await;
    let taken = match &said {
        None => scene.happens(500),
        Some(said) => matches!(said, Say::Good | Say::Nonsense),
    };
    let recipients = std::mem::take(recipients);
    if taken {
        let mut story = scene.story.borrow_mut();
        for recipient in recipients {
            scene.trace(|| format!("a sink takes a message for {recipient}"));
            let text = text.clone();
            story.taken.push(Copy { recipient, text });
        }
    }
    match said? {
        Say::Good => lines.send("250 2.0.0 taken"),
        Say::Later => lines.send("451 4.3.0 come back later"),
        Say::Never => lines.send("554 5.7.1 not this one"),
        Say::Closing => {
            lines.send("421 4.3.2 closing");
            return None;
        }
        Say::Nonsense => {
            // It was taken, and the sender cannot know.
            lines.send("hello there");
            return None;
        }
    }
    Some(())
}
