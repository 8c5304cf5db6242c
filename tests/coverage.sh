#!/usr/bin/env bash
# Which lines of core and store the tests run: builds them with counters, runs the tests of both crates and the fuzzer's gate,
# and prints a table of modules. Needs llvm-tools of the toolchain at hand (`rustup component add llvm-tools`).
#
#     tests/coverage.sh [DIRECTORY]        # builds in DIRECTORY, or target/coverage
#     RMAIL_COVERAGE="-p rmail-core" tests/coverage.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${1:-$PWD/target/coverage}"
tools=$(dirname "$(find "$(rustc --print sysroot)/lib/rustlib" -name llvm-profdata | head -1)")
[ -x "$tools/llvm-cov" ] || { echo "llvm-tools are missing: rustup component add llvm-tools" >&2; exit 1; }
mkdir -p "$CARGO_TARGET_DIR/profiles"
# Only our own crates are counted; the others are built once.
wrapper="$CARGO_TARGET_DIR/wrapper.sh"
printf '#!/bin/sh\nexec "$@" -Cinstrument-coverage\n' >"$wrapper"
chmod +x "$wrapper"
export RUSTC_WORKSPACE_WRAPPER="$wrapper"
export LLVM_PROFILE_FILE="$CARGO_TARGET_DIR/profiles/%p-%m.profraw"
rm -f "$CARGO_TARGET_DIR"/profiles/*
packages="rmail-core rmail-store rmail-conformance"
if [ -z "${RMAIL_COVERAGE:-}" ]; then
  # All in one call, so that nothing is built twice with other features. Of the other tests only the gate counts: worlds take
  # long, and say little of lines.
  names=$(cargo metadata --no-deps --format-version 1 | PACKAGES="$packages" python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] in os.environ["PACKAGES"].split():
        print(*("--test " + target["name"] for target in package["targets"] if "test" in target["kind"]))
')
  what="$(printf -- '-p %s ' $packages) -p rmail-tests --lib --test fuzz $names"
else
  what="$RMAIL_COVERAGE --lib --tests"
fi
# shellcheck disable=SC2086
cargo test --no-run --message-format=json $what |
  python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("profile", {}).get("test") and message.get("executable"):
        print(message["executable"], message["manifest_path"].rsplit("/", 1)[0])
' >"$CARGO_TARGET_DIR/programs"
objects=()
failed=0
while read -r program directory; do
  objects+=(-object "$program")
  log="$program.log"
  (cd "$directory" && CARGO_MANIFEST_DIR="$directory" "$program" >"$log" 2>&1) || { failed=1; echo "failed: $log" >&2; }
done <"$CARGO_TARGET_DIR/programs"
"$tools/llvm-profdata" merge -sparse "$CARGO_TARGET_DIR"/profiles/*.profraw -o "$CARGO_TARGET_DIR/all.profdata"
# The table's program knows which files are ours. The first program stands without `-object`.
"$tools/llvm-cov" export -summary-only -instr-profile "$CARGO_TARGET_DIR/all.profdata" "${objects[@]:1}" |
  python3 tests/coverage.py
exit "$failed"
