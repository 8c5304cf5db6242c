//! Rights to a mailbox (RFC 4314 §2.1).

use core::fmt;

use super::{FlagChange, FlagOp, Flags, SystemFlags};

/// A set of rights.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rights(u16);

impl Rights {
    /// None.
    pub const NONE: Self = Self(0);
    /// `l`: it is seen by LIST and LSUB.
    pub const LOOKUP: Self = Self(1);
    /// `r`: SELECT, STATUS.
    pub const READ: Self = Self(1 << 1);
    /// `s`: `\Seen`.
    pub const SEEN: Self = Self(1 << 2);
    /// `w`: flags other than `\Seen` and `\Deleted`.
    pub const WRITE: Self = Self(1 << 3);
    /// `i`: APPEND, COPY into it.
    pub const INSERT: Self = Self(1 << 4);
    /// `p`: mail may be sent to it; nothing depends on it here.
    pub const POST: Self = Self(1 << 5);
    /// `k`: CREATE below it, RENAME to below it.
    pub const CREATE: Self = Self(1 << 6);
    /// `x`: DELETE, RENAME.
    pub const DELETE: Self = Self(1 << 7);
    /// `t`: `\Deleted`.
    pub const DELETED: Self = Self(1 << 8);
    /// `e`: EXPUNGE.
    pub const EXPUNGE: Self = Self(1 << 9);
    /// `a`: SETACL, DELETEACL, GETACL, LISTRIGHTS.
    pub const ADMINISTER: Self = Self(1 << 10);
    /// All: what an owner has.
    pub const ALL: Self = Self((1 << 11) - 1);
    /// Those that change flags.
    pub const FLAGS: Self = Self(Self::SEEN.0 | Self::WRITE.0 | Self::DELETED.0);
    /// One of them makes a selected mailbox READ-WRITE (RFC 4314 §5.2): flags are shared here.
    pub const CHANGES: Self = Self(Self::FLAGS.0 | Self::INSERT.0 | Self::EXPUNGE.0);
    /// One of them lets MYRIGHTS be asked (RFC 4314 §4).
    pub const ANY: Self = Self(
        Self::LOOKUP.0 | Self::READ.0 | Self::INSERT.0 | Self::CREATE.0 | Self::DELETE.0 | Self::ADMINISTER.0,
    );

    /// Each with its letter, in the order in which we print them.
    pub const LETTERS: [(char, Self); 11] = [
        ('l', Self::LOOKUP),
        ('r', Self::READ),
        ('s', Self::SEEN),
        ('w', Self::WRITE),
        ('i', Self::INSERT),
        ('p', Self::POST),
        ('k', Self::CREATE),
        ('x', Self::DELETE),
        ('t', Self::DELETED),
        ('e', Self::EXPUNGE),
        ('a', Self::ADMINISTER),
    ];

    /// What RFC 2086 called `c` (RFC 4314 §2.1.1).
    const OLD_CREATE: Self = Self(Self::CREATE.0 | Self::DELETE.0);
    /// What RFC 2086 called `d`.
    const OLD_DELETE: Self = Self(Self::DELETED.0 | Self::EXPUNGE.0);

    /// Reads letters; `c` and `d` stand for what they were divided into.
    ///
    /// # Errors
    /// A letter that is no right.
    pub fn parse(letters: &str) -> Result<Self, char> {
        let mut rights = Self::NONE;
        for letter in letters.chars() {
            let known = Self::LETTERS.iter().find(|(known, _)| *known == letter);
            rights = rights.with(match (letter, known) {
                (_, Some((_, right))) => *right,
                ('c', None) => Self::OLD_CREATE,
                ('d', None) => Self::OLD_DELETE,
                (other, None) => return Err(other),
            });
        }
        Ok(rights)
    }

    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether one of `other` is in it.
    #[must_use]
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// With those of `other` too.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As it is kept: one letter for each.
    #[must_use]
    pub fn letters(self) -> String {
        let each = Self::LETTERS.iter().filter(|(_, right)| self.contains(*right));
        each.map(|(letter, _)| *letter).collect()
    }

