#!/usr/bin/env python3
"""Replays the list of messages in core/tests/mime/list against any IMAP server.

    mime_list.py [--tls] [--file NAME] [--unexplained TEXT] host:port:user:password

Each message is appended to a mailbox of its own making, its ENVELOPE, BODYSTRUCTURE and BODY are fetched and compared
with what the list expects; what differs is printed. Case of the names that have none (types, attributes, encodings) does
not count. Ends with 0 when nothing differs, 1 when something does, 2 when the server cannot be used.
"""
import argparse
import pathlib
import re
import socket
import ssl
import sys
import uuid

LIST = pathlib.Path(__file__).resolve().parents[2] / "core/tests/mime/list"
ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|\{(\d+) (.)\}|(.))", re.S)
PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def unescape(line):
    def octets(found):
        code, count, octet, plain = found.groups()
        if code:
            return bytes([int(code, 16)])
        return octet * int(count) if count else PLAIN[plain]

    return ESCAPE.sub(octets, line)


class Message:
    """One entry of the list."""

    def __init__(self, name):
        self.name, self.remarks, self.octets = name, [], b""
        self.envelope = self.structure = b""


def read(path):
    """The entries of one file; the grammar is in core/tests/mime/list/README.md."""
    found = []
    for line in path.read_bytes().split(b"\n"):
        if line.startswith(b"== "):
            found.append(Message(line[3:].decode()))
        elif line.startswith(b"-- "):
            found[-1].remarks.append(line[3:].decode())
        elif line.startswith(b"|"):
            found[-1].octets += unescape(line[1:]) + b"\r\n"
        elif line.startswith(b"~"):
            found[-1].octets += unescape(line[1:])
        elif line.startswith(b"E: "):
            found[-1].envelope = unescape(line[3:])
        elif line.startswith(b"S: "):
            found[-1].structure = unescape(line[3:])
        elif line and not line.startswith(b"#"):
            raise ValueError(f"{path}: {line!r}")
    return found


def parse(octets, at=0):
    """A parenthesised list, string, NIL or atom as Python data: list, bytes, None, str; and where it ends."""
    first = octets[at : at + 1]
    if first == b"(":
        items, at = [], at + 1
        while octets[at : at + 1] != b")":
            if octets[at : at + 1] == b" ":
                at += 1
                continue
            item, at = parse(octets, at)
            items.append(item)
        return items, at + 1
    if first == b'"':
        found = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.S).match(octets, at)
        return re.sub(rb"\\(.)", rb"\1", found[1], flags=re.S), found.end()
    if first == b"{":
        found = re.compile(rb"\{(\d+)\}\r\n").match(octets, at)
        end = found.end() + int(found[1])
        return octets[found.end() : end], end
    found = re.compile(rb"[^ ()]+(?:\[[^]]*\])?").match(octets, at)
    return (None if found[0].upper() == b"NIL" else found[0].decode()), found.end()


def plain_body(body):
    """BODY from a BODYSTRUCTURE: without extension data (RFC 9051 §9, body-ext-1part and body-ext-mpart)."""
    if isinstance(body[0], list):
        count = next(at for at, item in enumerate(body) if not isinstance(item, list))
        return [plain_body(part) for part in body[:count]] + [body[count]]
    kind = body[0].upper()
    if kind == b"MESSAGE" and body[1].upper() in (b"RFC822", b"GLOBAL") and len(body) > 8 and isinstance(body[7], list):
        return body[:8] + [plain_body(body[8]), body[9]]
    return body[: 8 if kind == b"TEXT" else 7]


def folded(item):
    """Without the difference of upper and lower case."""
    if isinstance(item, list):
        return [folded(part) for part in item]
    return item.lower() if isinstance(item, bytes) else item


