//! Servers that are broken in ways in which no proxy can break ours.

use std::io::{BufRead as _, BufReader, Read, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Serves each client on a thread of its own, for as long as the tests run; the port.
fn serve(client: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let client = Arc::new(client);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let client = Arc::clone(&client);
            // A client that leaves ends its own thread only.
            std::thread::spawn(move || drop(client(socket)));
        }
    });
    port
}

/// Something in front of a port that agrees on TLS 1.1 with whoever wants that, and hands on all else.
pub fn agrees_on_old_tls(to: u16) -> u16 {
    serve(move |mut client| {
        // Record: type, version, length; ClientHello: type, length, version.
        let mut head = [0; 11];
        client.read_exact(&mut head)?;
        if head[9..] == [3, 2] {
            return client.write_all(&[22, 3, 2, 0, 4, 2, 0, 0, 0]);
        }
        let mut server = TcpStream::connect(("127.0.0.1", to))?;
        server.write_all(&head)?;
        let (mut from, mut back) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            drop(copy(&mut from, &mut back));
            drop(back.shutdown(Shutdown::Write));
        });
        copy(&mut server, &mut client)?;
        client.shutdown(Shutdown::Write)
    })
}

/// A server of SMTP that keeps what it has read before TLS, and does it behind (CVE-2011-0411).
pub fn keeps_what_came_before_tls() -> u16 {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["mail.here.test".to_owned()]).expect("a name");
    let made = parameters.self_signed(&key).expect("a certificate");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], private)
        .expect("a pair");
    let config = Arc::new(config);
    serve(move |socket| {
        let mut clear = BufReader::new(socket);
        clear.get_mut().write_all(b"220 mail.here.test ready\r\n")?;
        let mut line = String::new();
        while clear.read_line(&mut line)? > 0 {
            if line.trim_end() == "STARTTLS" {
                clear.get_mut().write_all(b"220 go\r\n")?;
                let kept = clear.buffer().to_vec();
                let connection = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
                let mut hidden = BufReader::new(StreamOwned::new(connection, clear.into_inner()));
                for line in kept.split_inclusive(|octet| *octet == b'\n') {
                    answer(hidden.get_mut(), &String::from_utf8_lossy(line))?;
                }
                let mut line = String::new();
                while hidden.read_line(&mut line)? > 0 {
                    answer(hidden.get_mut(), &line)?;
                    line.clear();
                }
                return Ok(());
            }
            answer(clear.get_mut(), &line)?;
            line.clear();
        }
        Ok(())
    })
}

fn answer(to: &mut (impl Read + Write), line: &str) -> std::io::Result<()> {
    let word = line.split_ascii_whitespace().next().unwrap_or_default();
    let reply = match word.to_ascii_uppercase().as_str() {
        "EHLO" => "250-mail.here.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 1000\r\n250 STARTTLS\r\n",
        "MAIL" | "NOOP" | "RSET" => "250 2.0.0 OK\r\n",
        "RCPT" => "550 5.7.1 no\r\n",
        "QUIT" => "221 2.0.0 bye\r\n",
        _ => "500 5.5.1 what?\r\n",
    };
    to.write_all(reply.as_bytes())?;
    to.flush()
}
