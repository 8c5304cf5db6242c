//! Blocking connections to a server, plain or TLS, for the player of transcripts.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use rmail_conformance::live::{Heard, Network, PATIENCE, Service, Wire};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::tls::ClientTls;

/// A handshake may take so long: it is the most work that a client makes, and a busy host does it late.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Octets of one read.
const READ: usize = 64 * 1024;

/// What to do where TLS does not come first.
const CLEAR: &str = "; is it a port that begins in clear text? Then put /starttls or /none behind it, or say --tls starttls \
                     or --tls none";

/// How TLS comes to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Security {
    /// From the first octet.
    Implicit,
    /// After STARTTLS.
    Starttls,
    /// Not at all.
    None,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host and port: `mail.example.com:993`.
    pub address: String,
    /// How TLS begins there.
    pub security: Security,
}

/// Connects to the services of a server. Any certificate will do: what transcripts look at is the protocol.
#[derive(Debug, Default)]
pub struct Dial {
    targets: BTreeMap<Service, Target>,
    tls: ClientTls,
}

impl Dial {
    /// Names a service's place.
    pub fn set(&mut self, service: Service, target: Target) {
        self.targets.insert(service, target);
    }
}

impl Network for Dial {
    fn connect(&mut self, service: Service, clear: bool) -> Result<Box<dyn Wire>, String> {
        let target = self
            .targets
            .get(&service)
            .ok_or_else(|| format!("it is not known where {service} is"))?;
        let wrong = |error: io::Error| format!("{}: {error}", target.address);
        let tcp = connect(&target.address).map_err(wrong)?;
        let host = target
            .address
            .rsplit_once(':')
            .map_or(target.address.as_str(), |(host, _)| host);
        let mut socket = Socket {
            stream: Stream::Plain(tcp),
            host: host.trim_matches(['[', ']']).to_owned(),
            config: self.tls.opportunistic(),
            first: Vec::new(),
        };
        match (target.security, clear) {
            (Security::Implicit, true) => {
                return Err(format!("{service} is in clear text first in this transcript"));
            }
            (Security::Implicit, false) => socket.start_tls().map_err(|error| {
                let clear = matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData
                        | io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::ConnectionReset
                );
                let hint = if clear { CLEAR } else { "" };
                format!("{}: {error}{hint}", target.address)
            })?,
            (Security::Starttls, false) => socket.ask_for_tls(service)?,
            (Security::Starttls, true) | (Security::None, _) => {}
        }
        if target.security != Security::Implicit
            && service != Service::Http
            && !socket.has_greeting().map_err(wrong)?
        {
            return Err(format!(
                "{}: no greeting came within {} s; is it a port that begins with TLS? Then put /implicit behind it, or say \
                 --tls implicit",
                target.address,
                PATIENCE.as_secs()
            ));
        }
        Ok(Box::new(socket))
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.set_write_timeout(Some(PATIENCE))?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// A handshake failed.
    Broken,
}

struct Socket {
    stream: Stream,
    host: String,
    config: std::sync::Arc<rustls::ClientConfig>,
    /// Read already, and not told yet: the greeting, which comes before STARTTLS.
    first: Vec<u8>,
}

impl Socket {
    /// STARTTLS before the transcript begins. The greeting is kept for it.
    fn ask_for_tls(&mut self, service: Service) -> Result<(), String> {
        let lines: &[(&str, &str)] = match service {
            Service::Smtp | Service::Submission => &[
                ("", "220"),
                ("EHLO client.example.net", "250"),
                ("STARTTLS", "220"),
            ],
            Service::Imap => &[("", "*"), ("t1 STARTTLS", "t1")],
            Service::Lmtp | Service::Http => return Err(format!("{service} has no STARTTLS")),
        };
        let mut greeting = Vec::new();
        for (say, wanted) in lines {
            if !say.is_empty() {
                self.send(format!("{say}\r\n").as_bytes())
                    .map_err(|error| error.to_string())?;
            }
            let answer = self.answer(wanted)?;
            if greeting.is_empty() {
                greeting = answer;
            }
        }
        self.start_tls().map_err(|error| format!("TLS: {error}"))?;
        self.first = greeting;
        Ok(())
    }

    /// Waits for the first octets of the server, and keeps them.
    fn has_greeting(&mut self) -> io::Result<bool> {
        if self.first.is_empty() {
            match self.receive(PATIENCE)? {
                Heard::Octets(octets) => self.first = octets,
                Heard::Nothing => return Ok(false),
                // Who closes at once is told by what is read next.
                Heard::End => {}
            }
        }
        Ok(true)
    }

    /// Reads lines up to the one that begins so, and is the last of its reply.
    fn answer(&mut self, wanted: &str) -> Result<Vec<u8>, String> {
        const MAX: usize = 64 * 1024;
        let until = Instant::now() + PATIENCE;
        let mut octets = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&octets).into_owned();
            let last = text.strip_suffix("\r\n").and_then(|lines| lines.lines().last());
            if let Some(rest) = last.and_then(|line| line.strip_prefix(wanted)) {
                if !rest.starts_with('-') {
                    return Ok(octets);
                }
            } else if last.is_some_and(|line| !line.starts_with('*')) || octets.len() > MAX {
                return Err(format!("expected {wanted}: {}", text.escape_debug()));
            }
            match self.receive(until.saturating_duration_since(Instant::now())) {
                Ok(Heard::Octets(more)) => octets.extend_from_slice(&more),
                Ok(Heard::Nothing) => {
                    return Err(
                        "no answer before STARTTLS; is it a port that begins with TLS? Then put /implicit behind it, or say \
                         --tls implicit"
                            .to_owned(),
                    );
                }
                Ok(Heard::End) => return Err("closed before TLS".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn tcp(&self) -> io::Result<&TcpStream> {
        match &self.stream {
            Stream::Plain(tcp) => Ok(tcp),
            Stream::Tls(tls) => Ok(&tls.sock),
            Stream::Broken => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Wire for Socket {
    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(octets),
            Stream::Tls(tls) => tls.write_all(octets).and_then(|()| tls.flush()),
            Stream::Broken => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn receive(&mut self, wait: Duration) -> io::Result<Heard> {
        if !self.first.is_empty() {
            return Ok(Heard::Octets(std::mem::take(&mut self.first)));
        }
        self.tcp()?
            .set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        let mut buffer = vec![0; READ];
        let read = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut buffer),
            Stream::Tls(tls) => tls.read(&mut buffer),
            Stream::Broken => Ok(0),
        };
        match read {
            Ok(0) => Ok(Heard::End),
            Ok(count) => {
                buffer.truncate(count);
                Ok(Heard::Octets(buffer))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(Heard::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    fn start_tls(&mut self) -> io::Result<()> {
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let Stream::Plain(mut tcp) = std::mem::replace(&mut self.stream, Stream::Broken) else {
            return Err(io::Error::other("TLS is on"));
        };
        tcp.set_read_timeout(Some(PATIENCE))?;
        let until = Instant::now() + HANDSHAKE;
        let config = std::sync::Arc::clone(&self.config);
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            match tls.complete_io(&mut tcp) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if Instant::now() >= until {
                        let seconds = HANDSHAKE.as_secs();
                        return Err(io::Error::other(format!("no answer within {seconds} seconds")));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.stream = Stream::Tls(Box::new(StreamOwned::new(tls, tcp)));
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Stream::Tls(tls) = &mut self.stream {
            tls.conn.send_close_notify();
            tls.flush()?;
        }
        self.tcp()?.shutdown(Shutdown::Write)
    }
}
