"""A client's seat on the process's link: where its tenant's records go, and the reader of its answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agents_adapter._journal import JournalProver
from agents_adapter._line import Line
from agents_adapter._link import Link
from agents_adapter._proof import Prover, SignatureProver
from agents_adapter._proving import Doubts, Proving
from agents_adapter._reader import PartitionReader, Watcher
from agents_adapter._records import Place
from agents_adapter._sender import NotDelivered
from ops_stream.contract.errors import OpsError, WrongUse
from ops_stream.contract.settings import Settings, Verify

logger = logging.getLogger("agents_adapter")


@dataclass(frozen=True, slots=True)
class Options:
    """What a client was told."""

    settings: Settings
    timeout_s: float
    observe: bool
    review_check_s: float
    verify: Verify = "off"
    trusted: Mapping[str, bytes] = field(default_factory=dict)
    """The supervisor's public keys by their ids, where signatures are verified."""


class Seat:
    """Taken by `open`, given back by `close`.

    Lives on the background loop; `place` may be read from elsewhere.
    """

    def __init__(self, options: Options) -> None:
        """Describe a seat."""
        self.options = options
        self.place: Place | None = None
        self.link: Link | None = None
        self.reader: PartitionReader | None = None
        self.doubts = Doubts()
        self._prover: Prover | None = None

    async def open(self) -> None:
        """Connect; an observing client goes on without, and connects when it can."""
        link = self.link = Link.open(self.options.settings)
        try:
            await link.connected(self.options.timeout_s)
        except BaseException as error:
            if not (self.options.observe and isinstance(error, OpsError)):
                await self.close()
                raise
            logger.error("%s This client only observes: it goes on without.", error)
        else:
            try:
                self._settle(link)
            except BaseException:  # a journal that cannot be seen: nobody else is to pay for this client
                await self.close()
                raise

    async def close(self) -> None:
        """Give the seat back."""
        link, self.link = self.link, None
        if link is not None:
            if self.reader is not None:
                await link.intake.close(self.reader)
            await link.close()

    def listener(self, line: Line, ask_again: Callable[[Line], None]) -> Watcher:
        """Give who listens for an ask: its line, or who proves each answer before the line gets it.

        `ask_again` asks the supervisor to repeat the answer in force.
        """
        if self._prover is None:
            return line
        assert self.reader is not None
        timeout_s = self.options.timeout_s
        return Proving(line, self.reader, self._prover, self.doubts, timeout_s=timeout_s, ask_again=ask_again)

    @property
    def prover(self) -> Prover | None:
        """Who proves answers; None where they are believed as they come."""
        return self._prover

    def taken(self) -> Link:
        """Give the link; raises WrongUse where the client is not open."""
        if self.link is None:
            raise WrongUse("The client is not open.", next_step="Use it inside its `with` block.")
        return self.link

    async def ready(self, until: float) -> tuple[Place, PartitionReader]:
        """Wait until the place is known and the answers are listened to; raises OpsError past `until`."""
        link = self.taken()
        await link.connected(max(0.0, until - time.monotonic()))
        place, reader = self._settle(link)
        if not reader.established.is_set():
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    await reader.established.wait()
            except TimeoutError:
                raise NotDelivered("Kafka did not tell in time where the answers end.") from None
        return place, reader

    def _settle(self, link: Link) -> tuple[Place, PartitionReader]:
        if self.place is None or self.reader is None:
            settings = self.options.settings
            self.place = Place.of(settings.topic_prefix, settings.tenant, link.partitions)
            if self.options.verify == "journal":
                self._prover = JournalProver(link.journal())
            elif self.options.verify == "signature":
                self._prover = SignatureProver(self.options.trusted)
            self.reader = link.intake.open(settings.topic("approvals"), self.place.partition)
        return self.place, self.reader
