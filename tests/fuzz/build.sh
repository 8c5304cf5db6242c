#!/bin/sh
# Builds the fuzzer's program without cargo-fuzz, with the toolchain at hand: a stable one can do it, and a C++ compiler is
# needed. It has no address sanitizer: there is no unsafe code. Prints where the program is.
set -eu
cd "$(dirname "$0")"
target="${CARGO_TARGET_DIR:-$PWD/target}"
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cpanic=unwind" \
  cargo build --quiet --release --bin any --target "$host" --target-dir "$target"
echo "$target/$host/release/any"
