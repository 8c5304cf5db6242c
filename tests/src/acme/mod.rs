//! A small authority that speaks ACME (RFC 8555): signatures and nonces are checked, names are looked at for real, on the
//! ports of this host that a test names, and certificates are given by a root of its own. Faults can be put in its way.

mod look;
mod objects;
mod sign;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

pub use look::shown;

use objects::{Book, Seen};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `badNonce`, although it was good.
    BadNonce,
    /// 429 `rateLimited`, to come again after so many seconds.
    RateLimited(u64),
    /// 403 with a problem of this type.
    Refused(&'static str),
    /// What is sent has this body.
    Body(&'static str),
    /// This status without a problem document.
    Status(u16),
    /// The connection ends before anything was done.
    Cut,
    /// It was done, and the connection ends without an answer.
    AnswerCut,
    /// Nothing is answered until [`Acme::let_go`].
    Hang,
}

/// A running authority.
#[derive(Debug)]
pub struct Acme {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    port: u16,
    book: Mutex<Book>,
    root: CertifiedIssuer<'static, KeyPair>,
    tls: Arc<ServerConfig>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an authority on port {}", self.port)
    }
}

/// What is answered.
struct Reply {
    status: u16,
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: u16, value: &Value) -> Self {
        Self {
            status,
            fields: vec![("Content-Type", "application/json".into())],
            body: value.to_string().into_bytes(),
        }
    }

    fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        Self {
            fields: vec![("Content-Type", "application/problem+json".into())],
            ..Self::json(status, &json!({"type": kind, "detail": detail, "status": status}))
        }
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.fields.push((name, value));
        self
    }
}

impl Acme {
    /// Starts one that looks at names over HTTP at the first port of loopback, and by TLS at the second.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(web: u16, tls: u16) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(parameters, key).expect("a root");
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let own = own.signed_by(&key, &root).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], private)
            .expect("a pair");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            port,
            book: Mutex::new(Book::new(port, web, tls)),
            root,
            tls: Arc::new(config),
        });
        let theirs = Arc::downgrade(&shared);
        // It ends with the test's process; each test has an authority of its own.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let Some(shared) = theirs.upgrade() else { return };
                std::thread::spawn(move || shared.serve(socket));
            }
        });
        Self { port, shared }
    }

    /// The URL of its directory.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// Its root, PEM.
    #[must_use]
    pub fn root(&self) -> String {
        self.shared.root.as_ref().pem()
    }

    /// The next so many requests for a path that begins so go wrong.
    pub fn fault(&self, path: &'static str, fault: Fault, times: usize) {
        self.shared.book().faults.push((path, fault, times));
    }

    /// Requests that hang go on.
    pub fn let_go(&self) {
        self.shared.book().let_go += 1;
    }

    /// From now on, an account is given only to whoever has this key of this name (external account binding).
    pub fn bind(&self, key_id: &str, key: &[u8]) {
        self.shared.book().binding = Some((key_id.to_owned(), key.to_vec()));
    }

    /// From now on, names are looked at over HTTP at this port.
    pub fn look_at(&self, web: u16) {
        self.shared.book().web = web;
    }

    /// How often paths that begin so were asked for.
    #[must_use]
    pub fn asked(&self, path: &str) -> usize {
        let book = self.shared.book();
        book.asked.iter().filter(|asked| asked.starts_with(path)).count()
    }

    /// How many certificates it has given.
    #[must_use]
    pub fn given(&self) -> usize {
        self.shared.book().given
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request, one answer.
    fn serve(&self, socket: TcpStream) {
        // Whoever comes without a good request is of no interest here.
        let _ = self.exchange(socket);
    }

    fn exchange(&self, socket: TcpStream) -> Option<()> {
        socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let connection = ServerConnection::new(Arc::clone(&self.tls)).ok()?;
        let mut stream = BufReader::new(StreamOwned::new(connection, socket));
        let (method, path, body) = read(&mut stream)?;
        let fault = self.book().arrived(&path);
        if fault == Some(Fault::Hang) {
            let before = self.book().let_go;
            while self.book().let_go == before {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if fault == Some(Fault::Cut) {
            return None;
        }
        let reply = match fault {
            Some(Fault::BadNonce) => Reply::problem(400, "badNonce", "another one, please"),
            Some(Fault::RateLimited(after)) => {
                Reply::problem(429, "rateLimited", "too many of you").with("Retry-After", after.to_string())
            }
            Some(Fault::Refused(kind)) => Reply::problem(403, kind, "never"),
            Some(Fault::Body(text)) => Reply {
                status: 200,
                fields: Vec::new(),
                body: text.into(),
            },
            Some(Fault::Status(status)) => Reply {
                status,
                fields: Vec::new(),
                body: Vec::new(),
            },
            _ => self.answer(&method, &path, &body),
        };
        if fault == Some(Fault::AnswerCut) {
            return None;
        }
        let nonce = self.book().nonce();
        let mut head = format!(
            "HTTP/1.1 {} x\r\nContent-Length: {}\r\nReplay-Nonce: {nonce}\r\nConnection: close\r\n",
            reply.status,
            reply.body.len()
        );
        for (name, value) in reply.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let stream = stream.get_mut();
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&reply.body).ok()?;
        stream.conn.send_close_notify();
        stream.flush().ok()
    }

    fn answer(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        match (method, path) {
            ("GET", "/dir") => return Reply::json(200, &self.book().directory()),
            ("GET", "/nonce") => {
                return Reply {
                    status: 204,
                    fields: Vec::new(),
                    body: Vec::new(),
                };
            }
            ("POST", _) => {}
            _ => return Reply::problem(405, "malformed", "signed requests are POST"),
        }
        let seen = match self.book().verified(path, body) {
            Ok(seen) => seen,
            Err(reply) => return reply,
        };
        let proof = match self.book().perform(path, &seen, &self.root) {
            Ok(reply) => return reply,
            Err(proof) => proof,
        };
        // Not under the lock: the server that is looked at may ask something meanwhile.
        let found = look::prove(&proof);
        self.book().looked(&proof, found, &seen)
    }
}

fn read(
    stream: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>,
) -> Option<(String, String, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut jose) = (0_usize, false);
    loop {
        let mut field = String::new();
        stream.read_line(&mut field).ok()?;
        let (name, value) = match field.trim_end().split_once(':') {
            Some((name, value)) => (name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
        match name.as_str() {
            "content-length" => length = value.parse().ok()?,
            "content-type" => jose = value == "application/jose+json",
            _ => {}
        }
    }
    if method == "POST" && !jose {
        return None;
    }
    let mut body = vec![0; length.min(1 << 20)];
    stream.read_exact(&mut body).ok()?;
    Some((method, path, body))
}

/// What is known of who sent a request, and what is in it.
impl Seen {
    fn text<'a>(&'a self, name: &str) -> &'a str {
        self.payload.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}
