//! The blocks of [`Rows`]: some dozens of chunks each, with what is needed to find a UID or a position.

use core::fmt;
use std::sync::{Arc, OnceLock};

use super::flags::SystemFlags;
use super::numbers::Uid;
use super::rows::{Row, Rows};

/// Chunks of a block before it is split. Ten thousand chunks (ten million messages) make a hundred blocks: a change
/// copies as many pointers to blocks as pointers to chunks.
const MOST: usize = 128;

/// Chunks of a block that is filled from the start: some room is left.
const FULL: usize = 100;

/// Some chunks that lie together.
#[derive(Clone, Default)]
pub struct Block {
    pieces: Vec<Piece>,
}

/// A chunk, and what is before it in its block.
#[derive(Clone)]
struct Piece {
    /// Rows before it.
    before: usize,
    /// Its highest UID.
    last: Uid,
    rows: Arc<[Row]>,
    /// The position among its rows of the first that is not `\Seen`, once somebody has looked.
    unseen: OnceLock<Option<usize>>,
}

/// A block, and what is before it. Blocks are never empty.
#[derive(Clone)]
pub(super) struct Entry {
    /// Rows before it.
    pub(super) before: usize,
    /// Its highest UID.
    pub(super) last: Uid,
    pub(super) block: Arc<Block>,
}

impl Block {
    /// The chunks.
    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = &Arc<[Row]>> + '_ {
        self.pieces.iter().map(|piece| &piece.rows)
    }

    /// The chunk at a position counted from 0.
    #[must_use]
    pub fn chunk(&self, index: usize) -> Option<&Arc<[Row]>> {
        self.pieces.get(index).map(|piece| &piece.rows)
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces
            .last()
            .map_or(0, |piece| piece.before + piece.rows.len())
    }

    /// Whether it has none, which no block of [`Rows`] is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Lowest and highest UID.
    #[must_use]
    pub fn bounds(&self) -> Option<(Uid, Uid)> {
        let first = self.pieces.first()?.rows.first()?;
        Some((first.uid, self.pieces.last()?.last))
    }

    /// The position of the first chunk whose last UID is at least this one.
    pub(super) fn position(&self, uid: Uid) -> usize {
        self.pieces.partition_point(|piece| piece.last < uid)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Row> {
        let at = self
            .pieces
            .partition_point(|piece| piece.before <= index)
            .checked_sub(1)?;
        let piece = self.pieces.get(at)?;
        piece.rows.get(index - piece.before)
    }

    pub(super) fn rank(&self, uid: Uid) -> usize {
        self.pieces.get(self.position(uid)).map_or(self.len(), |piece| {
            piece.before + piece.rows.partition_point(|row| row.uid < uid)
        })
    }

    pub(super) fn iter_from(&self, index: usize) -> impl Iterator<Item = &Row> + '_ {
        let at = self
            .pieces
            .partition_point(|piece| piece.before <= index)
            .saturating_sub(1);
        let skip = index.saturating_sub(self.pieces.get(at).map_or(0, |piece| piece.before));
        let (first, others) = self
            .pieces
            .get(at..)
            .and_then(<[Piece]>::split_first)
            .map_or(([].as_slice(), [].as_slice()), |(first, others)| {
                (first.rows.get(skip..).unwrap_or_default(), others)
            });
        first
            .iter()
            .chain(others.iter().flat_map(|piece| piece.rows.iter()))
    }

    /// The position of the first row that is not `\Seen`. Each chunk is looked at once, whoever asks.
    pub(super) fn first_unseen(&self) -> Option<usize> {
        self.pieces.iter().find_map(|piece| {
            let unseen = |row: &Row| !row.flags.contains(SystemFlags::SEEN);
            let first = piece.unseen.get_or_init(|| piece.rows.iter().position(unseen));
            first.map(|first| piece.before + first)
        })
    }

    /// Puts a chunk behind the others.
    fn push(&mut self, rows: Arc<[Row]>) {
        let before = self.len();
        if let Some(last) = rows.last().map(|row| row.uid) {
            self.pieces.push(Piece {
                before,
                last,
                rows,
                unseen: OnceLock::new(),
            });
        }
    }

    /// Counts anew from this piece on.
    fn recount(&mut self, from: usize) {
        let mut before = from
            .checked_sub(1)
            .and_then(|at| self.pieces.get(at))
            .map_or(0, |piece| piece.before + piece.rows.len());
        for piece in self.pieces.iter_mut().skip(from) {
            piece.before = before;
            before += piece.rows.len();
        }
    }

    /// Takes the pieces from this one on.
    fn split_off(&mut self, at: usize) -> Self {
        let mut rest = Self {
            pieces: self.pieces.split_off(at),
        };
        rest.recount(0);
        rest
    }

    /// [`put`], if only pieces of this block are concerned.
    fn put(&mut self, first: Uid, last: Uid, rows: &Arc<[Row]>) -> bool {
        let at = self.position(first);
        let reaches = |index: usize| {
            let rows = self.pieces.get(index).and_then(|piece| piece.rows.first());
            rows.is_some_and(|row| row.uid <= last)
        };
        let highest = rows.last().map(|row| row.uid);
        if reaches(at) {
            let inside = self.pieces.get(at).is_some_and(|piece| {
                piece.last <= last && piece.rows.first().is_some_and(|row| row.uid >= first)
            });
            if !inside || reaches(at + 1) {
                return false;
            }
            match (highest, self.pieces.get_mut(at)) {
                (Some(highest), Some(piece)) => {
                    piece.last = highest;
                    piece.unseen = OnceLock::new();
                    let before = core::mem::replace(&mut piece.rows, Arc::clone(rows));
                    if before.len() == rows.len() {
                        return true;
                    }
                }
                _ => drop(self.pieces.remove(at)),
            }
        } else if let Some(last) = highest {
            let rows = Arc::clone(rows);
            let before = 0;
            let unseen = OnceLock::new();
            let piece = Piece {
                before,
                last,
                rows,
                unseen,
            };
            self.pieces.insert(at, piece);
        } else {
            return true;
        }
        self.recount(at);
        true
    }
}

