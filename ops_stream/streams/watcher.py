"""`worker --watch`: activate the rules in `conf/` when their files change, and never an invalid bundle."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import structlog
from aiokafka import AIOKafkaProducer

from ops_stream.contract.errors import OpsError
from ops_stream.contract.settings import Settings
from ops_stream.rules.bundle import compile_bundle, digest_of, read_conf
from ops_stream.rules.problems import RulesInvalid
from ops_stream.streams.rulebook import record_of

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0


class Watcher:
    """Looks at the files every second; what has changed and is valid is published and activated."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, instance: str, boot_id: str) -> None:
        self._settings = settings
        self._producer = producer
        self._instance = instance
        self._boot_id = boot_id
        self._seen: str | None = None
        self._stamp: object = None
        self._number = 0

    async def run(self) -> None:
        """Watch until cancelled. What the directory holds at the start is what it is compared with."""
        self._stamp = _stamp(self._settings.conf_dir)
        self._seen = self._read()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            stamp = _stamp(self._settings.conf_dir)
            if stamp != self._stamp:
                self._stamp = stamp
                await self._look()

    async def _look(self) -> None:
        digest = self._read()
        if digest is None or digest == self._seen:
            return
        self._seen = digest
        settings = self._settings
        files = read_conf(settings.conf_dir)
        issued_by = f"worker.{self._instance}"
        await self._producer.send_and_wait(
            settings.topic("rules"), record_of(digest, files, issued_by), key=digest.encode(), partition=0
        )
        self._number += 1
        command = {
            "event": "ControlCommand",
            "command_id": f"watch-{self._boot_id}-{self._number}",
            "command": "activate_rules",
            "parameters": {"digest": digest},
            "issued_by": issued_by,
            "reason": "the files in the configuration directory changed",
        }
        await self._producer.send_and_wait(
            settings.topic("control"), msgspec.json.encode(command), key=settings.tenant.encode(), partition=0
        )
        log.info("the changed rules are published and to be activated", digest=digest)
        if compile_bundle(files).people.people:
            log.warning(
                "people are listed in these rules: once they are in force only an operator among them changes them, "
                "with ops-stream rules activate",
                digest=digest,
            )

    def _read(self) -> str | None:
        """The digest of valid files; `None`, and a line in the log, for others."""
        try:
            files = read_conf(self._settings.conf_dir)
            compile_bundle(files)
        except RulesInvalid as error:
            log.error("the changed rules are not valid, and those in force stay", why=str(error))
            return None
        except OpsError as error:
            log.error("the rules cannot be read", why=str(error))
            return None
        return digest_of(files)


def _stamp(directory: Path) -> object:
    """What changes when a file does, without reading it."""
    found = []
    for path in sorted(directory.glob("*.y*ml")):
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((path.name, status.st_mtime_ns, status.st_size))
    return found
