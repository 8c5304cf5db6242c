//! Raw DEFLATE (RFC 1951) as COMPRESS uses it (RFC 4978): what a host puts between a session and its stream after
//! [`Action::StartDeflate`](crate::machine::Action::StartDeflate), until `StopDeflate`.
//!
//! Out: [`Compressor::write`] what the session sends, [`Compressor::flush`] when it has nothing more to say, and drop the
//! compressor of a session that rests: it has some 300 KiB, a flushed stream ends at an octet, and the next compressor
//! goes on from there with an empty window.
//!
//! In: [`Decompressor::push`] what was read, then [`Decompressor::piece`] a piece at a time, and let the session work
//! through each before the next. A piece is bounded, so what little input grows to is never all there at once.

use core::fmt;
use core::ops::Range;

use miniz_oxide::deflate::core::CompressorOxide;
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::deflate::{CompressionLevel, core::create_comp_flags_from_zip_params};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{
    BlockBoundaryState, DecompressorOxide, TINFL_LZ_DICT_SIZE, decompress_with_limit, inflate_flags,
};
use miniz_oxide::{DataFormat, MZFlush};

use crate::chunk::Chunk;

/// Octets of a piece that a [`Decompressor`] gives, and of a step of a [`Compressor`].
pub const PIECE: usize = 16 * 1024;

/// What a flush ends with: an empty stored block without its head (RFC 1951 §3.2.4).
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

/// Compresses, fast rather than well. It takes some 300 KiB.
pub struct Compressor {
    state: Box<CompressorOxide>,
    unflushed: bool,
}

impl Compressor {
    /// With an empty window.
    #[must_use]
    pub fn new() -> Self {
        let level = CompressionLevel::BestSpeed as i32;
        let flags = create_comp_flags_from_zip_params(level, DataFormat::Raw.to_window_bits(), 0);
        Self {
            state: Box::new(CompressorOxide::new(flags)),
            unflushed: false,
        }
    }

    /// Compresses these octets behind those before; appends to `out` what comes of it so far.
    pub fn write(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if !octets.is_empty() {
            self.unflushed = true;
            self.run(octets, MZFlush::None, out);
        }
    }

    /// Appends what is missing for the peer to read all that was written.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if core::mem::take(&mut self.unflushed) {
            self.run(&[], MZFlush::Sync, out);
        }
    }

    /// Whether the peer can read all that was written.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        !self.unflushed
    }

    /// Ends the stream: what follows is not compressed.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.run(&[], MZFlush::Finish, out);
    }

    fn run(&mut self, mut octets: &[u8], flush: MZFlush, out: &mut Vec<u8>) {
        // On the stack: buffers of this size that come and go would leave holes between what lives long.
        let mut piece = [0; PIECE];
        loop {
            let done = deflate(&mut self.state, octets, &mut piece, flush);
            out.extend_from_slice(piece.get(..done.bytes_written).unwrap_or_default());
            octets = octets.get(done.bytes_consumed..).unwrap_or_default();
            if done.bytes_written < PIECE {
                return;
            }
        }
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("unflushed", &self.unflushed)
            .finish_non_exhaustive()
    }
}

/// The peer's octets are no DEFLATE, or go on behind the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not DEFLATE")]
pub struct Corrupt;

/// Decompresses. It takes 43 KiB, and where all is read up to a flush only what it may still be referred to: the last
/// octets that came out, 32 KiB at most.
pub struct Decompressor {
    state: State,
    /// Octets that were not looked at.
    unread: Chunk,
    /// The last octets that were looked at: a flush's end may have begun in them.
    last: [u8; FLUSHED.len()],
    /// Compression is over once the present flush is.
    stopping: bool,
    /// There may be more output of what was looked at.
    more: bool,
    ended: bool,
}

/// How far it is.
enum State {
    /// What comes is plain.
    Plain,
    /// Between two blocks, with nothing else to remember than the last octets that came out.
    Resting(Option<BlockBoundaryState>, Box<[u8]>),
    Working(Box<Inflater>),
}