    /// As responses have it: with `c` and `d` for clients of RFC 2086 when one of their parts is there
    /// (RFC 4314 §2.1.1).
    #[must_use]
    pub fn shown(self) -> String {
        let mut text = self.without(Self::ADMINISTER).letters();
        if self.has_any(Self::OLD_CREATE) {
            text.push('c');
        }
        if self.has_any(Self::OLD_DELETE) {
            text.push('d');
        }
        if self.contains(Self::ADMINISTER) {
            text.push('a');
        }
        text
    }

    /// The system flags that may be changed (RFC 4314 §4).
    #[must_use]
    pub fn system_flags(self) -> SystemFlags {
        let when = |right, flags| {
            if self.contains(right) {
                flags
            } else {
                SystemFlags::default()
            }
        };
        let others = SystemFlags::ALL.without(SystemFlags::SEEN.with(SystemFlags::DELETED));
        when(Self::SEEN, SystemFlags::SEEN)
            .with(when(Self::DELETED, SystemFlags::DELETED))
            .with(when(Self::WRITE, others))
    }

    /// Those of the flags that may be given.
    #[must_use]
    pub fn permitted(self, flags: Flags) -> Flags {
        let allowed = self.system_flags();
        Flags {
            system: SystemFlags(flags.system.0 & allowed.0),
            keywords: if self.contains(Self::WRITE) {
                flags.keywords
            } else {
                Vec::new()
            },
        }
    }

    /// Whether a change of flags concerns one that may be changed.
    #[must_use]
    pub fn permit_some(self, change: &FlagChange) -> bool {
        if change.op == FlagOp::Replace {
            return self.has_any(Self::FLAGS);
        }
        let flags = self.permitted(change.flags.clone());
        let asked_nothing = change.flags.system.0 == 0 && change.flags.keywords.is_empty();
        flags.system.0 != 0 || !flags.keywords.is_empty() || (asked_nothing && self.has_any(Self::FLAGS))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({})", self.letters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Keyword;
    use proptest::prelude::*;

    #[test]
    fn letters_of_old_stand_for_several() {
        let parse = |text| Rights::parse(text).map(Rights::shown);
        assert_eq!(parse("lrswida").as_deref(), Ok("lrswiteda"));
        assert_eq!(parse("lrswikda").as_deref(), Ok("lrswiktecda"));
        assert_eq!(parse("cd").as_deref(), Ok("kxtecd"));
        assert_eq!(parse("").as_deref(), Ok(""));
        assert_eq!(parse("lrQ"), Err('Q'));
        assert_eq!(parse("lrq"), Err('q'));
        assert_eq!(Rights::ALL.shown(), "lrswipkxtecda");
    }

    #[test]
    fn flags_are_given_as_far_as_rights_go() {
        let flags = |system| Flags {
            system,
            keywords: vec![Keyword::new("$Forwarded").expect("atom")],
        };
        let all = flags(SystemFlags::ALL);
        let with = |letters| Rights::parse(letters).expect("rights").permitted(all.clone());
        assert_eq!(with("s").system, SystemFlags::SEEN);
        assert!(with("st").keywords.is_empty());
        assert_eq!(
            with("rwis").system,
            SystemFlags::ALL.without(SystemFlags::DELETED)
        );
        assert_eq!(with("swt"), all);
        let change = |op, flags| FlagChange { op, flags };
        let seen = Rights::SEEN;
        assert!(seen.permit_some(&change(FlagOp::Add, all.clone())));
        assert!(!seen.permit_some(&change(FlagOp::Remove, flags(SystemFlags::DRAFT))));
        assert!(seen.permit_some(&change(FlagOp::Replace, Flags::default())));
        assert!(!Rights::READ.permit_some(&change(FlagOp::Replace, Flags::default())));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bits in 0_u16..(1 << 11)) {
            let rights = Rights(bits);
            prop_assert_eq!(Rights::parse(&rights.letters()), Ok(rights));
        }
    }
}
