//! The targets, by what they are about.

pub mod files;
pub mod http;
pub mod imap;
pub mod import;
pub mod mime;
pub mod names;
pub mod outgoing;
pub mod served;
pub mod smtp;

/// Those who play the host, from the tests of the crates, and a reader of what is told of messages. Not all that they can do
/// is wanted here.
#[allow(dead_code, reason = "the tests of the crates use the rest")]
#[path = "../../../../core/tests/http/host.rs"]
mod http_host;
#[path = "../../../../core/tests/imap/common.rs"]
mod imap_host;
#[allow(dead_code, reason = "as above")]
#[path = "../../../../core/tests/mime/grammar.rs"]
mod mime_grammar;
#[allow(dead_code, reason = "as above")]
#[path = "../../../../core/tests/smtp/host.rs"]
mod smtp_host;

/// The body of a target.
pub type Target = fn(&[u8]);

/// Every target under its name.
pub const TARGETS: [(&str, Target); 33] = [
    ("address", mime::address),
    ("aliases", files::aliases),
    ("api", served::api),
    ("caches", files::caches),
    ("chunked", http::chunked),
    ("client", outgoing::client),
    ("command", imap::command),
    ("config", files::config),
    ("data", smtp::data),
    ("deflate", http::deflate),
    ("dns", outgoing::dns),
    ("file_names", names::file_names),
    ("header", mime::header),
    ("http", http::http),
    ("http_client", outgoing::http_client),
    ("imap", imap::selected),
    ("imap_login", imap::login),
    ("import", import::import),
    ("line", smtp::line),
    ("lmtp", smtp::lmtp),
    ("mailbox_name", names::mailbox_name),
    ("mbox", import::mbox),
    ("mime", mime::tree),
    ("parameter", mime::parameter),
    ("path", smtp::path),
    ("sasl", smtp::sasl),
    ("sequence", imap::sequence),
    ("served", served::imap),
    ("session", smtp::session),
    ("submission", smtp::submission),
    ("tar", import::tar),
    ("token", files::token),
    ("xtext", smtp::xtext),
];

/// Work that is left: a target that takes more than its input may cost is one that somebody can keep busy.
#[derive(Debug)]
pub struct Steps(usize);

impl Steps {
    /// So many, and so many for each octet.
    #[must_use]
    pub fn of(input: &[u8], base: usize, each: usize) -> Self {
        Self(base + each * input.len())
    }

    /// One of them is done.
    ///
    /// # Panics
    /// There is none left.
    pub fn step(&mut self) {
        assert!(self.0 > 0, "more steps than the input may cost");
        self.0 -= 1;
    }
}

/// What comes out is at most so much, and so much for each octet.
///
/// # Panics
/// It is more.
pub fn bounded(what: &str, len: usize, input: &[u8], base: usize, each: usize) {
    let most = base + each * input.len();
    assert!(len <= most, "{what}: {len} octets of {} come out", input.len());
}

/// The ways in which input is cut: all at once, octet by octet, and by a number that is no divisor of anything.
///
/// # Panics
/// The ways do not come to the same.
pub fn any_cut<T: PartialEq + core::fmt::Debug>(input: &[u8], run: impl Fn(usize) -> T) -> T {
    let whole = run(input.len().max(1));
    for size in [1, 11] {
        let pieces = run(size);
        if pieces != whole {
            let (pieces, whole) = (format!("{pieces:?}"), format!("{whole:?}"));
            let same = pieces
                .bytes()
                .zip(whole.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            let from = same.saturating_sub(200);
            let near = |text: &str| {
                text.bytes()
                    .skip(from)
                    .take(500)
                    .map(char::from)
                    .collect::<String>()
            };
            panic!("by {size}:\n{}\nall at once:\n{}", near(&pieces), near(&whole));
        }
    }
    whole
}
