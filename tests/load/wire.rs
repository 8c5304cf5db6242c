//! A line-based connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

/// Longest wait for anything: a stuck server fails the run.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Wire {
    reader: BufReader<TcpStream>,
    tag: u32,
}

impl Wire {
    pub(crate) fn connect(host: IpAddr, port: u16) -> Self {
        let stream = TcpStream::connect((host, port)).expect("the server listens");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
        let mut wire = Self {
            reader: BufReader::with_capacity(1 << 18, stream),
            tag: 0,
        };
        let greeting = wire.line();
        assert!(
            greeting.starts_with("220") || greeting.starts_with("* OK"),
            "{greeting}"
        );
        wire
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("the server reads");
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let n = self
            .reader
            .read_line(&mut line)
            .expect("the server answers in time");
        assert!(n > 0, "the server closed the connection");
        line
    }

    /// Sends SMTP octets and reads one reply, which must begin with this.
    pub(crate) fn smtp(&mut self, command: &[u8], code: &str) -> String {
        self.send(command);
        loop {
            let line = self.line();
            assert!(
                line.starts_with(code),
                "{} -> {line}",
                String::from_utf8_lossy(command)
            );
            if line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }

    /// Sends an IMAP command and reads to its tagged OK; returns octets read.
    pub(crate) fn imap(&mut self, command: &str) -> usize {
        self.tag += 1;
        let tag = format!("x{} ", self.tag);
        self.send(format!("{tag}{command}\r\n").as_bytes());
        self.until(&tag)
    }

    /// Sends an IMAP command and reads what comes in large pieces, looking at nothing but its end: returns the end of it,
    /// which is all of a short answer.
    pub(crate) fn drain(&mut self, command: &str) -> String {
        /// Octets of the end that are kept.
        const TAIL: usize = 4096;
        self.tag += 1;
        let tag = format!("\r\nx{} ", self.tag);
        self.send(format!("{}{command}\r\n", &tag[2..]).as_bytes());
        let mut tail = b"\r\n".to_vec();
        loop {
            let octets = self.reader.fill_buf().expect("the server answers in time");
            assert!(!octets.is_empty(), "the server closed the connection");
            let read = octets.len();
            tail.extend_from_slice(&octets[read.saturating_sub(TAIL)..]);
            self.reader.consume(read);
            let spare = tail.len().saturating_sub(TAIL);
            tail.drain(..spare);
            if tail.ends_with(b"\r\n") {
                let text = String::from_utf8_lossy(&tail);
                if let Some(at) = text.rfind(&tag) {
                    assert!(
                        text[at + tag.len()..].starts_with("OK"),
                        "{command}: {}",
                        &text[at..]
                    );
                    return text.into_owned();
                }
            }
        }
    }

    /// Reads a few octets, whatever they are.
    pub(crate) fn sip(&mut self, octets: usize) {
        let read = (&mut self.reader).take(octets as u64);
        std::io::copy(&mut { read }, &mut std::io::sink()).expect("the server answers in time");
    }

    /// Reads to a line that begins with the tag, which must say OK.
    pub(crate) fn until(&mut self, tag: &str) -> usize {
        let mut octets = 0;
        loop {
            let line = self.line();
            octets += line.len();
            if let Some(rest) = line.strip_prefix(tag) {
                assert!(rest.starts_with("OK"), "{line}");
                return octets;
            }
            if let Some(size) = literal(&line) {
                std::io::copy(&mut (&mut self.reader).take(size), &mut std::io::sink()).expect("the literal");
            }
        }
    }
}

fn literal(line: &str) -> Option<u64> {
    line.trim_end()
        .strip_suffix('}')?
        .rsplit_once('{')?
        .1
        .parse()
        .ok()
}
