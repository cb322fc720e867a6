"""`conf/webhooks.yaml`: who is told what, and where. It is no part of the rules: what it holds decides nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from ops_stream.contract.errors import SettingsInvalid
from ops_stream.notify.addresses import NotAllowed, refuse_literal
from ops_stream.notify.told import TYPES
from ops_stream.rules.bundle import WEBHOOKS, read_text
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Part, Selector, Severity, Word, Words
from ops_stream.rules.environment import substitute
from ops_stream.rules.problems import Problem, RulesInvalid, did_you_mean
from ops_stream.rules.yamlfile import Document, read_yaml

SLACK_URL: Final = "SLACK_WEBHOOK_URL"
SLACK_NAME: Final = "slack"
TARGETS_MAX: Final = 20
URL_MAX: Final = 2048
_KNOWN: Final = (*TYPES, "escalation.*", "alert.*")

Format = Literal["json", "slack"]


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who is told. Times are in seconds."""

    name: str
    url: str = field(default="", repr=False)
    """Empty where a file names it. Whoever knows the address of a Slack channel may write there: it is a secret."""
    url_file: Path | None = None
    format: Format = "json"
    secret_file: Path | None = None
    events: tuple[str, ...] = ()
    """Types of events, or their beginnings with `*`; none means all. So it is for the other filters."""
    tenants: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    timeout_s: int = 10
    attempts: int = 10
    give_up_s: int = 3600
    allow_private: bool = False
    ca_file: Path | None = None

    def address(self) -> str:
        """Give the URL, read from its file where there is one; raises SettingsInvalid."""
        if self.url_file is None:
            return self.url
        try:
            with self.url_file.open("rb") as file:
                text = file.read(URL_MAX + 2).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise SettingsInvalid("A webhook's address cannot be read.", where=str(self.url_file)) from None
        fault = fault_of_url(text, self.allow_private)
        if fault is not None:
            raise SettingsInvalid(fault[0], where=str(self.url_file), next_step=fault[1])
        return text


class TargetEntry(Part):
    """One entry of `webhooks.yaml`."""

    name: Annotated[str, Field(max_length=64)]
    url: Words | None = None
    url_file: Words | None = None
    format: Format = "json"
    secret_file: Words | None = None
    events: Annotated[list[Word], Field(max_length=100)] = Field(default_factory=list)
    tenants: Annotated[list[Selector], Field(max_length=1000)] = Field(default_factory=list)
    severities: Annotated[list[Severity], Field(max_length=3)] = Field(default_factory=list)
    kinds: Annotated[list[Word], Field(max_length=1000)] = Field(default_factory=list)
    timeout_s: Annotated[int, Field(ge=1, le=60)] = 10
    attempts: Annotated[int, Field(ge=1, le=20)] = 10
    give_up_s: Annotated[int, Field(ge=0, le=86_400)] = 3600
    allow_private: bool = False
    ca_file: Words | None = None


class WebhooksFile(ConfFile):
    """`webhooks.yaml`."""

    targets: Annotated[list[TargetEntry], Field(max_length=TARGETS_MAX)] = Field(default_factory=list)


def read_webhooks(directory: Path, environment: Mapping[str, str] | None = None) -> tuple[Target, ...]:
    """Give the targets of a directory and, where SLACK_WEBHOOK_URL is set, Slack beside them.

    Raises RulesInvalid with everything that is wrong with the file, SettingsInvalid where the variable is no address.
    """
    environment = os.environ if environment is None else environment
    targets = _of_file(directory, environment)
    slack = environment.get(SLACK_URL, "").strip()
    if not slack or any(target.url == slack for target in targets):
        return targets
    if any(target.name == SLACK_NAME for target in targets):
        return targets  # the file says itself what `slack` is
    fault = fault_of_url(slack, allow_private=False)
    if fault is not None:
        raise SettingsInvalid(fault[0], where=f"environment {SLACK_URL}", next_step=fault[1])
    return (*targets, Target(SLACK_NAME, url=slack, format="slack"))


def _of_file(directory: Path, environment: Mapping[str, str]) -> tuple[Target, ...]:
    path = directory / WEBHOOKS
    if not path.exists():
        return ()
    problems: list[Problem] = []
    text = read_text(path, problems)
    if text is not None:
        text = substitute(WEBHOOKS, text, environment, problems, why="secrets come from files")
        document = read_yaml(WEBHOOKS, text)
        if isinstance(document, Document):
            return _targets(directory, document, problems)
        problems.extend(document)
    raise RulesInvalid(problems)


