//! The last words to a connection that there is no room for.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};

use rmail_core::http::Response;

use super::{Group, Refused, Service};

/// Says why, if the protocol can say it before TLS, and closes. One write that does not wait: the socket's buffer is
/// empty, and whoever cannot take a line is not told.
pub fn refuse(service: Service, hostname: &str, why: Refused, mut socket: TcpStream) {
    if !service.is_implicit_tls() && socket.set_nonblocking(true).is_ok() {
        let _ = socket.write(&words(service.group(), hostname, why));
    }
    let _ = socket.shutdown(Shutdown::Write);
}

/// Says why to a program of this host.
///
/// # Errors
/// It does not listen.
pub fn tell(service: Service, hostname: &str, why: Refused, to: &mut impl io::Write) -> io::Result<()> {
    to.write_all(&words(service.group(), hostname, why))
}

fn words(group: Group, hostname: &str, why: Refused) -> Vec<u8> {
    let text = match why {
        Refused::Total => "too many connections, try again later",
        Refused::Address => "too many connections from your address",
        Refused::Rate => "too many messages from your address, try again later",
    };
    match (group, why) {
        // RFC 5321 §3.8 with the codes of RFC 3463 §3.4 and §3.8.
        (Group::Smtp | Group::Lmtp, Refused::Total) => {
            format!("421 4.3.2 {hostname} {text}\r\n").into_bytes()
        }
        (Group::Smtp | Group::Lmtp, Refused::Address | Refused::Rate) => {
            format!("421 4.7.0 {hostname} {text}\r\n").into_bytes()
        }
        // RFC 5530 §3
        (Group::Imap, _) => format!("* BYE [UNAVAILABLE] {text}\r\n").into_bytes(),
        (Group::Api | Group::Public, _) => Response::error(503, text).last(false, None),
    }
}
