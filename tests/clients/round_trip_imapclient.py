#!/usr/bin/env python3
"""A round trip with IMAPClient: mailboxes, messages, flags, copies, search, IDLE."""
import threading

from imapclient import IMAPClient
from trip import ALICE, HOST, MAILBOX, PORTS, TLS, deliver, message

with IMAPClient(HOST, PORTS["imaps"], ssl_context=TLS, timeout=30) as box:
    box.login(ALICE["address"], ALICE["password"])
    assert box.has_capability("IMAP4rev1") and box.has_capability("IDLE")
    if box.has_capability("ID"):
        assert box.id_({"name": "round trip"}) is not None
    personal = box.namespace().personal
    assert personal[0][1] == "/", personal
    box.create_folder(MAILBOX)
    box.subscribe_folder(MAILBOX)
    names = [name for _, _, name in box.list_folders()]
    assert MAILBOX in names, names
    assert MAILBOX in [name for _, _, name in box.list_sub_folders()]
    assert box.find_special_folder(b"\\Sent") == "Sent"
    mails = [message(f"number {n}") for n in range(5)]
    for n, mail in enumerate(mails):
        told = box.append(MAILBOX, mail, flags=(b"\\Flagged", b"$Work") if n == 0 else ())
        assert b"APPENDUID" in told, told
    assert box.folder_status(MAILBOX, ["MESSAGES", "UIDNEXT", "UNSEEN"]) == {b"MESSAGES": 5, b"UIDNEXT": 6, b"UNSEEN": 5}
    opened = box.select_folder(MAILBOX)
    assert opened[b"EXISTS"] == 5 and b"\\*" in opened[b"PERMANENTFLAGS"], opened

    got = box.fetch([1], ["ENVELOPE", "BODYSTRUCTURE", "FLAGS", "RFC822.SIZE", "INTERNALDATE", "BODY.PEEK[]", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]"])[1]
    assert got[b"BODY[]"] == mails[0] and got[b"RFC822.SIZE"] == len(mails[0])
    envelope = got[b"ENVELOPE"]
    assert envelope.subject == b"number 0" and envelope.message_id == b"<number.0@client.test>", envelope
    assert envelope.from_[0].mailbox + b"@" + envelope.from_[0].host == ALICE["address"].encode(), envelope
    assert envelope.from_[0].name.startswith(b"=?utf-8?"), "encoded words are left encoded"
    structure = got[b"BODYSTRUCTURE"]
    assert structure.is_multipart and len(structure[0]) == 2 and structure[1] == b"MIXED", structure
    assert structure[0][1][:2] == (b"APPLICATION", b"OCTET-STREAM"), structure
    assert set(got[b"FLAGS"]) - {b"\\Recent"} == {b"\\Flagged", b"$Work"}, got[b"FLAGS"]
    assert got[b"BODY[HEADER.FIELDS (SUBJECT)]"] == b"Subject: number 0\r\n\r\n"

    box.add_flags([1, 2], [b"\\Seen", b"$Later"])
    box.remove_flags([1], [b"$Work"])
    assert set(box.get_flags([1])[1]) - {b"\\Recent"} == {b"\\Flagged", b"\\Seen", b"$Later"}
    assert box.search(["SUBJECT", "number 3"]) == [4]
    assert box.search("UNSEEN") == [3, 4, 5]
    assert box.search(["TEXT", "Älice"], "UTF-8") == [1, 2, 3, 4, 5]
    box.copy([1, 2], "Archive")
    box.move([3], "Trash")
    box.delete_messages([5])
    box.expunge([5])
    assert box.search() == [1, 2, 4]
    assert box.folder_status("Archive", ["MESSAGES"])[b"MESSAGES"] == 2
    box.unselect_folder()

    count = box.select_folder("INBOX")[b"EXISTS"]
    box.idle()
    sender = threading.Thread(target=deliver, args=("pushed",))
    sender.start()
    told = []
    while (count + 1, b"EXISTS") not in told:
        new = box.idle_check(timeout=30)
        assert new, "nothing was told within 30 seconds"
        told += new
    sender.join()
    box.idle_done()
    assert box.search(["SUBJECT", "pushed"]), "what was pushed can be found"

    box.rename_folder(MAILBOX, "Renamed/Straße")
    assert "Renamed/Straße" in [name for _, _, name in box.list_folders("Renamed/")]
    box.delete_folder("Renamed/Straße")
    assert not box.folder_exists("Renamed/Straße")
print("ok")
