"""`${VARIABLE}` in the files of `conf/`, put in before the digest is taken: a bundle holds plain text only.

A bundle is published and kept for ever, so that nothing that looks like a secret may be put into one.
"""

import re
from collections.abc import Mapping
from typing import Final

from ops_stream.rules.problems import Problem, nearest

VALUE_MAX: Final = 1000
PUBLISHED: Final = "the rules are published"

_PLACE: Final = re.compile(r"\$?\$\{([^}\n]*)\}?")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,127})(?::-(.*))?", re.DOTALL)
_SECRET: Final = re.compile(
    r"SECRET|PASSW|PASSPHRASE|TOKEN|CREDENTIAL|PRIVATE|(?:^|_)KEY|APIKEY|AUTH|REDIS_URL", re.IGNORECASE
)


def substitute(
    file: str, text: str, environment: Mapping[str, str], problems: list[Problem], why: str = PUBLISHED
) -> str:
    """Put in `${NAME}` and `${NAME:-otherwise}`; `$${` stands for `${`. Lines of comment stay as they are.

    `why` ends the sentence that refuses a variable which looks like a secret.
    """
    if "${" not in text:
        return text
    lines = text.split("\n")
    for at, line in enumerate(lines):
        if "${" in line and not line.lstrip().startswith("#"):
            lines[at] = _line(file, at + 1, line, environment, problems, why)
    return "\n".join(lines)


def _line(
    file: str, number: int, line: str, environment: Mapping[str, str], problems: list[Problem], why: str
) -> str:
    def put_in(match: re.Match[str]) -> str:
        whole = match.group()
        if whole.startswith("$$"):
            return whole[1:]
        fault = _fault(whole, match[1], environment, why)
        if fault is None:
            name, otherwise = _parts(match[1])
            return environment.get(name, otherwise or "")
        problems.append(Problem(file, number, match.start() + 1, *fault))
        return ""

    return _PLACE.sub(put_in, line)


def _parts(inside: str) -> tuple[str, str | None]:
    match = _NAME.fullmatch(inside)
    assert match is not None
    return match[1], match[2]


def _fault(whole: str, inside: str, environment: Mapping[str, str], why: str) -> tuple[str, str] | None:
    if not whole.endswith("}"):
        return "'${' has no '}' on its line.", "Write '$${' where '${' is meant as it stands."
    if not _NAME.fullmatch(inside):
        return (
            f"'{whole[:60]}' names no variable.",
            "Write '${NAME}' or '${NAME:-otherwise}'; '$${' for '${' as it stands.",
        )
    name, otherwise = _parts(inside)
    if _SECRET.search(name):
        return (
            f"'{name}' looks like a secret, and {why}.",
            "Give the variable another name if it is none.",
        )
    value = environment.get(name, otherwise)
    if value is None:
        near = nearest(name, [one for one in environment if one.startswith("OPS_STREAM_")])
        hint = f"Set it, or write '${{{name}:-otherwise}}'."
        return f"The variable '{name}' is not set.", f"Did you mean '{near}'? {hint}" if near else hint
    if len(value) > VALUE_MAX or any(ord(one) < 32 or 0x7F <= ord(one) < 0xA0 for one in value):
        return f"The value of '{name}' is too long or has control characters.", "Use one line of plain text."
    return None
