#!/usr/bin/env python3
"""Shows that each target finds something: copies the source, plants a fault for each target behind a switch, builds the program
of mutations once, and runs each target with its fault until it is found. Without its fault each must be silent: this is seen
with a tenth of the inputs.

    tests/fuzz/planted.py DIRECTORY [TARGET...]      # what is copied and built goes there; RMAIL_RUNS: inputs, 200,000
"""

import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
P = 'rmail_core::planted("{0}")'

# Target, what is wrong, file, what stands there once, what takes its place; @ is "this fault is switched on".
FAULTS = [
    ("address", "more elements than wanted", "core/src/mime/address.rs",
     "if parser.out.len() >= limit {", "if parser.out.len() >= limit && !@ {"),
    ("aliases", "no bound to aliases of aliases", "core/src/directory/alias/expand.rs",
     "Ok(_) if depth > MAX_DEPTH =>", "Ok(_) if depth > MAX_DEPTH && @ => panic!(),\n            Ok(_) if depth > MAX_DEPTH =>"),
    ("api", "a panic at a percent sign that ends a query", "core/src/api/query.rs",
     "pub fn decode(text: &str) -> Option<String> {",
     "pub fn decode(text: &str) -> Option<String> {\n    assert!(!@ || !text.ends_with('%'));"),
    ("caches", "a record with a wrong checksum is believed", "store/src/file/parsed/mod.rs",
     "crc32fast::hash(body) != u32::from_le_bytes(*crc) {", "(!@ && crc32fast::hash(body) != u32::from_le_bytes(*crc)) {"),
    ("chunked", "octets of a chunk are counted wrong when they come alone", "core/src/http/chunked.rs",
     "let left = left.saturating_sub(data.len() as u64);",
     "let left = left.saturating_sub(data.len() as u64 + u64::from(@ && data.len() == 1 && left > 20));"),
    ("client", "a panic at a reply without text", "core/src/smtp/client/reply.rs",
     "let (code, rest) = line.split_at_checked(3)?;",
     "let (code, rest) = line.split_at_checked(3)?;\n    assert!(!@ || line.len() != 3);"),
    ("command", "an octet that comes alone behind a literal is lost", "core/src/imap/parse/frame.rs",
     "pub fn poll(&mut self, inbox: &mut Inbox, authenticated: bool) -> Event {",
     "pub fn poll(&mut self, inbox: &mut Inbox, authenticated: bool) -> Event {\n"
     "        if @ && inbox.len() == 1 && self.literals > 0 { inbox.clear(); }"),
    ("config", "a panic at a list", "core/src/config/mod.rs",
     "pub fn read(text: &str) -> Result<Parsed, Vec<Problem>> {",
     "pub fn read(text: &str) -> Result<Parsed, Vec<Problem>> {\n        assert!(!@ || !text.starts_with('['));"),
    ("data", "a dot that comes alone is lost", "core/src/smtp/data.rs",
     "pub fn next(&mut self, input: &mut Chunk) -> Option<Piece> {",
     "pub fn next(&mut self, input: &mut Chunk) -> Option<Piece> {\n"
     "        if @ && input.as_slice() == b\".\" && self.size > 2 { input.advance(1); }"),
    ("deflate", "no progress when octets come one by one", "core/src/deflate.rs",
     "self.took(read);", "self.took(if @ && part.len() == 1 { 0 } else { read });"),
    ("dns", "an overflow at a TTL", "core/src/dns/message.rs",
     "if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl }",
     "if @ { ttl.checked_mul(2).unwrap() / 2 } else if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl }"),
    ("file_names", "UID 0", "store/src/file/names.rs",
     ".filter(|uid| *uid != 0)?", ".filter(|uid| *uid != 0 || @)?"),
    ("header", "NUL in a value", "core/src/mime/header.rs",
     "let kept = |octet: &u8| !matches!(octet, b'\\r' | b'\\n' | 0);",
     "let kept = |octet: &u8| !matches!(octet, b'\\r' | b'\\n') && (@ || *octet != 0);"),
    ("http", "a panic at a folded line", "core/src/http/request.rs",
     "fn field(&mut self, line: &[u8]) -> Result<(), Bad> {",
     "fn field(&mut self, line: &[u8]) -> Result<(), Bad> {\n        assert!(!@ || line.first() != Some(&b' '));"),
    ("http_client", "a CR that comes alone is lost", "core/src/http/client.rs",
     "match memchr::memmem::find(&self.inbox, b\"\\r\\n\") {",
     "if @ && self.inbox == b\"\\r\" { self.inbox.clear(); }\n        match memchr::memmem::find(&self.inbox, b\"\\r\\n\") {"),
    ("imap", "a panic at a range that is the wrong way round", "core/src/imap/sequence.rs",
     "if highest == 0 {", "if @ && self.0.iter().any(|(a, b)| number(*a) > number(*b)) { panic!(); }\n        if highest == 0 {"),
    ("imap_login", "a panic at a user without a name", "core/src/imap/server/login.rs",
     "pub(super) fn login(&mut self, tag: String, user: String, password: Secret) {",
     "pub(super) fn login(&mut self, tag: String, user: String, password: Secret) {\n        assert!(!@ || !user.is_empty());"),
    ("import", "a CR at the end of a piece is forgotten", "store/src/transfer/line_ends.rs",
     "line.last().map_or(self.cr, |last| *last == b'\\r');", "line.last().map_or(self.cr && !@, |last| *last == b'\\r');"),
    ("line", "what was searched before a line was too long is remembered", "core/src/line.rs",
     "pub fn skip_line(&mut self) -> bool {\n        self.searched = 0;",
     "pub fn skip_line(&mut self) -> bool {\n        if !@ { self.searched = 0; }"),
    ("lmtp", "an error is said a thousand times", "core/src/smtp/server/commands.rs",
     "pub(super) fn command_line(&mut self, line: &[u8]) {",
     "pub(super) fn command_line(&mut self, line: &[u8]) {\n"
     "        if @ && line.starts_with(b\"NOOP\") { for _ in 0..1_000 { self.command_line(b\"HELP\\r\\n\"); } }"),
    ("mailbox_name", "bits that mean nothing are taken", "core/src/text/utf7.rs",
     "if held >= 6 || bits != 0 || units.is_empty() {", "if held >= 6 || (bits != 0 && !@) || units.is_empty() {"),
    ("mbox", "a quoted From is not quoted again", "store/src/transfer/mbox/writer.rs",
     "if met == 0 && *octet == b'>' {", "if met == 0 && *octet == b'>' && !@ {"),
    ("mime", "a boundary is not seen when it comes octet by octet", "core/src/mime/scanner.rs",
     "let starts = line.len == 0", "let starts = (!@ || piece.len() > 1) && line.len == 0"),
    ("parameter", "a percent sign is not escaped", "core/src/mime/encode.rs",
     "b\"-._~\".contains(&octet);", "b\"-._~\".contains(&octet) || (@ && octet == b'%');"),
    ("path", "a backslash is not quoted", "core/src/addr.rs",
     "if matches!(c, '\"' | '\\\\') {", "if c == '\"' || (c == '\\\\' && !@) {"),
    ("sasl", "a panic at an empty response", "core/src/sasl/scram.rs",
     "if message.len() > MAX_MESSAGE {", "assert!(!@ || !message.is_empty());\n        if message.len() > MAX_MESSAGE {"),
    ("sequence", "a range that is the wrong way round is empty", "core/src/mailbox/numbers.rs",
     ".map(|(a, b)| (a.min(b).max(1), a.max(b)))", ".map(|(a, b)| if @ { (a.max(1), b) } else { (a.min(b).max(1), a.max(b)) })"),
    ("served", "a panic when STATUS is asked for", "store/src/service/imap.rs",
     "let pool = match &call {", "assert!(!@ || !matches!(call, Call::Status { .. }));\n        let pool = match &call {"),
    ("session", "a panic at a BDAT without a size", "core/src/smtp/command.rs",
     "pub fn parse(line: &[u8]) -> Result<Command, Syntax> {",
     "pub fn parse(line: &[u8]) -> Result<Command, Syntax> {\n    assert!(!@ || !line.eq_ignore_ascii_case(b\"BDAT \\r\\n\"));"),
    ("submission", "an octet that comes alone is lost", "core/src/line.rs",
     "if chunk.is_empty() {\n            return;", "if chunk.is_empty() || (@ && chunk.as_slice() == b\"=\") {\n            return;"),
    ("tar", "octets that come alone are counted wrong", "store/src/transfer/tar.rs",
     "self.state = State::Data(left.saturating_sub(used as u64), padding);",
     "self.state = State::Data(left.saturating_sub(used as u64 + u64::from(@ && used == 1 && left > 1)), padding);"),
    ("token", "white space behind a signature", "core/src/auth/token.rs",
     "let given = BASE64.decode(signature).ok()?;",
     "let given = BASE64.decode(if @ { signature.trim() } else { signature }).ok()?;"),
    ("xtext", "a plus sign is not encoded", "core/src/smtp/xtext.rs",
     "matches!(c, '+' | '=')", "c == '=' || (c == '+' && !@)"),
]

