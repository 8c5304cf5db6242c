#!/usr/bin/env python3
"""Runs the coverage-guided fuzzer over targets, one after the other, and prints a line of a table for each.

    tests/fuzz/guided.py run DIRECTORY SECONDS [TARGET...]    # SECONDS of processor time each; finds and new inputs go there
    tests/fuzz/guided.py reach DIRECTORY SECONDS [TARGET...]  # each until it had SECONDS in all, the most exposed first
    tests/fuzz/guided.py totals DIRECTORY                     # what each had so far, over all runs
    tests/fuzz/guided.py shrink DIRECTORY [TARGET...]         # the committed corpora become the few files with most of it

The program is built by build.sh, unless RMAIL_ANY says where it is. `run` and `reach` begin with the committed corpus and
what DIRECTORY has of earlier runs, and leave with status 1 if a promise was broken. DIRECTORY/totals.json adds up over runs
what each target used of processors (by the system's count for the process) and its inputs (by libFuzzer's own count); a run
that is ended by SIGTERM or ^C counts as far as it came.
"""

import json
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
# The most exposed first: what a stranger reaches over the network, then who has logged in, then what comes with messages and
# answers, then what only somebody at the host can make up. Those that are not named come last.
ORDER = """imap_login session imap served api mime dns client http submission lmtp data command header address parameter
http_client chunked sasl token mailbox_name sequence path line xtext deflate import tar mbox file_names caches config
aliases""".split()
# Octets of new inputs.
MAX_LEN = 2048
# The gate runs every file with every `cargo test`: so many of a target beside those written by hand, of so many octets;
# archives are the longest.
MAX_FILES, MAX_MERGED = 100, 8192
# Seconds of one input that are a find, by the clock: many, so that a busy machine is none.
SLOW = 300
# Not empty when somebody wants the run to end.
STOP = []


def program():
    known = os.environ.get("RMAIL_ANY")
    return known or subprocess.run([HERE / "build.sh"], check=True, capture_output=True, text=True).stdout.strip()


