//! The server's side of HTTP, whatever is above it; and compression.

use rmail_core::chunk::Chunk;
use rmail_core::deflate::{Compressor, Corrupt, Decompressor, PIECE};
use rmail_core::machine::Input;

use super::http_host::{Host, Seen};
use super::{Steps, any_cut, bounded};

/// A connection from its first octet on.
pub fn http(input: &[u8]) {
    play(b"", input);
}

/// A body in chunks, and what follows it.
pub fn chunked(input: &[u8]) {
    play(
        b"POST /spool HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        input,
    );
}

/// The same answers however the octets are cut.
fn play(before: &[u8], input: &[u8]) {
    let seen: Seen = any_cut(input, |size| {
        let mut host = Host::new();
        host.bytes(before);
        for piece in input.chunks(size) {
            if host.seen.closed {
                break;
            }
            host.bytes(piece);
            host.settle();
        }
        if !host.seen.closed {
            host.input(Input::Eof);
            host.settle();
        }
        assert!(host.seen.closed, "nothing is left open behind the end of input");
        host.seen
    });
    // A request of 20 octets may ask for 10,000 times its path.
    bounded("answers", seen.sent.len(), input, 2_000, 15_000);
}

/// DEFLATE: what is compressed comes back; of anything else the same comes however it is cut, and no more than DEFLATE has.
pub fn deflate(input: &[u8]) {
    let mut packed = Vec::new();
    let mut compressor = Compressor::new();
    for piece in input.chunks(100) {
        compressor.write(piece, &mut packed);
        compressor.flush(&mut packed);
    }
    assert_eq!(unpacked(&packed, 3), (input.to_vec(), Ok(())));

    // Of a stream that turns out corrupt, how much comes before depends on how it came; that it is corrupt does not.
    let whole = any_cut(input, |size| match unpacked(input, size) {
        (plain, Ok(())) => Ok(plain),
        (_, Err(corrupt)) => Err(corrupt),
    });
    let plain = whole.unwrap_or_else(|Corrupt| unpacked(input, input.len().max(1)).0);
    // RFC 1951: the least code has one bit, the longest match 258 octets.
    bounded("octets", plain.len(), input, PIECE, 258 * 8);
}

fn unpacked(input: &[u8], size: usize) -> (Vec<u8>, Result<(), Corrupt>) {
    let mut steps = Steps::of(input, 10, 3_000);
    let (mut out, mut decompressor) = (Vec::new(), Decompressor::new());
    for piece in input.chunks(size) {
        decompressor.push(Chunk::copy_from(piece));
        loop {
            steps.step();
            match decompressor.piece() {
                Ok(Some(piece)) => {
                    assert!(piece.len() <= PIECE);
                    out.extend_from_slice(&piece);
                }
                Ok(None) => break,
                Err(corrupt) => return (out, Err(corrupt)),
            }
        }
    }
    (out, Ok(()))
}
