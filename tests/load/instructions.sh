#!/usr/bin/env bash
# Instructions of fixed pieces of work (store/examples/work.rs) at two commits, counted by callgrind: the load of the
# machine does not matter.
#
#   tests/load/instructions.sh [OLD [NEW]]      OLD: HEAD~1 unless given; NEW: what lies in the work tree unless given
#
# Ends with 1 if a piece takes over 5 % more instructions at NEW and the section "Unreleased" of CHANGELOG.md there does
# not name it as `work NAME`. Needs valgrind. The program of the work tree is measured on both commits.
set -euo pipefail
cd "$(dirname "$0")/../.."
old=${1:-HEAD~1} new=${2:-}
bound=5
command -v valgrind >/dev/null || { echo "valgrind is not installed (apt-get install valgrind)"; exit 2; }
trees=$(mktemp -d)
cleanup() { for tree in "$trees"/*/; do git worktree remove --force "$tree" 2>/dev/null || true; done; rm -rf "$trees"; }
trap cleanup EXIT

# The tree of a commit, or this one.
tree() {
  if [ -z "$1" ]; then pwd; return; fi
  git worktree add -q --detach "$trees/$2" "$1"
  mkdir -p "$trees/$2/store/examples"
  cp store/examples/work.rs "$trees/$2/store/examples/"
  echo "$trees/$2"
}

# Builds the program of a tree, and counts: NAME INSTRUCTIONS a line.
count() {
  local at=$1 label=$2 target=${CARGO_TARGET_DIR:-$PWD/target}
  (cd "$at" && CARGO_TARGET_DIR="$target/instructions" cargo build -q --release -p rmail-store --example work)
  cp "$target/instructions/release/examples/work" "$trees/work-$label"
  for name in $("$trees/work-$label"); do
    valgrind --tool=callgrind --callgrind-out-file="$trees/out" "$trees/work-$label" "$name" 2>"$trees/log"
    awk -v name="$name" '/^(summary|totals):/ { print name, $2; exit }' "$trees/out"
  done
}

old_tree=$(tree "$old" old) new_tree=$(tree "$new" new)
count "$old_tree" old > "$trees/old.txt"
count "$new_tree" new > "$trees/new.txt"
changes=$(awk '/^## /{ on = /Unreleased/ } on' "$new_tree/CHANGELOG.md")
base_old=$(awk '$1 == "nothing" { print $2 }' "$trees/old.txt")
base_new=$(awk '$1 == "nothing" { print $2 }' "$trees/new.txt")
worse=0
printf '%-20s %14s %14s %8s\n' work "$old" "${new:-work tree}" change
while read -r name before after; do
  [ "$name" != nothing ] || continue
  before=$((before - base_old)) after=$((after - base_new))
  percent=$(awk -v a="$before" -v b="$after" 'BEGIN { printf "%.2f", (b - a) * 100 / a }')
  note=""
  if awk -v p="$percent" -v bound="$bound" 'BEGIN { exit !(p > bound) }'; then
    if grep -q "work $name" <<<"$changes"; then note="  (in CHANGELOG.md)"; else note="  MORE THAN $bound %"; worse=1; fi
  fi
  printf '%-20s %14d %14d %+7.2f%%%s\n' "$name" "$before" "$after" "$percent" "$note"
done < <(join <(sort "$trees/old.txt") <(sort "$trees/new.txt"))
exit $worse
