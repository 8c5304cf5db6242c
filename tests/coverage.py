"""A table of what `llvm-cov export -summary-only` says, by module: the first directory or file below src. Under it the files
with the most lines that no test runs. Tests themselves are no lines, also not the suite that every mail store must pass."""

import collections
import json
import re
import sys

GAPS = 25

modules = collections.defaultdict(lambda: [0, 0])
files = []
for file in json.load(sys.stdin)["data"][0]["files"]:
    found = re.search(r"/(core|store)/src/(.*)$", file["filename"])
    if not found or re.search(r"(^|/)(tests|view_tests|blocks_tests|suite)(\.rs$|/)", found[2]):
        continue
    crate, path = found.groups()
    lines = file["summary"]["lines"]
    module = path.split("/")[0].removesuffix(".rs")
    if path.startswith(("imap/", "smtp/", "file/", "service/")) and path.count("/") > 1:
        module = "/".join(path.split("/")[:2])
    for key in [(crate, ""), (crate, module)]:
        modules[key][0] += lines["count"]
        modules[key][1] += lines["covered"]
    files.append((lines["count"] - lines["covered"], f"{crate}/src/{path}", lines["percent"]))

print("| crate | module | lines | run | % |\n|---|---|---:|---:|---:|")
for (crate, module), (count, covered) in sorted(modules.items()):
    if count:
        print(f"| {crate} | {module or '**all**'} | {count} | {covered} | {100 * covered / count:.1f} |")
print("\n| lines not run | file | % |\n|---:|---|---:|")
for missing, path, percent in sorted(files, reverse=True)[:GAPS]:
    print(f"| {missing} | {path} | {percent:.1f} |")