def used(pid):
    """Seconds of processor time; on a busy machine they say more than the clock."""
    said = subprocess.run(["ps", "-o", "cputimes=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return int(said.strip() or 0)


def totals(directory):
    path = directory / "totals.json"
    return json.loads(path.read_text()) if path.exists() else {}


def count(directory, target, seconds, inputs, edges, finds):
    """Adds a run to what the target had. The file is there whole at any time."""
    known = totals(directory)
    before = known.get(target, {"runs": 0, "seconds": 0, "inputs": 0, "finds": []})
    known[target] = {"runs": before["runs"] + 1, "seconds": round(before["seconds"] + seconds, 1),
                     "inputs": before["inputs"] + inputs, "edges": edges, "finds": before["finds"] + finds}
    scratch = directory / "totals.json.new"
    scratch.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    scratch.replace(directory / "totals.json")


def show(directory):
    known = totals(directory)
    print("| target | minutes of processor | inputs | edges | finds |\n|---|---:|---:|---:|---:|")
    for target in sorted(known, key=place):
        of = known[target]
        print(f"| {target} | {of['seconds'] / 60:.1f} | {of['inputs']:,} | {of['edges']:,} | {len(of['finds'])} |")
    seconds, inputs, finds = (sum(each) for each in zip(*((of["seconds"], of["inputs"], len(of["finds"])) for of in known.values())))
    print(f"| **all** | {seconds / 60:.1f} | {inputs:,} | | {finds} |")


def place(target):
    return (ORDER.index(target) if target in ORDER else len(ORDER), target)


def fuzz(any_program, target, directory, seconds):
    """Whether it broke a promise."""
    new, finds = directory / target, directory / "finds"
    for path in (new, finds):
        path.mkdir(parents=True, exist_ok=True)
    log = directory / f"{target}.log"
    with open(log, "wb") as out:
        arguments = [f"-max_len={MAX_LEN}", "-rss_limit_mb=4096", f"-timeout={SLOW}", f"-report_slow_units={SLOW}",
                     "-print_final_stats=1"]
        child = subprocess.Popen([any_program, *arguments, f"-artifact_prefix={finds}/{target}-", new, CORPUS / target],
                                 env={**os.environ, "RMAIL_FUZZ": target}, stdout=out, stderr=out)
        told = False
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if not told and (STOP or used(child.pid) >= seconds):
                child.send_signal(signal.SIGINT)
                told = True
            time.sleep(0.5)
    child.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace")
    last = re.findall(r"^#(\d+)\s.*cov: (\d+) ft: (\d+)", text, re.M)[-1:] or [("0", "0", "0")]
    begun = re.findall(r"INITED cov: (\d+)", text)[:1] or ["?"]
    runs = re.findall(r"number_of_executed_units: (\d+)", text)[-1:] or [last[0][0]]
    found = re.findall(r"Test unit written to (\S+-(?:crash|timeout|oom|leak)-\S+)", text)
    cpu = usage.ru_utime + usage.ru_stime
    names = [pathlib.Path(path).name for path in found]
    count(directory, target, cpu, int(runs[0]), int(last[0][1]), names)
    print(f"| {target} | {cpu:.0f} | {int(runs[0]):,} | {begun[0]} | {last[0][1]} | {last[0][2]} "
          f"| {len(list(new.iterdir()))} | {' '.join(names) or '–'} |", flush=True)
    return bool(found)


def shrink(any_program, target, directory):
    """The files that together reach most: edges first, then how often. Of what reaches as much, the small ones. Those with a
    name were written by hand and stay: what is whole is what mutations begin with."""
    sources = [path for path in (CORPUS / target, directory / target) if path.is_dir()]
    with tempfile.TemporaryDirectory() as scratch:
        control, least = pathlib.Path(scratch) / "control", pathlib.Path(scratch) / "least"
        least.mkdir()
        subprocess.run([any_program, "-merge=1", f"-merge_control_file={control}", f"-max_len={2 * MAX_MERGED}", least, *sources],
                       check=True, env={**os.environ, "RMAIL_FUZZ": target}, capture_output=True)
        files, reached = read_control(control.read_text())
        written = [path for path in (CORPUS / target).iterdir() if not re.fullmatch("[0-9a-f]{40}", path.name)]
        kept, edges = greedy(files, reached, written)
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


def greedy(files, reached, written):
    sizes = [path.stat().st_size for path in files]
    kept, seen = list(written), (set(), set())
    for at, path in enumerate(files):
        if path in written:
            for known, more in zip(seen, reached[at]):
                known |= more
    left = {at for at, size in enumerate(sizes) if size <= MAX_MERGED and files[at] not in written}
    for which in (0, 1):
        while left and len(kept) < MAX_FILES + len(written):
            at = max(left, key=lambda at: (len(reached[at][which] - seen[which]) / (4_000 + sizes[at]), -sizes[at]))
            if not reached[at][which] - seen[which]:
                break
            left.discard(at)
            kept.append(files[at])
            for known, more in zip(seen, reached[at]):
                known |= more
    return kept, len(seen[0])


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("run", "reach", "totals", "shrink"):
        sys.exit(__doc__)
    what, directory, rest = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]
    if what == "totals":
        return show(directory)
    seconds = int(rest.pop(0)) if what != "shrink" and rest else 60
    targets = rest or sorted((path.name for path in CORPUS.iterdir()), key=place)
    any_program, broken = program(), False
    if what == "shrink":
        print("| target | files | kept | octets | edges |\n|---|---:|---:|---:|---:|", flush=True)
    else:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: STOP.append(True))
        print("| target | s of processor | inputs | edges at first | edges | features | new files | finds |\n"
              "|---|---:|---:|---:|---:|---:|---:|---|", flush=True)
    for target in targets:
        if what == "shrink":
            shrink(any_program, target, directory)
            continue
        had = totals(directory).get(target, {}).get("seconds", 0) if what == "reach" else 0
        if had < seconds and not STOP:
            broken |= fuzz(any_program, target, directory, seconds - had)
    sys.exit(broken)


main()