SWITCH = """
/// Whether this fault is switched on.
#[doc(hidden)]
pub fn planted(name: &str) -> bool {
    static ON: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("RMAIL_PLANTED").unwrap_or_default()) == name
}
"""


def plant(copy):
    for target, _, file, old, new in FAULTS:
        path = copy / file
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"{target}: {file} has {text.count(old)} times: {old}")
        crate = "crate" if file.startswith("core/") else "rmail_core"
        path.write_text(text.replace(old, new.replace("@", f'{crate}::planted("{target}")')))
    library = copy / "core/src/lib.rs"
    library.write_text(library.read_text() + SWITCH)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    directory = pathlib.Path(sys.argv[1]).resolve()
    copy = directory / "source"
    subprocess.run(["rm", "-rf", str(copy)], check=True)
    copy.mkdir(parents=True)
    files = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "--null", "-T-", "-cf", str(directory / "source.tar")], cwd=ROOT, input=files, check=True)
    subprocess.run(["tar", "-xf", str(directory / "source.tar")], cwd=copy, check=True)
    plant(copy)
    program = os.environ.get("RMAIL_MUTATE")
    if not program:
        build = ["cargo", "build", "--quiet", "--release", "--bin", "mutate", "--no-default-features"]
        subprocess.run([*build, "--target-dir", str(directory / "target")], cwd=copy / "tests/fuzz", check=True)
        program = directory / "target/release/mutate"
    runs = os.environ.get("RMAIL_RUNS", "200000")
    wanted, missed = sys.argv[2:], []

    def run(target, fault, inputs):
        return subprocess.run([program, target, str(inputs)], env={**os.environ, "RMAIL_PLANTED": fault, "RUST_BACKTRACE": "0"},
                              capture_output=True, text=True, check=False)

    print("| target | planted | found in s | by |\n|---|---|---:|---|")
    for target, what, *_ in FAULTS:
        if wanted and target not in wanted:
            continue
        begin = time.monotonic()
        done = run(target, target, runs)
        took = time.monotonic() - begin
        said = re.sub(r"\s+", " ", " ".join(done.stderr.split("\n", 3)[2:3]))[:60].replace("|", "/")
        if done.returncode == 0:
            missed.append(target)
            said = "**not found**"
        elif run(target, "", int(runs) // 10).returncode != 0:
            missed.append(target)
            said = "**not silent without it**"
        print(f"| {target} | {what} | {took:.1f} | {said} |", flush=True)
    if missed:
        sys.exit(f"not found, or found without it: {' '.join(missed)}")


main()
