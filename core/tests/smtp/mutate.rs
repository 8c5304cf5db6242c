//! Mutations of the committed corpus that are the same every time.

use std::fs;
use std::path::Path;

use rmail_core::random::Random;

/// Octets that mean something to one target or another.
const WORDS: [&[u8]; 20] = [
    b"\r\n",
    b"\n",
    b"\r",
    b".",
    b"\r\n.\r\n",
    b"\0",
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
];

/// Mutations of each input.
const MUTATIONS: u64 = 400;

fn mutate(random: &mut Random, input: &[u8]) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=random.below(3) {
        let at = usize::try_from(random.below(out.len() as u64 + 1)).expect("small");
        let end = (at + usize::try_from(random.below(8)).expect("small")).min(out.len());
        match random.below(4) {
            0 => drop(out.drain(at..end)),
            1 => {
                let copy = out[at..end].to_vec();
                drop(out.splice(at..at, copy));
            }
            2 => {
                let word = WORDS[usize::try_from(random.below(WORDS.len() as u64)).expect("small")];
                drop(out.splice(at..end, word.iter().copied()));
            }
            _ => {
                if let Some(octet) = out.get_mut(at) {
                    *octet ^= 1 << random.below(8);
                }
            }
        }
    }
    out
}

/// Runs a target over its corpus and over mutations of it.
#[expect(clippy::disallowed_methods, reason = "the corpus lies in files")]
pub fn over_corpus(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut random = Random::from_seed([9; 32]);
    let mut files: Vec<_> = fs::read_dir(corpus.join(name))
        .unwrap_or_else(|error| panic!("the corpus of {name}: {error}"))
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    target(b"");
    for file in files {
        let mut input = fs::read(&file).expect("a file of the corpus");
        target(&input);
        for _ in 0..MUTATIONS {
            let next = mutate(&mut random, &input);
            target(&next);
            // Now and then what has become of it is what is mutated further.
            if random.below(4) == 0 && next.len() < 2_000 {
                input = next;
            }
        }
    }
}
