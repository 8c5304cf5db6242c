//! The bodies of the fuzz targets over the committed corpus and over mutations of it that are the same every time: what a
//! fuzzer would find at once is found without one.

#[allow(unreachable_pub, reason = "public where it is a crate")]
#[path = "../../../fuzz/src/bodies.rs"]
mod bodies;

use crate::mutate::over_corpus;

#[test]
fn no_input_breaks_a_fuzz_target() {
    for (name, target) in bodies::TARGETS {
        over_corpus(name, target);
    }
}
