//! What a peer said, as a log may show it.

/// Text of a peer for a log: printable ASCII, bounded.
pub(super) fn printable(text: &[u8]) -> String {
    const MAX: usize = 400;
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| HEX.get(usize::from(value)).map_or('0', |&b| char::from(b));
    let mut shown = String::with_capacity(text.len().min(MAX));
    for &octet in text.iter().take(MAX) {
        if matches!(octet, b' '..=b'~') {
            shown.push(char::from(octet));
        } else {
            shown.extend(['\\', 'x', digit(octet >> 4), digit(octet & 15)]);
        }
    }
    if text.len() > MAX {
        shown.push('…');
    }
    shown
}
