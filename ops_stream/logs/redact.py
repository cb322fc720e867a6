"""Keeping secrets out of what a process says, wherever in it they turn up: in a field, an error's text, a traceback.

Two ways, since neither is enough: what looks like a secret is blotted out, and so is every secret that this process was
given, to the letter.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ops_stream.contract.settings import Settings

BLOT: Final = "[secret]"
HIDDEN_MIN: Final = 6
"""A shorter secret is not looked for: it would blot out words of everybody's."""
WORD_MIN: Final = 12
"""In a file with more than a secret in it, words are looked for from this length on."""
HIDDEN_MAX: Final = 10_000
FILE_MAX: Final = 65_536

_LOOKS: Final = (
    # The rest of a URL's userinfo goes with the password: a token may stand for a name.
    (re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^\s/@\"'<>]{1,2000}@"), rf"\1{BLOT}@"),
    (re.compile(r"\b((?i:bearer|basic))\s+[A-Za-z0-9._~+/=:-]{6,}"), rf"\1 {BLOT}"),
    # Whatever the scheme is called, all that follows it.
    (
        re.compile(r"((?i:authorization|cookie)[\"']?\s*[=:]\s*[\"']?)(?!(?i:bearer|basic) )[^\r\n\"',]+"),
        rf"\1{BLOT}",
    ),
    (re.compile(r"(https://hooks\.slack\.com/)[^\s\"'<>]+"), rf"\1{BLOT}"),
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        BLOT,
    ),
    # Also as the end of a longer name: sasl_plain_password, x-api-key. What is quoted goes to the quote.
    (
        re.compile(
            r"((?i:password|passwd|secret|token|api[_-]?key)[\"']?\s*[=:]\s*)"
            r"(?:b?\"(?:[^\"\\\r\n]|\\.)*\"?|b?'(?:[^'\\\r\n]|\\.)*'?|[^\s\"',;&)}\]]+)"
        ),
        rf"\1{BLOT}",
    ),
)
SECRET_NAME: Final = re.compile(
    r"(?i)(?:^|[_.-])(?:password|passwd|secret|token|authorization|api_?key|cookie)$"
)
"""The name of a field whose text is never shown."""

_hidden: set[str] = set()
_pattern: re.Pattern[str] | None = None


def redacted(text: str) -> str:
    """Give a text without what is, or looks like, a secret."""
    if _pattern is not None:
        text = _pattern.sub(BLOT, text)
    for looks, blot in _LOOKS:
        text = looks.sub(blot, text)
    return text


def hide(*secrets: str) -> None:
    """Blot these out from now on, as they are and as a URL writes them."""
    global _pattern
    for secret in secrets:
        for written in {secret.strip(), unquote(secret.strip())}:
            if len(written) >= HIDDEN_MIN and len(_hidden) < HIDDEN_MAX:
                _hidden.add(written)
    if _hidden:
        longest_first = sorted(_hidden, key=lambda secret: (-len(secret), secret))
        _pattern = re.compile("|".join(map(re.escape, longest_first)))


def hide_settings(settings: Settings) -> None:
    """Blot out what the settings hold or name as secret. A file that cannot be read is told of by who needs it."""
    hide(*_of_url(settings.redis_url), *_of_url(settings.otlp_endpoint))
    for path in (settings.kafka_sasl_password_file, settings.kafka_ssl_password_file):
        hide(*_lines(path))
    for path in (
        settings.kafka_ssl_keyfile,
        settings.journal_key_file,
        settings.key_file,
        settings.signing_key_file,
        settings.otlp_headers_file,
    ):
        hide(*_long_words(path))


def hide_url(url: str) -> None:
    """Blot out an address that is itself a secret, and what of it an error may repeat: its path and its query."""
    hide(url, *_of_url(url))
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    hide(*(part for part in (parts.path, parts.query) if len(part) >= WORD_MIN))


def _of_url(url: str | None) -> list[str]:
    try:
        parts = urlsplit(url or "")
        password, user = parts.password, parts.username
    except ValueError:
        return []
    # A user without a password is a token.
    return [password] if password else [user] if user else []


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(FILE_MAX).splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _long_words(path: Path | None) -> list[str]:
    """Give what in a file of keys or headers can be one: long words, and not the names beside them."""
    words = [word.strip("\"',:") for line in _lines(path) if "-----" not in line for word in line.split()]
    return [word for word in words if len(word) >= WORD_MIN]
