//! From the final dot to EXISTS.

use std::net::IpAddr;
use std::time::Instant;

use crate::imap::{Login, login};
use crate::wire::Wire;
use crate::{Figures, percentiles};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    login: Login,
    /// Port 25 of the server.
    #[arg(long)]
    smtp_port: u16,
    /// Rounds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

pub(crate) fn measure(host: IpAddr, options: &Options) -> Figures {
    rounds(host, &options.login, options.smtp_port, options.rounds)
}

pub(crate) fn rounds(host: IpAddr, user: &Login, smtp_port: u16, rounds: u32) -> Figures {
    let mut idler = login(host, user);
    idler.imap(&format!("SELECT \"{}\"", user.mailbox));
    idler.send(b"i IDLE\r\n");
    while !idler.line().starts_with('+') {}
    let body = crate::smtp::body(1024);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut wire = Wire::connect(host, smtp_port);
        wire.smtp(b"EHLO load.test\r\n", "250");
        wire.smtp(b"MAIL FROM:<load@elsewhere.test>\r\n", "250");
        wire.smtp(format!("RCPT TO:<{}>\r\n", user.user).as_bytes(), "250");
        wire.smtp(b"DATA\r\n", "354");
        let begun = Instant::now();
        wire.send(&body);
        while !idler.line().contains("EXISTS") {}
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        wire.smtp(b"", "250");
        wire.smtp(b"QUIT\r\n", "221");
    }
    idler.send(b"DONE\r\n");
    idler.until("i ");
    percentiles("final dot to EXISTS", times)
}
