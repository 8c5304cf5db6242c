//! What the machine itself gives, without any server: the same work in a bare loop, measured in the same run.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::processes::Processes;
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
const RENAMED: &str = "limit: rename";
pub(crate) const DURABLE: &str = "limit: write, fsync, rename, fsync(dir)";
pub(crate) const DURABLE_CPU: &str = "limit: write, fsync, rename, fsync(dir): CPU";
pub(crate) const DURABLE_ALONE: &str = "limit: write, fsync, rename, fsync(dir) p50";
pub(crate) const READ: &str = "limit: open, read, close of 4 KiB";
pub(crate) const READ_ALL: &str = "limit: open, read, close of 10000 x 4 KiB";

/// A place for what is measured on disk. What is made there is removed at the very end only: ext4 looks, for each new
/// file, past the inodes of all files that were removed in the last minutes, which costs the next to be measured more than
/// the disk does.
pub(crate) struct Place {
    dir: PathBuf,
    rounds: u32,
}

impl Place {
    /// `dir`: on the file system of the mail.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.join(format!("rmail-load-{}", std::process::id())),
            rounds: 0,
        }
    }

    /// All of them.
    pub(crate) fn measure(&mut self, host: IpAddr, threads: u16, messages: u32) -> Figures {
        let mut figures = round_trip(host);
        figures.push(stream(host));
        figures.push(copy());
        self.rounds += 1;
        let own = self.dir.join(self.rounds.to_string());
        fs::create_dir_all(&own).expect("a directory beside the mail");
        figures.push(rename(&own));
        figures.extend(durable(&own, threads, messages));
        figures.extend(durable_alone(&own));
        figures.extend(read(&own));
        figures
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{} is left: {error}", self.dir.display());
        }
    }
}

/// What SEARCH BODY and FETCH of bodies cannot do without: each message is a file. All are in memory, as they are for the
/// servers.
fn read(dir: &Path) -> Figures {
    const FILES: u32 = 2_000;
    const PASSES: u32 = 5;
    let dir = dir.join("read");
    fs::create_dir(&dir).expect("a directory");
    let paths: Vec<PathBuf> = (0..FILES).map(|n| dir.join(format!("{n}.eml"))).collect();
    for path in &paths {
        fs::write(path, [b'x'; 4096]).expect("room");
    }
    let mut buffer = [0; 8192];
    let mut pass = || {
        for path in &paths {
            let mut file = File::open(path).expect("it is there");
            let count = file.read(&mut buffer).expect("it can be read");
            assert_eq!(count, 4096, "all of it at once");
        }
    };
    pass();
    let begun = Instant::now();
    (0..PASSES).for_each(|_| pass());
    let each = begun.elapsed().as_secs_f64() / f64::from(FILES * PASSES);
    vec![
        (READ.to_owned(), 4096.0 / 1e6 / each, "MB/s"),
        (READ_ALL.to_owned(), each * 10_000.0 * 1000.0, "ms"),
    ]
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

/// What a durable delivery of 1 KiB takes when it is the only one.
fn durable_alone(dir: &Path) -> Figures {
    const MESSAGES: u32 = 300;
    let mailbox = dir.join("alone");
    fs::create_dir(&mailbox).expect("a directory");
    let times = (0..MESSAGES).map(|n| {
        let begun = Instant::now();
        keep(&dir.join(format!("spool.alone.{n}")), &mailbox, &n.to_string());
        begun.elapsed().as_secs_f64() * 1000.0
    });
    let name = DURABLE_ALONE.trim_end_matches(" p50");
    percentiles(name, times.collect())
}

/// Writes a message and gives it its name, both on disk.
fn keep(spool: &Path, mailbox: &Path, name: &str) {
    let mut file = File::create(spool).expect("a file");
    file.write_all(&[b'x'; 1024]).expect("room");
    file.sync_data().expect("a disk");
    fs::rename(spool, mailbox.join(name)).expect("it is there");
    let mailbox = File::open(mailbox).expect("it is there");
    mailbox.sync_all().expect("a disk");
}

/// What a durable delivery of 1 KiB cannot do without (promise 1), by as many threads as there are connections.
fn durable(dir: &Path, threads: u16, messages: u32) -> Figures {
    const MAILBOXES: u32 = 4;
    for n in 0..MAILBOXES {
        fs::create_dir(dir.join(format!("{n}"))).expect("a directory");
    }
    let next = AtomicU32::new(0);
    let ours = ["rmail-load".to_owned()];
    let cpu = || Processes(&ours).cpu().unwrap_or_default();
    let (before, begun) = (cpu(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= messages {
                        return;
                    }
                    let mailbox = dir.join(format!("{}", n % MAILBOXES));
                    keep(&dir.join(format!("spool.{n}")), &mailbox, &n.to_string());
                }
            });
        }
    });
    let rate = f64::from(messages) / begun.elapsed().as_secs_f64();
    let each = cpu().saturating_sub(before).as_secs_f64() * 1000.0 / f64::from(messages);
    vec![
        (DURABLE.to_owned(), rate, "messages/s"),
        (DURABLE_CPU.to_owned(), each, "ms"),
    ]
}
