"""`[mail]`: the server that mail is handed to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from conftrack.config.checks import certificates
from conftrack.config.reading import Reading, Secret, fields

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# What every mail system takes: a mailbox in ASCII, without quotes (RFC 5321, 4.1.2).
MAILBOX = rf"{_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"


def _host(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", name):
        raise ValueError("the name or address of a host, its port apart")


def _sender(text: str) -> None:
    if not re.fullmatch(rf'{MAILBOX}|[^<>@",;:\\\x00-\x1f\x7f]+<{MAILBOX}>', text):
        raise ValueError('an address such as "report@example.vn" or "Name <report@example.vn>"')


class MailConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[mail]`: the server that mail is handed to."""

    #: None: there is no mail.
    host: Annotated[str, _host] | None = None
    #: None: the usual one of `security`.
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    #: starttls: the connection is encrypted after a first exchange; tls: from its beginning.
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: Secret | None = None
    #: Certificate authorities to trust instead of the system's.
    ca_file: Annotated[Path, certificates] | None = None
    #: Who the mails are from.
    sender: Annotated[str, _sender] | None = None

    @property
    def port_used(self) -> int:
        return self.port or {"starttls": 587, "tls": 465, "none": 25}[self.security]


def read_mail(reading: Reading) -> MailConfig:
    """The table `[mail]`. What does not fit together is kept as a problem."""
    mail = MailConfig(**reading.table(("mail",), fields(MailConfig)))
    if mail.host is not None and mail.sender is None and reading.given("mail", "sender") is None:
        reading.problem(("mail", "host"), "needs `sender` beside it: who the mails are from")
    for key, other in (("username", "password"), ("password", "username")):
        if getattr(mail, key) is not None and not any(
            reading.given("mail", given) for given in (other, f"{other}_file")
        ):
            reading.problem(("mail", key), f"needs `{other}` beside it")
    return mail
