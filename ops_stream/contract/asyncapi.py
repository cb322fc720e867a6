"""The AsyncAPI 3.0 document: which topic carries what, in which form, made from models and catalogue."""

from typing import Any, Final

from ops_stream.contract.avro import fingerprint
from ops_stream.contract.avro_schema import schema_of
from ops_stream.contract.catalog import Catalog, Topic
from ops_stream.contract.headers import AVRO_TYPE, JSON_TYPE
from ops_stream.contract.models import EVENTS, EVENTS_OF_TOPIC, Event

_PREFIX: Final = "ops."
_SUPERVISOR: Final = "supervisor"
_CONTRACT_VERSION: Final = "1.0.0"
_EVENT: Final = "Needed unless the header ce_type names the event."
_SHARING: Final = frozenset(
    event.__name__ for events in EVENTS_OF_TOPIC.values() if len(events) > 1 for event in events
)
"""The events that share a topic with others, so that each must say which one it is."""


def document() -> dict[str, Any]:
    """Make the whole document."""
    catalog = Catalog.load()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ops-stream",
            "version": _CONTRACT_VERSION,
            "description": (
                "What agents, applications, people and operators exchange with the supervisor. Channels have "
                "the default prefix 'ops.'. Fields are added, never renamed or retyped; an unknown reason "
                "means no."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON_TYPE,
        "channels": {topic.name: _channel(topic) for topic in catalog.topics.values()},
        "operations": dict(
            operation for topic in catalog.topics.values() for operation in _operations(topic)
        ),
        "components": {
            "messages": dict(message for event in EVENTS.values() for message in _messages(event)),
            "messageTraits": {"headers": {"headers": _HEADERS}},
            "schemas": _schemas(),
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    names = [name for event in topic.events for name in _message_names(event)]
    return {
        "address": f"{_PREFIX}{topic.name}",
        "description": (
            f"Written by {_words(topic.writers)}; read by {_words(topic.readers)}. Key: {topic.key}."
        ),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [topic.cleanup],
                    "retention.ms": -1 if topic.retention_ms is None else topic.retention_ms,
                    "max.message.bytes": topic.max_message_bytes,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operations(topic: Topic) -> list[tuple[str, dict[str, Any]]]:
    """Give what the supervisor does with a topic."""
    channel = {"$ref": f"#/channels/{topic.name}"}
    roles = (("receive", topic.readers), ("send", topic.writers))
    return [
        (f"{action}-{topic.name}", {"action": action, "channel": channel})
        for action, who in roles
        if _SUPERVISOR in who
    ]


def _message_names(event: str) -> list[str]:
    """Give the messages that an event may come as. The journal is always JSON."""
    return [event] if event == "JournalRecord" else [event, f"{event}Avro"]


def _messages(event: type[Event]) -> list[tuple[str, dict[str, Any]]]:
    name = event.__name__
    common = {
        "name": name,
        "summary": " ".join((event.__doc__ or "").split()),
        "traits": [{"$ref": "#/components/messageTraits/headers"}],
    }
    payloads = {
        name: {"contentType": JSON_TYPE, "payload": {"$ref": f"#/components/schemas/{name}"}},
        f"{name}Avro": {
            "contentType": AVRO_TYPE,
            "description": (
                "Single-object encoding: the bytes C3 01, then "
                f"{fingerprint(schema_of(event)).hex(' ').upper()}, then the body."
            ),
            "payload": {
                "schemaFormat": "application/vnd.apache.avro+json;version=1.9.0",
                "schema": {"$ref": f"./{name}.avsc"},
            },
        },
    }
    return [(message, common | payloads[message]) for message in _message_names(name)]


def _schemas() -> dict[str, Any]:
    """Give the JSON Schemas of all events and their parts, by name."""
    collected: dict[str, Any] = {}
    for name, event in EVENTS.items():
        schema = event.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
        collected |= schema.pop("$defs", {})
        if name in _SHARING:
            schema["properties"] = {"event": {"const": name, "description": _EVENT}} | schema["properties"]
        collected[name] = schema
    return {name: _tidy(collected[name]) for name in sorted(collected)}


def _tidy(schema: Any) -> Any:
    """Take off the titles, which repeat the names, and write 'or null' the short way."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {
        name: _tidy(part) for name, part in schema.items() if not (name == "title" and isinstance(part, str))
    }
    if isinstance(tidied.get("description"), str):
        tidied["description"] = " ".join(tidied["description"].split())
    return tidied


def _words(names: tuple[str, ...]) -> str:
    return " and ".join(names)


_HEADERS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "CloudEvents 1.0 Kafka binding; optional on input, always there on output.",
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string"},
        "ce_type": {"type": "string", "description": "The name of the event."},
        "ce_source": {"type": "string", "format": "uri-reference"},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_subject": {"type": "string"},
        "content-type": {"type": "string", "enum": [JSON_TYPE, AVRO_TYPE]},
        "traceparent": {"type": "string", "description": "W3C Trace Context."},
        "ops-journal": {
            "type": "string",
            "pattern": "^[0-9]+:[0-9]+:[0-9]+$",
            "description": "Output only: partition, offset and index in the journal of its cause.",
        },
        "ops-signature": {
            "type": "string",
            "pattern": "^v1;key=[0-9a-f]{16}(;expires=[0-9TZ:.-]{24})?;sig=[A-Za-z0-9+/]{86}==$",
            "description": (
                "On verdicts and commands, where whoever gives them has a key, and on approvals, where the supervisor "
                "has one: Ed25519 over DSSE's pre-authentication encoding of type, topic, key, body and expiry."
            ),
        },
    },
}
