#!/usr/bin/env python3
"""A round trip with aioimaplib: several commands under way, IDLE while another task delivers."""
import asyncio

import aioimaplib
from trip import ALICE, HOST, PORTS, TLS, deliver, message

# aioimaplib leaves the encoding of names to its user: "Äpfel" in modified UTF-7.
MAILBOX = '"&AMQ-pfel/b c"'


def ok(answer):
    assert answer.result == "OK", answer
    return answer.lines


async def trip():
    box = aioimaplib.IMAP4_SSL(HOST, PORTS["imaps"], timeout=30, ssl_context=TLS)
    await box.wait_hello_from_server()
    ok(await box.login(ALICE["address"], ALICE["password"]))
    ok(await box.create(MAILBOX))
    ok(await box.subscribe(MAILBOX))
    assert any(b"&AMQ-pfel/b c" in line for line in ok(await box.list('""', "*")))
    mails = [message(f"number {n}") for n in range(4)]
    for mail in mails:
        ok(await box.append(mail, MAILBOX, flags=r"\Flagged"))
    ok(await box.select(MAILBOX))
    lines = ok(await box.uid("fetch", "1:4", "(FLAGS BODY.PEEK[])"))
    bodies = [bytes(line) for line in lines if isinstance(line, bytearray)]
    assert bodies == mails, "every message comes back as it went"
    structure = b"".join(bytes(line) for line in ok(await box.uid("fetch", "2", "(ENVELOPE BODYSTRUCTURE)")))
    assert b'"number 1"' in structure and b'"ALTERNATIVE"' in structure and b'"MIXED"' in structure, structure
    both = await asyncio.gather(box.uid("store", "1", r"+FLAGS (\Seen $Work)"), box.uid_search("SUBJECT", '"number 2"'))
    assert all(answer.result == "OK" for answer in both), both
    assert both[1].lines[0].split() == [b"3"], both[1]
    assert ok(await box.search("KEYWORD", "$Work", charset=None))[0].split() == [b"1"]
    ok(await box.copy("1:2", "Archive"))
    ok(await box.uid("move", "3", "Trash"))
    ok(await box.store("1", r"+FLAGS.SILENT (\Deleted)"))
    ok(await box.expunge())
    assert ok(await box.search("ALL", charset=None))[0].split() == [b"1", b"2"]
    ok(await box.close())

    ok(await box.select("INBOX"))
    idle = await box.idle_start(timeout=60)
    sending = asyncio.get_running_loop().run_in_executor(None, deliver, "pushed to aioimaplib")
    told = []
    while not any(line.endswith(b"EXISTS") for line in told):
        told += await box.wait_server_push(timeout=30)
    await sending
    box.idle_done()
    ok(await asyncio.wait_for(idle, 30))
    ok(await box.delete(MAILBOX))
    assert not any(b"b c" in line for line in ok(await box.list('""', "*")))
    ok(await box.logout())


asyncio.run(trip())
print("ok")