/// What there is to work with.
struct Inflater {
    core: DecompressorOxide,
    /// The last octets that came out, in a ring.
    window: [u8; TINFL_LZ_DICT_SIZE],
    /// Where the next one goes.
    at: usize,
    /// Octets of the ring that came out.
    filled: usize,
}

impl Inflater {
    /// Goes on from where it rested; without a boundary at the beginning of a stream.
    fn wake(boundary: Option<&BlockBoundaryState>, last: &[u8]) -> Box<Self> {
        let mut inflater = Box::new(Self {
            core: boundary.map_or_else(
                DecompressorOxide::new,
                DecompressorOxide::from_block_boundary_state,
            ),
            window: [0; TINFL_LZ_DICT_SIZE],
            at: last.len() % TINFL_LZ_DICT_SIZE,
            filled: last.len(),
        });
        for (slot, octet) in inflater.window.iter_mut().zip(last) {
            *slot = *octet;
        }
        inflater
    }

    /// The last octets that came out.
    fn last(&self) -> Box<[u8]> {
        let (new, old) = self.window.split_at(self.at);
        if self.filled < TINFL_LZ_DICT_SIZE {
            return new.into();
        }
        [old, new].concat().into()
    }

    /// Looks at octets: what that came to, how many were looked at, and where in the window what comes of them stands.
    fn run(&mut self, octets: &[u8]) -> (TINFLStatus, usize, Range<usize>) {
        let flags =
            inflate_flags::TINFL_FLAG_HAS_MORE_INPUT | inflate_flags::TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
        let from = self.at;
        let (core, window) = (&mut self.core, &mut self.window);
        let (status, read, written) = decompress_with_limit(core, octets, window, from, PIECE, flags);
        self.at = (from + written) % TINFL_LZ_DICT_SIZE;
        self.filled = (self.filled + written).min(TINFL_LZ_DICT_SIZE);
        (status, read, from..from + written)
    }
}

impl State {
    /// The inflater, unless what comes is plain.
    fn inflater(&mut self) -> Option<&mut Inflater> {
        if let Self::Resting(boundary, last) = self {
            *self = Self::Working(Inflater::wake(boundary.as_ref(), last));
        }
        match self {
            Self::Working(inflater) => Some(inflater),
            _ => None,
        }
    }

    /// Between two blocks.
    fn rest(&mut self) {
        if let Self::Working(inflater) = self {
            let boundary = inflater.core.block_boundary_state();
            if boundary.is_some() {
                *self = Self::Resting(boundary, inflater.last());
            }
        }
    }
}

