//! What the machine itself gives, without any server: the same work in a bare loop, measured in the same run.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::{Figures, percentiles};

/// Round trips of one measurement.
const TRIPS: u32 = 2_000;
/// Octets that go through loopback in one measurement.
const STREAM: usize = 256 << 20;
/// Renames of one measurement.
const RENAMES: u32 = 2_000;

/// Names of the figures, as the table of targets cites them.
pub(crate) const ROUND_TRIP: &str = "limit: round trip over loopback p50";
pub(crate) const STREAMED: &str = "limit: stream over loopback";
pub(crate) const COPIED: &str = "limit: copy in memory";
pub(crate) const RENAMED: &str = "limit: rename";
pub(crate) const DURABLE: &str = "limit: write, fsync, rename, fsync(dir)";

/// All of them. `dir`: a new directory on the file system of the mail, removed again.
pub(crate) fn measure(host: IpAddr, dir: &Path, threads: u16, messages: u32) -> Figures {
    let mut figures = round_trip(host);
    figures.push(stream(host));
    figures.push(copy());
    let own = dir.join(format!("rmail-load-{}", std::process::id()));
    fs::create_dir_all(&own).expect("a directory beside the mail");
    figures.push(rename(&own));
    figures.push(durable(&own, threads, messages));
    fs::remove_dir_all(&own).expect("what was made can be removed");
    figures
}

/// One short line there and back, between two threads that wait for each other.
fn round_trip(host: IpAddr) -> Figures {
    const LINE: &[u8] = b"a1 STORE 5000 +FLAGS (\\Flagged)\r\n";
    let listener = TcpListener::bind((host, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let times = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("the other thread connects");
            stream.set_nodelay(true).expect("nodelay");
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                stream
                    .write_all(&buffer[..count])
                    .expect("the other thread reads");
            }
        });
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("nodelay");
        let mut buffer = [0; LINE.len()];
        let mut trip = || {
            let begun = Instant::now();
            stream.write_all(LINE).expect("the other thread reads");
            stream.read_exact(&mut buffer).expect("the other thread answers");
            begun.elapsed().as_secs_f64() * 1000.0
        };
        (0..TRIPS).map(|_| trip()).collect()
    });
    percentiles("limit: round trip over loopback", times)
}

fn stream(host: IpAddr) -> (String, f64, &'static str) {
    let listener = TcpListener::bind((host, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let seconds = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("the other thread connects");
            let block = vec![b'x'; 1 << 18];
            for _ in 0..STREAM / block.len() {
                stream.write_all(&block).expect("the other thread reads");
            }
        });
        let mut stream = TcpStream::connect(address).expect("it listens");
        let (mut buffer, mut read) = (vec![0; 1 << 18], 0);
        let begun = Instant::now();
        while read < STREAM {
            read += stream.read(&mut buffer).expect("the other thread writes");
        }
        begun.elapsed().as_secs_f64()
    });
    (STREAMED.to_owned(), STREAM as f64 / 1e6 / seconds, "MB/s")
}

fn copy() -> (String, f64, &'static str) {
    let (from, mut to) = (vec![1_u8; 64 << 20], vec![0_u8; 64 << 20]);
    let begun = Instant::now();
    for _ in 0..4 {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
    }
    let rate = 4.0 * from.len() as f64 / 1e6 / begun.elapsed().as_secs_f64();
    (COPIED.to_owned(), rate, "MB/s")
}

fn rename(dir: &Path) -> (String, f64, &'static str) {
    let [one, other] = ["one", "other"].map(|name| dir.join(name));
    File::create(&one).expect("a file");
    let begun = Instant::now();
    for _ in 0..RENAMES / 2 {
        fs::rename(&one, &other).expect("it is there");
        fs::rename(&other, &one).expect("it is there");
    }
    let each = begun.elapsed().as_secs_f64() * 1000.0 / f64::from(RENAMES);
    (RENAMED.to_owned(), each, "ms")
}

/// What a durable delivery of 1 KiB cannot do without (promise 1), by as many threads as there are connections.
fn durable(dir: &Path, threads: u16, messages: u32) -> (String, f64, &'static str) {
    const MAILBOXES: u32 = 4;
    for n in 0..MAILBOXES {
        fs::create_dir(dir.join(format!("{n}"))).expect("a directory");
    }
    let next = AtomicU32::new(0);
    let body = [b'x'; 1024];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= messages {
                        return;
                    }
                    let (mailbox, spool) = (
                        dir.join(format!("{}", n % MAILBOXES)),
                        dir.join(format!("spool.{n}")),
                    );
                    let mut file = File::create(&spool).expect("a file");
                    file.write_all(&body).expect("room");
                    file.sync_data().expect("a disk");
                    fs::rename(&spool, mailbox.join(format!("{n}"))).expect("it is there");
                    let mailbox = File::open(&mailbox).expect("it is there");
                    mailbox.sync_all().expect("a disk");
                }
            });
        }
    });
    let rate = f64::from(messages) / begun.elapsed().as_secs_f64();
    (DURABLE.to_owned(), rate, "messages/s")
}
