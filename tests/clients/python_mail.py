#!/usr/bin/env python3
"""Round trips with Python's smtplib and imaplib against a running server.

Reads a JSON object from standard input: host, ports, users with passwords (what `rmail demo --json` prints).
Exits 0 when every check held, otherwise with a traceback.
"""
import email
import imaplib
import json
import smtplib
import socket
import ssl
import sys
import threading
import time
from email.message import EmailMessage

CONF = json.load(sys.stdin)
HOST = "127.0.0.1"
PORTS = CONF["ports"]
ALICE, BOB = CONF["users"][0], CONF["users"][1]
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE


def message(subject, body, sender=ALICE["address"], to=BOB["address"]):
    m = EmailMessage()
    m["From"], m["To"], m["Subject"] = sender, to, subject
    m.set_content(body)
    return m


def imap(user, tls=True):
    if tls:
        box = imaplib.IMAP4_SSL(HOST, PORTS["imaps"], ssl_context=TLS, timeout=30)
    else:
        box = imaplib.IMAP4(HOST, PORTS["imap"], timeout=30)
        assert "LOGINDISABLED" in box.capabilities, box.capabilities
        box.starttls(TLS)
    box.login(user["address"], user["password"])
    return box


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def refused(call, code):
    try:
        call()
    except smtplib.SMTPResponseException as error:
        assert error.smtp_code == code, error
    except smtplib.SMTPRecipientsRefused as error:
        assert all(c == code for c, _ in error.recipients.values()), error
    else:
        raise AssertionError(f"expected {code}")


def check_smtp():
    with smtplib.SMTP(HOST, PORTS["submission"], timeout=30) as s:
        s.ehlo()
        assert not s.has_extn("auth"), "AUTH on clear text"
        refused(lambda: s.sendmail(ALICE["address"], [BOB["address"]], "x"), 530)
        s.starttls(context=TLS)
        s.ehlo()
        assert s.has_extn("auth") and s.has_extn("pipelining") and s.has_extn("8bitmime")
        refused(lambda: s.login(ALICE["address"], "wrong"), 535)
        s.login(ALICE["address"], ALICE["password"])
        s.send_message(message("by submission", "one\n.two\n..three\n"))
        refused(lambda: s.sendmail(BOB["address"], [ALICE["address"]], "Subject: forged\r\n\r\nx"), 550)
        s.rset()
        refused(lambda: s.sendmail(ALICE["address"], ["nobody@" + ALICE["address"].split("@")[1]], "x"), 550)
    with smtplib.SMTP_SSL(HOST, PORTS["smtps"], context=TLS, timeout=30) as s:
        s.login(ALICE["address"], ALICE["password"])
        s.send_message(message("by smtps, to both", "ünïcödé\n"), to_addrs=[ALICE["address"], BOB["address"]])
    with smtplib.SMTP(HOST, PORTS["smtp"], timeout=30) as s:
        s.sendmail("stranger@elsewhere.test", [BOB["address"]], "Subject: from outside\r\n\r\nhello\r\n")
        refused(lambda: s.sendmail("stranger@elsewhere.test", ["third@party.test"], "x"), 550)
        s.rset()
        refused(lambda: s.sendmail(ALICE["address"], [BOB["address"]], "x"), 550)


def check_read():
    box = imap(BOB, tls=False)
    count = int(ok(box.select("INBOX"))[0])
    assert count == 3, count
    uids = ok(box.uid("SEARCH", "SUBJECT", '"submission"'))[0].split()
    assert len(uids) == 1, uids
    raw = ok(box.uid("FETCH", uids[0], "(BODY.PEEK[])"))[0][1]
    parsed = email.message_from_bytes(raw)
    assert parsed["Return-Path"] == f"<{ALICE['address']}>", parsed["Return-Path"]
    assert "ESMTPSA" in parsed["Received"], parsed["Received"]
    assert parsed.get_payload(decode=True).decode().splitlines() == ["one", ".two", "..three"]
    assert b"\\Seen" not in ok(box.uid("FETCH", uids[0], "(FLAGS)"))[0]
    data = ok(box.uid("FETCH", uids[0], "(RFC822.SIZE ENVELOPE BODYSTRUCTURE INTERNALDATE BODY[TEXT])"))
    assert str(len(raw)).encode() in data[0][0]
    assert b"\\Seen" in ok(box.uid("FETCH", uids[0], "(FLAGS)"))[0]
    header = ok(box.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)])"))
    assert sum(1 for part in header if isinstance(part, tuple)) == 3
    box.logout()