impl Decompressor {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Resting(None, Box::default()),
            unread: Chunk::default(),
            last: [1; FLUSHED.len()],
            stopping: false,
            more: false,
            ended: false,
        }
    }

    /// Adds what was read. To keep memory bounded read only when [`Decompressor::piece`] has given all.
    pub fn push(&mut self, chunk: Chunk) {
        if self.unread.is_empty() {
            self.unread = chunk;
        } else {
            self.unread = Chunk::from([self.unread.as_slice(), chunk.as_slice()].concat());
        }
    }

    /// The next piece, at most [`PIECE`] octets; `None` when more input is needed.
    ///
    /// Never looks beyond the end of a flush before all that comes before it was given: a client that ends compression
    /// (RFC 8437 §4.1) goes on in plain octets right there: see [`Decompressor::stop`].
    ///
    /// # Errors
    /// [`Corrupt`]; nothing can be understood any more.
    pub fn piece(&mut self) -> Result<Option<Chunk>, Corrupt> {
        if !self.has_more() {
            return Ok(None);
        }
        while self.has_more() {
            let part = self.unread.slice(0..self.part());
            let Some(inflater) = self.state.inflater() else {
                return Ok(Some(core::mem::take(&mut self.unread)));
            };
            if self.ended {
                return Err(Corrupt);
            }
            let (status, read, written) = inflater.run(&part);
            let piece = inflater.window.get(written).unwrap_or_default();
            let piece = (!piece.is_empty()).then(|| Chunk::copy_from(piece));
            self.took(read);
            self.more = status == TINFLStatus::HasMoreOutput;
            match status {
                TINFLStatus::Done => self.ended = true,
                TINFLStatus::HasMoreOutput | TINFLStatus::NeedsMoreInput | TINFLStatus::BlockBoundary => {}
                _ => return Err(Corrupt),
            }
            if status == TINFLStatus::BlockBoundary && self.unread.is_empty() {
                self.state.rest();
            }
            self.end_if_over();
            if piece.is_some() {
                return Ok(piece);
            }
            let stuck = read == 0 && status == TINFLStatus::NeedsMoreInput;
            if stuck && !self.unread.is_empty() {
                return Err(Corrupt);
            }
        }
        Ok(None)
    }

    /// Whether there is something that [`Decompressor::piece`] may give without further input.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.more || !self.unread.is_empty()
    }

    /// The end of compression: what follows the present flush, or the end of the stream, is plain, and given as it is.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.end_if_over();
    }

    /// Whether all that comes from now on is plain, and nothing is held: it is needed no more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Plain) && self.unread.is_empty()
    }

    fn end_if_over(&mut self) {
        if self.stopping && !self.more && (self.ended || self.last == FLUSHED) {
            self.state = State::Plain;
        }
    }

    /// Octets up to the end of the first flush, or all.
    fn part(&self) -> usize {
        let unread = self.unread.as_slice();
        let mut seam = self.last.to_vec();
        seam.extend(unread.iter().take(FLUSHED.len() - 1));
        // The last octets may be such an end themselves: only one that takes in what is unread counts.
        let behind = seam.get(1..).unwrap_or_default();
        if let Some(at) = memchr::memmem::find(behind, &FLUSHED) {
            return at + 1;
        }
        memchr::memmem::find(unread, &FLUSHED).map_or(unread.len(), |at| at + FLUSHED.len())
    }

    fn took(&mut self, count: usize) {
        let taken = self.unread.split_to(count);
        for octet in taken
            .get(taken.len().saturating_sub(FLUSHED.len())..)
            .unwrap_or_default()
        {
            self.last.rotate_left(1);
            if let Some(last) = self.last.last_mut() {
                *last = *octet;
            }
        }
        if self.unread.is_empty() {
            // The buffer it was read into goes.
            self.unread = Chunk::default();
        }
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("unread", &self.unread.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn compressed(parts: &[&[u8]]) -> Vec<u8> {
        let (mut compressor, mut out) = (Compressor::new(), Vec::new());
        for part in parts {
            compressor.write(part, &mut out);
            compressor.flush(&mut out);
            assert!(compressor.is_flushed());
        }
        out
    }

    fn all(decompressor: &mut Decompressor) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(piece) = decompressor.piece().expect("DEFLATE") {
            assert!(!piece.is_empty() && piece.len() <= PIECE);
            out.extend_from_slice(&piece);
        }
        out
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut noise = vec![0; len];
        Random::from_seed([5; 32]).fill(&mut noise);
        noise
    }

    #[test]
    fn what_is_flushed_can_be_read_however_it_is_cut() {
        let noise = noise(40_000);
        let parts: [&[u8]; 5] = [b"a1 NOOP\r\n", &noise, b"", &[b'x'; 100_000], b"a2 NOOP\r\n"];
        let stream = compressed(&parts);
        for step in [1, 2, 3, 7, 1000, 65_536, stream.len()] {
            let (mut decompressor, mut got) = (Decompressor::new(), Vec::new());
            for cut in stream.chunks(step) {
                decompressor.push(Chunk::copy_from(cut));
                got.extend(all(&mut decompressor));
                assert!(!decompressor.has_more());
            }
            assert!(got == parts.concat(), "{step}");
        }
    }

    #[test]
    fn each_flush_is_readable_on_its_own_and_costs_nothing_twice() {
        let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
        for n in 0..100 {
            let line = format!("* {n} FETCH (FLAGS (\\Seen))\r\n");
            let mut out = Vec::new();
            compressor.write(line.as_bytes(), &mut out);
            compressor.flush(&mut out);
            let len = out.len();
            compressor.flush(&mut out);
            assert_eq!(out.len(), len);
            decompressor.push(Chunk::from(out));
            assert_eq!(all(&mut decompressor), line.as_bytes());
        }
    }

    #[test]
    fn a_new_compressor_goes_on_where_a_flushed_one_ended() {
        let text = b"the same text again and again, the same text again and again\r\n";
        let stream = [compressed(&[text]), compressed(&[text, text])].concat();
        let mut decompressor = Decompressor::new();
        decompressor.push(Chunk::from(stream));
        assert_eq!(all(&mut decompressor), text.repeat(3));
    }

    #[test]
    fn it_rests_after_a_flush_with_what_may_be_referred_to() {
        let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
        let mut octets = 0;
        for n in 0..4_000 {
            let line = format!("a{n} UID FETCH {n}:{} (FLAGS BODY.PEEK[])\r\n", n * 7 % 977);
            let mut out = Vec::new();
            compressor.write(line.as_bytes(), &mut out);
            compressor.flush(&mut out);
            decompressor.push(Chunk::from(out));
            assert_eq!(all(&mut decompressor), line.as_bytes());
            octets += line.len();
            let State::Resting(_, last) = &decompressor.state else {
                panic!("it works on nothing");
            };
            assert_eq!(last.len(), octets.min(TINFL_LZ_DICT_SIZE));
        }
    }

    #[test]
    fn a_bomb_comes_in_pieces() {
        let bomb = compressed(&[&vec![0; 20_000_000]]);
        assert!(bomb.len() < 200_000, "{}", bomb.len());
        let mut decompressor = Decompressor::new();
        decompressor.push(Chunk::from(bomb));
        let mut octets = 0;
        while let Some(piece) = decompressor.piece().expect("DEFLATE") {
            assert!(piece.len() <= PIECE);
            octets += piece.len();
        }
        assert_eq!(octets, 20_000_000);
    }

    #[test]
    fn plain_octets_behind_a_flush_are_left_alone() {
        let stream = compressed(&[b"a UNAUTHENTICATE\r\n"]);
        for cut in 0..=stream.len() {
            let whole = [&stream[..], b"b LOGIN x y\r\n"].concat();
            let (mut decompressor, mut got) = (Decompressor::new(), Vec::new());
            for part in [&whole[..cut], &whole[cut..]] {
                decompressor.push(Chunk::copy_from(part));
                while let Some(piece) = decompressor.piece().expect("DEFLATE") {
                    got.extend_from_slice(&piece);
                    // The session has seen the line: the host stops.
                    if got.ends_with(b"a UNAUTHENTICATE\r\n") {
                        decompressor.stop();
                    }
                }
            }
            assert_eq!(got, b"a UNAUTHENTICATE\r\nb LOGIN x y\r\n", "{cut}");
            assert!(decompressor.is_over());
        }
    }

    #[test]
    fn the_end_of_a_stream_is_the_end_of_compression() {
        let (mut compressor, mut stream) = (Compressor::new(), Vec::new());
        compressor.write(b"a UNAUTHENTICATE\r\n", &mut stream);
        compressor.finish(&mut stream);
        stream.extend_from_slice(b"b NOOP\r\n");
        for stopped in [true, false] {
            let mut decompressor = Decompressor::new();
            decompressor.push(Chunk::copy_from(&stream));
            let line = decompressor.piece().expect("DEFLATE").expect("a line");
            assert_eq!(&*line, b"a UNAUTHENTICATE\r\n");
            if stopped {
                decompressor.stop();
                assert_eq!(all(&mut decompressor), b"b NOOP\r\n");
            } else {
                assert_eq!(decompressor.piece(), Err(Corrupt), "nothing compressed follows");
            }
        }
    }

    #[test]
    fn what_is_no_deflate_is_corrupt() {
        let mut decompressor = Decompressor::new();
        decompressor.push(Chunk::copy_from(b"a NOOP\r\nb NOOP\r\nc NOOP\r\n"));
        let mut last = decompressor.piece();
        while let Ok(Some(_)) = last {
            last = decompressor.piece();
        }
        assert_eq!(last, Err(Corrupt));
        decompressor.push(Chunk::copy_from(b"more"));
        assert_eq!(decompressor.piece(), Err(Corrupt), "it stays so");
    }
}
