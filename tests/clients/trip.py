"""What the round trips in Python share: the server as `rmail demo --json` describes it on standard input, and messages."""
import json
import smtplib
import ssl
import sys
from email.message import EmailMessage

CONF = json.load(sys.stdin)
HOST = "127.0.0.1"
PORTS = CONF["ports"]
ALICE, BOB = CONF["users"][0], CONF["users"][1]
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE
# A name that modified UTF-7 has to encode, with a level, a quote and a space.
MAILBOX = 'Ärger & "Freude"/日本語'


def message(subject, body="body\n"):
    """Two alternatives and an attachment, as octets with CRLF."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"Älice <{ALICE['address']}>", BOB["address"], subject
    mail["Message-ID"] = f"<{subject.replace(' ', '.')}@client.test>"
    mail.set_content(body)
    mail.add_alternative(f"<p>{body}</p>", subtype="html")
    mail.add_attachment(b"\x00\x01\x02" * 100, maintype="application", subtype="octet-stream", filename="Maße.bin")
    return mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def deliver(subject):
    """From outside to Alice."""
    with smtplib.SMTP(HOST, PORTS["smtp"], timeout=30) as server:
        server.sendmail("stranger@elsewhere.test", [ALICE["address"]], f"Subject: {subject}\r\n\r\nx\r\n")
