"""Errors that people see: what happened, where, and what to do next."""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the command line's exit codes mean."""

    DONE = 0
    NOT_SO = 1
    WRONG_USE = 2
    KAFKA_UNREACHABLE = 3


class OpsError(Exception):
    """The root of every error that ops-stream raises on purpose."""

    exit_code: ClassVar[int] = ExitCode.NOT_SO

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        """Say what happened in a sentence, and, where known, where and what to do next."""
        super().__init__(what, where, next_step)
        self.what = what
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        """Join the parts to one or more sentences."""
        where = f" ({self.where})" if self.where else ""
        next_step = f" {self.next_step}" if self.next_step else ""
        return f"{self.what}{where}{next_step}"


class NotSo(OpsError):
    """The thing asked about is not so: a check failed, a name is unknown."""


class WrongUse(OpsError):
    """Called with arguments or settings that cannot work."""

    exit_code = ExitCode.WRONG_USE


class SettingsInvalid(WrongUse):
    """The environment or a settings file asks for something that cannot be."""


class KafkaUnreachable(OpsError):
    """No broker answered."""

    exit_code = ExitCode.KAFKA_UNREACHABLE


class ContractBroken(NotSo):
    """The files of the contract differ from the code, or a change to them is not compatible."""
