//! BINARY: parts of messages with their transfer encoding undone (RFC 3516). A part is read once to find out its size and
//! whether there is a NUL in it; one that is too large for memory is decoded once more while it is sent.

use core::ops::Range;
use std::sync::{Arc, Mutex};

use rmail_core::chunk::Chunk;
use rmail_core::mime::content::Mime;
use rmail_core::mime::decode::TransferEncoding;
use rmail_core::mime::decoder::Decoder;
use rmail_core::mime::locate::{Leaf, cut, leaf};
use rmail_core::mime::parsed::Parsed;

use super::lock;
use super::message::Message;
use crate::error::Result;
use crate::mailstore::MailStore;

/// Octets read at once.
const PIECE: u64 = 64 * 1024;
/// Decoded octets that are kept, not decoded again when they are sent.
const IN_MEMORY: usize = 1 << 20;

/// What a part is.
pub(super) enum Part {
    /// Nobody knows how to undo its encoding.
    UnknownEncoding,
    /// The message has no such part.
    Nil,
    /// These octets of the message, as they are.
    Plain { range: Range<u64>, nul: bool },
    /// Decoded.
    Decoded(Chunk),
    /// Too large for memory.
    Large {
        encoded: Encoded,
        window: Range<u64>,
        nul: bool,
    },
}

/// Where an encoded part is.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    range: Range<u64>,
    encoding: TransferEncoding,
}

/// Finds a part, and the octets of `partial` of it once it is decoded.
pub(super) async fn part<S: MailStore>(
    message: &mut Message<'_, S>,
    numbers: &[u32],
    partial: Option<(u64, u64)>,
) -> Result<Part> {
    let encoded = match encoded(message, numbers).await? {
        Ok(encoded) => encoded,
        Err(none) => return Ok(none),
    };
    if encoded.encoding == TransferEncoding::Identity {
        let range = cut(encoded.range, partial);
        let nul = has_nul(message, range.clone()).await?;
        return Ok(Part::Plain { range, nul });
    }
    let window = cut(0..u64::MAX, partial);
    let (mut kept, mut nul) = (Some(Vec::new()), false);
    let end = decode(message, &encoded, &window, |octets| {
        nul |= memchr::memchr(0, octets).is_some();
        kept = kept.take().filter(|kept| kept.len() + octets.len() <= IN_MEMORY);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(octets);
        }
    })
    .await?;
    Ok(match kept {
        Some(octets) => Part::Decoded(Chunk::from(octets)),
        None => Part::Large {
            encoded,
            window: window.start..end,
            nul,
        },
    })
}

/// BINARY.SIZE: octets of a decoded part. The part is told if there is no number.
pub(super) async fn size<S: MailStore>(
    message: &mut Message<'_, S>,
    numbers: &[u32],
) -> Result<core::result::Result<u64, Part>> {
    let encoded = match encoded(message, numbers).await? {
        Ok(encoded) => encoded,
        Err(none) => return Ok(Err(none)),
    };
    if encoded.encoding == TransferEncoding::Identity {
        return Ok(Ok(encoded.range.end.saturating_sub(encoded.range.start)));
    }
    decode(message, &encoded, &(0..u64::MAX), |_| {}).await.map(Ok)
}

async fn encoded<S: MailStore>(
    message: &mut Message<'_, S>,
    numbers: &[u32],
) -> Result<core::result::Result<Encoded, Part>> {
    let parsed = message.known().parsed.clone();
    let found = match parsed.as_ref().and_then(Parsed::parts) {
        Some(parts) => leaf(&parts, numbers),
        None => leaf(&*message.structure().await?, numbers),
    };
    let Some(Leaf { header, body }) = found else {
        return Ok(Err(Part::Nil));
    };
    let encoding = match header {
        // Multiparts and messages have no encoding of their own (RFC 2045 §6.4).
        None => Some(TransferEncoding::Identity),
        Some(header) => {
            let names = ["Content-Transfer-Encoding".to_owned()];
            let fields = message.fields(header, &names, false).await?;
            TransferEncoding::known(&Mime::parse(&fields, false).encoding)
        }
    };
    Ok(encoding
        .map(|encoding| Encoded {
            range: body,
            encoding,
        })
        .ok_or(Part::UnknownEncoding))
}

