"""A real SMTP server (aiosmtpd) on a real socket, with certificates of its own, that misbehaves when told to."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DROP = "drop"
"""The connection is lost instead of an answer."""
KEEP_AND_DROP = "keep and drop"
"""The message is kept, and the connection lost before the answer."""

Script = Callable[[str, str], str | None]
"""What is answered to a command (MAIL, RCPT, DATA) and its address; None: what a good server answers."""


class Delivered(NamedTuple):
    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)


class MailServer:
    """`async with MailServer() as server:` is one at 127.0.0.1, `server.port`."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        security: Literal["starttls", "tls", "none"] = "none",
        login: tuple[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.delivered: list[Delivered] = []
        #: Every connection that was made, every sign-in that was tried.
        self.connections = 0
        self.logins: list[str] = []
        self.script: Script = lambda command, address: None
        self.port = port
        self._tls, self._security, self._login = tls, security, login
        self._served: set[SMTP] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            self._made, "127.0.0.1", self.port, ssl=self._tls if self._security == "tls" else None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for served in self._served:
            _cut(served)
        await self._server.wait_closed()
        await asyncio.sleep(0.01)  # its tasks end

    def counts(self) -> dict[str, int]:
        """How many messages each address was sent."""
        found: dict[str, int] = {}
        for one in self.delivered:
            for address in one.recipients:
                found[address] = found.get(address, 0) + 1
        return found

    def _made(self) -> SMTP:
        self.connections += 1
        starttls = self._security == "starttls"
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of TLS that the socket has already
            made = SMTP(
                self, hostname="mail.test", tls_context=self._tls if starttls else None, require_starttls=starttls,
                auth_required=self._login is not None, authenticator=self._authenticate if self._login else None,
                auth_require_tls=starttls, loop=asyncio.get_running_loop(),
            )  # fmt: skip
        self._served.add(made)
        return made

    def _authenticate(self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login.decode())
        right = (data.login.decode(), data.password.decode()) == self._login
        return AuthResult(success=right, handled=False)

    async def handle_MAIL(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        answer = self._answer(server, "MAIL", address)
        if answer.startswith("250"):
            envelope.mail_from = address
        return answer

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        answer = self._answer(server, "RCPT", address)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        said = self.script("DATA", envelope.rcpt_tos[0])
        if said in (None, KEEP_AND_DROP) or (said or "").startswith("250"):
            self.delivered.append(Delivered(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.content))
        return self._said(server, said)

    def _answer(self, server: SMTP, command: str, address: str) -> str:
        return self._said(server, self.script(command, address))

    def _said(self, server: SMTP, said: str | None) -> str:
        if said in (DROP, KEEP_AND_DROP):
            _cut(server)
            return "421 gone"
        return said or "250 OK"


def _cut(server: SMTP) -> None:
    if isinstance(server.transport, asyncio.Transport):
        server.transport.abort()


class Authority:
    """An authority, in `ca_file`, that trusts nobody but whom it signs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        ca = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
                ),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    def server(self, address: str = "127.0.0.1") -> ssl.SSLContext:
        """What a server at this address presents."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
        made = (
            self._builder(name, key)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        file = self._folder / f"{address}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        )
