"""Keeping the password out of aiokafka's own log.

At the level DEBUG, which a program turns on for everything at once, aiokafka writes each request as it is. Of a login
by PLAIN that is the password.
"""

from __future__ import annotations

import logging
from typing import Final

_LOGGER: Final = "aiokafka.conn"


class _Logins(logging.Filter):
    """Lets a login through without what it says."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG and isinstance(record.args, tuple):
            record.args = tuple(
                type(each).__name__ if type(each).__name__.startswith("SaslAuthenticate") else each
                for each in record.args
            )
        return True


_LOGINS: Final = _Logins()


def hush_logins() -> None:
    """Let no login's bytes into the log, from now on."""
    logging.getLogger(_LOGGER).addFilter(_LOGINS)  # which takes the same filter once
