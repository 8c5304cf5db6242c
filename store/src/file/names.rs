//! Names of message files: a pure function of the row and its keyword bitmap.
//!
//! ```text
//! name      = uid "." date zone "." size "." savedate "." modseq "." flags "." keywords ".eml"
//! uid       = 10DIGIT                  ; 1 to 4294967295, with leading zeros
//! date      = ["-"] number             ; INTERNALDATE, seconds since 1970
//! zone      = ( "+" / "-" ) 4DIGIT     ; its zone, minutes east of UTC, at most 1439; never "-0000"
//! size      = number                   ; octets, below 2^32
//! savedate  = number                   ; SAVEDATE, seconds since 1970, below 2^32
//! modseq    = number                   ; 1 to 2^62 - 1
//! flags     = "-" / 1*( "a" / "f" / "t" / "s" / "d" )
//!                                      ; \Answered \Flagged \Deleted \Seen \Draft, each at most once, in this order
//! keywords  = 1*64( DIGIT / "a"-"f" )  ; bitmap: bit n is line n of the file `keywords`
//! number    = "0" / ( %x31-39 *DIGIT ) ; keywords likewise: no leading zeros
//! ```
//!
//! A name has at most 153 octets. Lower case only, so that it stays one name where case does not count. What is not
//! exactly of this form is no message.

use rmail_core::mailbox::{KeywordSet, ModSeq, Row, SystemFlags, Uid};

/// No MODSEQ is given from here on. Names with one of this or above are refused: one that a stranger wrote must not use up
/// all that there are.
pub const LAST_MODSEQ: u64 = 1 << 62;

/// Letters of the system flags, in the order of their bits.
const LETTERS: [(SystemFlags, u8); 5] = [
    (SystemFlags::ANSWERED, b'a'),
    (SystemFlags::FLAGGED, b'f'),
    (SystemFlags::DELETED, b't'),
    (SystemFlags::SEEN, b's'),
    (SystemFlags::DRAFT, b'd'),
];

/// Minutes of a day: zones are below.
const ZONES: u16 = 1_440;

/// The file name of a row with this keyword bitmap (the row's own `keywords` is an index, and not looked at).
#[must_use]
pub fn encode(row: &Row, keywords: [u64; 4]) -> String {
    let mut name = String::with_capacity(160);
    push_decimal(&mut name, u64::from(row.uid.0), 10);
    name.push('.');
    if row.date < 0 {
        name.push('-');
    }
    push_decimal(&mut name, row.date.unsigned_abs(), 1);
    name.push(if row.zone < 0 { '-' } else { '+' });
    push_decimal(&mut name, u64::from(row.zone.unsigned_abs()), 4);
    for number in [u64::from(row.size), u64::from(row.save_date), row.modseq.0] {
        name.push('.');
        push_decimal(&mut name, number, 1);
    }
    name.push('.');
    let before = name.len();
    for (flag, letter) in LETTERS {
        if row.flags.contains(flag) {
            name.push(char::from(letter));
        }
    }
    if name.len() == before {
        name.push('-');
    }
    name.push('.');
    push_hex(&mut name, keywords);
    name.push_str(".eml");
    name
}

/// At least so many decimal digits, without the machinery of `format!`: names are made for every change.
fn push_decimal(name: &mut String, mut number: u64, least: usize) {
    let mut digits = [b'0'; 20];
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        if number == 0 && count >= least {
            break;
        }
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        count += 1;
    }
    let digits = digits.get(digits.len() - count..).unwrap_or_default();
    name.extend(digits.iter().copied().map(char::from));
}

fn push_hex(name: &mut String, words: [u64; 4]) {
    let mut begun = false;
    for word in words.iter().rev() {
        if *word == 0 && !begun {
            continue;
        }
        for shift in (0..16).rev() {
            let digit = (word >> (shift * 4)) & 15;
            if digit != 0 || begun {
                begun = true;
                name.push(char::from_digit(u32::try_from(digit).unwrap_or(0), 16).unwrap_or('0'));
            }
        }
    }
    if !begun {
        name.push('0');
    }
}

/// The row (with no keywords) and the keyword bitmap of a file name. `None`: it is no message name.
#[must_use]
pub fn decode(name: &str) -> Option<(Row, [u64; 4])> {
    let mut parts = name.strip_suffix(".eml")?.split('.');
    let uid = parts.next().filter(|uid| uid.len() == 10)?;
    let uid = u32::try_from(digits(uid)?).ok().filter(|uid| *uid != 0)?;
    let (date, zone) = date(parts.next()?)?;
    let size = u32::try_from(number(parts.next()?)?).ok()?;
    let save_date = u32::try_from(number(parts.next()?)?).ok()?;
    let modseq = number(parts.next()?).filter(|modseq| (1..LAST_MODSEQ).contains(modseq))?;
    let flags = flags(parts.next()?)?;
    let keywords = hex(parts.next()?)?;
    let row = Row {
        date,
        modseq: ModSeq(modseq),
        keywords: KeywordSet(0),
        uid: Uid(uid),
        size,
        save_date,
        zone,
        flags,
    };
    parts.next().is_none().then_some((row, keywords))
}

/// The UID of what is a message name by its beginning; cheaper than [`decode`].
#[must_use]
pub fn uid_of(name: &str) -> Option<Uid> {
    let (uid, _) = name.split_once('.').filter(|(uid, _)| uid.len() == 10)?;
    u32::try_from(digits(uid)?).ok().map(Uid)
}

