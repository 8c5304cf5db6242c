//! Messages accepted a second.

use std::net::IpAddr;
use std::time::Instant;

use crate::wire::Wire;
use crate::{Figures, percentiles};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Port 25 of the server.
    #[arg(long)]
    pub(crate) port: u16,
    /// Recipients, taken in turn by the connections.
    #[arg(long, required = true)]
    pub(crate) to: Vec<String>,
    /// Connections at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) connections: u16,
    /// Messages in all.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) messages: u32,
    /// Messages per connection before a new one is made.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) per_connection: u32,
    /// Octets of a message.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(200..=104_857_600))]
    pub(crate) size: u32,
}

pub(crate) fn measure(host: IpAddr, options: &Options) -> Figures {
    let body = body(options.size);
    let share = options.messages.div_ceil(u32::from(options.connections));
    let begun = Instant::now();
    let times: Vec<f64> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..usize::from(options.connections))
            .map(|n| {
                let (to, body) = (&options.to[n % options.to.len()], &body);
                scope.spawn(move || send(host, options, to, body, share))
            })
            .collect();
        senders
            .into_iter()
            .flat_map(|sender| sender.join().expect("a sender"))
            .collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let count = times.len() as f64;
    let mut figures = vec![("accepted".to_owned(), count / seconds, "messages/s")];
    figures.extend(percentiles("final dot to 250", times));
    figures
}

fn send(host: IpAddr, options: &Options, to: &str, body: &[u8], count: u32) -> Vec<f64> {
    let mut times = Vec::new();
    let mut left = count;
    while left > 0 {
        let mut wire = Wire::connect(host, options.port);
        wire.smtp(b"EHLO load.test\r\n", "250");
        for _ in 0..left.min(options.per_connection) {
            wire.send(format!("MAIL FROM:<load@elsewhere.test>\r\nRCPT TO:<{to}>\r\nDATA\r\n").as_bytes());
            wire.smtp(b"", "250");
            wire.smtp(b"", "250");
            wire.smtp(b"", "354");
            let begun = Instant::now();
            wire.smtp(body, "250");
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            left -= 1;
        }
        wire.smtp(b"QUIT\r\n", "221");
    }
    times
}

/// A message of this many octets, with the final dot behind it.
pub(crate) fn body(size: u32) -> Vec<u8> {
    let mut body = b"From: load@elsewhere.test\r\nSubject: load\r\n\r\n".to_vec();
    while body.len() < size as usize {
        body.extend_from_slice(
            b"The quick brown fox jumps over the lazy dog, again and again and again.\r\n",
        );
    }
    body.truncate(size as usize - 2);
    while body.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        body.pop();
    }
    body.extend_from_slice(b"\r\n.\r\n");
    body
}
