//! Those who send: users of the relay, and strangers who send to it. They try again until they are told something final.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::lines::Lines;
use crate::plan::{HERE, THERE};
use crate::scene::Scene;
use crate::story::{Message, Wish};

/// Where users send to.
const TO: [&str; 14] = [
    "m@moved.test",
    "bob@here.test",
    "team@here.test",
    "carol@there.test",
    "dave@there.test",
    "nobody@there.test",
    "back@there.test",
    "out@there.test",
    "x@sink.test",
    "y@sink.test",
    "z@alias.test",
    "v@full.test",
    "u@silent.test",
    "t@null.test",
];

/// Where strangers may.
const TO_HERE: [&str; 3] = ["team@here.test", "bob@here.test", "alice@here.test"];
const TO_THERE: [&str; 4] = [
    "carol@there.test",
    "back@there.test",
    "out@there.test",
    "dave@there.test",
];

/// Starts the clients of a world, whose messages come within its first hours.
pub fn start(scene: &Rc<Scene>) {
    for number in 0..scene.plan.messages {
        scene.clients.set(scene.clients.get() + 1);
        let task = Rc::clone(scene);
        scene.spawn(0, async move {
            // Several come at about the same time: they share connections.
            let begin = if number < task.plan.messages / 2 {
                task.between(Duration::from_secs(600), Duration::from_secs(602))
            } else {
                task.between(Duration::ZERO, Duration::from_secs(3 * 3600))
            };
            task.clock.sleep(begin).await;
            send(&task, number).await;
            task.clients.set(task.clients.get() - 1);
        });
    }
}

fn pick(scene: &Scene, from: &[&str]) -> Vec<String> {
    let count = 1 + scene.below(from.len().min(5));
    let mut chosen: Vec<String> = Vec::new();
    while chosen.len() < count {
        let one = from[scene.below(from.len())].to_owned();
        if !chosen.contains(&one) {
            chosen.push(one);
        }
    }
    chosen
}

async fn send(scene: &Rc<Scene>, number: usize) {
    let token = format!("t{number}");
    let (server, sender, recipients): (IpAddr, String, Vec<String>) = match scene.below(5) {
        0 => (HERE, format!("out+{token}@sink.test"), pick(scene, &TO_HERE)),
        1 => (THERE, format!("out+{token}@sink.test"), pick(scene, &TO_THERE)),
        _ => (HERE, format!("alice+{token}@here.test"), pick(scene, &TO)),
    };
    let wish = |_: &String| match scene.below(8) {
        0 => Wish::Never,
        1 => Wish::Success,
        _ => Wish::Usual,
    };
    let message = Message {
        body: body(scene),
        wishes: recipients.iter().map(wish).collect(),
        token: token.clone(),
        sender,
        recipients,
        promised: std::collections::BTreeSet::new(),
        dots: 0,
    };
    scene.trace(|| format!("{token}: {} to {:?}", message.sender, message.recipients));
    scene
        .story
        .borrow_mut()
        .messages
        .insert(token.clone(), message.clone());
    let user = message.sender.ends_with("@here.test");
    for _ in 0..6 {
        match try_once(scene, server, user, &message).await {
            Some(Try::Promised(recipients)) => {
                scene.trace(|| format!("{token}: accepted for {recipients:?}"));
                let mut story = scene.story.borrow_mut();
                let message = story.messages.get_mut(&token).expect("it is known");
                message.promised.extend(recipients);
                // What was promised is on disk by now.
                if scene.plan.crashes > 0 && scene.is_rough() && scene.happens(200) {
                    let site = usize::from(server == THERE);
                    scene.cuts.borrow_mut().push(site);
                }
                return;
            }
            Some(Try::Refused) => return,
            None => {}
        }
        let wait = scene.between(Duration::from_secs(30), Duration::from_secs(1800));
        scene.clock.sleep(wait).await;
    }
}

/// What some servers take for the end of a message.
const SMUGGLED: [&str; 3] = ["\n.\n", "\n.\r\n", "\r\n.\n"];

/// Lines of text, some of which need stuffing.
fn body(scene: &Scene) -> String {
    const LINES: [&str; 5] = [".", "..", ".text", "text", ""];
    let mut body = String::new();
    let most = if scene.happens(100) { 4_000 } else { 12 };
    for _ in 0..=scene.below(most) {
        body.push_str(LINES[scene.below(LINES.len())]);
        body.push_str("\r\n");
    }
    body + "the end\r\n"
}

/// What one connection came to; `None`: try again.
enum Try {
    /// 250, for these.
    Promised(Vec<String>),
    /// No, for good.
    Refused,
}

fn is_good(code: u16) -> Option<()> {
    (200..400).contains(&code).then_some(())
}

async fn try_once(scene: &Rc<Scene>, server: IpAddr, user: bool, message: &Message) -> Option<Try> {
    let port = if user { 587 } else { 25 };
    let connected = scene.connect(SocketAddr::new(server, port), Duration::from_secs(30));
    let lines = Lines::new(scene, connected.await.ok()?);
    is_good(lines.reply().await?)?;
    is_good(lines.ask("EHLO client.test").await?)?;
    if user {
        // \0alice@here.test\0secret
        is_good(lines.ask("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=").await?)?;
    }
    is_good(lines.ask(&format!("MAIL FROM:<{}>", message.sender)).await?)?;
    let (mut taken, mut later) = (Vec::new(), false);
    for (recipient, wish) in message.recipients.iter().zip(&message.wishes) {
        let command = format!("RCPT TO:<{recipient}>{}", wish.parameter());
        let code = lines.ask(&command).await?;
        if is_good(code).is_some() {
            taken.push(recipient.clone());
        }
        later |= (400..500).contains(&code);
    }
    if taken.is_empty() {
        return (!later).then_some(Try::Refused);
    }
    is_good(lines.ask("DATA").await?)?;
    let text = format!(
        "From: <{}>\r\nTo: undisclosed:;\r\nSubject: {}\r\n\r\n{}",
        message.sender, message.token, message.body
    );
    for line in text.split_inclusive("\r\n") {
        let stuffing = if line.starts_with('.') { "." } else { "" };
        lines.stream.send(format!("{stuffing}{line}").as_bytes());
    }
    // Somebody tries whether the server sees the end of the message where there is none.
    let smuggled = scene.happens(30);
    if smuggled {
        let end = SMUGGLED[scene.below(SMUGGLED.len())];
        lines.stream.send(format!("text{end}RSET\r\n").as_bytes());
    }
    let dots = |by: isize| {
        let mut story = scene.story.borrow_mut();
        let known = story.messages.get_mut(&message.token).expect("it is known");
        known.dots = known.dots.checked_add_signed(by).expect("counted");
    };
    dots(1);
    let code = lines.ask(".").await?;
    if smuggled && is_good(code).is_some() {
        let fault = format!("{}: a bare LF is taken", message.token);
        scene.story.borrow_mut().fault(fault);
    }
    if is_good(code).is_some() {
        return Some(Try::Promised(taken));
    }
    dots(-1);
    (code >= 500).then_some(Try::Refused)
}
