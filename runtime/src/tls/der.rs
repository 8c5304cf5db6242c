//! As much of DER (X.690 §8, §10) as is needed to read a certificate.

/// The tag and content of the first element, and what follows it.
pub(super) fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        let len = digits
            .iter()
            .fold(0, |len, digit| (len << 8) | usize::from(*digit));
        (len, rest)
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// The content of the first element, and what follows it.
pub(super) fn value(der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).map(|(_, content, rest)| (content, rest))
}

/// The contents of elements that follow each other, up to one that is none.
pub(super) fn values(mut der: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (content, rest) = value(der)?;
        der = rest;
        Some(content)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert_eq!(element(&[0x30, 2, 1, 2, 9]), Some((0x30, &[1, 2][..], &[9][..])));
        assert_eq!(value(&[0x30, 0x81, 1, 7]), Some((&[7][..], &[][..])));
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 2, 1],
            &[0x30, 0x82, 1],
            &[0x30, 0x85, 0, 0, 0, 0, 1, 7],
        ] {
            assert_eq!(element(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn elements_end_where_one_is_broken() {
        let found: Vec<_> = values(&[4, 1, 7, 4, 0, 4, 9, 1]).collect();
        assert_eq!(found, [&[7][..], &[]]);
    }
}
