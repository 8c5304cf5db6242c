//! What nobody else has in names: when a diagnosis began, and letters that nobody has used before.

use rmail_core::time::Unix;

use crate::entropy;

/// Each stands for five bits: no `l` and no `o`, which look like digits.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters that hold the second in which a diagnosis began: good until the year 3058.
const TIME: usize = 7;
/// Letters of a mark.
pub(super) const LEN: usize = 12;
/// Seconds since 1970: before the year 2025 no diagnosis made marks, so what looks like an older one is none.
const FIRST: u64 = 1_735_689_600;

/// So many random letters and digits.
pub(super) fn random(count: usize) -> String {
    let mut random = entropy::random();
    (0..count).map(|_| letter(random.next_u64())).collect()
}

/// The mark of a diagnosis that begins now.
pub(super) fn new(now: Unix) -> String {
    let time: String = (0..TIME)
        .rev()
        .map(|place| letter(now.secs() >> (5 * place)))
        .collect();
    time + &random(LEN - TIME)
}

/// When the diagnosis of a mark began; `None`: it is no mark.
pub(super) fn begun(mark: &str) -> Option<Unix> {
    if mark.len() != LEN {
        return None;
    }
    let mut seconds = 0;
    for (at, octet) in mark.bytes().enumerate() {
        let value = LETTERS.iter().position(|letter| *letter == octet)?;
        if at < TIME {
            seconds = seconds << 5 | u64::try_from(value).ok()?;
        }
    }
    (seconds >= FIRST).then_some(Unix::from_secs(seconds))
}

fn letter(bits: u64) -> char {
    char::from(LETTERS[usize::try_from(bits & 31).unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_when_it_was_made() {
        let now = Unix::from_secs(1_790_000_000);
        let mark = new(now);
        assert_eq!((mark.len(), begun(&mark)), (12, Some(now)));
        assert_ne!(mark, new(now), "nobody else has it");
        for none in [
            "",
            "abcdefghijkm",
            "lllllllllllo",
            &mark[1..],
            &format!("{mark}a"),
        ] {
            assert_eq!(begun(none), None, "{none:?}");
        }
    }
}