def check_manage():
    box = imap(ALICE)
    names = b" ".join(ok(box.list()))
    for use in (b"\\Sent", b"\\Drafts", b"\\Junk", b"\\Trash", b"\\Archive"):
        assert use in names, names
    ok(box.create('"Projekte/&AMQ-pfel"'))
    ok(box.subscribe('"Projekte/&AMQ-pfel"'))
    assert any(b"&AMQ-pfel" in line for line in ok(box.lsub())), "LSUB"
    ok(box.select('"Projekte/&AMQ-pfel"'))
    text = message("appended", "body\n").as_bytes().replace(b"\n", b"\r\n")
    stamp = imaplib.Time2Internaldate(1_000_000_000)
    data = ok(box.append('"Projekte/&AMQ-pfel"', r"(\Flagged $Work)", stamp, text))
    assert b"APPENDUID" in data[0], data
    for n in range(9):
        ok(box.append('"Projekte/&AMQ-pfel"', None, None, text.replace(b"appended", b"number %d" % n)))
    assert int(ok(box.select('"Projekte/&AMQ-pfel"'))[0]) == 10
    flags = ok(box.fetch("1", "(FLAGS INTERNALDATE)"))[0]
    assert b"\\Flagged" in flags and b"$Work" in flags and b"Sep-2001" in flags, flags
    ok(box.store("2:4", "+FLAGS.SILENT", r"(\Deleted)"))
    assert ok(box.search(None, "DELETED"))[0] == b"2 3 4"
    assert ok(box.search(None, "KEYWORD", "$Work"))[0] == b"1"
    assert len(ok(box.expunge())) == 3
    ok(box.copy("1:2", "Archive"))
    ok(box.uid("MOVE", "1:*", "Trash"))
    assert int(ok(box.select('"Projekte/&AMQ-pfel"'))[0]) == 0
    assert int(ok(box.select("Trash"))[0]) == 7
    status = ok(box.status("Archive", "(MESSAGES UIDNEXT UNSEEN)"))[0]
    assert b"MESSAGES 2" in status and b"UIDNEXT 3" in status, status
    ok(box.rename("Projekte", "Projects"))
    assert any(b"Projects/&AMQ-pfel" in line for line in ok(box.list()))
    ok(box.delete('"Projects/&AMQ-pfel"'))
    big = b"Subject: big\r\n\r\n" + b"0123456789abcdef" * 4 * 16384 * 5
    big = b"\r\n".join(big[i : i + 900] for i in range(0, len(big), 900)) + b"\r\n"
    ok(box.append("Drafts", r"(\Draft)", None, big))
    ok(box.select("Drafts"))
    assert ok(box.fetch("1", "(BODY.PEEK[])"))[0][1] == big, "a large message comes back as it went"
    part = ok(box.fetch("1", "(BODY.PEEK[]<1000000.500>)"))[0][1]
    assert part == big[1000000:1000500]
    for bad in ('"../x"', '"a//b"', '"&AMQ"'):
        assert box.create(bad)[0] != "OK", bad
    box.logout()


def check_idle():
    """A message is told to an idling client without a poll."""
    box = imap(BOB)
    before = int(ok(box.select("INBOX"))[0])
    box.send(b"i1 IDLE\r\n")
    assert box.readline().startswith(b"+")
    sent = threading.Event()
    stamp = []

    def send():
        with smtplib.SMTP(HOST, PORTS["smtp"], timeout=30) as s:
            s.sendmail("stranger@elsewhere.test", [BOB["address"]], "Subject: ping\r\n\r\nx\r\n")
            stamp.append(time.monotonic())
            sent.set()

    threading.Thread(target=send).start()
    line = box.readline()
    told = time.monotonic()
    assert line == b"* %d EXISTS\r\n" % (before + 1), line
    sent.wait(30)
    print(f"idle: EXISTS {1000 * (told - stamp[0]):.2f} ms after the sender had its 250", file=sys.stderr)
    box.send(b"DONE\r\n")
    while not box.readline().startswith(b"i1 OK"):
        pass
    box.logout()


def check_rude():
    """Rude clients end or get their error; the server goes on."""
    for port, greeting in ((PORTS["smtp"], b"220"), (PORTS["imap"], b"* OK")):
        for rude in (b"\0\0\0\r\n", b"A" * 70000 + b"\r\n", b"EHLO x\rNOOP\r\n", b"\r\n" * 50, b"a1 LOGIN {99999999999}\r\n"):
            with socket.create_connection((HOST, port), 30) as s:
                assert s.recv(1000).startswith(greeting)
                s.sendall(rude)
                assert s.recv(1000), "an answer"
    with smtplib.SMTP(HOST, PORTS["smtp"], timeout=30) as s:
        s.ehlo()
        s.send(b"STARTTLS\r\nMAIL FROM:<evil@elsewhere.test>\r\n")
        assert s.getreply()[0] == 220
        raw = TLS.wrap_socket(s.sock)
        raw.sendall(b"NOOP\r\n")
        assert raw.recv(1000).startswith(b"250"), "what was sent before TLS is forgotten"


for check in (check_smtp, check_read, check_manage, check_idle, check_rude):
    check()
    print(f"{check.__name__} ok", file=sys.stderr)
