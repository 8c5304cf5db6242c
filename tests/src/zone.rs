//! A name server whose records are lines of a zone file.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

/// Aliases that are followed.
const MAX_ALIASES: usize = 8;

/// One record: name in lower case with its final dot, type, data on the wire.
type Record = (String, u16, Vec<u8>);

/// A name server on loopback, by UDP. It knows the lines that were published last, and says of all else that it does not
/// exist.
#[derive(Debug)]
pub struct ZoneServer {
    /// Its port.
    pub port: u16,
    records: Arc<Mutex<Vec<Record>>>,
}

impl ZoneServer {
    /// Starts one that knows nothing.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start() -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        let port = socket.local_addr().expect("bound").port();
        let records: Arc<Mutex<Vec<Record>>> = Arc::default();
        let known = Arc::clone(&records);
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                let known = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(reply) = answer(&query[..length], &known) {
                    // A lost reply is asked for again.
                    drop(socket.send_to(&reply, peer));
                }
            }
        });
        Self { port, records }
    }

    /// From now on these lines hold: `NAME TTL IN TYPE DATA`. Comments and empty lines are passed over.
    ///
    /// # Panics
    /// If a line is none of that form.
    pub fn publish(&self, lines: &str) {
        let read = |line: &str| record(line).unwrap_or_else(|| panic!("not a record: {line}"));
        let ours = |line: &&str| !line.trim().is_empty() && !line.starts_with(';');
        let new = lines.lines().filter(ours).map(read).collect();
        *self.records.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

fn record(line: &str) -> Option<Record> {
    let mut parts = line.splitn(5, ' ');
    let name = parts.next()?.to_ascii_lowercase();
    parts.next()?.parse::<u32>().ok()?;
    let "IN" = parts.next()? else { return None };
    let kind = parts.next()?;
    let data = parts.next()?;
    let words: Vec<&str> = data.split(' ').collect();
    let number = |at: usize| words.get(at)?.parse::<u16>().ok();
    let (kind, data) = match kind {
        "A" => (1, data.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        "AAAA" => (28, data.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
        "CNAME" => (5, wire(data)?),
        "PTR" => (12, wire(data)?),
        "MX" => (
            15,
            [number(0)?.to_be_bytes().to_vec(), wire(words.get(1)?)?].concat(),
        ),
        "SRV" => {
            let numbers = [number(0)?, number(1)?, number(2)?].map(u16::to_be_bytes);
            (33, [numbers.concat(), wire(words.get(3)?)?].concat())
        }
        "TXT" => (16, strings(data)?),
        "TLSA" => {
            let mut octets: Vec<u8> = Vec::new();
            for at in 0..3 {
                octets.push(u8::try_from(number(at)?).ok()?);
            }
            let digits = words.get(3)?;
            for at in (0..digits.len()).step_by(2) {
                octets.push(u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?);
            }
            (52, octets)
        }
        _ => return None,
    };
    Some((name, kind, data))
}

/// Labels behind their lengths. Names of zone files end in a dot.
fn wire(name: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for label in name
        .strip_suffix('.')?
        .split('.')
        .filter(|label| !label.is_empty())
    {
        out.push(u8::try_from(label.len()).ok()?);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    Some(out)
}

/// Quoted strings, each behind its length.
fn strings(data: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for string in data.strip_prefix('"')?.strip_suffix('"')?.split("\" \"") {
        let plain = string.replace("\\\"", "\"").replace("\\\\", "\\");
        out.push(u8::try_from(plain.len()).ok()?);
        out.extend_from_slice(plain.as_bytes());
    }
    Some(out)
}

/// A reply to a query with one question (RFC 1035 §4), aliases followed.
fn answer(query: &[u8], known: &[Record]) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut name = String::new();
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        name += &String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_ascii_lowercase();
        name.push('.');
        at += length + 1;
    }
    let question = query.get(12..at + 5)?;
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let mut found: Vec<&Record> = Vec::new();
    let exists = known.iter().any(|(owner, ..)| *owner == name);
    for _ in 0..MAX_ALIASES {
        let here = |wanted: u16| {
            let name = name.clone();
            known
                .iter()
                .filter(move |(owner, kind, _)| *owner == name && *kind == wanted)
        };
        let before = found.len();
        found.extend(here(kind));
        let alias = here(5).next().filter(|_| found.len() == before && kind != 5);
        let Some(alias) = alias else { break };
        found.push(alias);
        name = text(&alias.2)?;
    }
    let code = if exists { 0x80 } else { 0x83 };
    let count = u8::try_from(found.len()).ok()?;
    let mut reply = [&query[..2], &[0x84, code, 0, 1, 0, count, 0, 0, 0, 0]].concat();
    reply.extend_from_slice(question);
    for (owner, kind, data) in found {
        reply.extend(wire(owner)?);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 0]);
        reply.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        reply.extend_from_slice(data);
    }
    Some(reply)
}

/// The other way round.
fn text(wire: &[u8]) -> Option<String> {
    let (mut name, mut at) = (String::new(), 0);
    while *wire.get(at)? != 0 {
        let length = usize::from(wire[at]);
        name += &String::from_utf8_lossy(wire.get(at + 1..at + 1 + length)?);
        name.push('.');
        at += length + 1;
    }
    Some(name)
}
