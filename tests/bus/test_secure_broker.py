"""A Kafka that demands TLS, passwords or both: right settings are let in, wrong ones get a sentence."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from ops_stream.contract.catalog import Catalog
from ops_stream.contract.errors import ExitCode, KafkaUnreachable, SettingsInvalid
from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedKafka, Listener, train
from ops_stream.embedded.ports import choose
from ops_stream.notify.config import Target
from ops_stream.notify.service import Notifier, Options
from ops_stream.streams import cluster
from ops_stream.streams.acls import Acl, acls
from ops_stream.streams.reach import admin
from tests.bus.certificates import Authority
from tests.notify.receiver import alert, receiving, written
from tests.survival.fleet import Fleet
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove
from tests.survival.rules import write_conf

pytestmark = pytest.mark.bus

USER, PASSWORD, WRONG = "supervisor", "correct-horse", "no-such-battery"
LIMITED = (
    "the-agents",
    "the-worker",
    "the-notifier",
)  # who may do what the access control lists say, and no more
_EVERYTHING = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)
DOORS = ("PLAINPASS", "SCRAMPASS", "MUTUAL", "SCRAMTLS")


@dataclass(frozen=True)
class Secured:
    """A broker with a door of each kind, and the files that open them."""

    broker: EmbeddedKafka
    files: Path

    def settings(self, door: str, **changes: Any) -> Settings:
        """Give the settings that open `door`, with `changes`."""
        password = {
            "kafka_sasl_username": USER,
            "kafka_sasl_password_file": self.files / "password",
            "kafka_sasl_mechanism": "PLAIN" if door == "PLAINPASS" else "SCRAM-SHA-512",
        }
        authority = {"kafka_ssl_cafile": self.files / "ca.pem"}
        certificate = {
            "kafka_ssl_certfile": self.files / "client.pem",
            "kafka_ssl_keyfile": self.files / "client.key",
            "kafka_ssl_password_file": self.files / "key-password",
        }
        opens: dict[str, dict[str, Any]] = {
            "PLAINTEXT": {},
            "PLAINPASS": {"kafka_security_protocol": "SASL_PLAINTEXT", **password},
            "SCRAMPASS": {"kafka_security_protocol": "SASL_PLAINTEXT", **password},
            "MUTUAL": {"kafka_security_protocol": "SSL", **authority, **certificate},
            # The certificate of this one names another host.
            "SCRAMTLS": {
                "kafka_security_protocol": "SASL_SSL",
                "kafka_ssl_check_hostname": False,
                **authority,
                **password,
            },
        }
        common = {"bootstrap_servers": self.broker.address_of(door), "topic_prefix": "secured."}
        return Settings(data_dir=self.files, **(common | opens[door] | changes))


def _write_files(files: Path) -> None:
    authority = Authority("an authority that is known")
    authority.write_pem(files / "ca.pem")
    Authority("another authority").write_pem(files / "other-ca.pem")
    authority.issue("127.0.0.1").write_pkcs12(files / "here.p12", "of-the-store")
    authority.issue("elsewhere.example").write_pkcs12(files / "elsewhere.p12", "of-the-store")
    authority.issue("supervisor").write_pem(files / "client.pem", files / "client.key", "of-the-key")
    (files / "password").write_text(PASSWORD + "\n")
    (files / "wrong-password").write_text(WRONG + "\n")
    (files / "key-password").write_text("of-the-key\n")


def _listeners(files: Path) -> tuple[Listener, ...]:
    def tls(store: str, client: str) -> dict[str, str]:
        return {
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(files / store),
            "ssl.keystore.password": "of-the-store",
            "ssl.key.password": "of-the-store",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(files / "ca.pem"),
            "ssl.client.auth": client,
        }

    def login(module: str, options: str = "") -> str:
        return f"org.apache.kafka.common.security.{module} required {options};"

    scram = {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "scram-sha-512.sasl.jaas.config": login("scram.ScramLoginModule"),
    }
    plain = {
        "sasl.enabled.mechanisms": "PLAIN",
        "plain.sasl.jaas.config": login(
            "plain.PlainLoginModule", " ".join(f'user_{name}="{PASSWORD}"' for name in (USER, *LIMITED))
        ),
    }
    return (
        Listener("PLAINPASS", "SASL_PLAINTEXT", plain),
        Listener("SCRAMPASS", "SASL_PLAINTEXT", scram),
        Listener("MUTUAL", "SSL", tls("here.p12", "required")),
        Listener("SCRAMTLS", "SASL_SSL", tls("elsewhere.p12", "none") | scram),
    )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Run one broker with a door of each kind."""
    files = tmp_path_factory.mktemp("secured")
    _write_files(files)
    user = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
    broker = EmbeddedKafka(
        files / "kafka",
        runtime=train(),
        listeners=_listeners(files),
        format_arguments=("--add-scram", user),
        properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{USER};User:CN={USER}",
        },
    )
    try:
        broker.start()
        yield Secured(broker, files)
    finally:
        broker.stop()


