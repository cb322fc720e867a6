"""Agents at a Kafka that demands TLS and passwords, with the rights that the catalogue gives them and no more."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from agents_adapter import OpsClient
from ops_stream.contract.errors import KafkaUnreachable, NotSo
from ops_stream.contract.models import Telemetry
from ops_stream.streams import cluster
from ops_stream.streams.acls import acls
from tests.adapters.responder import Responder
from tests.bus.test_secure_broker import WRONG, Secured, _bindings, _until_in_force, secured

__all__ = ["secured"]

pytestmark = pytest.mark.bus


async def test_agents_need_no_more_than_their_access_lists_over_tls_and_passwords(secured: Secured) -> None:
    """Register and see the status, ask, run, report: as a user who may do just that. A wrong password is refused."""
    prefix = "adapter."
    plain = secured.settings("PLAINTEXT", topic_prefix=prefix, partitions=2)
    await cluster.create(plain)
    wanted = [acl for acl in acls(plain, {"agents": "User:the-agents"}) if acl.role == "agents"]
    bindings = {binding for acl in wanted for binding in _bindings(acl)}
    lists = AdminClient({"bootstrap.servers": plain.bootstrap_servers})
    for made in lists.create_acls(list(bindings)).values():
        made.result(10)
    await _until_in_force(lists, len(bindings))

    agents = secured.settings("PLAINPASS", topic_prefix=prefix, kafka_sasl_username="the-agents")
    async with Responder(secured.settings("SCRAMTLS", topic_prefix=prefix)) as responder:
        responder.on_ask = responder.answer
        for settings in (agents, secured.settings("MUTUAL", topic_prefix=prefix)):
            async with OpsClient(settings=settings, timeout_s=10.0) as client:
                await client.register("writer", role="author", capabilities=[], wait_status_s=0.1)
                approval = await client.ask("writer", "Draft it")
                async with client.running(approval):
                    pass
                await client.report(approval)
        await responder.wait_for(Telemetry, 2, kind="completed")

    # The journal holds everybody's asks: who is to look answers up in it needs a right that agents do not have.
    with pytest.raises(NotSo, match=r"adapter\.journal cannot be seen"):
        async with OpsClient(settings=agents, timeout_s=10.0, verify="journal"):
            pass

    wrong = secured.settings("PLAINPASS", kafka_sasl_password_file=secured.files / "wrong-password")
    with pytest.raises(KafkaUnreachable) as refused:
        async with OpsClient(settings=wrong, timeout_s=1.0):
            pass
    assert WRONG not in str(refused.value)
