"""Every error conftrack raises on purpose. The message says what failed, where, and what to do; never a secret."""

from __future__ import annotations


class ConftrackError(Exception):
    """Something conftrack expected could happen, and can explain."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class ConfigError(ConftrackError):
    """The configuration cannot be used as it is."""

    exit_code = 2


class DatabaseError(ConftrackError):
    """The database cannot be reached, started or used."""


class DatabaseAway(DatabaseError):
    """The database does not answer."""


class SchemaMismatch(DatabaseError):
    """The database's schema is not the one this version works with."""


class SourceError(ConftrackError):
    """A conference system did not answer as it should.

    `permanent` says that asking again will not help (wrong password, wrong address); `retry_after` is the
    number of seconds the system asked us to wait, when it did.
    """

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after


class GrafanaError(ConftrackError):
    """A Grafana did not do what it was asked. `status` is that of its HTTP answer, None where there was none."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class LeaseHeld(ConftrackError):
    """Another collector works on this source."""


class MailError(ConftrackError):
    """A mail server did not take a mail. Nothing was delivered.

    `permanent` says that trying again will not help (wrong password, a certificate that is not trusted).
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
