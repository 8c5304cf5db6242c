//! Requests that anybody may have made up, in two targets.

use super::http_host::Host;

/// The body of a target.
pub type Target = fn(&[u8]);

/// Every target under its name.
pub const TARGETS: [(&str, Target); 2] = [("http", http), ("chunked", chunked)];

/// A connection from its first octet on: the same answers however the octets are cut.
pub fn http(input: &[u8]) {
    any_cut(b"", input);
}

/// A body in chunks, and what follows it.
pub fn chunked(input: &[u8]) {
    any_cut(
        b"POST /spool HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        input,
    );
}

fn any_cut(before: &[u8], input: &[u8]) {
    let run = |size: usize| {
        let mut host = Host::new();
        host.bytes(before);
        for piece in input.chunks(size) {
            if host.seen.closed {
                break;
            }
            host.bytes(piece);
            host.settle();
        }
        host.eof();
        host.settle();
        assert!(host.seen.closed, "nothing is left open behind the end of input");
        host.seen
    };
    let whole = run(input.len().max(1));
    assert_eq!(run(1), whole, "octet by octet");
    assert_eq!(run(11), whole, "by eleven");
}