def _targets(directory: Path, document: Document, problems: list[Problem]) -> tuple[Target, ...]:
    file = check(WebhooksFile, document, (), problems)
    if file is not None:
        problems.extend(_wrong(document, file))
    if file is None or problems:
        raise RulesInvalid(problems)
    return tuple(_target(directory, entry) for entry in file.targets)


def _target(directory: Path, entry: TargetEntry) -> Target:
    def beside(name: str | None) -> Path | None:
        return None if name is None else directory / name

    return Target(
        name=entry.name,
        url=entry.url or "",
        url_file=beside(entry.url_file),
        format=entry.format,
        secret_file=beside(entry.secret_file),
        events=tuple(entry.events),
        tenants=() if "*" in entry.tenants else tuple(entry.tenants),
        severities=tuple(entry.severities),
        kinds=tuple(entry.kinds),
        timeout_s=entry.timeout_s,
        attempts=entry.attempts,
        give_up_s=entry.give_up_s,
        allow_private=entry.allow_private,
        ca_file=beside(entry.ca_file),
    )


def _wrong(document: Document, file: WebhooksFile) -> Iterator[Problem]:
    """Find what the model alone cannot see."""
    names: dict[str, int] = {}
    for at, entry in enumerate(file.targets):
        path: tuple[str | int, ...] = ("targets", at)
        if not _is_name(entry.name):
            message = "A target's name has 1 to 64 small letters, digits and '-', and begins with no '-'."
            yield document.problem((*path, "name"), message)
        if entry.name in names:
            message = (
                f"The name '{entry.name}' is given twice; each target has its own place in the topics by it."
            )
            yield document.problem((*path, "name"), message, "Give one of them another name.")
        names.setdefault(entry.name, at)
        if (entry.url is None) == (entry.url_file is None):
            yield document.problem(path, "A target has either 'url' or 'url_file'.")
        elif entry.url is not None:
            fault = fault_of_url(entry.url, entry.allow_private)
            if fault is not None:
                yield document.problem((*path, "url"), *fault)
        for nth, event in enumerate(entry.events):
            if event not in _KNOWN:
                message = f"There is no event '{event[:60]}'."
                yield document.problem((*path, "events", nth), message, did_you_mean(event, _KNOWN))
        for nth, kind in enumerate(entry.kinds):
            if "*" in kind[:-1]:
                message = f"A '*' stands only at the end of a kind, not as in '{kind[:60]}'."
                yield document.problem((*path, "kinds", nth), message)


def _is_name(name: str) -> bool:
    return (
        0 < len(name) <= 64
        and name[0] != "-"
        and all(one in "abcdefghijklmnopqrstuvwxyz0123456789-" for one in name)
    )


def fault_of_url(url: str, allow_private: bool) -> tuple[str, str] | None:
    """Say what is wrong with an address, and what to do; nothing of it is repeated, for it may be a secret."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "This is no web address.", "Write it as https://host/path."
    if len(url) > URL_MAX or not url.isascii() or any(one <= " " or one in '\\"<>' for one in url):
        return f"An address has at most {URL_MAX:,} characters, without spaces.", ""
    return _fault_of_parts(parts, allow_private)


def _fault_of_parts(parts: SplitResult, allow_private: bool) -> tuple[str, str] | None:
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "This is no web address.", "Write it as https://host/path."
    if parts.scheme == "http" and not allow_private:
        return (
            "What is told would go over the network for all to read.",
            "Write https://, or 'allow_private: true' where the host is on your own network.",
        )
    if parts.username is not None or parts.password is not None:
        return "An address holds no name and no password.", "Let the receiver check the signature instead."
    if parts.fragment:
        return "An address ends before '#'.", "Leave out what is behind it."
    if not allow_private:
        try:
            refuse_literal(parts.hostname)
        except NotAllowed:
            return (
                "The address is not a public one.",
                "Write 'allow_private: true' where it is meant: your own network can then be reached.",
            )
    return None


def summary(targets: tuple[Target, ...]) -> list[dict[str, Any]]:
    """Give the targets as people and programs may see them: no address, no secret."""
    return [
        {
            "target": target.name,
            "format": target.format,
            "events": list(target.events) or ["*"],
            "signed": target.secret_file is not None,
        }
        for target in targets
    ]
