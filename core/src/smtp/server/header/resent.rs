//! The newest of the blocks of Resent fields.

/// The topmost block of Resent fields (RFC 5322 §3.6.6: each resending puts its fields before the others).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ResentBlock {
    /// One bit per field name that it has.
    fields: u8,
    /// It has ended.
    done: bool,
}

impl ResentBlock {
    const NAMES: [&'static str; 7] = [
        "resent-from",
        "resent-sender",
        "resent-date",
        "resent-message-id",
        "resent-to",
        "resent-cc",
        "resent-reply-to",
    ];
    const FROM: u8 = 1;
    const SENDER: u8 = 2;
    const DATE: u8 = 4;
    const MESSAGE_ID: u8 = 8;

    /// A field begins; whether the block ends in front of it. That is where a name comes again, or behind its
    /// Resent-From where others follow.
    pub(super) fn field(&mut self, name: &str) -> bool {
        let place = Self::NAMES.iter().position(|known| *known == name);
        let bit = place.map_or(0, |place| 1_u8 << place);
        let ends = if bit == 0 {
            self.fields & Self::FROM != 0
        } else {
            self.fields & bit != 0
        };
        if ends || self.done {
            return self.end();
        }
        self.fields |= bit;
        false
    }

    /// The header ends; whether the block does.
    pub(super) fn end(&mut self) -> bool {
        !core::mem::replace(&mut self.done, true)
    }

    /// What follows is not of the block.
    pub(super) fn is_done(self) -> bool {
        self.done
    }

    pub(super) fn has_from(self) -> bool {
        self.fields & Self::FROM != 0
    }

    pub(super) fn has_sender(self) -> bool {
        self.fields & Self::SENDER != 0
    }

    pub(super) fn has_date(self) -> bool {
        self.fields & Self::DATE != 0
    }

    pub(super) fn has_message_id(self) -> bool {
        self.fields & Self::MESSAGE_ID != 0
    }
}
