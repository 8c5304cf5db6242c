//! A client of SMTP that asks and tells, and judges nothing.

use std::fmt;
use std::time::{Duration, Instant};

use rmail_core::diagnose::Service;
use rmail_core::diagnose::answers::sasl_plain;

use super::wire::{Place, Shown, Wire};
use super::{Checked, Login, Run, Trouble};

/// Lines of a reply that are read.
const MAX_LINES: usize = 200;

/// A reply.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// Without the code.
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// Its class: 2 is success, 4 a refusal for now, 5 one for good.
    pub(super) fn class(&self) -> u16 {
        self.code / 100
    }

    pub(super) fn text(&self) -> String {
        self.lines.join(" ")
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Smtp {
    wire: Wire,
    pub(super) greeting: Reply,
    /// What EHLO was answered.
    pub(super) ehlo: Vec<String>,
    /// The longest that a reply has taken, but to AUTH and to a message.
    pub(super) slowest: Duration,
}

impl Smtp {
    /// Connects, does the handshake where TLS comes first, and reads the greeting.
    pub(super) fn open(run: &Run<'_>, service: Service) -> Checked<Self> {
        Self::begin(run, service, run.connect(service)?)
    }

    /// The same at one of the service's addresses.
    pub(super) fn open_at(run: &Run<'_>, service: Service, place: &Place) -> Checked<Self> {
        Self::begin(run, service, Wire::connect(place, &run.stop)?)
    }

    fn begin(run: &Run<'_>, service: Service, mut wire: Wire) -> Checked<Self> {
        if service.is_secure() {
            wire.encrypt(&run.tls, &run.subject.name)?;
        }
        let mut smtp = Self {
            wire,
            greeting: Reply::default(),
            ehlo: Vec::new(),
            slowest: Duration::ZERO,
        };
        let asked = Instant::now();
        smtp.greeting = smtp.reply()?;
        smtp.slowest = asked.elapsed();
        Ok(smtp)
    }

    /// The same, and EHLO; over TLS if that is to be had.
    pub(super) fn ready(run: &Run<'_>, service: Service) -> Checked<Self> {
        Self::open(run, service)?.prepared(run, service)
    }

    /// What was opened, after EHLO.
    pub(super) fn prepared(mut self, run: &Run<'_>, service: Service) -> Checked<Self> {
        if self.greeting.code != 220 {
            return Err(Trouble::broken("a greeting with 220", &self.greeting));
        }
        self.hello()?;
        if !service.is_secure() && self.offers("STARTTLS") {
            self.starttls(run)?;
        }
        Ok(self)
    }

    /// The same, logged in.
    pub(super) fn logged_in(run: &Run<'_>, service: Service, login: &Login) -> Checked<Self> {
        let mut smtp = Self::ready(run, service)?;
        let reply = smtp.login(&login.address, &login.password)?;
        match reply.code {
            235 => Ok(smtp),
            _ => Err(Trouble::broken("235 to AUTH PLAIN", reply)),
        }
    }

    pub(super) fn offers(&self, keyword: &str) -> bool {
        rmail_core::diagnose::answers::ehlo_parameters(&self.ehlo, keyword).is_some()
    }

    /// EHLO by our address, which is true whatever we are called.
    pub(super) fn hello(&mut self) -> Checked<()> {
        let address = match self.wire.local().ip().to_canonical() {
            std::net::IpAddr::V4(four) => format!("[{four}]"),
            std::net::IpAddr::V6(six) => format!("[IPv6:{six}]"),
        };
        let reply = self.want(&format!("EHLO {address}"), &[250])?;
        self.ehlo = reply.lines;
        Ok(())
    }

    /// STARTTLS, the handshake, and EHLO again.
    pub(super) fn starttls(&mut self, run: &Run<'_>) -> Checked<Shown> {
        self.want("STARTTLS", &[220])?;
        let shown = self.wire.encrypt(&run.tls, &run.subject.name)?;
        self.hello()?;
        Ok(shown)
    }

    /// STARTTLS with a command behind it in the same packet, the handshake, and one NOOP: its reply.
    pub(super) fn starttls_with(&mut self, run: &Run<'_>, injected: &str) -> Checked<Reply> {
        self.wire.send(format!("STARTTLS\r\n{injected}\r\n").as_bytes())?;
        let reply = self.reply()?;
        if reply.code != 220 {
            // Refused as a whole: as good.
            return Ok(Reply {
                code: 250,
                ..Reply::default()
            });
        }
        self.wire.encrypt(&run.tls, &run.subject.name)?;
        self.say("NOOP")
    }

    /// AUTH PLAIN.
    pub(super) fn login(&mut self, name: &str, password: &str) -> Checked<Reply> {
        self.wire
            .send(format!("AUTH PLAIN {}\r\n", sasl_plain(name, password)).as_bytes())?;
        self.reply()
    }

    pub(super) fn say(&mut self, command: &str) -> Checked<Reply> {
        let asked = Instant::now();
        self.wire.send(format!("{command}\r\n").as_bytes())?;
        let reply = self.reply()?;
        self.slowest = self.slowest.max(asked.elapsed());
        Ok(reply)
    }

    /// The same, where only these codes will do.
    pub(super) fn want(&mut self, command: &str, codes: &[u16]) -> Checked<Reply> {
        let reply = self.say(command)?;
        if codes.contains(&reply.code) {
            return Ok(reply);
        }
        let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
        Err(Trouble::broken(
            format!("{} to {command}", codes.join(" or ")),
            reply,
        ))
    }

    /// DATA and a message whose lines need no stuffing; the reply to its end.
    pub(super) fn data(&mut self, message: &str) -> Checked<Reply> {
        self.want("DATA", &[354])?;
        self.wire.send(format!("{message}\r\n.\r\n").as_bytes())?;
        self.reply()
    }

    /// Octets as they are, and the reply to them.
    pub(super) fn raw(&mut self, octets: &[u8]) -> Checked<Reply> {
        self.wire.send(octets)?;
        self.reply()
    }

    /// A whole message.
    pub(super) fn deliver(&mut self, from: &str, to: &str, message: &str) -> Checked<Reply> {
        self.want(&format!("MAIL FROM:<{from}>"), &[250])?;
        self.want(&format!("RCPT TO:<{to}>"), &[250, 251])?;
        let reply = self.data(message)?;
        match reply.code {
            250 => Ok(reply),
            _ => Err(Trouble::broken("250 to the message", reply)),
        }
    }

    /// Says goodbye; nobody minds if it is not heard.
    pub(super) fn quit(&mut self) {
        drop(self.say("QUIT"));
    }

    fn reply(&mut self) -> Checked<Reply> {
        let mut reply = Reply::default();
        loop {
            let line = self.wire.line()?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let Some(code) = code else {
                return Err(Trouble::broken("a reply with three digits", line));
            };
            reply.code = code;
            reply.lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(reply);
            }
            if reply.lines.len() >= MAX_LINES {
                return Err(Trouble::broken(
                    "the end of a reply",
                    format!("{MAX_LINES} lines"),
                ));
            }
        }
    }
}
