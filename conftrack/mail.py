"""Mail by SMTP: what a message is made of, and a session with the server in two steps.

SMTP cannot promise that a mail is delivered exactly once: when the connection is lost after the message was handed
over, nobody knows. So a session first asks who may be written to (`offer`), and only `deliver` hands the message over:
in between, whoever must never send twice notes down what is about to happen. Nothing here is repeated by itself.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime, parseaddr

import aiosmtplib
from msgspec import field

from conftrack.config import MailConfig
from conftrack.errors import MailError
from conftrack.model import Record

PATIENCE = 60.0
"""Seconds for any answer of the server. After the message itself RFC 5321 (4.5.3.2.6) asks for ten minutes."""
LAST_PATIENCE = 600.0
ANSWER_LENGTH = 300
"""Characters of an answer that are kept."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Attachment(Record, frozen=True, kw_only=True):
    name: str
    #: A media type such as "application/pdf".
    type: str
    content: bytes = field(default=b"")


class Answer(Record, frozen=True):
    """What the server said: taken (2xx), not now (4xx) or not ever (5xx)."""

    code: int
    text: str

    @property
    def taken(self) -> bool:
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        return self.code >= 500

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


def compose(
    *,
    sender: str,
    to: Iterable[str],
    subject: str,
    text: str,
    html: str,
    attachments: Iterable[Attachment],
    message_id: str,
    at: datetime,
) -> bytes:
    """A message as it goes over the wire: text and HTML alternatives, then the attachments. The same values make the
    same bytes. What is in `subject` and in the names of attachments cannot become a header or a path."""
    message = EmailMessage(policy=WIRE)
    name, address = parseaddr(sender)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = [Address(addr_spec=address) for address in to]
    message["Date"] = format_datetime(at)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers it
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    for attachment in attachments:
        major, _, minor = attachment.type.partition("/")
        named = re.sub(r'[/\\:*?"<>|]+', "-", one_line(attachment.name)).lstrip(".") or "report"
        message.add_attachment(attachment.content, maintype=major, subtype=minor, filename=named)
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"=={number}=={message_id.strip('<>').partition('@')[0]}==")
    # EmailMessage loses spaces where it folds a long subject that is not ASCII; Header does not.
    encoded = Header(one_line(subject), "utf-8", header_name="Subject").encode(linesep="\r\n")
    return f"Subject: {encoded}\r\n".encode() + message.as_bytes()


def domain(sender: str) -> str:
    """What is behind the @ of a sender."""
    return parseaddr(sender)[1].rpartition("@")[2]


def one_line(text: str) -> str:
    """A text as it may stand in a header: without line ends and other characters that print nothing."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


class Session:
    """A connection that is open and signed in, for one mail."""

    def __init__(self, client: aiosmtplib.SMTP, config: MailConfig) -> None:
        self._client = client
        self._config = config

    async def offer(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Begins a mail, and asks for each address whether it may be written to. Nothing is delivered by this.

        Raises MailError when the server does not take the sender, or is gone.
        """
        with _told(self._config):
            await self._client.mail(parseaddr(self._config.sender or "")[1])
            answers = {}
            for address in addresses:
                try:
                    said = await self._client.rcpt(address)
                except aiosmtplib.SMTPRecipientRefused as refusal:
                    answers[address] = _answer(refusal.code, refusal.message)
                else:
                    answers[address] = _answer(said.code, said.message)
            return answers

    async def deliver(self, message: bytes) -> Answer | None:
        """Hands the message over to the addresses that were taken, once. None: the server's answer never came, and
        nobody knows whether it delivers the message."""
        try:
            said = await self._client.data(message, timeout=LAST_PATIENCE)
        except aiosmtplib.SMTPDataError as refusal:
            return _answer(refusal.code, refusal.message) if 400 <= refusal.code < 600 else None
        except (aiosmtplib.SMTPException, OSError):
            return None
        return _answer(said.code, said.message)


class Mailer:
    """The mail server of `[mail]`."""

    def __init__(self, config: MailConfig) -> None:
        self._config = config

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Session]:
        """A session over a connection whose certificate is verified. Raises MailError."""
        config = self._config
        with _told(config):
            client = aiosmtplib.SMTP(
                hostname=config.host,
                port=config.port_used,
                username=config.username,
                password=config.password.reveal() if config.password else None,
                use_tls=config.security == "tls",
                start_tls=config.security == "starttls",
                tls_context=await asyncio.to_thread(_trust, config) if config.security != "none" else None,
                timeout=PATIENCE,
            )
            await client.connect()
        try:
            yield Session(client, config)
        finally:
            with suppress(aiosmtplib.SMTPException, OSError):  # what there was to say is said
                if client.is_connected:
                    await client.quit(timeout=5)
            client.close()

    async def check(self) -> str:
        """Connects, signs in and leaves, without a mail. Says what was found; raises MailError."""
        async with self.connect():
            signed_in = ", signed in" if self._config.username else ""
            return f"{self._config.host}:{self._config.port_used} answers ({self._config.security}{signed_in})"


@contextmanager
def _told(config: MailConfig) -> Iterator[None]:
    """Makes a MailError of what the library raises. It shows neither the password nor what was answered to it, and
    addresses and texts of the server only where they say what to do."""
    host = f"mail server {config.host}:{config.port_used}"
    try:
        yield
    except aiosmtplib.SMTPAuthenticationError as error:
        told = f"{host} does not let us sign in ({error.code}): correct [mail] username and password"
        raise MailError(told, permanent=error.code >= 500) from None
    except aiosmtplib.SMTPSenderRefused as error:
        told = f"{host} does not take mail from the [mail] sender ({error.code})"
        raise MailError(told, permanent=error.code >= 500) from None
    except aiosmtplib.SMTPResponseException as error:
        raise MailError(f"{host} refused ({error.code})", permanent=500 <= error.code < 600) from None
    except OSError as error:  # those of TLS, time and connection are among them
        if (untrusted := _certificate_problem(error)) is not None:
            told = f"the TLS certificate of {host} is not trusted ({untrusted}): [mail] ca_file names who issued it"
            raise MailError(told, permanent=True) from None
        if isinstance(error, TimeoutError):
            raise MailError(f"{host} did not answer in time") from None
        raise MailError(f"{host} cannot be reached, or ended the connection") from None
    except aiosmtplib.SMTPException as error:  # it has no STARTTLS, or no way to sign in
        raise MailError(f"{host} does not speak what [mail] asks for: {one_line(str(error))}", permanent=True) from None


def _trust(config: MailConfig) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)


def _certificate_problem(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None


def _answer(code: int, text: str) -> Answer:
    return Answer(code, one_line(text.encode("utf-8", "replace").decode())[:ANSWER_LENGTH])