/// Decodes a part and hands out what is in the window. Where it ends: at the window's end, or before it.
async fn decode<S: MailStore>(
    message: &mut Message<'_, S>,
    encoded: &Encoded,
    window: &Range<u64>,
    mut sink: impl FnMut(&[u8]),
) -> Result<u64> {
    let mut decoder = Decoder::new(encoded.encoding);
    let (mut at, mut done, mut out) = (encoded.range.start, 0, Vec::new());
    loop {
        let piece = cut(at..encoded.range.end, Some((0, PIECE)));
        let last = piece.end >= encoded.range.end;
        at = piece.end;
        decoder.push(&message.read(piece).await?, &mut out);
        if last {
            decoder.finish(&mut out);
        }
        sink(within(&out, done, window));
        done += out.len() as u64;
        out.clear();
        if last || done >= window.end {
            return Ok(done.min(window.end).max(window.start));
        }
    }
}

/// Those of some octets, of which the first is number `at`, that are in the window.
fn within<'a>(octets: &'a [u8], at: u64, window: &Range<u64>) -> &'a [u8] {
    let index = |number: u64| {
        let index = usize::try_from(number.saturating_sub(at)).unwrap_or(usize::MAX);
        index.min(octets.len())
    };
    octets
        .get(index(window.start)..index(window.end))
        .unwrap_or_default()
}

async fn has_nul<S: MailStore>(message: &mut Message<'_, S>, range: Range<u64>) -> Result<bool> {
    let mut at = range.start;
    while at < range.end {
        let piece = cut(at..range.end, Some((0, PIECE)));
        at = piece.end;
        if memchr::memchr(0, &message.read(piece).await?).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A large part on its way out: decoded as it is read.
pub(super) struct Decoding<B> {
    blob: Arc<B>,
    encoded: Encoded,
    window: Range<u64>,
    /// None while it is read.
    state: Mutex<Option<State>>,
}

struct State {
    decoder: Decoder,
    /// Where the next octets of the message are.
    at: u64,
    /// Decoded octets that were not taken, and the number of the first.
    ready: Vec<u8>,
    first: u64,
}

impl<B> Decoding<B> {
    pub(super) fn new(blob: Arc<B>, encoded: Encoded, window: Range<u64>) -> Self {
        Self {
            blob,
            encoded,
            window,
            state: Mutex::default(),
        }
    }

    /// Up to `max` octets from an offset on; it is fast if each read goes on where the last one ended.
    pub(super) async fn read<S: MailStore<Blob = B>>(
        &self,
        store: &S,
        offset: u64,
        max: usize,
    ) -> Result<Chunk> {
        let from = self.window.start.saturating_add(offset);
        let kept = lock(&self.state).take().filter(|state| state.first <= from);
        let mut state = kept.unwrap_or_else(|| State {
            decoder: Decoder::new(self.encoded.encoding),
            at: self.encoded.range.start,
            ready: Vec::new(),
            first: 0,
        });
        let octets = loop {
            let wanted = from..self.window.end;
            let octets = within(&state.ready, state.first, &wanted);
            let over = state.at >= self.encoded.range.end;
            if !octets.is_empty() || over || from >= self.window.end {
                break Chunk::copy_from(octets.get(..max).unwrap_or(octets));
            }
            state.first += state.ready.len() as u64;
            state.ready.clear();
            state.go_on(store, &self.blob, &self.encoded.range).await?;
        };
        *lock(&self.state) = Some(state);
        Ok(octets)
    }
}

impl State {
    async fn go_on<S: MailStore>(&mut self, store: &S, blob: &S::Blob, range: &Range<u64>) -> Result<()> {
        let piece = cut(self.at..range.end, Some((0, PIECE)));
        let mut buf = vec![0; usize::try_from(piece.end - piece.start).unwrap_or_default()];
        let read = store.read(blob, &mut buf, piece.start).await?;
        buf.truncate(read);
        self.at = if read == 0 {
            range.end
        } else {
            piece.start + read as u64
        };
        self.decoder.push(&buf, &mut self.ready);
        if self.at >= range.end {
            self.decoder.finish(&mut self.ready);
        }
        Ok(())
    }
}
