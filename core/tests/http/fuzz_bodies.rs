//! The bodies of the fuzz targets for HTTP over the committed corpus and over mutations of it.

use crate::host as http_host;
use crate::mutate::over_corpus;

#[allow(unreachable_pub, reason = "public where it is a crate")]
#[path = "../../../fuzz/src/http.rs"]
mod http;

#[test]
fn no_input_breaks_a_fuzz_target() {
    for (name, target) in http::TARGETS {
        over_corpus(name, target);
    }
}
