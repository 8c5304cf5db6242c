//! Mail that finds its way by a name server of others: nsd with a zone that holds what domains have and should not have.
//! Where it is not installed the test is skipped with a visible line.

use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rmail_tests::{Server, Sink, find_optional, free_port, wait_for};
use serde_json::json;

use crate::relay::{inbox, submit};

/// A name server; killed when dropped.
pub(crate) struct NameServer {
    child: Child,
    pub(crate) port: u16,
}

impl NameServer {
    /// Serves a zone; `None`: there is no program for it.
    pub(crate) fn start(dir: &Path, origin: &str, zone: &str) -> Option<Self> {
        let program = Some(PathBuf::from("/usr/sbin/nsd")).filter(|path| path.is_file());
        let program = program.or_else(|| find_optional("nsd"))?;
        let (port, file) = (free_port(), dir.join("zone"));
        fs::write(&file, zone).expect("a file");
        let path = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"\"\n  server-count: 1\n  \
             database: \"\"\n  pidfile: \"{}\"\n  xfrdfile: \"{}\"\n  xfrdir: \"{}\"\n  zonelistfile: \"{}\"\n  \
             cookie-secret-file: \"{}\"\nremote-control:\n  control-enable: no\nzone:\n  name: {origin}\n  zonefile: \"{}\"\n",
            path("pid"),
            path("xfrd"),
            dir.display(),
            path("zones"),
            path("cookies"),
            file.display(),
        );
        fs::write(dir.join("nsd.conf"), config).expect("a file");
        let log = fs::File::create(dir.join("nsd.log")).expect("a file");
        let child = Command::new(program)
            .arg("-d")
            .arg("-c")
            .arg(dir.join("nsd.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let server = Self {
            child: child.expect("it starts"),
            port,
        };
        wait_for("the name server", || server.ask("direct.mx.test").is_some());
        Some(server)
    }

    /// The reply by UDP to a question for MX with room for 1,232 octets.
    fn ask(&self, name: &str) -> Option<Vec<u8>> {
        let mut query = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).expect("short"));
            query.extend_from_slice(label.as_bytes());
        }
        query.extend([0, 0, 15, 0, 1]);
        query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        let patience = Some(Duration::from_millis(200));
        socket.set_read_timeout(patience).expect("a time-out");
        socket.send_to(&query, ("127.0.0.1", self.port)).ok()?;
        let mut reply = vec![0; 4_096];
        let len = socket.recv(&mut reply).ok()?;
        reply.truncate(len);
        Some(reply)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // Its own children end when it is told to end, and not when it is killed.
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

fn zone() -> String {
    let mut zone = String::from(
        "$ORIGIN mx.test.\n$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 300\n@ IN NS ns\nns IN A 127.0.0.1\n\
         host IN A 127.0.0.1\n\
         direct IN MX 10 host\n\
         alias IN CNAME direct\n\
         loop IN CNAME pool\npool IN CNAME loop\n\
         behind IN MX 10 hostalias\nhostalias IN CNAME host\n\
         null IN MX 0 .\n\
         implicit IN A 127.0.0.1\n\
         nohost IN MX 10 missing\n\
         second IN MX 10 missing\nsecond IN MX 20 host\n\
         nothing IN TXT \"no mail here\"\n\
         big IN MX 1 host\n",
    );
    for n in 0..50 {
        let long = "another-host-with-a-name-that-fills-the-reply-up-to-its-brim";
        writeln!(zone, "big IN MX 50 {long}-{n}").expect("text");
    }
    zone
}

#[test]
fn a_real_name_server_leads_to_mx_alias_null_mx_and_by_tcp() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(names) = NameServer::start(dir.path(), "mx.test", &zone()) else {
        return;
    };
    let truncated = |name: &str| names.ask(name).is_some_and(|reply| reply[2] & 2 != 0);
    assert!(
        truncated("big.mx.test") && !truncated("direct.mx.test"),
        "it is truncated by UDP"
    );
    let sink = Sink::start(0);
    let servers = [format!("127.0.0.1:{}", names.port)];
    let relay = json!({"relay": {"dns_servers": servers, "port": sink.port, "retry_delays": [1, 1]}});
    let server = Server::start(dir.path(), relay);
    let reached = ["direct", "alias", "behind", "implicit", "second", "big"];
    let failed = [
        ("null", "5.1.10"),
        ("nohost", "5.4.4"),
        ("missing", "5.1.2"),
        // An alias that leads to itself, and a domain of which this server knows nothing, may be mended: they are tried
        // until the time is over.
        ("loop", "4.4.7"),
    ];
    let to = |name: &str| format!("x@{name}.mx.test");
    for name in reached {
        submit(&server, &[&to(name)], name);
    }
    for (name, _) in failed {
        submit(&server, &[&to(name)], name);
    }
    submit(&server, &["x@elsewhere.test"], "elsewhere");
    for name in reached {
        wait_for(name, || {
            let mails = sink.mails();
            mails
                .iter()
                .any(|mail| mail.contains(&format!("RCPT TO:<{}>", to(name))))
        });
    }
    assert_eq!(sink.mails().len(), reached.len());
    let elsewhere = [("x@elsewhere.test".to_owned(), "4.4.7")];
    let told = failed.map(|(name, code)| (to(name), code));
    for (address, code) in told.into_iter().chain(elsewhere) {
        let recipient = format!("Final-Recipient: rfc822; {address}\r\n");
        wait_for(&address, || inbox(&server, "alice").contains(&recipient));
        let text = inbox(&server, "alice");
        let part = text.split(&recipient).nth(1).unwrap_or_default();
        let status = part.split("Status: ").nth(1).unwrap_or_default();
        let status = status.split("\r\n").next().unwrap_or_default();
        assert_eq!(status, code, "{address}: {text}");
    }
}
