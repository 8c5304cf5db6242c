#!/usr/bin/env python3
"""What an idle IMAP session costs in memory, after an APPEND, a SELECT of a large mailbox, and FETCHes.

    idle_memory.py --pid PID --port 993 --user alice@demo.test --mailbox Big [--tls] [--compress] [--sessions 200]

The password is read from RMAIL_LOAD_PASSWORD. Opens some sessions first, so that caches and allocators are warm, then
the sessions that are counted; each ends in IDLE. Prints the growth of the server's private memory per session, in KiB.
Loopback only; the server must allow that many connections of one address (limits.trusted_networks), and a login in
clear text unless --tls is given (auth.cleartext_networks).
"""
import argparse
import os
import socket
import ssl
import time
import zlib

HOST = "127.0.0.1"
WARM = 20
REST = 3


class Session:
    def __init__(self, options, password):
        self.deflate = self.inflate = None
        self.tag, self.buffer = 0, b""
        self.sock = socket.create_connection((HOST, options.port), timeout=60)
        if options.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
        self.read_to(b"\n")
        self.command(f"LOGIN {options.user} {password}".encode())
        if options.compress:
            self.command(b"COMPRESS DEFLATE")
            self.deflate, self.inflate = zlib.compressobj(1, zlib.DEFLATED, -15), zlib.decompressobj(-15)
        body = b"Subject: large\r\n\r\n" + b"x" * 100_000 + b"\r\n"
        self.command(b"APPEND %s {%d+}\r\n%s" % (options.target.encode(), len(body), body))
        self.command(b"SELECT " + options.mailbox.encode())
        self.command(b"FETCH 1:20000 (UID FLAGS)")
        self.command(b"FETCH 1:100 (BODY.PEEK[])")
        self.send(b"i IDLE\r\n")
        self.read_to(b"\n")

    def send(self, octets):
        if self.deflate:
            octets = self.deflate.compress(octets) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.sock.sendall(octets)

    def read_to(self, mark):
        """Reads to the end of the line that begins with the mark."""
        while mark not in self.buffer or not self.buffer.endswith(b"\n"):
            octets = self.sock.recv(1 << 18)
            assert octets, "the server closed the connection"
            self.buffer = self.buffer[-8192:] + (self.inflate.decompress(octets) if self.inflate else octets)
        line = self.buffer[self.buffer.rindex(mark):]
        self.buffer = b""
        return line

    def command(self, text):
        self.tag += 1
        tag = b"t%d " % self.tag
        self.send(tag + text + b"\r\n")
        line = self.read_to(tag)
        assert line.startswith(tag + b"OK"), (text[:80], line)


def private(pid):
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--mailbox", default="INBOX", help="selected")
    parser.add_argument("--target", default="Sent", help="appended to")
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--compress", action="store_true")
    options = parser.parse_args()
    password = os.environ["RMAIL_LOAD_PASSWORD"]
    assert 0 < options.sessions <= 5000
    held = [Session(options, password) for _ in range(WARM)]
    time.sleep(REST)
    before = private(options.pid)
    held += [Session(options, password) for _ in range(options.sessions)]
    time.sleep(REST)
    growth = (private(options.pid) - before) / options.sessions
    print(f"{growth:.2f} KiB a session, of {len(held) - WARM}")


main()
