#!/usr/bin/env python3
"""Sets up mail as Thunderbird, Outlook and an iPhone do: reads the server's documents, and logs in by nothing but what they say.

Reads a JSON object from standard input: "ports" by name (public, public_secure, api), "address", "password", "hostname".
Exits 0 when every check held, otherwise with a traceback.
"""
import imaplib
import json
import plistlib
import smtplib
import ssl
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree

CONF = json.load(sys.stdin)
HOST, PORTS = "127.0.0.1", CONF["ports"]
ADDRESS, PASSWORD = CONF["address"], CONF["password"]
DOMAIN = ADDRESS.split("@")[1]
TLS = ssl.create_default_context()
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE


def fetch(port, path, host=None, body=None, scheme="http"):
    """Status, media type and body."""
    request = urllib.request.Request(f"{scheme}://{HOST}:{port}{path}", data=body)
    if host:
        request.add_header("Host", host)
    if body is not None:
        request.add_header("Content-Type", "text/xml; charset=utf-8")
    try:
        with urllib.request.urlopen(request, timeout=30, context=TLS if scheme == "https" else None) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_content_type(), error.read()


def read_mail(security, port, login):
    """INBOX can be read there."""
    if security == "SSL":
        imap = imaplib.IMAP4_SSL(HOST, port, ssl_context=TLS, timeout=30)
    else:
        imap = imaplib.IMAP4(HOST, port, timeout=30)
        if security == "STARTTLS":
            imap.starttls(TLS)
    imap.login(login, PASSWORD)
    assert imap.select()[0] == "OK"
    imap.logout()


def send_mail(security, port, login):
    """Mail can be sent there."""
    if security == "SSL":
        smtp = smtplib.SMTP_SSL(HOST, port, context=TLS, timeout=30)
    else:
        smtp = smtplib.SMTP(HOST, port, timeout=30)
        if security == "STARTTLS":
            smtp.starttls(context=TLS)
    smtp.login(login, PASSWORD)
    smtp.sendmail(ADDRESS, [ADDRESS], f"From: {ADDRESS}\r\nSubject: {port}\r\n\r\nset up\r\n")
    smtp.quit()


def thunderbird():
    """The document at both places; each server in it works."""
    places = [(f"/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress={ADDRESS}", DOMAIN),
              ("/mail/config-v1.1.xml", f"autoconfig.{DOMAIN}")]
    documents = [fetch(PORTS["public"], path, host) for path, host in places]
    assert documents[0] == documents[1], documents
    assert fetch(PORTS["public_secure"], *places[0], scheme="https") == documents[0]
    status, media_type, body = documents[0]
    assert (status, media_type) == (200, "text/xml"), documents[0]
    provider = ElementTree.fromstring(body).find("emailProvider")
    assert provider.get("id") == DOMAIN and provider.findtext("domain") == DOMAIN
    tried = []
    for kind, use in (("incomingServer", read_mail), ("outgoingServer", send_mail)):
        for server in provider.findall(kind):
            assert server.findtext("hostname") == CONF["hostname"]
            assert server.findtext("authentication") == "password-cleartext"
            login = server.findtext("username").replace("%EMAILADDRESS%", ADDRESS)
            security = server.findtext("socketType")
            use(security, int(server.findtext("port")), login)
            tried.append((kind, security))
    assert tried == [("incomingServer", "SSL"), ("incomingServer", "STARTTLS"),
                     ("outgoingServer", "SSL"), ("outgoingServer", "STARTTLS")], tried


def outlook():
    """Version 2 leads to version 1, whose settings work."""
    path = f"/autodiscover/autodiscover.json?Email={ADDRESS}&Protocol=AutodiscoverV1&RedirectCount=1"
    status, media_type, body = fetch(PORTS["public_secure"], path, scheme="https")
    assert (status, media_type) == (200, "application/json"), body
    url = json.loads(body)["Url"]
    front = f"https://{CONF['hostname']}:{PORTS['public_secure']}"
    assert url == f"{front}/autodiscover/autodiscover.xml", url
    schema = "http://schemas.microsoft.com/exchange/autodiscover/outlook/"
    question = (f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{schema}requestschema/2006"><Request>'
                f"<EMailAddress>{ADDRESS}</EMailAddress>"
                f"<AcceptableResponseSchema>{schema}responseschema/2006a</AcceptableResponseSchema>"
                "</Request></Autodiscover>").encode()
    for path in (url.removeprefix(front), "/Autodiscover/Autodiscover.xml"):
        status, media_type, body = fetch(PORTS["public_secure"], path, body=question, scheme="https")
        assert (status, media_type) == (200, "text/xml"), body
        spaces = {"o": schema + "responseschema/2006a"}
        account = ElementTree.fromstring(body).find("o:Response/o:Account", spaces)
        for protocol in account.findall("o:Protocol", spaces):
            value = lambda name: protocol.findtext(f"o:{name}", namespaces=spaces)
            assert value("Server") == CONF["hostname"] and value("SSL") == "on"
            use = {"IMAP": read_mail, "SMTP": send_mail}[value("Type")]
            use(value("Encryption"), int(value("Port")), value("LoginName"))
    bomb = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Autodiscover>&x;</Autodiscover>'
    assert fetch(PORTS["public"], "/autodiscover/autodiscover.xml", body=bomb)[0] == 400


def iphone():
    """The profile is a property list whose account works."""
    status, media_type, body = fetch(PORTS["public_secure"], f"/profile.mobileconfig?email={ADDRESS}", scheme="https")
    assert (status, media_type) == (200, "application/x-apple-aspen-config"), body
    profile = plistlib.loads(body)
    assert profile["PayloadType"] == "Configuration" and profile["PayloadVersion"] == 1
    (account,) = profile["PayloadContent"]
    assert account["PayloadType"] == "com.apple.mail.managed" and account["EmailAddress"] == ADDRESS
    assert account["PayloadUUID"] != profile["PayloadUUID"]
    for way, use in (("Incoming", read_mail), ("Outgoing", send_mail)):
        assert account[f"{way}MailServerHostName"] == CONF["hostname"]
        assert account[f"{way}MailServerUseSSL"] is True
        use("SSL", account[f"{way}MailServerPortNumber"], account[f"{way}MailServerUsername"])


def only_documents():
    """Nothing else is behind the public ports; all of it is behind the API's too."""
    for path in ("/", "/health", "/metrics", "/openapi.json", "/folders", "/auth/login"):
        status = fetch(PORTS["public"], path)[0]
        assert status == 404, (path, status)
    path = "/mail/config-v1.1.xml"
    assert fetch(PORTS["api"], path) == fetch(PORTS["public"], path)
    status, media_type, body = fetch(PORTS["public_secure"], "/.well-known/mta-sts.txt", f"mta-sts.{DOMAIN}", scheme="https")
    assert (status, media_type) == (200, "text/plain"), body
    lines = body.decode().split("\r\n")
    assert lines == ["version: STSv1", "mode: testing", f"mx: {CONF['hostname']}", "max_age: 86400", ""], lines


thunderbird()
outlook()
iphone()
only_documents()
