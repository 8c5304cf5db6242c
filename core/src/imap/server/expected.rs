//! A change of flags in the terms of rows: what a client reckons with.

use crate::mailbox::{FlagChange, FlagOp, Keywords, SystemFlags};

/// System flags, and keywords as bits.
type Bits = (SystemFlags, [u64; 4]);

/// A change of flags with its keywords as bits.
#[derive(Debug)]
pub(super) struct Expected {
    op: FlagOp,
    system: SystemFlags,
    keywords: [u64; 4],
    /// Keywords that the mailbox does not have.
    unknown: bool,
}

impl Expected {
    pub(super) fn new(change: &FlagChange, keywords: &Keywords) -> Self {
        let mut bits = [0_u64; 4];
        let mut unknown = false;
        for keyword in &change.flags.keywords {
            match keywords
                .bit(keyword)
                .map(|bit| (bits.get_mut(bit / 64), bit % 64))
            {
                Some((Some(word), bit)) => *word |= 1 << bit,
                _ => unknown = true,
            }
        }
        Self {
            op: change.op,
            system: change.flags.system,
            keywords: bits,
            unknown,
        }
    }

    /// The flags of a message once it is done.
    pub(super) fn apply(&self, system: SystemFlags, mut bits: [u64; 4]) -> Bits {
        match self.op {
            FlagOp::Replace => (self.system, self.keywords),
            FlagOp::Add => {
                bits.iter_mut().zip(self.keywords).for_each(|(a, b)| *a |= b);
                (system.with(self.system), bits)
            }
            FlagOp::Remove => {
                bits.iter_mut().zip(self.keywords).for_each(|(a, b)| *a &= !b);
                (system.without(self.system), bits)
            }
        }
    }

    /// Those of a message's flags that it names.
    pub(super) fn of(&self, system: SystemFlags, mut bits: [u64; 4]) -> Bits {
        bits.iter_mut().zip(self.keywords).for_each(|(a, b)| *a &= b);
        (SystemFlags(system.0 & self.system.0), bits)
    }

    /// Whether it names keywords, and nothing else.
    pub(super) fn is_of_keywords(&self) -> bool {
        self.system == SystemFlags::default() && (self.unknown || self.keywords != [0; 4])
    }
}