@pytest.mark.parametrize("door", DOORS)
async def test_the_right_settings_open_every_door(secured: Secured, door: str) -> None:
    """With the contract's settings, topics are made and checked, and a record goes in and comes out."""
    settings = secured.settings(door)
    await cluster.create(settings)
    assert await cluster.check(settings) == ()
    topic = settings.topic("telemetry")
    async with AIOKafkaProducer(**settings.aiokafka()) as producer:
        sent = await producer.send_and_wait(topic, door.encode(), partition=0)
    async with AIOKafkaConsumer(topic, auto_offset_reset="earliest", **settings.aiokafka()) as consumer:
        while True:
            record = await consumer.getone()
            if record.offset == sent.offset:
                break
    assert record.value == door.encode()


@pytest.mark.parametrize("door", ["SCRAMPASS", "MUTUAL", "SCRAMTLS"])
async def test_a_worker_decides_behind_every_door(secured: Secured, door: str, tmp_path: Path) -> None:
    """A worker, Faust's clients in it and agents log in by the same settings; asks are decided and journaled."""
    settings = secured.settings(
        door,
        topic_prefix=f"{door.lower()}.",
        conf_dir=write_conf(tmp_path / "conf"),
        journal_key_file=tmp_path / "journal.key",
        partitions=2,
    )
    await cluster.create(settings)
    worker = WorkerProcess(settings, tmp_path / "worker").start()
    try:
        await worker.until_live(2)
        async with Fleet(settings, ("team-1", "team-2")) as fleet:
            await fleet.ask(6, 50)
            await fleet.until_answered()
            await prove(settings, fleet.asked)
    finally:
        worker.stop()
    assert PASSWORD not in worker.log.read_text(errors="replace")


@pytest.mark.parametrize("door", ["PLAINPASS", "SCRAMPASS", "SCRAMTLS"])
async def test_a_wrong_password_is_said_to_be_one_and_is_not_shown(secured: Secured, door: str) -> None:
    """Kafka refuses the login: the sentence names the settings, the exit code is 3, no secret is in it."""
    settings = secured.settings(door, kafka_sasl_password_file=secured.files / "wrong-password")
    refused = await _refusal(settings)
    assert "refused the user name or the password" in refused.what
    assert "OPS_STREAM_KAFKA_SASL_USERNAME" in refused.next_step
    assert refused.where == settings.bootstrap_servers
    assert WRONG not in str(refused) and PASSWORD not in str(refused)


async def test_an_unknown_user_is_refused_like_a_wrong_password(secured: Secured) -> None:
    """Nothing tells whether it is the name or the password that is wrong."""
    refused = await _refusal(secured.settings("SCRAMPASS", kafka_sasl_username="nobody"))
    assert "refused the user name or the password" in refused.what


async def test_a_way_of_logging_in_that_the_broker_does_not_know_is_named(secured: Secured) -> None:
    """SCRAM-SHA-256 at a door that takes SCRAM-SHA-512 only."""
    refused = await _refusal(secured.settings("SCRAMPASS", kafka_sasl_mechanism="SCRAM-SHA-256"))
    assert "does not know this way of logging in" in refused.what


