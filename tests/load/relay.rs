//! Messages a second from the queue to another server: the tool is that server, and the DNS server that knows it.
//!
//! The server under test must have `relay.dns_servers` and `relay.port` set to the two ports, and room in its queue. All
//! messages are held (FUTURERELEASE) until the same second, so that what is measured is the queue alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rmail_core::text::rfc3339;
use rmail_core::time::Unix;
use rmail_tests::Dns;

use crate::Figures;
use crate::processes::Processes;
use crate::wire::Wire;

/// Longest wait for the next message.
const PATIENCE: Duration = Duration::from_secs(60);
/// Domains that the recipients are in; the sink serves them all.
const DOMAINS: u32 = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Port of the server that takes submissions.
    #[arg(long)]
    port: u16,
    /// Who sends: the whole address.
    #[arg(long)]
    user: String,
    /// Its password.
    #[arg(long)]
    password: String,
    /// Port of the sink (`relay.port`).
    #[arg(long)]
    sink_port: u16,
    /// Port of the DNS server (`relay.dns_servers`).
    #[arg(long)]
    dns_port: u16,
    /// Messages in all.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// Octets of a message.
    #[arg(long, default_value_t = 10_240, value_parser = clap::value_parser!(u32).range(200..=1_048_576))]
    size: u32,
    /// Connections that submit at the same time.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    connections: u16,
    /// Seconds in which all must be submitted.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    hold: u64,
    /// Name of the server's processes (`comm`), for their time; may be given several times.
    #[arg(long)]
    process: Vec<String>,
}

/// What the sink has seen.
#[derive(Debug, Default)]
struct Seen {
    messages: u32,
    connections: u32,
    open: u32,
    most_open: u32,
    first: Option<Instant>,
    last: Option<Instant>,
}

pub(crate) fn measure(host: IpAddr, options: &Options) -> Figures {
    let _dns = Dns::start_on(options.dns_port);
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let listener = TcpListener::bind((host, options.sink_port)).expect("the sink's port");
    let watched = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&watched);
            std::thread::spawn(move || {
                change(&seen, |seen| {
                    seen.connections += 1;
                    seen.open += 1;
                    seen.most_open = seen.most_open.max(seen.open);
                });
                // A peer that leaves in the middle ends its thread only.
                drop(take(stream, &seen));
                change(&seen, |seen| seen.open -= 1);
            });
        }
    });
    let begun = Instant::now();
    submit(host, options);
    let submitted = begun.elapsed();
    assert!(
        submitted.as_secs() < options.hold,
        "submitting took {submitted:?}: a longer --hold is needed"
    );
    let processes = Processes(&options.process);
    let cpu = processes.cpu();
    wait(&seen, options);
    let used = processes.cpu().zip(cpu).map(|(after, before)| after - before);
    let seen = seen.lock().expect("no panic");
    let (Some(first), Some(last)) = (seen.first, seen.last) else {
        return Figures::new();
    };
    let count = f64::from(seen.messages);
    let mut figures = vec![
        (
            "queued".to_owned(),
            f64::from(options.messages) / submitted.as_secs_f64(),
            "messages/s",
        ),
        (
            "queue to sink".to_owned(),
            count / (last - first).as_secs_f64(),
            "messages/s",
        ),
        ("connections".to_owned(), f64::from(seen.connections), ""),
        ("at the same time".to_owned(), f64::from(seen.most_open), ""),
    ];
    if let Some(used) = used {
        let each = used.as_secs_f64() * 1000.0 / count;
        figures.push(("CPU of the server a message".to_owned(), each, "ms"));
    }
    figures
}

fn change(seen: &Mutex<Seen>, change: impl FnOnce(&mut Seen)) {
    change(&mut seen.lock().expect("no panic"));
}

/// Until all have come.
fn wait(seen: &Mutex<Seen>, options: &Options) {
    let begun = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let seen = seen.lock().expect("no panic");
        if seen.messages >= options.messages {
            return;
        }
        let late = seen.last.map_or(
            begun.elapsed() > PATIENCE + Duration::from_secs(options.hold),
            |last| last.elapsed() > PATIENCE,
        );
        assert!(!late, "{} of {} messages came", seen.messages, options.messages);
    }
}

