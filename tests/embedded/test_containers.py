"""The container files: pinned, closed to the outside, and in step with the code."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ops_stream.cli.main import cli
from ops_stream.contract.settings import Settings
from tests.brokers import KAFKA_IMAGE, REDIS_IMAGE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Read docker-compose.yml: through Docker Compose where its client is there, else as YAML."""
    # A docker client may lack its compose plug-in.
    if shutil.which("docker") and _docker("compose", "version").returncode == 0:
        asked = _docker("compose", "config", "--no-interpolate")
        assert asked.returncode == 0, asked.stderr
        return dict(YAML(typ="safe").load(asked.stdout))
    return dict(YAML(typ="safe").load(ROOT / "docker-compose.yml"))


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def dockerfile() -> list[list[str]]:
    """Read the Dockerfile as instructions, each a list of words."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [[line.split()[0], *line.split()[1:]] for line in lines if line.strip()]


def test_there_is_a_kafka_a_redis_and_a_worker(compose: dict[str, Any]) -> None:
    """The three parts of a whole, and the one-off that makes the topics before the worker starts."""
    assert {"kafka", "redis", "topics", "worker"} <= set(compose["services"])
    worker = compose["services"]["worker"]
    assert worker["depends_on"]["topics"]["condition"] == "service_completed_successfully"


def test_images_are_pinned_and_are_those_that_tests_use(compose: dict[str, Any]) -> None:
    """No `latest`: Kafka and Redis have versions, the same as the tests run where Docker answers."""
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert images["kafka"] == KAFKA_IMAGE and images["redis"] == REDIS_IMAGE
    assert images["worker"] == images["topics"] == "ops-stream:local"


def test_every_published_port_is_bound_to_loopback(compose: dict[str, Any]) -> None:
    """Nobody outside this machine reaches a broker without a password."""
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) >= 3
    for port in published:
        address = port["host_ip"] if isinstance(port, dict) else port.partition(":")[0]
        assert address == "127.0.0.1"


def test_the_containers_settings_are_settings(compose: dict[str, Any]) -> None:
    """Every OPS_STREAM_ variable names a setting, and together they make valid ones."""
    environment = compose["services"]["worker"]["environment"]
    values = {name.removeprefix("OPS_STREAM_").lower(): value for name, value in environment.items()}
    assert values.keys() <= Settings.model_fields.keys()
    assert Settings(**values).bootstrap_servers == "kafka:19092"


def test_the_worker_keeps_its_identity_and_its_key(
    compose: dict[str, Any], dockerfile: list[list[str]]
) -> None:
    """The data directory is a volume, in the image as in the composition; the rest is read only."""
    directory = "/var/lib/ops-stream"
    worker = compose["services"]["worker"]
    targets = [volume["target"] if isinstance(volume, dict) else volume for volume in worker["volumes"]]
    assert any(target in (directory, f"worker-data:{directory}") for target in targets)
    assert worker["read_only"] is True
    assert ["VOLUME", directory] in dockerfile


def test_the_image_runs_as_nobody_special_and_says_whether_it_is_ready(dockerfile: list[list[str]]) -> None:
    """Its user is not root, and its health is /readyz at the port where the worker listens by default."""
    final = dockerfile[max(n for n, (word, *_) in enumerate(dockerfile) if word == "FROM") :]
    (user,) = (words for word, *words in final if word == "USER")
    assert not user[0].startswith(("0", "root"))
    (health,) = (" ".join(words) for word, *words in final if word == "HEALTHCHECK")
    worker = cli.get_command(None, "worker")  # type: ignore[arg-type]
    assert worker is not None
    port = next(option.default for option in worker.params if option.name == "port")
    assert f"http://127.0.0.1:{port}/readyz" in health


def test_what_the_image_runs_is_a_command(dockerfile: list[list[str]]) -> None:
    """The default command parses, with its options."""
    (command,) = (" ".join(words) for word, *words in dockerfile if word == "CMD")
    verb, *options = shlex.split(re.sub(r"[\[\],]", " ", command))
    found = cli.get_command(None, verb)  # type: ignore[arg-type]
    assert found is not None
    assert found.make_context(verb, options).params["host"] == "0.0.0.0"


def test_everything_that_is_copied_exists_and_is_sent(dockerfile: list[list[str]]) -> None:
    """No COPY of a path that is missing from the repository, or kept back by .dockerignore."""
    copied = {
        source
        for word, *words in dockerfile
        if word == "COPY" and not words[0].startswith("--")
        for source in words[:-1]
    }
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == sent
    assert [name for name in copied if not os.path.exists(ROOT / name)] == []


def test_the_libraries_are_those_that_are_tested(dockerfile: list[list[str]]) -> None:
    """pip gets the constraints."""
    (install,) = (
        words for word, *words in dockerfile if word == "RUN" and "install" in words and "-c" in words
    )
    assert install[install.index("-c") + 1] == "constraints.txt"