async def test_a_certificate_of_an_unknown_authority_is_refused(secured: Secured) -> None:
    """The broker's certificate is signed by an authority that the settings do not name."""
    refused = await _refusal(secured.settings("MUTUAL", kafka_ssl_cafile=secured.files / "other-ca.pem"))
    assert "certificate is not trusted" in refused.what
    assert "OPS_STREAM_KAFKA_SSL_CAFILE" in refused.next_step


async def test_a_certificate_for_another_host_is_refused_unless_told_otherwise(secured: Secured) -> None:
    """Host names are checked by default; OPS_STREAM_KAFKA_SSL_CHECK_HOSTNAME=false turns that off."""
    refused = await _refusal(secured.settings("SCRAMTLS", kafka_ssl_check_hostname=True))
    assert "certificate is not trusted" in refused.what
    assert await cluster.create(secured.settings("SCRAMTLS")) in ((), _all_topics(secured))


async def test_a_missing_client_certificate_is_said_to_be_missing(secured: Secured) -> None:
    """Mutual TLS without a certificate of ours."""
    without = {"kafka_ssl_certfile": None, "kafka_ssl_keyfile": None, "kafka_ssl_password_file": None}
    refused = await _refusal(secured.settings("MUTUAL", **without))
    assert "OPS_STREAM_KAFKA_SSL_CERTFILE" in refused.next_step


@pytest.mark.parametrize(
    ("door", "protocol"),
    [
        ("MUTUAL", "PLAINTEXT"),
        ("SCRAMPASS", "PLAINTEXT"),
        ("PLAINTEXT", "SSL"),
        ("SCRAMTLS", "SASL_PLAINTEXT"),
    ],
)
async def test_the_wrong_protocol_points_to_its_setting(secured: Secured, door: str, protocol: str) -> None:
    """Plain words at a TLS door, TLS at a plain one: within seconds, with the setting to look at."""
    refused = await _refusal(secured.settings(door, kafka_security_protocol=protocol))
    assert "OPS_STREAM_KAFKA_SECURITY_PROTOCOL" in refused.next_step


async def test_a_key_that_its_password_does_not_open_is_wrong_use(secured: Secured) -> None:
    """The key's password is wrong: that is found before Kafka is asked, and the exit code is 2."""
    settings = secured.settings("MUTUAL", kafka_ssl_password_file=secured.files / "password")
    with pytest.raises(SettingsInvalid) as refused:
        await cluster.check(settings)
    assert refused.value.exit_code == ExitCode.WRONG_USE
    assert PASSWORD not in str(refused.value)


async def test_a_broker_that_is_not_there_says_how_to_start_one(secured: Secured) -> None:
    """Nothing listens at the address: exit code 3, and the command that starts a broker."""
    refused = await _refusal(secured.settings("PLAINTEXT", bootstrap_servers=f"127.0.0.1:{choose()}"))
    assert "nothing listens there" in refused.what
    assert "ops-stream broker start" in refused.next_step


async def test_the_printed_access_lists_give_each_role_its_rights_and_no_more(secured: Secured) -> None:
    """Agents write asks and read answers; they forge no command and read no journal. Workers can start."""
    plain = secured.settings("PLAINTEXT", topic_prefix="listed.")
    await cluster.create(plain)
    principals = {"agents": "User:the-agents", "supervisor": "User:the-worker"}
    wanted = [acl for acl in acls(plain, principals) if acl.role in principals]
    # One line as printed, through Kafka's own tool; the others, the same, at once.
    line, *_ = (acl.command(plain.bootstrap_servers) for acl in wanted if acl.name == "listed.control")
    name, *arguments = shlex.split(line)
    secured.broker.runtime.run(name, arguments)
    client = AdminClient({"bootstrap.servers": plain.bootstrap_servers})
    for made in client.create_acls([binding for acl in wanted for binding in _bindings(acl)]).values():
        made.result(10)
    await _until_in_force(client, len({binding for acl in wanted for binding in _bindings(acl)}))

    agents = secured.settings("PLAINPASS", topic_prefix="listed.", kafka_sasl_username="the-agents")
    async with AIOKafkaProducer(**agents.aiokafka()) as producer:
        await producer.send_and_wait("listed.task-requests", b"{}", partition=0)
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait("listed.control", b"{}", partition=0)
    async with admin(agents) as seen:
        assert set(await seen.list_topics()) == {
            f"listed.{name}"
            for name, topic in Catalog.load().topics.items()
            if "agents" in (*topic.readers, *topic.writers)
        }

    worker = secured.settings("PLAINPASS", topic_prefix="listed.", kafka_sasl_username="the-worker")
    assert await cluster.check(worker) == ()
    async with AIOKafkaProducer(**worker.aiokafka(), enable_idempotence=True, acks="all") as producer:
        await producer.send_and_wait("listed.journal", b"{}", partition=0)
        await producer.send_and_wait("listed.control", b"{}", partition=0)
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait("listed.task-requests", b"{}", partition=0)


