"""Takes mail by aiosmtpd: PORT DIRECTORY. `never-…` is refused for good, `later-…` once each for now."""

import asyncio
import pathlib
import sys

from aiosmtpd.smtp import SMTP


class Handler:
    def __init__(self, directory):
        self.directory = directory
        self.seen = set()
        self.count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("never-"):
            return "550 5.1.1 no such mailbox here"
        if address.startswith("later-") and address not in self.seen:
            self.seen.add(address)
            return "451 4.3.0 come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        head = "".join(f"RCPT <{to}>\r\n" for to in envelope.rcpt_tos)
        path = self.directory / f"{self.count}.eml"
        path.write_bytes(head.encode() + envelope.original_content)
        return "250 2.0.0 taken"


async def main():
    port, directory = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    handler = Handler(directory)
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(handler, hostname="sink.test", enable_SMTPUTF8=True)
    server = await loop.create_server(make, "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main())
