//! The file `status.json` of a mailbox: what must survive a power cut. A directory with one is a mailbox, without one a
//! level that only has children.
//!
//! ```json
//! {"version":1,"uid_validity":1700000000,"id":1700000000,"uid_ceiling":1001,"modseq_ceiling":1048577,
//!  "floor":0,"dirty":false,"gone":false,"special_use":["\\Drafts"]}
//! ```
//!
//! * `uid_ceiling`: every UID in use is below it; no other UID was ever told as UIDNEXT above it.
//! * `modseq_ceiling`: every MODSEQ in use is below it.
//! * `floor`: no message's MODSEQ counts as lower. Set to `modseq_ceiling` after a power cut that may have lost flag
//!   changes which clients were told.
//! * `dirty`: there may be flag changes that are not synced.
//! * `gone`: DELETE has decided; what is left of the mailbox goes away with the next CREATE.
//!
//! It is replaced whole (temporary file, sync, rename, sync of the directory) under the naming lock, before the first
//! number beyond a ceiling is used. Unknown fields are refused, so that an older program does not drop what a newer one
//! wrote.

use rmail_core::mailbox::{MailboxId, ModSeq, SpecialUse, UidValidity};
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// Identity.
    pub id: MailboxId,
    /// UIDs in use are below.
    pub uid_ceiling: u32,
    /// MODSEQs in use are below.
    pub modseq_ceiling: ModSeq,
    /// MODSEQs count as at least this.
    pub floor: ModSeq,
    /// Flag changes may be unsynced.
    pub dirty: bool,
    /// Deleted, with children left.
    pub gone: bool,
    /// Its uses.
    pub special_use: Vec<SpecialUse>,
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    uid_validity: u32,
    id: u32,
    uid_ceiling: u32,
    modseq_ceiling: u64,
    floor: u64,
    dirty: bool,
    gone: bool,
    special_use: Vec<String>,
}

const VERSION: u32 = 1;

impl Status {
    /// What stands for a file that has not been read.
    pub(super) const fn none() -> Self {
        Self {
            uid_validity: UidValidity(0),
            id: MailboxId(0),
            uid_ceiling: 1,
            modseq_ceiling: ModSeq(0),
            floor: ModSeq(0),
            dirty: false,
            gone: false,
            special_use: Vec::new(),
        }
    }

    /// A new mailbox with this UIDVALIDITY.
    #[must_use]
    pub fn new(uid_validity: UidValidity, special_use: Vec<SpecialUse>) -> Self {
        Self {
            uid_validity,
            id: MailboxId(uid_validity.0),
            uid_ceiling: 1,
            modseq_ceiling: ModSeq(1),
            floor: ModSeq(0),
            dirty: false,
            gone: false,
            special_use,
        }
    }

    /// The file's octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let form = Form {
            version: VERSION,
            uid_validity: self.uid_validity.0,
            id: self.id.0,
            uid_ceiling: self.uid_ceiling,
            modseq_ceiling: self.modseq_ceiling.0,
            floor: self.floor.0,
            dirty: self.dirty,
            gone: self.gone,
            special_use: self
                .special_use
                .iter()
                .map(|special| special.attribute().to_owned())
                .collect(),
        };
        // Plain numbers and texts: this cannot fail, and an empty file would be rebuilt.
        serde_json::to_vec(&form).unwrap_or_default()
    }

    /// Reads the file's octets.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let form: Form = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if form.version != VERSION {
            return Err(format!("version {} is not known", form.version));
        }
        if form.uid_validity == 0 || form.id == 0 || form.uid_ceiling == 0 || form.modseq_ceiling >> 63 != 0 {
            return Err("a number is out of range".to_owned());
        }
        let special_use = form
            .special_use
            .iter()
            .map(|name| SpecialUse::from_attribute(name).ok_or_else(|| format!("{name} is no special use")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            uid_validity: UidValidity(form.uid_validity),
            id: MailboxId(form.id),
            uid_ceiling: form.uid_ceiling,
            modseq_ceiling: ModSeq(form.modseq_ceiling),
            floor: ModSeq(form.floor),
            dirty: form.dirty,
            gone: form.gone,
            special_use,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_comes_back_and_what_is_wrong_is_said() {
        let status = Status {
            dirty: true,
            floor: ModSeq(7),
            ..Status::new(UidValidity(1_700_000_000), vec![SpecialUse::Drafts])
        };
        let bytes = status.encode();
        assert_eq!(Status::decode(&bytes), Ok(status));
        let text = String::from_utf8(bytes).expect("JSON");
        assert_eq!(
            text,
            r#"{"version":1,"uid_validity":1700000000,"id":1700000000,"uid_ceiling":1,"modseq_ceiling":1,"floor":7,"dirty":true,"gone":false,"special_use":["\\Drafts"]}"#
        );
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"version\":1", "\"version\":1,\"more\":1"),
            ("\"uid_ceiling\":1,", ""),
            ("\"uid_ceiling\":1,", "\"uid_ceiling\":0,"),
            ("Drafts", "All"),
            ("}", ""),
        ] {
            assert!(Status::decode(text.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
