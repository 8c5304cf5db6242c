"""What schemathesis needs to know of the API beside its description."""

import os

import schemathesis

MESSAGE = b"Subject: x\r\nFrom: alice@here.test\r\n\r\n"
OWN = os.environ.get("RMAIL_OWN_ADDRESS", "alice@here.test")


@schemathesis.serializer("message/rfc822")
def message(ctx, value):
    """A message is octets; made-up text goes into one as its body."""
    return value if isinstance(value, bytes) else MESSAGE + str(value).encode("utf-8", "replace")


@schemathesis.deserializer("message/rfc822")
def octets(ctx, response):
    """Compared with a schema it is text."""
    return response.content.decode("latin-1")


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """The account whose token is used is not to be changed by it: the token would end."""
    parameters = case.path_parameters or {}
    if str(parameters.get("address", "")).lower() in (OWN, OWN.partition("@")[0]):
        parameters["address"] = "nobody@" + OWN.partition("@")[2]
