"""docker-compose.yml: closed to the outside, pinned, whole, and understood by Docker's own tools where they are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import StringConstraints
from ruamel.yaml import YAML

from ops_stream.cli.main import cli
from ops_stream.contract.settings import Settings
from tests.monitoring.models import ROOT, Strict, read

FILE = ROOT / "docker-compose.yml"
TEXT = FILE.read_text(encoding="utf-8")
OURS = "ops-stream:local"

Time = Annotated[str, StringConstraints(pattern=r"^[0-9]+(ms|s|m)$")]
LoopbackPort = Annotated[
    str, StringConstraints(pattern=r"^127\.0\.0\.1:\$\{OPS_STREAM_[A-Z]+_PORT:-[0-9]{4,5}\}:[0-9]{4,5}$")
]
Image = Annotated[
    str, StringConstraints(pattern=r"^([a-z]+(/[a-z]+)?:v?[0-9]+\.[0-9.]*[0-9](-[a-z]+)?|ops-stream:local)$")
]
Scalar = Annotated[str, StringConstraints(max_length=200)]


class Health(Strict):
    disable: bool = False
    test: list[str] = []
    interval: Time = "30s"
    timeout: Time = "30s"
    start_period: Time = "0s"
    retries: int = 3


class Needs(Strict):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Service(Strict):
    image: Image
    build: Literal["."] | None = None
    command: list[str] = []
    environment: dict[str, Scalar] = {}
    profiles: list[str] = []
    depends_on: dict[str, Needs] | list[str] = {}
    ports: list[LoopbackPort] = []
    volumes: list[str] = []
    healthcheck: Health | None = None
    read_only: bool = False
    tmpfs: list[str] = []
    cap_drop: list[str] = []
    security_opt: list[str] = []
    stop_grace_period: Time = "10s"
    restart: Literal["unless-stopped", "on-failure"]


class Composition(Strict):
    name: Literal["ops-stream"]
    services: dict[str, Service]
    volumes: dict[str, None]


COMPOSITION = Composition.model_validate(read(FILE))
SERVICES = COMPOSITION.services
BUILT = {name: service for name, service in SERVICES.items() if service.image == OURS}


def test_the_services_are_these() -> None:
    """What a person starts with one command; the notifier on demand, because it needs somebody to tell."""
    assert [name for name, one in SERVICES.items() if not one.profiles] == [
        "kafka",
        "redis",
        "topics",
        "worker",
        "views",
        "prometheus",
        "grafana",
    ]
    assert [name for name, one in SERVICES.items() if one.profiles] == ["notifier"]


def test_ports_and_volumes_are_told_apart_and_declared() -> None:
    """Published ports differ, named volumes are declared and used; folders that are mounted exist and are read only."""
    ports = [re.findall(r":-(\d+)}", port)[0] for one in SERVICES.values() for port in one.ports]
    assert len(ports) == len(set(ports)) == 7
    named = set()
    for name, one in SERVICES.items():
        for volume in one.volumes:
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).is_dir(), f"{name}: {source}"
                assert mode == ["ro"], f"{name} may write to {source}"
            else:
                named.add(source)
    assert named == COMPOSITION.volumes.keys()


def test_nothing_waits_for_what_is_not_there() -> None:
    """Each dependency is a service; one that must be healthy says when it is; one that must end is not restarted."""
    for name, one in SERVICES.items():
        needs = one.depends_on if isinstance(one.depends_on, dict) else dict.fromkeys(one.depends_on)
        for other, how in needs.items():
            assert other in SERVICES, name
            if how is not None and how.condition == "service_healthy":
                assert SERVICES[other].healthcheck is not None, other
            if how is not None and how.condition == "service_completed_successfully":
                assert SERVICES[other].restart == "on-failure", other


@pytest.mark.parametrize("name", ["worker", "views", "notifier", "prometheus", "grafana"])
def test_what_serves_a_port_is_kept_small(name: str) -> None:
    """A file system that is read only, no capabilities, no new privileges."""
    one = SERVICES[name]
    assert one.read_only is True
    assert one.cap_drop == ["ALL"]
    assert one.security_opt == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ("topics", "worker")])
def test_each_says_whether_it_is_well(name: str) -> None:
    """Those that run on have a health check of their own (the worker's is in its image), in exec form."""
    check = SERVICES[name].healthcheck
    assert check is not None and not check.disable
    assert check.test[0] == "CMD"
    if SERVICES[name].image == OURS:
        port = SERVICES[name].ports[0].rpartition(":")[2]
        assert f"http://127.0.0.1:{port}/readyz" in check.test[-1]


@pytest.mark.parametrize("name", BUILT)
def test_what_runs_is_a_command(name: str) -> None:
    """The command line takes what each container of ours runs, and it listens where the port is published."""
    words = SERVICES[name].command or ["worker", "--host", "0.0.0.0"]
    command: Any = cli
    context = command.make_context("ops-stream", list(words), resilient_parsing=True)
    arguments = words
    while hasattr(command, "commands"):
        _, command, arguments = command.resolve_command(context, list(arguments))
        assert command is not None
    parameters = command.make_context(name, list(arguments)).params
    if SERVICES[name].ports:
        assert parameters["host"] == "0.0.0.0"
        assert parameters["port"] == int(SERVICES[name].ports[0].rpartition(":")[2])


@pytest.mark.parametrize("name", BUILT)
def test_settings_are_settings(name: str) -> None:
    """Every OPS_STREAM_ variable names a setting, and together they make valid ones."""
    ours = {key: value for key, value in SERVICES[name].environment.items() if key.startswith("OPS_STREAM_")}
    values = {key.removeprefix("OPS_STREAM_").lower(): value for key, value in ours.items()}
    assert values.keys() <= Settings.model_fields.keys()
    assert Settings(**values).bootstrap_servers == "kafka:19092"


def test_only_the_worker_has_the_journal_s_key() -> None:
    """The volume with the key is mounted in the worker, and nowhere else: whoever has the key can forge records."""
    assert [name for name, one in SERVICES.items() if any("worker-data" in v for v in one.volumes)] == [
        "worker"
    ]


def test_grafana_has_no_password_that_everybody_knows() -> None:
    """No administrator is made, nobody logs in, whoever looks cannot change anything, and nothing is sent home."""
    environment = SERVICES["grafana"].environment
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert (
        environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
        and environment["GF_AUTH_BASIC_ENABLED"] == "false"
    )
    assert environment["GF_USERS_ALLOW_SIGN_UP"] == "false" == environment["GF_ANALYTICS_REPORTING_ENABLED"]
    assert not re.search(r"PASSWORD|SECRET_KEY", TEXT)


def test_prometheus_finds_the_containers() -> None:
    """The names and ports that prometheus.yml looks up are services of this file and what they publish."""
    config = read(ROOT / "conf" / "monitoring" / "prometheus" / "prometheus.yml")
    looked_up = {
        name: dns["port"]
        for job in config["scrape_configs"]
        for dns in job.get("dns_sd_configs", [])
        for name in dns["names"]
    }
    assert looked_up == {
        name: int(SERVICES[name].ports[0].rpartition(":")[2]) for name in ("worker", "views", "notifier")
    }


def test_docker_agrees() -> None:
    """Where Docker Compose is there, as a plug-in or by itself, it takes the file, with and without profiles."""
    for words, text in _clients():
        for profile in ([], ["--profile", "notifier"]):
            ran = subprocess.run(
                [*words, "-f", "-", "--project-directory", str(ROOT), *profile, "config"],
                input=text,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
            services = YAML(typ="safe").load(ran.stdout)["services"]
            assert "worker" in services and ("notifier" in services) >= bool(profile)


def _clients() -> list[tuple[list[str], str]]:
    """Give the clients on this machine, and the file as each can read it (the first generation knows no `name`)."""
    found = []
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    ):
        found.append(([docker, "compose"], TEXT))
    alone = shutil.which("docker-compose")
    if alone:
        version = subprocess.run([alone, "--version"], capture_output=True, text=True, check=False).stdout
        first = " 1." in version
        found.append(([alone], re.sub(r"^name:.*\n", "", TEXT, flags=re.MULTILINE) if first else TEXT))
    return found


def test_volumes_of_the_image_are_those_of_the_composition() -> None:
    """The worker's data directory, as the image says it."""
    dockerfile = Path(ROOT / "Dockerfile").read_text(encoding="utf-8")
    (directory,) = re.findall(r"^VOLUME (\S+)$", dockerfile, re.MULTILINE)
    assert f"worker-data:{directory}" in SERVICES["worker"].volumes