async def test_the_notifier_needs_no_more_than_its_access_lists(secured: Secured) -> None:
    """It reads what people read, joins its groups and writes dead letters; it can answer no escalation."""
    plain = secured.settings("PLAINTEXT", topic_prefix="told.", partitions=1)
    await cluster.create(plain)
    wanted = [acl for acl in acls(plain, {"notifier": "User:the-notifier"}) if acl.role == "notifier"]
    bindings = [binding for acl in wanted for binding in _bindings(acl)]
    client = AdminClient({"bootstrap.servers": plain.bootstrap_servers})
    before = len(await asyncio.wrap_future(client.describe_acls(_EVERYTHING)))
    for made in client.create_acls(bindings).values():
        made.result(10)
    await _until_in_force(client, before + len(set(bindings)))
    limited = secured.settings("PLAINPASS", topic_prefix="told.", kafka_sasl_username="the-notifier")
    value, headers = written(alert(), 0, 0)
    async with receiving() as receiver:
        receiver.otherwise = 410
        target = Target("desk", url=receiver.url(), allow_private=True)
        notifier = Notifier(Options(limited, (target,)))
        running = asyncio.create_task(notifier.run())
        async with asyncio.timeout(60):
            while not (notifier.followers and notifier.followers[0].ready):
                assert not running.done(), running.exception()
                await asyncio.sleep(0.05)
        async with AIOKafkaProducer(**plain.aiokafka()) as producer:
            await producer.send_and_wait("told.alerts", value, key=b"default", partition=0, headers=headers)
        async with AIOKafkaConsumer(
            "told.dead-letters", auto_offset_reset="earliest", **plain.aiokafka()
        ) as consumer:
            async with asyncio.timeout(60):
                assert b"webhook_failed" in (await consumer.getone()).value
        notifier.stop.set()
        await running
    async with AIOKafkaProducer(**limited.aiokafka()) as producer:
        for topic in ("told.resolutions", "told.control", "told.alerts"):
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(topic, b"{}", partition=0)


async def _until_in_force(client: AdminClient, count: int) -> None:
    """Wait until the broker has followed its controller: lists that are made hold a moment later."""
    async with asyncio.timeout(20):
        while len(await asyncio.wrap_future(client.describe_acls(_EVERYTHING))) < count:
            await asyncio.sleep(0.01)


def _bindings(acl: Acl) -> Iterator[AclBinding]:
    """Say an access list to another client library."""
    kind = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}
    operations = {
        "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
        "IdempotentWrite": AclOperation.IDEMPOTENT_WRITE,
    }
    for operation in acl.operations:
        yield AclBinding(
            kind[acl.resource],
            acl.name,
            ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL,
            acl.principal,
            "*",
            operations.get(operation) or AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )


async def _refusal(settings: Settings) -> KafkaUnreachable:
    with pytest.raises(KafkaUnreachable) as refused:
        await cluster.check(settings)
    assert refused.value.exit_code == ExitCode.KAFKA_UNREACHABLE
    return refused.value


def _all_topics(secured: Secured) -> tuple[str, ...]:
    settings = secured.settings("PLAINTEXT")
    return tuple(settings.topic(name) for name in Catalog.load().topics)
