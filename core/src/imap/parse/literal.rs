//! Heads of literals: `{n}`, `{n+}` (RFC 7888), `~{n}` (RFC 3516), at the end of a line.

/// What a literal's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Octets; `None`: a number that no literal can have (over 2⁶³−1, RFC 9051 §9, number64).
    pub(super) size: Option<u64>,
    /// The client waits for `+` before it sends the octets.
    pub(super) synchronising: bool,
}

/// Digits that are read: with more it is no head, so that it is found within the last [`MAX_HEAD`] octets of a line.
const MAX_DIGITS: usize = 40;

/// Octets of a head with its line end.
pub(super) const MAX_HEAD: usize = MAX_DIGITS + 5;

/// Reads a head that begins with `{` and the line end behind it: the head, and the octets that both have.
pub(super) fn head(octets: &[u8]) -> Option<(Head, usize)> {
    let rest = octets.strip_prefix(b"{")?;
    let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits)?;
    if number.is_empty() || digits > MAX_DIGITS {
        return None;
    }
    let (synchronising, rest) = match rest.strip_prefix(b"+") {
        Some(rest) => (false, rest),
        None => (true, rest),
    };
    let rest = rest.strip_prefix(b"}")?;
    let rest = rest.strip_prefix(b"\r").unwrap_or(rest).strip_prefix(b"\n")?;
    let size = number
        .iter()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .filter(|size| *size <= i64::MAX.unsigned_abs());
    let head = Head { size, synchronising };
    Some((head, octets.len() - rest.len()))
}

/// The head at the end of a line (its line end included).
pub(super) fn at_end(line: &[u8]) -> Option<Head> {
    let tail = line.get(line.len().saturating_sub(MAX_HEAD)..)?;
    let open = memchr::memrchr(b'{', tail)?;
    let from = tail.get(open..)?;
    head(from)
        .filter(|(_, used)| *used == from.len())
        .map(|(head, _)| head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_at_the_end_of_lines() {
        let found = |line: &str| at_end(line.as_bytes()).map(|head| (head.size, head.synchronising));
        assert_eq!(found("a {3}\r\n"), Some((Some(3), true)));
        assert_eq!(found("a {3+}\n"), Some((Some(3), false)));
        assert_eq!(found("a ~{0+}\r\n"), Some((Some(0), false)));
        assert_eq!(found("{4294967295}\r\n"), Some((Some(4_294_967_295), true)));
        assert_eq!(found("{99999999999999999999+}\r\n"), Some((None, false)));
        assert_eq!(found("{9223372036854775808}\r\n"), Some((None, true)));
        assert_eq!(
            found(&format!("{{{}7}}\r\n", "0".repeat(39))),
            Some((Some(7), true))
        );
        for none in [
            "a\r\n",
            "{}\r\n",
            "{+}\r\n",
            "{3} \r\n",
            "{-3}\r\n",
            "{3}\r\r\n",
            "3}\r\n",
            "{3++}\r\n",
            "",
        ] {
            assert_eq!(found(none), None, "{none:?}");
        }
        assert_eq!(found(&format!("{{{}7}}\r\n", "0".repeat(40))), None);
    }
}