/// Puts a chunk in the place of the one with UIDs from `first` to `last`, or between others. False, and nothing was
/// done: more than one chunk has such UIDs, or one that has others too.
pub(super) fn put(blocks: &mut Vec<Entry>, first: Uid, last: Uid, rows: &Arc<[Row]>) -> bool {
    let behind = blocks.partition_point(|entry| entry.last < first);
    // What comes behind all others goes to the last block. What reaches into the next one is not for here.
    let at = behind.min(blocks.len().saturating_sub(1));
    let next = blocks.get(at + 1).and_then(|next| next.block.bounds());
    if next.is_some_and(|(low, _)| low <= last) {
        return false;
    }
    let append = behind == blocks.len();
    let full = blocks
        .get(at)
        .is_some_and(|entry| entry.block.pieces.len() >= FULL);
    if append && (blocks.is_empty() || full) {
        let mut block = Block::default();
        block.push(Arc::clone(rows));
        push(blocks, Arc::new(block));
        return true;
    }
    let Some(entry) = blocks.get_mut(at) else {
        return false;
    };
    let len = entry.block.len();
    let block = Arc::make_mut(&mut entry.block);
    if !block.put(first, last, rows) {
        return false;
    }
    let same = block.len() == len;
    let pieces = block.pieces.len();
    entry.last = block.bounds().map_or(entry.last, |(_, last)| last);
    if pieces > MOST {
        let rest = block.split_off(MOST / 2);
        entry.last = block.bounds().map_or(entry.last, |(_, last)| last);
        let (before, last) = (0, rest.bounds().map_or(last, |(_, last)| last));
        let block = Arc::new(rest);
        blocks.insert(at + 1, Entry { before, last, block });
    } else if pieces == 0 {
        blocks.remove(at);
    } else if pieces < MOST / 8 && !same {
        join(blocks, at);
    } else if same {
        return true;
    }
    recount(blocks, at.saturating_sub(1));
    true
}

/// Joins a small block with a neighbour that has room for it.
fn join(blocks: &mut Vec<Entry>, at: usize) {
    let pieces = |at: usize| blocks.get(at).map_or(MOST, |entry| entry.block.pieces.len());
    let before = at.checked_sub(1).filter(|before| pieces(*before) < MOST / 2);
    let Some(at) = before.or_else(|| (pieces(at + 1) < MOST / 2).then_some(at)) else {
        return;
    };
    let second = blocks.remove(at + 1);
    if let Some(first) = blocks.get_mut(at) {
        let block = Arc::make_mut(&mut first.block);
        second
            .block
            .chunks()
            .for_each(|chunk| block.push(Arc::clone(chunk)));
        first.last = second.last;
    }
}

fn recount(blocks: &mut [Entry], from: usize) {
    let mut before = blocks.get(from).map_or(0, |entry| entry.before);
    if from == 0 {
        before = 0;
    }
    for entry in blocks.iter_mut().skip(from) {
        entry.before = before;
        before += entry.block.len();
    }
}

/// Puts a block behind the others.
fn push(blocks: &mut Vec<Entry>, block: Arc<Block>) {
    let before = blocks.last().map_or(0, |entry| entry.before + entry.block.len());
    if let Some((_, last)) = block.bounds() {
        blocks.push(Entry { before, last, block });
    }
}

/// Puts [`Rows`] together from chunks and whole blocks, in ascending order of UID.
#[derive(Clone, Default)]
pub struct Gather {
    blocks: Vec<Entry>,
    open: Block,
}

impl Gather {
    /// Adds a chunk; an empty one is left out.
    pub fn chunk(&mut self, rows: Arc<[Row]>) {
        self.open.push(rows);
        if self.open.pieces.len() >= FULL {
            self.close();
        }
    }

    /// Adds a block, which stays shared.
    pub fn block(&mut self, block: Arc<Block>) {
        self.close();
        push(&mut self.blocks, block);
    }

    /// The rows.
    #[must_use]
    pub fn finish(mut self) -> Rows {
        self.close();
        Rows::from_blocks(self.blocks)
    }

    fn close(&mut self) {
        let block = core::mem::take(&mut self.open);
        push(&mut self.blocks, Arc::new(block));
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} chunks, {} rows)", self.pieces.len(), self.len())
    }
}

impl fmt::Debug for Gather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Gather({} blocks, {} chunks)",
            self.blocks.len(),
            self.open.pieces.len()
        )
    }
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