fn digits(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u64, |number, octet| {
        let digit = octet.is_ascii_digit().then(|| u64::from(octet - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A number without leading zeros.
fn number(text: &str) -> Option<u64> {
    if text.len() > 1 && text.starts_with('0') {
        return None;
    }
    digits(text)
}

fn date(text: &str) -> Option<(i64, i16)> {
    let (date, zone) = text.split_at_checked(text.len().checked_sub(5)?)?;
    let date = match date.strip_prefix('-') {
        Some(date) => 0_i64.checked_sub_unsigned(number(date).filter(|date| *date != 0)?)?,
        None => i64::try_from(number(date)?).ok()?,
    };
    let (sign, minutes) = zone.split_at_checked(1)?;
    let minutes = u16::try_from(digits(minutes)?)
        .ok()
        .filter(|minutes| *minutes < ZONES)?;
    let minutes = i16::try_from(minutes).ok()?;
    match sign {
        "+" => Some((date, minutes)),
        "-" if minutes != 0 => Some((date, -minutes)),
        _ => None,
    }
}

fn flags(text: &str) -> Option<SystemFlags> {
    if text == "-" {
        return Some(SystemFlags::default());
    }
    let mut letters = text.bytes().peekable();
    letters.peek()?;
    let mut flags = SystemFlags::default();
    for (flag, letter) in LETTERS {
        if letters.next_if_eq(&letter).is_some() {
            flags = flags.with(flag);
        }
    }
    letters.next().is_none().then_some(flags)
}

fn hex(text: &str) -> Option<[u64; 4]> {
    if text.is_empty() || text.len() > 64 || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    let mut words = [0_u64; 4];
    for (at, octet) in text.bytes().rev().enumerate() {
        let digit = match octet {
            b'0'..=b'9' => octet - b'0',
            b'a'..=b'f' => octet - b'a' + 10,
            _ => return None,
        };
        *words.get_mut(at / 16)? |= u64::from(digit) << (at % 16 * 4);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_says_all_of_a_row() {
        let row = Row {
            date: -1,
            modseq: ModSeq(77),
            keywords: KeywordSet(0),
            uid: Uid(42),
            size: 1_234,
            save_date: 9,
            zone: -90,
            flags: SystemFlags::SEEN.with(SystemFlags::DELETED),
        };
        let name = "0000000042.-1-0090.1234.9.77.ts.1000000000000000a.eml";
        assert_eq!(encode(&row, [10, 1, 0, 0]), name);
        assert_eq!(decode(name), Some((row, [10, 1, 0, 0])));
        assert_eq!(uid_of(name), Some(Uid(42)));
    }

    #[test]
    fn other_names_are_no_messages() {
        assert!(decode("0000000001.0+0000.0.0.1.-.0.eml").is_some());
        for bad in [
            "",
            ".eml",
            "1.0+0000.0.0.1.-.0.eml",
            "0000000000.0+0000.0.0.1.-.0.eml",
            "9999999999.0+0000.0.0.1.-.0.eml",
            "0000000001.0+0000.0.0.0.-.0.eml",
            "0000000001.0+0000.0.0.4611686018427387904.-.0.eml",
            "0000000001.-0+0000.0.0.1.-.0.eml",
            "0000000001.0-0000.0.0.1.-.0.eml",
            "0000000001.0+1440.0.0.1.-.0.eml",
            "0000000001.0+0000.00.0.1.-.0.eml",
            "0000000001.0+0000.+1.0.1.-.0.eml",
            "0000000001.0+0000.4294967296.0.1.-.0.eml",
            "0000000001.0+0000.0.0.1.sa.0.eml",
            "0000000001.0+0000.0.0.1.ss.0.eml",
            "0000000001.0+0000.0.0.1..0.eml",
            "0000000001.0+0000.0.0.1.-.00.eml",
            "0000000001.0+0000.0.0.1.-.A.eml",
            "0000000001.0+0000.0.0.1.-.0.0.eml",
            "0000000001.0+0000.0.0.1.-.eml",
            "0000000001.0+0000.0.0.1.-.0.EML",
            "0000000001.0+0000.0.0.1.-.0.eml~",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    fn any_row() -> impl Strategy<Value = (Row, [u64; 4])> {
        let numbers = (any::<i64>(), -1_439_i16..1_440, any::<u32>(), any::<u32>());
        let rest = (1_u64..LAST_MODSEQ, 1_u32.., 0_u8..32, any::<[u64; 4]>());
        (numbers, rest).prop_map(|((date, zone, size, save_date), (modseq, uid, flags, bits))| {
            let row = Row {
                date,
                modseq: ModSeq(modseq),
                keywords: KeywordSet(0),
                uid: Uid(uid),
                size,
                save_date,
                zone,
                flags: SystemFlags(flags),
            };
            (row, bits)
        })
    }

    proptest! {
        #[test]
        fn every_row_has_a_short_name_that_gives_it_back((row, bits) in any_row()) {
            let name = encode(&row, bits);
            prop_assert!(name.len() <= 160);
            prop_assert_eq!(name.to_lowercase(), name.clone());
            prop_assert_eq!(uid_of(&name), Some(row.uid));
            prop_assert_eq!(decode(&name), Some((row, bits)));
        }

        #[test]
        fn what_decodes_is_what_we_write(name in "0000000[0-9]{3}\\.-?[0-9]{1,3}[+-][01][0-9]{3}(\\.[0-9]{1,2}){3}\\.[afts-]{1,3}\\.[0-9a-f]{1,3}\\.eml") {
            if let Some((row, bits)) = decode(&name) {
                prop_assert_eq!(encode(&row, bits), name);
            }
        }
    }
}
