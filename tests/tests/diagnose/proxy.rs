//! A proxy that changes what a server says: servers of ours cannot be configured to be that bad.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Gets what the client said last, and a line of the server; gives what the client gets in its place.
pub type Change = fn(&str, &str) -> String;

/// Starts one in front of a port; its own port.
pub fn start(to: u16, change: Change) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if let Ok(server) = TcpStream::connect(("127.0.0.1", to)) {
                // A side that leaves ends its own threads only.
                std::thread::spawn(move || drop(pass(&client, &server, change)));
            }
        }
    });
    port
}

fn pass(client: &TcpStream, server: &TcpStream, change: Change) -> std::io::Result<()> {
    let said = Arc::new(Mutex::new(String::new()));
    let (from, mut to, last) = (client.try_clone()?, server.try_clone()?, Arc::clone(&said));
    std::thread::spawn(move || {
        let mut from = from;
        let mut piece = [0; 16 * 1024];
        // Bodies of requests need not end with a line.
        while let Ok(count) = from.read(&mut piece)
            && count > 0
        {
            let text = String::from_utf8_lossy(&piece[..count]);
            *last.lock().expect("no panic") = text.lines().last().unwrap_or_default().to_owned();
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
    let mut out = client.try_clone()?;
    let mut lines = BufReader::new(server.try_clone()?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let said = said.lock().expect("no panic").clone();
        let text = String::from_utf8_lossy(&line).into_owned();
        let changed = change(&said, &text);
        out.write_all(if changed == text {
            &line
        } else {
            changed.as_bytes()
        })?;
        line.clear();
    }
    out.shutdown(Shutdown::Both)
}
