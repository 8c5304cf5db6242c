//! What broke a promise once, each as an input of the target that shows it.

use crate::targets;

/// A line of exactly so many octets as are taken was one too long when its CR came before its LF.
#[test]
fn http_client_longest_chunk_line_octet_by_octet() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=";
    let input = [&head[..], &[b'y'; 4_096 - 4], b"\r\na\r\n0\r\n\r\n"].concat();
    targets::outgoing::http_client(&input);
}

/// A line of more `>` than are held of a line, and `From `: whether it was quoted depended on where the file was cut.
#[test]
fn mbox_long_line_of_quotes() {
    for quotes in [1_019, 1_024, 1_025, 2_500] {
        let line = [vec![b'>'; quotes].as_slice(), b"From x\n"].concat();
        targets::import::mbox(&line);
        targets::import::mbox(&[b"From a Wed Jul 17 09:44:25 1996\nA: b\n\n".as_slice(), &line].concat());
    }
}

/// A status of three digits below 100 was told as one.
#[test]
fn http_client_status_below_all_classes() {
    targets::outgoing::http_client(b"HTTP/1.1 050 x\r\n\r\n");
}

/// Octets that are no UTF-8 are the same however they come: the host of the target read each piece as text.
#[test]
fn chunked_octets_of_one_character_apart() {
    targets::http::chunked(b"2\r\n\xca\x9a\r\n0\r\n\r\n");
}

/// An escape that is there when another is undone was undone too.
#[test]
fn mailbox_name_with_an_escape_in_it() {
    targets::names::mailbox_name(b"a\\5Cb");
}
