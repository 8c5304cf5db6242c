//! The smallest host: the receiving SMTP session on a blocking socket, with a service in memory.
//!
//! `cargo run -p rmail-core --example blocking -- 2525`, then for example
//! `curl --crlf smtp://127.0.0.1:2525 --mail-from me@example.org --mail-rcpt you@demo.test -T message.eml`.
//!
//! What a host owes a session is all in [`drive`]: feed inputs, perform actions in order, answer calls, feed a tick
//! at the deadline. There is no TLS here, so it is not offered.
#![expect(
    clippy::disallowed_types,
    reason = "a host has what core must not have: sockets, a clock, entropy"
)]

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rmail_core::addr::ForwardPath;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, Input, Session, SpoolId};
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::server::{self, Call, Checked, RecipientKind, Reply, Role, Settings};
use rmail_core::time::{Mono, Now, Unix};

/// The one domain that mail is taken for.
const DOMAIN: &str = "demo.test";

fn main() -> io::Result<()> {
    let port = match std::env::args().nth(1) {
        Some(port) => port.parse().map_err(io::Error::other)?,
        None => 2525,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("SMTP for *@{DOMAIN} on {}", listener.local_addr()?);
    let clock = Clock(Instant::now());
    for stream in listener.incoming() {
        let stream = stream?;
        let session = server::Session::new(settings(stream.peer_addr()?.ip()), entropy(), clock.now()?);
        if let Err(error) = drive(session, &mut Service::default(), stream, &clock) {
            println!("connection lost: {error}");
        }
    }
    Ok(())
}

/// Runs one session on one socket until either side closes. It knows nothing of SMTP: any session will do.
fn drive<S: Session>(
    mut session: S,
    service: &mut impl Serve<S::Call, S::Reply>,
    mut stream: TcpStream,
    clock: &Clock,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while let Some(action) = session.poll_action() {
            match action {
                Action::Send(octets) => stream.write_all(octets.as_ref())?,
                Action::Spool(spool, chunk) => service.spool(spool, &chunk),
                Action::Call(id, call) => {
                    let reply = service.call(call);
                    session.handle_input(clock.now()?, Input::Reply(id, reply));
                }
                Action::Note(note) => println!("  {note:?}"),
                Action::Watch(..) | Action::Unwatch(_) => {} // nothing ever changes here
                Action::Close => return Ok(()),
                Action::SendBlob(..) | Action::StartTls | Action::StartDeflate | Action::StopDeflate => {
                    return Err(io::Error::other("not offered by this host"));
                }
            }
        }
        let now = clock.now()?;
        let wait = session.poll_timeout().map(|deadline| deadline - now.mono);
        let input = match wait {
            Some(Duration::ZERO) => Input::Tick,
            wait => {
                stream.set_read_timeout(wait)?;
                match stream.read(&mut buffer) {
                    Ok(0) => Input::Eof,
                    Ok(n) => Input::Bytes(Chunk::copy_from(buffer.get(..n).unwrap_or_default())),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        Input::Tick
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        session.handle_input(clock.now()?, input);
    }
}

/// Answers the calls of a kind of session.
trait Serve<C, R> {
    fn call(&mut self, call: C) -> R;
    fn spool(&mut self, spool: SpoolId, octets: &[u8]);
}

/// Everybody in [`DOMAIN`] has a mailbox, and all of them are standard output.
#[derive(Default)]
struct Service {
    spools: BTreeMap<SpoolId, Vec<u8>>,
}

impl Serve<Call, Reply> for Service {
    fn call(&mut self, call: Call) -> Reply {
        match call {
            Call::ScramStart { .. } => Reply::Scram(Err(Refusal::BadCredentials)),
            Call::Authenticate { .. } | Call::ScramDone { .. } => {
                Reply::Authenticated(Err(Refusal::BadCredentials))
            }
            Call::Sender { .. } => Reply::Sender(Ok(())),
            Call::Priority { .. } => Reply::Priority(Ok(0)),
            Call::Recipient { path, .. } => Reply::Recipient(match path {
                ForwardPath::Address(address) if address.domain.as_str() != DOMAIN => {
                    Err(Refusal::RelayDenied)
                }
                _ => Ok(RecipientKind::Local),
            }),
            Call::Open { spool } => {
                self.spools.insert(spool, Vec::new());
                Reply::Opened(Ok(()))
            }
            Call::Commit { spool, envelope } => {
                let message = self.spools.remove(&spool).unwrap_or_default();
                for recipient in &envelope.recipients {
                    println!("mail for {}:", recipient.path);
                }
                println!("{}", String::from_utf8_lossy(&message));
                Reply::Committed(Ok(()))
            }
            // For LMTP, and where checks are configured.
            Call::CommitEach { spool, envelope } => {
                self.spools.remove(&spool);
                Reply::CommittedEach(vec![Err(Refusal::NotPossible); envelope.recipients.len()])
            }
            Call::Check => Reply::Checked(Checked::default()),
            Call::Discard { spool } => {
                self.spools.remove(&spool);
                Reply::Discarded
            }
            Call::Recheck { .. } => Reply::Recheck(true),
        }
    }

    fn spool(&mut self, spool: SpoolId, octets: &[u8]) {
        if let Some(body) = self.spools.get_mut(&spool) {
            body.extend_from_slice(octets);
        }
    }
}

fn settings(peer: IpAddr) -> Settings {
    Settings {
        auth_on_mx: false,
        max_message_size: 10 * 1024 * 1024,
        data_timeout: Duration::from_secs(180),
        ..Settings::new(&format!("mail.{DOMAIN}"), Role::Mx, peer)
    }
}

/// Both clocks of the system.
struct Clock(Instant);

impl Clock {
    fn now(&self) -> io::Result<Now> {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(io::Error::other)?;
        Ok(Now {
            mono: Mono(self.0.elapsed()),
            unix: Unix(unix),
        })
    }
}

/// A seed from the keys that the standard library draws for its maps: good enough to show ids, no more.
fn entropy() -> Random {
    let mut seed = [0; 32];
    for part in seed.chunks_mut(8) {
        let drawn = RandomState::new().build_hasher().finish().to_le_bytes();
        part.copy_from_slice(drawn.get(..part.len()).unwrap_or_default());
    }
    Random::from_seed(seed)
}
