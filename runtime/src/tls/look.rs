//! What a port really shows: a client that looks at the certificate and leaves.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ProtocolVersion};

use super::{ClientTls, Facts};

/// How TLS begins on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At once.
    Implicit,
    /// With SMTP's STARTTLS (RFC 3207).
    Smtp,
    /// With IMAP's STARTTLS (RFC 9051 §6.2.1).
    Imap,
}

/// What a server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its own certificate.
    pub facts: Facts,
    /// `TLS 1.3`
    pub version: &'static str,
    /// Certificates that it sends, its own included.
    pub chain: usize,
}

/// Octets of a line, and lines of an answer, before we go.
const MAX_LINE: usize = 4_096;
const MAX_LINES: usize = 100;

/// Connects, asks for a name, and tells which certificate it is shown; any will do. Blocks, for `patience` at most.
///
/// # Errors
/// Nobody answers there, TLS is not offered, or the handshake fails.
pub fn look(address: SocketAddr, begin: Begin, name: &str, patience: Duration) -> io::Result<Shown> {
    let until = Instant::now() + patience;
    let stream = TcpStream::connect_timeout(&address, patience)?;
    let mut wire = Wire { stream, until };
    match begin {
        Begin::Implicit => {}
        Begin::Smtp => {
            wire.answer("", "220 ")?;
            wire.answer("EHLO [127.0.0.1]\r\n", "250 ")?;
            wire.answer("STARTTLS\r\n", "220 ")?;
        }
        Begin::Imap => {
            wire.answer("", "* OK")?;
            wire.answer("a STARTTLS\r\n", "a OK")?;
        }
    }
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let config = ClientTls::default().opportunistic();
    let mut client = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while client.is_handshaking() {
        client.complete_io(&mut wire)?;
    }
    let chain = client.peer_certificates().unwrap_or_default();
    let own = chain
        .first()
        .ok_or_else(|| io::Error::other("it shows no certificate"))?;
    let shown = Shown {
        facts: Facts::of(own),
        version: match client.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "another version",
        },
        chain: chain.len(),
    };
    client.send_close_notify();
    // Whether the server hears the goodbye changes nothing.
    let _ = client.complete_io(&mut wire);
    Ok(shown)
}

/// A connection that is given up at a moment.
struct Wire {
    stream: TcpStream,
    until: Instant,
}

impl Wire {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(Some(left)),
        }
    }

    /// Says something, and reads up to a line that begins as expected; any other last line of an answer is an error.
    fn answer(&mut self, say: &str, expected: &str) -> io::Result<()> {
        self.write_all(say.as_bytes())?;
        for _ in 0..MAX_LINES {
            let line = self.line()?;
            if line.starts_with(expected) {
                return Ok(());
            }
            let goes_on =
                line.starts_with("* ") && expected.starts_with('a') || line.as_bytes().get(3) == Some(&b'-');
            if !goes_on {
                return Err(io::Error::other(format!("it says {:?}", line.trim_end())));
            }
        }
        Err(io::Error::other("it says more than a server has to say"))
    }

    /// A line, octet by octet: what follows is TLS.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut octet = [0];
            self.read_exact(&mut octet)?;
            line.extend(octet);
            if line.len() > MAX_LINE {
                return Err(io::Error::other("it sends a line without an end"));
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buf)
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What is said of a server that speaks these octets and closes.
    fn says(begin: Begin, octets: &'static [u8], patience: Duration) -> io::Error {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            socket.write_all(octets).expect("it reads");
            // Until the client goes.
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let error = look(address, begin, "mail.here.test", patience).expect_err("no certificate");
        server.join().expect("no panic");
        error
    }

    #[test]
    fn a_server_without_tls_is_told_with_its_words() {
        let long = Duration::from_secs(20);
        let found = says(Begin::Smtp, b"220 x\r\n250-x\r\n250 y\r\n502 5.5.1 no\r\n", long);
        assert_eq!(found.to_string(), "it says \"502 5.5.1 no\"");
        let found = says(Begin::Imap, b"* OK x\r\n* y\r\na BAD no\r\n", long);
        assert_eq!(found.to_string(), "it says \"a BAD no\"");
    }

    #[test]
    fn a_server_that_says_nothing_or_too_much_is_left() {
        let found = says(Begin::Smtp, b"220", Duration::from_millis(50));
        assert!(
            matches!(found.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock),
            "{found}"
        );
        let long = Duration::from_secs(20);
        let found = says(Begin::Smtp, &[b'x'; MAX_LINE + 1], long);
        assert!(found.to_string().contains("without an end"), "{found}");
        let found = says(Begin::Smtp, "220-x\r\n".repeat(MAX_LINES).leak().as_bytes(), long);
        assert!(found.to_string().contains("more than"), "{found}");
    }
}
