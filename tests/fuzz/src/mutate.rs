//! Mutations of the committed corpus that are the same every time: what a fuzzer would find at once is found without one.

use std::fs;
use std::path::Path;

use rmail_core::random::Random;

use crate::targets::Target;

/// Octets that mean something to one target or another.
const WORDS: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b".",
    b"\r\n.\r\n",
    b"\0",
    b"\x01",
    b"<",
    b">",
    b"@",
    b"\"",
    b"\\",
    b"+3D",
    b"BDAT 3 LAST\r\n",
    b"DATA\r\n",
    b"RSET\r\n",
    b"=",
    b" ",
    b"\xff",
    b"--b\r\n",
    b"n,,n=a,r=b",
    b"&",
    b"-",
    b"*",
    b"{3}\r\n",
    b"{3+}\r\n",
    b"(",
    b")",
    b":",
    b",",
    b"0",
    b"4294967295",
    b"a NOOP\r\n",
    b"250 ok\r\n",
    b"=?utf-8?q?=C3?=",
    b"From ",
    b"%",
    b"[",
    b"\"\"",
    b"\r\n ",
];

/// Octets of an input that has grown by mutations.
const MAX_GROWN: usize = 2_000;

fn mutate(random: &mut Random, input: &[u8]) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=random.below(3) {
        let at = below(random, out.len() + 1);
        let end = (at + below(random, 8)).min(out.len());
        match random.below(5) {
            0 => drop(out.drain(at..end)),
            1 => {
                let copy = out[at..end].to_vec();
                drop(out.splice(at..at, copy));
            }
            2 => {
                let word = WORDS[below(random, WORDS.len())];
                drop(out.splice(at..end, word.iter().copied()));
            }
            3 => number(random, &mut out, at),
            _ => {
                if let Some(octet) = out.get_mut(at) {
                    *octet ^= 1 << random.below(8);
                }
            }
        }
    }
    out
}

/// The first decimal number from here on becomes the least of its length, the greatest, or the one before or after it: faults
/// sit at the ends of what a number may be.
fn number(random: &mut Random, out: &mut [u8], at: usize) {
    let Some(begin) = out[at..]
        .iter()
        .position(u8::is_ascii_digit)
        .map(|found| at + found)
    else {
        return;
    };
    let digits = out[begin..]
        .iter()
        .take_while(|octet| octet.is_ascii_digit())
        .count();
    let digits = &mut out[begin..begin + digits];
    match random.below(4) {
        0 => digits.fill(b'0'),
        1 => digits.fill(b'9'),
        2 => step(digits, b'9', b'0', |digit| digit + 1),
        _ => step(digits, b'0', b'9', |digit| digit - 1),
    }
}

/// One more or less: digits at their end become those at the other, up to the first that is not.
fn step(digits: &mut [u8], end: u8, other: u8, by_one: impl Fn(u8) -> u8) {
    for digit in digits.iter_mut().rev() {
        if *digit != end {
            *digit = by_one(*digit);
            return;
        }
        *digit = other;
    }
}

fn below(random: &mut Random, limit: usize) -> usize {
    usize::try_from(random.below(limit as u64)).expect("small")
}

/// Runs a target over its corpus, and over about so many mutations of it. Says how many inputs it was given.
///
/// # Panics
/// The target does, or it has no corpus.
pub fn over_corpus(corpus: &Path, name: &str, target: Target, mutations: u64, seed: u64) -> u64 {
    let mut random = Random::from_seed([u8::try_from(seed % 251).expect("small") ^ 9; 32]);
    let mut files: Vec<_> = fs::read_dir(corpus.join(name))
        .unwrap_or_else(|error| panic!("the corpus of {name}: {error}"))
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    target(b"");
    let mut done = 1;
    let each = mutations.div_ceil(files.len() as u64);
    for file in files {
        let whole = fs::read(&file).expect("a file of the corpus");
        target(&whole);
        let mut input = whole.clone();
        for _ in 0..each {
            let next = mutate(&mut random, &input);
            target(&next);
            // Now and then what has become of it is what is mutated further.
            if random.below(4) == 0 && next.len() < MAX_GROWN {
                input = next;
            }
            // What has been changed often is refused at its first octets.
            if random.below(16) == 0 {
                input.clone_from(&whole);
            }
        }
        done += each + 1;
    }
    done
}
