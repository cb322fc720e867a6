"""Settings come from the environment, secrets from files, and neither shows what is secret."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ops_stream.contract.errors import ExitCode, SettingsInvalid
from ops_stream.contract.settings import Settings

SECRET = "correct horse"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start every test without settings of the machine, in a home of its own."""
    for name in [name for name in os.environ if name.startswith("OPS_STREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("OPS_STREAM_CONF_DIR", str(tmp_path))


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """Give a file with a password, as an editor leaves it: with a line break at the end."""
    path = tmp_path / "password"
    path.write_text(SECRET + "\n", encoding="utf-8")
    return path


def test_nothing_set_means_this_machine(tmp_path: Path) -> None:
    """Without settings everything points to loopback and to the user's own data directory."""
    settings = Settings.load()
    assert settings.aiokafka() == {"bootstrap_servers": "127.0.0.1:9092", "security_protocol": "PLAINTEXT"}
    assert (settings.tenant, settings.topic("journal"), settings.partitions) == ("default", "ops.journal", 6)
    assert settings.journal_key_file == settings.data_dir / "journal.key"
    assert settings.data_dir.is_relative_to(tmp_path)
    assert settings.replication is None


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The contract's variables are read; the journal key moves with the data directory unless it is set."""
    monkeypatch.setenv("OPS_STREAM_BOOTSTRAP_SERVERS", "one:9092,two:9092")
    monkeypatch.setenv("OPS_STREAM_TENANT", "team-a")
    monkeypatch.setenv("OPS_STREAM_TOPIC_PREFIX", "test.")
    monkeypatch.setenv("OPS_STREAM_DATA_DIR", str(tmp_path / "d"))
    settings = Settings.load()
    assert settings.aiokafka()["bootstrap_servers"] == "one:9092,two:9092"
    assert (settings.tenant, settings.topic("approvals")) == ("team-a", "test.approvals")
    assert settings.journal_key_file == tmp_path / "d" / "journal.key"
    monkeypatch.setenv("OPS_STREAM_JOURNAL_KEY_FILE", str(tmp_path / "k"))
    assert Settings.load().journal_key_file == tmp_path / "k"


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a program sets itself is not overruled."""
    monkeypatch.setenv("OPS_STREAM_TENANT", "team-a")
    settings = Settings.load(tenant="team-b", data_dir=tmp_path / "mine")
    assert (settings.tenant, settings.journal_key_file) == ("team-b", tmp_path / "mine" / "journal.key")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TENANT", "white space"),
        ("TOPIC_PREFIX", "a/b"),
        ("PARTITIONS", "0"),
        ("PARTITIONS", "many"),
        ("BOOTSTRAP_SERVERS", ""),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("KAFKA_SSL_CHECK_HOSTNAME", "perhaps"),
    ],
)
def test_what_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A wrong value is wrong use, in a sentence that names the variable and does not repeat the value."""
    monkeypatch.setenv(f"OPS_STREAM_{name}", value)
    with pytest.raises(SettingsInvalid, match=f"OPS_STREAM_{name}: ") as caught:
        Settings.load()
    assert caught.value.exit_code == ExitCode.WRONG_USE
    assert not value or value not in caught.value.what.split()
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_sasl_needs_a_user_and_a_password_file(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """Half a login is refused with the name of the missing half."""
    monkeypatch.setenv("OPS_STREAM_KAFKA_SECURITY_PROTOCOL", protocol)
    with pytest.raises(SettingsInvalid, match="OPS_STREAM_KAFKA_SASL_USERNAME"):
        Settings.load()
    monkeypatch.setenv("OPS_STREAM_KAFKA_SASL_USERNAME", "worker")
    with pytest.raises(SettingsInvalid, match="OPS_STREAM_KAFKA_SASL_PASSWORD_FILE"):
        Settings.load()


def test_sasl_reads_its_secret_from_the_file(monkeypatch: pytest.MonkeyPatch, secret_file: Path) -> None:
    """The password goes to Kafka without the line break and shows in nothing that is printed."""
    monkeypatch.setenv("OPS_STREAM_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("OPS_STREAM_KAFKA_SASL_USERNAME", "worker")
    monkeypatch.setenv("OPS_STREAM_KAFKA_SASL_PASSWORD_FILE", str(secret_file))
    settings = Settings.load()
    arguments = settings.aiokafka()
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("worker", SECRET)
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_secret_is_never_taken_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no variable for the password itself: one that looks like it changes nothing."""
    monkeypatch.setenv("OPS_STREAM_KAFKA_SASL_PASSWORD", SECRET)
    assert SECRET not in str(Settings.load().model_dump())


def test_the_redis_url_is_not_shown() -> None:
    """A Redis address may hold a password, so it is not printed with the settings."""
    settings = Settings.load(redis_url=f"redis://:{SECRET}@localhost")
    assert SECRET not in repr(settings) and SECRET in str(settings.redis_url)


def test_an_unreadable_secret_says_which_file(tmp_path: Path) -> None:
    """A missing or binary secret file is named, with what to check."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("missing", "binary"):
        settings = Settings.load(
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_username="worker",
            kafka_sasl_password_file=tmp_path / name,
        )
        with pytest.raises(SettingsInvalid) as caught:
            settings.aiokafka()
        assert name in caught.value.where and caught.value.next_step


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Make a certificate and its key, locked with the secret."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "worker")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(SECRET.encode()),
        )
    )
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_tls_verifies_with_the_given_files(certificate: tuple[Path, Path], secret_file: Path) -> None:
    """TLS checks the broker's certificate and name, and trusts the given CA."""
    cert, key = certificate
    settings = Settings.load(
        kafka_security_protocol="SSL",
        kafka_ssl_cafile=cert,
        kafka_ssl_certfile=cert,
        kafka_ssl_keyfile=key,
        kafka_ssl_password_file=secret_file,
    )
    context = settings.aiokafka()["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1


def test_the_host_name_check_can_be_switched_off(certificate: tuple[Path, Path]) -> None:
    """Without the name check the certificate itself is still verified."""
    settings = Settings.load(
        kafka_security_protocol="SSL", kafka_ssl_cafile=certificate[0], kafka_ssl_check_hostname=False
    )
    context = settings.aiokafka()["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_locked_key_without_its_password_is_refused(
    certificate: tuple[Path, Path], tmp_path: Path, password: str | None
) -> None:
    """A wrong or missing key password ends in a sentence, not in a question on the terminal."""
    cert, key = certificate
    (tmp_path / "other").write_text(password or "", encoding="utf-8")
    settings = Settings.load(
        kafka_security_protocol="SSL",
        kafka_ssl_certfile=cert,
        kafka_ssl_keyfile=key,
        kafka_ssl_password_file=tmp_path / "other" if password else None,
    )
    with pytest.raises(SettingsInvalid, match="The TLS files cannot be used"):
        settings.aiokafka()


def test_a_key_without_a_certificate_is_refused(certificate: tuple[Path, Path]) -> None:
    """A client key alone makes no sense, and a missing CA file is said so."""
    with pytest.raises(SettingsInvalid, match="OPS_STREAM_KAFKA_SSL_CERTFILE"):
        Settings.load(kafka_ssl_keyfile=certificate[1])
    settings = Settings.load(kafka_security_protocol="SSL", kafka_ssl_cafile=Path("missing.pem"))
    with pytest.raises(SettingsInvalid, match="No such file"):
        settings.aiokafka()


def test_a_collector_is_named_without_secrets_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base URL; one with a password, a query or none at all is refused in a sentence that repeats nothing."""
    monkeypatch.setenv("OPS_STREAM_OTLP_ENDPOINT", "https://collector.example:4318/tenant-cNrY/")
    settings = Settings.load()
    assert settings.otlp_endpoint == "https://collector.example:4318/tenant-cNrY"
    assert "cNrY" not in repr(settings)
    monkeypatch.setenv("OPS_STREAM_OTLP_ENDPOINT", "")
    assert Settings.load().otlp_endpoint is None
    for wrong in (
        "https://me:cNrY@collector",
        "https://collector?key=cNrY",
        "https://collector#cNrY",
        "collector-cNrY:4318",
        "ftp://collector/cNrY",
        "http://collector:99999/cNrY",
        "http://collector/cNrY\x1b[2J",
    ):
        monkeypatch.setenv("OPS_STREAM_OTLP_ENDPOINT", wrong)
        with pytest.raises(SettingsInvalid, match="OPS_STREAM_OTLP_ENDPOINT") as caught:
            Settings.load()
        assert "cNrY" not in str(caught.value)


def test_the_level_of_logs_is_one_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """`info` unless told otherwise."""
    assert Settings.load().log_level == "info"
    monkeypatch.setenv("OPS_STREAM_LOG_LEVEL", "debug")
    assert Settings.load().log_level == "debug"
    monkeypatch.setenv("OPS_STREAM_LOG_LEVEL", "loud")
    with pytest.raises(SettingsInvalid, match="OPS_STREAM_LOG_LEVEL"):
        Settings.load()
