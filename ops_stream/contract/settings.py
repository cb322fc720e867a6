"""Settings common to all parts, from the environment. Secrets come only from files and are never shown."""

import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ops_stream.contract.catalog import full_name
from ops_stream.contract.errors import SettingsInvalid
from ops_stream.contract.hush import hush_logins
from ops_stream.contract.rooms import room
from ops_stream.contract.wire import ID_PATTERN

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

Verify = Literal["off", "journal", "signature"]
"""How an agent tells a forged answer: not at all, by the journal record, by the supervisor's signature."""

LogLevel = Literal["debug", "info", "warning", "error"]


def default_data_dir() -> Path:
    """Give the platform's directory for a user's data, and `ops-stream` in it."""
    return platformdirs.user_data_path("ops-stream", appauthor=False)


class Settings(BaseSettings):
    """Everything that a part needs to find Kafka, its data and its rules (`OPS_STREAM_*`)."""

    model_config = SettingsConfigDict(env_prefix="OPS_STREAM_", frozen=True, extra="ignore")

    bootstrap_servers: Annotated[str, Field(min_length=1)] = "127.0.0.1:9092"
    kafka_security_protocol: Protocol = "PLAINTEXT"
    kafka_sasl_mechanism: Mechanism = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password_file: Path | None = None
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_ssl_password_file: Path | None = None
    kafka_ssl_check_hostname: bool = True
    tenant: Annotated[str, Field(pattern=ID_PATTERN)] = "default"
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = "ops."
    redis_url: str | None = Field(default=None, repr=False)  # may hold a password
    data_dir: Path = Field(default_factory=default_data_dir)
    conf_dir: Path = Field(default_factory=lambda: room("conf"))
    journal_key_file: Path = Path()
    key_file: Path | None = None
    signing_key_file: Path | None = None
    verify: Verify = "off"
    supervisor_keys_file: Path | None = None
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 6
    replication: Annotated[int, Field(ge=1, le=100)] | None = None
    otlp_endpoint: str | None = Field(default=None, repr=False)  # may be secret in itself
    otlp_headers_file: Path | None = None
    trace_content: bool = False
    log_level: LogLevel = "info"

    @field_validator("otlp_endpoint")
    @classmethod
    def _a_collector(cls, value: str | None) -> str | None:
        """Take the base of a URL; a secret in it would stand in every error of the exporter."""
        if not value:
            return None
        try:
            parts = urlsplit(value)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fits = False
        if not fits or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("a collector is named as http://HOST:PORT or https://HOST")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(
                "secrets do not belong in the URL: put headers into OPS_STREAM_OTLP_HEADERS_FILE"
            )
        return value.rstrip("/")

    @model_validator(mode="before")
    @classmethod
    def _beside_the_data(cls, values: Any) -> Any:
        """Put the journal key into the data directory unless told otherwise."""
        if isinstance(values, dict) and "journal_key_file" not in values:
            data_dir = Path(values.get("data_dir") or default_data_dir())
            return values | {"journal_key_file": data_dir / "journal.key"}
        return values

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL"):
            for name in ("kafka_sasl_username", "kafka_sasl_password_file"):
                if getattr(self, name) is None:
                    raise ValueError(
                        f"OPS_STREAM_{name.upper()} is needed with {self.kafka_security_protocol}"
                    )
        if self.kafka_ssl_keyfile is not None and self.kafka_ssl_certfile is None:
            raise ValueError("OPS_STREAM_KAFKA_SSL_CERTFILE is needed with OPS_STREAM_KAFKA_SSL_KEYFILE")
        return self

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; raises SettingsInvalid, in sentences that repeat no value."""
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise SettingsInvalid(
                _sentences(error),
                where="environment OPS_STREAM_*",
                next_step="Correct the variable and start again.",
            ) from None  # the original repeats the values

    def topic(self, name: str) -> str:
        """Give the name in Kafka of a topic of the catalogue."""
        return full_name(self.topic_prefix, name)

    def aiokafka(self) -> dict[str, Any]:
        """Give the connection arguments of any aiokafka client; secret files are read now."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.startswith("SASL"):
            arguments["sasl_mechanism"] = self.kafka_sasl_mechanism
            arguments["sasl_plain_username"] = self.kafka_sasl_username
            hush_logins()
            arguments["sasl_plain_password"] = _secret(self.kafka_sasl_password_file)
        if self.kafka_security_protocol.endswith("SSL"):
            arguments["ssl_context"] = self._ssl_context()
        return arguments

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.kafka_ssl_cafile)
            context.check_hostname = self.kafka_ssl_check_hostname
            if self.kafka_ssl_certfile is not None:
                password = _secret(self.kafka_ssl_password_file) if self.kafka_ssl_password_file else None
                # Without a password OpenSSL would ask on the terminal.
                context.load_cert_chain(self.kafka_ssl_certfile, self.kafka_ssl_keyfile, password or "")
        except OSError as error:  # ssl.SSLError is one
            raise SettingsInvalid(
                f"The TLS files cannot be used: {error.strerror or type(error).__name__}.",
                where="OPS_STREAM_KAFKA_SSL_*",
                next_step="Check that each file exists, is PEM, and that key and password belong together.",
            ) from error
        return context


def _secret(path: Path | None) -> str:
    if path is None:
        raise SettingsInvalid(
            "A secret is needed and no file is named for it.", where="OPS_STREAM_KAFKA_*_FILE"
        )
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsInvalid(
            f"The secret cannot be read: {reason}.",
            where=str(path),
            next_step="Check the path and who may read it.",
        ) from None


def _sentences(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = "_".join(str(step) for step in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        parts.append(f"OPS_STREAM_{name.upper()}: {text}." if name else f"{text}.")
    return " ".join(parts)
