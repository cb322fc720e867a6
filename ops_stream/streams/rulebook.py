"""The rules that a worker can decide under: every bundle on `ops.rules`, compiled when it is first needed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.contract.clocktext import format_time
from ops_stream.core.amend import base_of
from ops_stream.core.rows import RULES
from ops_stream.core.rules_in_force import InForce, WrongRules
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.rules.bundle import compile_bundle, digest_of
from ops_stream.rules.problems import RulesInvalid
from ops_stream.streams.bus import read_range
from ops_stream.streams.exits import Exit, Refusal

ROW = RULES.prefix


class _BundleDoc(msgspec.Struct):
    digest: str
    files: dict[str, str]


class Rulebook:
    """Bundles by digest. `active(state)` gives the compiled rules in force in a partition's state."""

    def __init__(self) -> None:
        self._files: dict[str, Mapping[str, str]] = {}
        self._compiled: dict[str, Rules] = {}
        self._refused: dict[str, str] = {}
        self._in_force = InForce()

    @property
    def first(self) -> str:
        """The digest that a partition without records starts under: the first that was taken; empty where none is."""
        return next((digest for digest in self._files if digest not in self._refused), "")

    @property
    def known(self) -> frozenset[str]:
        """Digests that can be activated."""
        return frozenset(self._files) - frozenset(self._refused)

    def add(self, files: Mapping[str, str]) -> str | None:
        """Take a bundle; its digest, or `None` where it cannot be compiled by this engine."""
        digest = digest_of(files)
        if digest in self._files:
            return digest if digest not in self._refused else None
        self._files[digest] = dict(files)
        try:
            compile_bundle(files)
        except RulesInvalid as error:
            self._refused[digest] = str(error)
            return None
        # `known` is part of the compiled rules, so that what was compiled before has to be looked at again.
        self._compiled.clear()
        self._in_force.clear()
        return digest

    def why_not(self, digest: str) -> str:
        """Why a bundle cannot be used."""
        return self._refused.get(digest, "")

    def get(self, digest: str) -> Rules:
        """The compiled rules of `digest`. Raises `Refusal` where `ops.rules` does not have them."""
        rules = self._compiled.get(digest)
        if rules is None:
            files = self._files.get(digest)
            if files is None or digest in self._refused:
                why = self._refused.get(digest, "ops.rules does not hold it")
                raise Refusal(
                    f"The journal was decided under the rules {digest}, which cannot be loaded: {why}.",
                    "Publish that bundle again with: ops-stream rules activate DIR",
                )
            rules = replace(compile_bundle(files), known=self.known)
            self._compiled[digest] = rules
        return rules

    def active(self, state: State) -> Rules:
        """The rules in force: a bundle with what optimizations change of it. Raises `Refusal` where they cannot be."""
        value = state.rows.get(ROW)
        if value is None:
            return self.get(self.first)
        try:
            rules = self._in_force.of(value, self.get)
        except WrongRules as wrong:
            raise Refusal(
                f"The journal contradicts itself: {wrong}.",
                "Find the first wrong record with: ops-stream audit verify",
                Exit.RECOVERY_FAILED,
            ) from wrong
        assert rules is not None  # `get` gives rules or raises
        return rules


async def load(consumer: AIOKafkaConsumer, topic: str, book: Rulebook, start: int = 0) -> int:
    """Read bundles from `topic` into `book`; the offset to go on from. What is no valid bundle is passed over."""
    tp = TopicPartition(topic, 0)
    beginning = (await consumer.beginning_offsets([tp]))[tp]
    end = int((await consumer.end_offsets([tp]))[tp])
    async for records in read_range(consumer, tp, max(start, beginning), end):
        for record in records:
            files = _files_of(record.key, record.value)
            if files is not None:
                book.add(files)
    return max(start, end)


def _files_of(key: bytes | None, value: bytes | None) -> Mapping[str, str] | None:
    if value is None:
        return None
    try:
        doc = msgspec.json.decode(value, type=_BundleDoc)
    except msgspec.MsgspecError:
        return None
    # A bundle is named by what is in it: one under another's name is not that bundle.
    if digest_of(doc.files) != doc.digest or (key or b"").decode("ascii", "replace") != doc.digest:
        return None
    return doc.files


def record_of(digest: str, files: Mapping[str, str], issued_by: str = "the first start") -> bytes:
    """The RuleBundle record of a bundle."""
    now_ms = time.time_ns() // 1_000_000
    return msgspec.json.encode(
        {
            "event": "RuleBundle",
            "digest": digest,
            "files": dict(files),
            "created_at": format_time(now_ms),
            "issued_by": issued_by,
        }
    )


def active_bundle(state: State) -> str | None:
    """The digest of the bundle behind the rules in force in a partition's state; `None` before its first takeover."""
    value = state.rows.get(ROW)
    return base_of(RULES.decode(value)) if value is not None else None


def said_of_rules(state: State) -> dict[str, str | int]:
    """What a log says of the rules in force: the bundle, and how many optimizations change it, if any."""
    value = state.rows.get(ROW)
    if value is None:
        return {}
    row = RULES.decode(value)
    return {"rules": base_of(row)} | ({"optimizations": len(row.amended)} if row.amended else {})
