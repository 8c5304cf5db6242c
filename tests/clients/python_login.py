#!/usr/bin/env python3
"""SCRAM-SHA-256, SCRAM-SHA-256-PLUS, COMPRESS and UNAUTHENTICATE against a running server.

Reads a JSON object from standard input: host, ports, users with passwords (what `rmail demo --json` prints).
Exits 0 when every check held, otherwise with a traceback.
"""
import base64
import hashlib
import hmac
import imaplib
import json
import os
import smtplib
import ssl
import sys
import zlib

CONF = json.load(sys.stdin)
HOST = "127.0.0.1"
PORTS = CONF["ports"]
ALICE, BOB = CONF["users"][0], CONF["users"][1]


def tls(version=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.maximum_version = version
    return context


class Scram:
    """A client's side of the exchange (RFC 5802)."""

    def __init__(self, user, password, gs2="n,,", data=b""):
        self.password, self.gs2, self.data = password, gs2, data
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self.nonce}"
        self.steps = [self.first, self.final, self.check]

    def __call__(self, challenge):
        return self.steps.pop(0)((challenge or b"").decode()).encode()

    def first(self, _):
        return self.gs2 + self.bare

    def final(self, first):
        fields = dict(part.split("=", 1) for part in first.split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce) + 16
        assert int(fields["i"]) >= 4096, fields
        bound = base64.b64encode(self.gs2.encode() + self.data).decode()
        without = f"c={bound},r={fields['r']}"
        message = f"{self.bare},{first},{without}".encode()
        salt = base64.b64decode(fields["s"])
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), salt, int(fields["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        self.signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        return f"{without},p={base64.b64encode(proof).decode()}"

    def check(self, last):
        assert last == "v=" + base64.b64encode(self.signature).decode(), last
        return ""


def connect(version=None):
    return imaplib.IMAP4_SSL(HOST, PORTS["imaps"], ssl_context=tls(version), timeout=30)


def end_point(box):
    return hashlib.sha256(box.sock.getpeercert(True)).digest()


def check_scram():
    box = connect()
    assert "AUTH=SCRAM-SHA-256-PLUS" in box.capabilities and "AUTH=SCRAM-SHA-256" in box.capabilities
    for user, password in ((ALICE["address"], "wrong"), ("nobody@demo.test", "x")):
        try:
            box.authenticate("SCRAM-SHA-256", Scram(user, password))
        except imaplib.IMAP4.error as error:
            assert "AUTHENTICATIONFAILED" in str(error), error
        else:
            raise AssertionError("logged in")
    box.authenticate("SCRAM-SHA-256", Scram(ALICE["address"], ALICE["password"]))
    assert box.select("INBOX")[0] == "OK"
    box.logout()
    box = connect()
    data = end_point(box)
    box.authenticate(
        "SCRAM-SHA-256-PLUS", Scram(ALICE["address"], ALICE["password"], "p=tls-server-end-point,,", data)
    )
    box.logout()
    box = connect()
    try:
        box.authenticate("SCRAM-SHA-256", Scram(ALICE["address"], ALICE["password"], "y,,"))
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error), error
    else:
        raise AssertionError("a downgrade was not noticed")
    box.logout()
    old = connect(ssl.TLSVersion.TLSv1_2)
    assert "AUTH=SCRAM-SHA-256-PLUS" not in old.capabilities, old.capabilities
    old.authenticate("SCRAM-SHA-256", Scram(ALICE["address"], ALICE["password"], "y,,"))
    old.logout()


def check_smtp():
    with smtplib.SMTP_SSL(HOST, PORTS["smtps"], context=tls(), timeout=30) as s:
        s.ehlo()
        assert "SCRAM-SHA-256" in s.esmtp_features["auth"], s.esmtp_features
        scram = Scram(BOB["address"], BOB["password"])
        first = base64.b64encode(scram(None)).decode()
        code, challenge = s.docmd("AUTH", f"SCRAM-SHA-256 {first}")
        while code == 334:
            code, challenge = s.docmd(base64.b64encode(scram(base64.b64decode(challenge))).decode())
        assert code == 235, (code, challenge)


class Compressed:
    """A connection through raw DEFLATE, for imaplib."""

    def __init__(self, box, ends=zlib.Z_SYNC_FLUSH):
        self.box, self.sock, self.ends = box, box.sock, ends
        self.deflate, self.inflate = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.decompressobj(-15)
        self.buffer = b""
        self.raw = self.plain = 0
        box.send, box.read, box.readline = self.send, self.read, self.readline

    def send(self, octets):
        if octets.upper().endswith(b"UNAUTHENTICATE\r\n"):
            # Plain from here on, and in one write with the next command (RFC 8437 §3).
            octets = self.deflate.compress(octets) + self.deflate.flush(self.ends)
            self.sock.sendall(octets + self.pipelined)
            return
        self.sock.sendall(self.deflate.compress(octets) + self.deflate.flush(zlib.Z_SYNC_FLUSH))

    def fill(self):
        if self.inflate.eof:
            octets = self.inflate.unused_data or self.sock.recv(65536)
            self.inflate.unused_data and setattr(self, "inflate", Ended())
        else:
            octets = self.sock.recv(65536)
            self.raw += len(octets)
            octets = self.inflate.decompress(octets)
            self.plain += len(octets)
        self.buffer += octets

    def readline(self):
        while b"\n" not in self.buffer:
            self.fill()
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"

    def read(self, size):
        while len(self.buffer) < size:
            self.fill()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken


class Ended:
    """Behind the end of the server's stream."""

    eof, unused_data = True, b""


def check_compress(ends):
    box = connect()
    box.login(ALICE["address"], ALICE["password"])
    assert box.xatom("COMPRESS", "DEFLATE")[0] == "OK"
    wire = Compressed(box, ends)
    box.capabilities = ()
    typ, data = box.capability()
    assert b"COMPRESS" not in data[-1] and b"UNAUTHENTICATE" in data[-1], data
    assert box.xatom("COMPRESS", "DEFLATE")[0] == "NO"
    name = f"deflate{int(ends)}"
    assert box.create(name)[0] == "OK"
    noise = base64.encodebytes(os.urandom(3_000_000)).replace(b"\n", b"\r\n")
    messages = [
        b"Subject: small\r\n\r\nbody\r\n",
        b"Subject: bomb\r\n\r\n" + b"x" * 70 * 100_000 + b"\r\n",
        b"Subject: noise\r\n\r\n" + noise,
    ]
    for text in messages:
        assert box.append(name, None, None, text)[0] == "OK"
    assert box.select(name)[0] == "OK"
    for number, text in enumerate(messages, 1):
        before = wire.raw
        data = box.fetch(str(number), "(BODY.PEEK[])")[1]
        assert data[0][1] == text, number
        if number == 2:
            assert wire.raw - before < 200_000, wire.raw - before
    assert wire.plain > 2 * wire.raw, (wire.plain, wire.raw)
    # The end of compression, with the next command in the same write.
    login = base64.b64encode(f"\0{BOB['address']}\0{BOB['password']}".encode())
    wire.pipelined = b"p1 AUTHENTICATE PLAIN " + login + b"\r\np2 NOOP\r\n"
    tag = box._new_tag()
    box.send(tag + b" UNAUTHENTICATE\r\n")
    lines = [wire.readline() for _ in range(3)]
    assert lines[0] == tag + b" OK UNAUTHENTICATE completed\r\n", lines
    assert lines[1].startswith(b"p1 OK [CAPABILITY "), lines
    assert lines[2] == b"p2 OK NOOP completed\r\n", lines
    box.sock.sendall(b"p3 LOGOUT\r\n")
    assert wire.readline().startswith(b"* BYE"), "LOGOUT"


check_scram()
check_smtp()
check_compress(zlib.Z_SYNC_FLUSH)
check_compress(zlib.Z_FINISH)
print("ok")