/// Submits messages of 1 KiB that the queue holds for an hour.
pub(crate) fn hold(host: IpAddr, port: u16, (user, password): (&str, &str), messages: u32) {
    const HOUR: u64 = 3600;
    submit(
        host,
        &Options {
            port,
            user: user.to_owned(),
            password: password.to_owned(),
            sink_port: 0,
            dns_port: 0,
            messages,
            size: 1024,
            connections: 20,
            hold: HOUR,
            process: Vec::new(),
        },
    );
}

fn submit(host: IpAddr, options: &Options) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let until = rfc3339::print(Unix::from_secs(now.as_secs() + options.hold + 1));
    let mut body = format!("From: {}\r\nSubject: load\r\n\r\n", options.user).into_bytes();
    while body.len() < options.size as usize {
        body.extend_from_slice(b"The quick brown fox jumps over the lazy dog, again and again.\r\n");
    }
    body.extend_from_slice(b".\r\n");
    let share = options.messages.div_ceil(u32::from(options.connections));
    std::thread::scope(|scope| {
        let mut left = options.messages;
        for n in 0..u32::from(options.connections) {
            let count = share.min(left);
            left -= count;
            let (body, until) = (&body, &until);
            scope.spawn(move || {
                let mut sent = 0;
                while sent < count {
                    let mut wire = login(host, options);
                    // A server may end a connection after 50.
                    for _ in 0..(count - sent).min(40) {
                        let domain = (n + sent) % DOMAINS;
                        wire.send(
                            format!(
                                "MAIL FROM:<{}> HOLDUNTIL={until}\r\nRCPT TO:<u@d{domain}.mx.test>\r\nDATA\r\n",
                                options.user
                            )
                            .as_bytes(),
                        );
                        wire.smtp(b"", "250");
                        wire.smtp(b"", "250");
                        wire.smtp(b"", "354");
                        wire.smtp(body, "250");
                        sent += 1;
                    }
                    wire.smtp(b"QUIT\r\n", "221");
                }
            });
        }
    });
}

fn login(host: IpAddr, options: &Options) -> Wire {
    let mut wire = Wire::connect(host, options.port);
    wire.smtp(b"EHLO load.test\r\n", "250");
    wire.smtp(b"AUTH LOGIN\r\n", "334");
    for secret in [&options.user, &options.password] {
        let code = if secret == &options.password { "235" } else { "334" };
        wire.smtp(format!("{}\r\n", base64(secret.as_bytes())).as_bytes(), code);
    }
    wire
}

/// RFC 4648 §4.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in octets.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= group.len() { digit.into() } else { '=' });
        }
    }
    out
}

/// Takes whatever comes over one connection.
fn take(stream: TcpStream, seen: &Mutex<Seen>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::with_capacity(64 * 1024, stream);
    let mut line = Vec::new();
    let mut replies = b"220 sink.test ESMTP\r\n".to_vec();
    loop {
        // Replies to pipelined commands go together (RFC 2920 §3.2).
        if !lines.buffer().contains(&b'\n') && !replies.is_empty() {
            out.write_all(&replies)?;
            replies.clear();
        }
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match line.get(..4).unwrap_or_default() {
            b"EHLO" => replies.extend_from_slice(b"250-sink.test\r\n250-8BITMIME\r\n250 PIPELINING\r\n"),
            b"DATA" => {
                replies.extend_from_slice(b"354 go on\r\n");
                out.write_all(&replies)?;
                replies.clear();
                change(seen, |seen| {
                    seen.first.get_or_insert_with(Instant::now);
                });
                loop {
                    line.clear();
                    if lines.read_until(b'\n', &mut line)? == 0 {
                        return Ok(());
                    }
                    if line == b".\r\n" {
                        break;
                    }
                }
                change(seen, |seen| {
                    seen.messages += 1;
                    seen.last = Some(Instant::now());
                });
                replies.extend_from_slice(b"250 2.0.0 taken\r\n");
            }
            b"QUIT" => {
                out.write_all(b"221 2.0.0 bye\r\n")?;
                return Ok(());
            }
            _ => replies.extend_from_slice(b"250 2.0.0 fine\r\n"),
        }
    }
}
