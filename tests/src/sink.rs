//! The other side of the relay: an SMTP server that takes or refuses mail, and a DNS server that knows where it is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Takes mail in clear text. A recipient whose local part begins with `no` is refused for good, one with `later` for
/// now.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Its port.
    pub port: u16,
    mails: Arc<Mutex<Vec<String>>>,
    faults: Arc<Faults>,
}

/// How often a sink fails, and the chance of it.
#[derive(Debug, Default)]
struct Faults {
    percent: AtomicU64,
    drawn: AtomicU64,
}

/// What happens in the place of a good reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// 451.
    Later,
    /// The connection is dropped without a reply; what was to be done is not.
    Gone,
    /// The connection is dropped without a reply, after it was done.
    Silent,
}

impl Faults {
    /// The same sinks draw the same chances in their order (SplitMix64).
    fn draw(&self) -> Option<Fault> {
        let mut n = self
            .drawn
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^= n >> 31;
        (n % 100 < self.percent.load(Ordering::Relaxed)).then_some(match (n >> 32) % 3 {
            0 => Fault::Later,
            1 => Fault::Gone,
            _ => Fault::Silent,
        })
    }
}

impl Sink {
    /// Starts one on a port; 0: any.
    ///
    /// # Panics
    /// If the port is not free.
    #[must_use]
    pub fn start(port: u16) -> Self {
        Self::failing(port, 0)
    }

    /// Starts one that fails at so many of 100 recipients and final dots: a refusal for now, or a connection that is
    /// dropped without a reply, whether the message was taken or not.
    ///
    /// # Panics
    /// If the port is not free.
    #[must_use]
    pub fn failing(port: u16, percent: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let sink = Self {
            port: listener.local_addr().expect("bound").port(),
            mails: Arc::default(),
            faults: Arc::default(),
        };
        sink.faults.percent.store(percent, Ordering::Relaxed);
        let (mails, faults) = (Arc::clone(&sink.mails), Arc::clone(&sink.faults));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mails, faults) = (Arc::clone(&mails), Arc::clone(&faults));
                // A peer that leaves in the middle ends its thread only.
                std::thread::spawn(move || drop(serve(stream, &mails, &faults)));
            }
        });
        sink
    }

    /// The mails taken so far: envelope lines, an empty line, the message.
    ///
    /// # Panics
    /// Never, unless another thread did.
    #[must_use]
    pub fn mails(&self) -> Vec<String> {
        self.mails.lock().expect("no panic").clone()
    }

    /// From now on it does not fail.
    pub fn mend(&self) {
        self.faults.percent.store(0, Ordering::Relaxed);
    }
}

fn serve(stream: TcpStream, mails: &Mutex<Vec<String>>, faults: &Faults) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    let mut envelope = String::new();
    out.write_all(b"220 sink.test ESMTP\r\n")?;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let verb = line.to_ascii_uppercase();
        let fault = verb.starts_with("RCPT").then(|| faults.draw()).flatten();
        if fault.is_some_and(|fault| fault != Fault::Later) {
            return Ok(());
        }
        let reply = if fault.is_some() {
            "451 4.3.0 come back later"
        } else if verb.starts_with("EHLO") {
            "250-sink.test\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 SIZE 1000000"
        } else if verb.starts_with("RCPT TO:<NO") {
            "550 5.1.1 no such mailbox here"
        } else if verb.starts_with("RCPT TO:<LATER") {
            "451 4.3.0 come back later"
        } else if verb.starts_with("MAIL") || verb.starts_with("RCPT") {
            envelope.push_str(&line);
            "250 2.1.0 fine"
        } else if verb.starts_with("RSET") {
            envelope.clear();
            "250 2.0.0 fine"
        } else if verb.starts_with("DATA") && !envelope.contains("RCPT") {
            "554 5.5.1 no valid recipients"
        } else if verb.starts_with("DATA") {
            out.write_all(b"354 go on\r\n")?;
            let mut mail = std::mem::take(&mut envelope) + "\r\n";
            loop {
                let mut line = Vec::new();
                lines.read_until(b'\n', &mut line)?;
                if line.is_empty() {
                    return Ok(());
                }
                if line == b".\r\n" {
                    break;
                }
                mail.push_str(&String::from_utf8_lossy(line.strip_prefix(b".").unwrap_or(&line)));
            }
            let fault = faults.draw();
            if matches!(fault, None | Some(Fault::Silent)) {
                mails.lock().expect("no panic").push(mail);
            }
            match fault {
                None => "250 2.0.0 taken",
                Some(Fault::Later) => "451 4.3.0 come back later",
                Some(Fault::Gone | Fault::Silent) => return Ok(()),
            }
        } else if verb.starts_with("QUIT") {
            out.write_all(b"221 2.0.0 bye\r\n")?;
            return Ok(());
        } else {
            "250 2.0.0 fine"
        };
        out.write_all(format!("{reply}\r\n").as_bytes())?;
    }
}

/// A DNS server: every `*.mx.test` has the MX `host.test`, which has the address 127.0.0.1; all else does not exist.
#[derive(Debug)]
pub struct Dns {
    /// Its port.
    pub port: u16,
}

impl Dns {
    /// Starts one.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start() -> Self {
        Self::serve(0, None)
    }

    /// Starts one on a port; 0: any.
    ///
    /// # Panics
    /// If the port is not free.
    #[must_use]
    pub fn start_on(port: u16) -> Self {
        Self::serve(port, None)
    }

    /// Starts one that says of all answers that DNSSEC validates them; this is the TLSA record of each port of `host.test`.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn signed(tlsa: Vec<u8>) -> Self {
        Self::serve(0, Some(tlsa))
    }

    fn serve(port: u16, signed: Option<Vec<u8>>) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", port)).expect("a port");
        let port = socket.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((n, peer)) = socket.recv_from(&mut query) {
                if let Some(reply) = answer(&query[..n], signed.as_deref()) {
                    // A lost reply is asked for again.
                    drop(socket.send_to(&reply, peer));
                }
            }
        });
        Self { port }
    }
}

/// A reply to a query with one question (RFC 1035 §4).
fn answer(query: &[u8], signed: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut name = String::new();
    while *query.get(at)? != 0 {
        let len = usize::from(query[at]);
        name += &String::from_utf8_lossy(query.get(at + 1..at + 1 + len)?).to_ascii_lowercase();
        name.push('.');
        at += len + 1;
    }
    let question = query.get(12..at + 5)?;
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let (known, data): (bool, Option<Vec<u8>>) = match (name.as_str(), kind) {
        (name, 15) if name.ends_with(".mx.test.") => (true, Some(b"\x00\x0a\x04host\x04test\x00".to_vec())),
        ("host.test.", 1) => (true, Some(vec![127, 0, 0, 1])),
        (name, 52) if signed.is_some() && name.ends_with("._tcp.host.test.") => {
            (true, signed.map(<[u8]>::to_vec))
        }
        (name, _) => (name.ends_with(".mx.test.") || name == "host.test.", None),
    };
    let mut reply = query[..2].to_vec();
    reply.extend_from_slice(&[
        0x84,
        if known { 0x80 } else { 0x83 } | if signed.is_some() { 0x20 } else { 0 },
        0,
        1,
        0,
        u8::from(data.is_some()),
        0,
        0,
        0,
        0,
    ]);
    reply.extend_from_slice(question);
    if let Some(data) = data {
        reply.extend_from_slice(&[0xc0, 12]);
        reply.extend_from_slice(&kind.to_be_bytes());
        reply.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        reply.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        reply.extend_from_slice(&data);
    }
    Some(reply)
}
