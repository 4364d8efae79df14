"""A real SMTP server (aiosmtpd) that prints what it takes.

Its one argument is JSON: `mode` is starttls, implicit or none, or mute for one that takes connections
and says nothing; `cert` and `key` are files; `user` and `password` are demanded if given; `rcpt` and
`data` are replies instead of its own. It prints its port, then each mail as a line of JSON, and ends
with its standard input.
"""

import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

# It warns of what tests do on purpose.
logging.disable(logging.WARNING)

told = json.loads(sys.argv[1])


def say(what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if "rcpt" in told:
            return told["rcpt"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if "data" in told:
            return told["data"]
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or told["mode"] == "implicit",
            "authenticated": session.authenticated,
            "headers": [[name, str(value)] for name, value in mail.items()],
            "defects": [str(defect) for defect in mail.defects],
            "raw": envelope.content.decode("ascii"),
            "text": mail.get_content(),
        })
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == told["user"].encode() and data.password == told["password"].encode()
    return AuthResult(success=good, handled=good)


def protocol(context):
    options = {"hostname": "localhost"}
    if told["mode"] == "starttls":
        options.update(tls_context=context, require_starttls=True)
    if "user" in told:
        options.update(authenticator=authenticate, auth_required=True)
        options.update(auth_require_tls=told["mode"] == "starttls")
    return lambda: SMTP(Handler(), **options)


async def main():
    context = None
    if "cert" in told:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(told["cert"], told["key"])
    loop = asyncio.get_running_loop()
    made = asyncio.Protocol if told["mode"] == "mute" else protocol(context)
    guard = context if told["mode"] == "implicit" else None
    server = await loop.create_server(made, "127.0.0.1", 0, ssl=guard)
    say(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
