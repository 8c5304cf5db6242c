#!/usr/bin/env python3
"""Runs the coverage-guided fuzzer over targets, one after the other, and prints a line of a table for each.

    tests/fuzz/guided.py run DIRECTORY SECONDS [TARGET...]    # SECONDS of processor time each; finds and new inputs go there
    tests/fuzz/guided.py shrink DIRECTORY [TARGET...]         # the committed corpora become the few files with most of it

The program is built by build.sh, unless RMAIL_ANY says where it is. `run` begins with the committed corpus and what
DIRECTORY has of earlier runs, and leaves with status 1 if a promise was broken.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
# Octets of new inputs.
MAX_LEN = 2048
# The gate runs every file with every `cargo test`: so many of a target, of so many octets; archives are the longest.
MAX_FILES, MAX_MERGED = 100, 8192


def program():
    known = os.environ.get("RMAIL_ANY")
    return known or subprocess.run([HERE / "build.sh"], check=True, capture_output=True, text=True).stdout.strip()


def used(pid):
    """Seconds of processor time; on a busy machine they say more than the clock."""
    said = subprocess.run(["ps", "-o", "cputimes=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return int(said.strip() or 0)


def fuzz(any_program, target, directory, seconds):
    new, finds = directory / target, directory / "finds"
    for path in (new, finds):
        path.mkdir(parents=True, exist_ok=True)
    log = directory / f"{target}.log"
    with open(log, "wb") as out:
        arguments = [f"-max_len={MAX_LEN}", "-rss_limit_mb=4096", "-timeout=60", "-print_final_stats=1"]
        child = subprocess.Popen([any_program, *arguments, f"-artifact_prefix={finds}/{target}-", new, CORPUS / target],
                                 env={**os.environ, "RMAIL_FUZZ": target}, stdout=out, stderr=out)
        told = False
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if not told and used(child.pid) >= seconds:
                child.send_signal(signal.SIGINT)
                told = True
            time.sleep(0.5)
    child.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace")
    last = re.findall(r"^#(\d+)\s.*cov: (\d+) ft: (\d+)", text, re.M)[-1:] or [("0", "0", "0")]
    begun = re.findall(r"INITED cov: (\d+)", text)[:1] or ["?"]
    runs = re.findall(r"number_of_executed_units: (\d+)", text)[-1:] or [last[0][0]]
    found = re.findall(r"Test unit written to (\S+)", text)
    cpu = usage.ru_utime + usage.ru_stime
    print(f"| {target} | {cpu:.0f} | {int(runs[0]):,} | {begun[0]} | {last[0][1]} | {last[0][2]} "
          f"| {len(list(new.iterdir()))} | {' '.join(found) or '–'} |", flush=True)
    return bool(found)


def shrink(any_program, target, directory):
    """The files that together reach most: edges first, then how often. Of what reaches as much, the small ones."""
    sources = [path for path in (CORPUS / target, directory / target) if path.is_dir()]
    with tempfile.TemporaryDirectory() as scratch:
        control, least = pathlib.Path(scratch) / "control", pathlib.Path(scratch) / "least"
        least.mkdir()
        subprocess.run([any_program, "-merge=1", f"-merge_control_file={control}", f"-max_len={2 * MAX_MERGED}", least, *sources],
                       check=True, env={**os.environ, "RMAIL_FUZZ": target}, capture_output=True)
        files, reached = read_control(control.read_text())
        kept, edges = greedy(files, reached)
        kept = {path.name: path.read_bytes() for path in kept}
    shutil.rmtree(CORPUS / target)
    (CORPUS / target).mkdir()
    for name, octets in kept.items():
        (CORPUS / target / name).write_bytes(octets)
    print(f"| {target} | {len(files)} | {len(kept)} | {sum(map(len, kept.values()))} | {edges} |", flush=True)


def read_control(text):
    """What a merge notes: a count, a number, the names of all files, then for each `FT` and `COV` with numbers."""
    lines = text.splitlines()
    count = int(lines[0])
    files = [pathlib.Path(name) for name in lines[2:2 + count]]
    reached = [(set(), set()) for _ in files]
    for line in lines[2 + count:]:
        what, *numbers = line.split()
        if what in ("FT", "COV"):
            reached[int(numbers[0])][what == "FT"].update(map(int, numbers[1:]))
    return files, reached


def greedy(files, reached):
    sizes = [path.stat().st_size for path in files]
    left = {at for at, size in enumerate(sizes) if size <= MAX_MERGED}
    kept, seen = [], (set(), set())
    for which in (0, 1):
        while left and len(kept) < MAX_FILES:
            at = max(left, key=lambda at: (len(reached[at][which] - seen[which]) / (4_000 + sizes[at]), -sizes[at]))
            if not reached[at][which] - seen[which]:
                break
            left.discard(at)
            kept.append(files[at])
            for known, more in zip(seen, reached[at]):
                known |= more
    return kept, len(seen[0])


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("run", "shrink"):
        sys.exit(__doc__)
    what, directory, rest = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]
    seconds = int(rest.pop(0)) if what == "run" and rest else 60
    targets = rest or sorted(path.name for path in CORPUS.iterdir())
    any_program, broken = program(), False
    if what == "run":
        print("| target | s of processor | inputs | edges at first | edges | features | new files | finds |\n"
              "|---|---:|---:|---:|---:|---:|---:|---|", flush=True)
    else:
        print("| target | files | kept | octets | edges |\n|---|---:|---:|---:|---:|", flush=True)
    for target in targets:
        if what == "run":
            broken |= fuzz(any_program, target, directory, seconds)
        else:
            shrink(any_program, target, directory)
    sys.exit(broken)


main()