class Imap:
    """As much of a client as is needed: answers are kept as they came."""

    def __init__(self, host, port, tls):
        self.socket = socket.create_connection((host, port), 30)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.file, self.tag = self.socket.makefile("rb"), 0
        self.line()

    def line(self):
        """A response with its literals."""
        out = self.file.readline()
        while found := re.search(rb"\{(\d+)\}\r\n$", out):
            out += self.file.read(int(found[1])) + self.file.readline()
        if not out:
            raise ConnectionError("the server closed the connection")
        return out

    def command(self, command, literal=None):
        """The untagged responses and the tagged one."""
        self.tag += 1
        tag = b"m%d " % self.tag
        self.socket.sendall(tag + command + (b" {%d}" % len(literal) if literal is not None else b"") + b"\r\n")
        untagged = []
        while True:
            line = self.line()
            if line.startswith(b"+"):
                self.socket.sendall(literal + b"\r\n")
            elif line.startswith(tag):
                return untagged, line[len(tag) :].strip()
            else:
                untagged.append(line)

    def ok(self, command):
        untagged, answer = self.command(command)
        if not answer.upper().startswith(b"OK"):
            raise RuntimeError(f"{command!r}: {answer!r}")
        return untagged


def items(response):
    """The data items of one FETCH response, by name."""
    data, _ = parse(response, response.index(b"("))
    return dict(zip(data[::2], data[1::2]))


def answers(imap, messages):
    """For each message its ENVELOPE, BODYSTRUCTURE and BODY, or the server's refusal."""
    mailbox = b"mime-list-%s" % uuid.uuid4().hex[:8].encode()
    imap.ok(b"CREATE " + mailbox)
    try:
        kept = []
        for message in messages:
            _, answer = imap.command(b"APPEND " + mailbox, message.octets)
            kept.append(None if answer.upper().startswith(b"OK") else answer)
        imap.ok(b"SELECT " + mailbox)
        number = 0
        for message, refusal in zip(messages, kept):
            if refusal is not None:
                yield message, refusal
                continue
            number += 1
            told = imap.ok(b"FETCH %d (ENVELOPE BODYSTRUCTURE BODY)" % number)
            yield message, next(items(line) for line in told if b" FETCH (" in line)
        imap.ok(b"CLOSE")
    finally:
        imap.command(b"DELETE " + mailbox)


def differences(message, got):
    """What of the answer is not what is expected: name, expected, got."""
    if isinstance(got, bytes):
        yield "APPEND", "OK", got
        return
    structure = parse(message.structure)[0]
    for name, want in (
        ("ENVELOPE", parse(message.envelope)[0]),
        ("BODYSTRUCTURE", structure),
        ("BODY", plain_body(structure)),
    ):
        if folded(got.get(name)) != folded(want):
            yield name, want, got.get(name)


def main():
    arguments = argparse.ArgumentParser(description="Replays core/tests/mime/list against an IMAP server.")
    arguments.add_argument("--tls", action="store_true", help="TLS from the start; certificates are not checked")
    arguments.add_argument("--file", help="only this file of the list, without its ending")
    arguments.add_argument("--unexplained", metavar="TEXT", help="pass over messages that have a remark with this text")
    arguments.add_argument("server", help="host:port:user:password")
    options = arguments.parse_args()
    host, port, user, password = options.server.split(":", 3)
    paths = sorted(LIST.glob(f"{options.file or '*'}.list"))
    # An empty message and NUL (RFC 9051 §4.3: a literal is of CHAR8) come by other ways than APPEND alone.
    messages = [message for path in paths for message in read(path) if message.octets and 0 not in message.octets]
    quoted = [b'"%s"' % re.sub(r'(["\\])', r"\\\1", text).encode() for text in (user, password)]
    different = 0
    try:
        imap = Imap(host, int(port), options.tls)
        imap.ok(b"LOGIN " + b" ".join(quoted))
        for message, got in answers(imap, messages):
            known = options.unexplained and any(options.unexplained in remark for remark in message.remarks)
            found = [] if known else list(differences(message, got))
            different += bool(found)
            for name, want, answer in found:
                print(f"{message.name}: {name}\n  expected {want}\n  got      {answer}")
            for remark in message.remarks if found else []:
                print(f"  remark   {remark}")
        imap.ok(b"LOGOUT")
    except (OSError, RuntimeError) as error:
        print(f"the server cannot be used: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{len(messages)} messages, {different} with differences")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
