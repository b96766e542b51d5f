"""docker-compose.yml and the Dockerfile, as far as they can be judged where no engine runs."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli.main import COMMANDS, cli
from pipeline.config import ENV_PREFIX, load
from tests.support.promql import ALERTS_FILE, DASHBOARDS, ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONFIGS = {name: one["content"] for name, one in COMPOSE["configs"].items()}
OURS = {name for name, one in SERVICES.items() if one["image"].startswith("wapipe:")}
ROLES = {"gate", "sender", "ingress", "console"}


def _faults(document: dict[str, Any]) -> list[str]:
    """What the Compose specification's own schema says; its file comes with a package that need not be imported."""
    spec = importlib.util.find_spec("check_jsonschema")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text())
    return [error.message for error in jsonschema.validators.validator_for(schema)(schema).iter_errors(document)]


def test_it_is_what_the_specification_allows() -> None:
    """The schema has nothing to say, and would if a key were misspelt."""
    assert _faults(COMPOSE) == []
    assert _faults({"services": {"gate": {"image": "wapipe", "comand": []}}}) != []


def test_what_services_wait_for_exists_and_can_happen() -> None:
    """Every dependency is a service; one that must be healthy has a check, one that must end does end."""
    for name, service in SERVICES.items():
        for wanted, how in service.get("depends_on", {}).items():
            other = SERVICES[wanted]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in other, (name, wanted)
            else:
                assert (how["condition"], other["restart"]) == ("service_completed_successfully", "no"), (name, wanted)


def test_images_are_pinned_ports_are_local_and_nothing_is_named_twice() -> None:
    """No image moves by itself, nothing is open to the network, and two copies can run beside each other."""
    assert "version" not in COMPOSE
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == len(set(ports))
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for name, service in SERVICES.items():
        assert "container_name" not in service, name
        if name not in OURS:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_our_services_are_restricted_and_have_time_to_drain() -> None:
    """The same limits as in the chart: no capabilities, no own files written, a minute to end."""
    assert ROLES < OURS
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True, name
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert service["stop_grace_period"] == "60s", name
    for name in ROLES:
        writable = [*SERVICES[name].get("volumes", ()), *SERVICES[name]["tmpfs"]]
        assert any("/var/lib/wapipe" in one for one in writable), name


def test_commands_are_commands_of_the_program() -> None:
    """Each of our services runs something that there is, with options that it takes."""
    for name in OURS:
        words = SERVICES[name]["command"]
        assert words[0] in COMMANDS, name
        done = CliRunner().invoke(cli, [*map(str, words), "--help"])
        assert done.exit_code == 0, (name, done.output)
        options = {word for word in words if str(word).startswith("--")}
        assert [one for one in options if one not in done.output] == [], name


def test_the_settings_load_and_the_files_they_name_are_mounted(tmp_path: Path) -> None:
    """The inline settings are settings; each file that they name is mounted, and so are they."""
    path = tmp_path / "wapipe.toml"
    path.write_text(CONFIGS["wapipe"])
    settings = load(path, {})
    tokens = (settings.ingress.verify_token_file, settings.console.operator_token_file)
    wanted = {*map(str, settings.ingress.app_secret_files), *map(str, tokens)}
    for name in OURS:
        environment = SERVICES[name]["environment"]
        mounted = {one["target"] for one in SERVICES[name]["configs"]}
        assert wanted | {environment["WAPIPE_CONFIG"]} <= mounted, name
        assert {one.token_env for one in settings.numbers.values()} <= environment.keys(), name
        given = {key: value for key, value in environment.items() if key.startswith(ENV_PREFIX)}
        load(path, {key: str(value) for key, value in given.items() if key != "WAPIPE_CONFIG"})
    assert settings.http.port == 9100
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert {f"http://simulator:{words[words.index('--port') + 1]}" for words in [SERVICES["simulator"]["command"]]} == {
        one.base_url.rsplit("/", 1)[0] for one in settings.numbers.values()
    }


def test_every_number_gets_its_webhook_checked(tmp_path: Path) -> None:
    """Without WhatsApp's own call nothing would ever be sent; the check speaks to the ingress on loopback."""
    path = tmp_path / "wapipe.toml"
    path.write_text(CONFIGS["wapipe"])
    checks = [one for one in SERVICES.values() if one.get("command", [])[:2] == ["webhooks", "check"]]
    assert {one["command"][2] for one in checks} == set(load(path, {}).numbers)
    assert all(one["network_mode"] == "service:ingress" for one in checks)


def test_what_is_mounted_is_there() -> None:
    """Files of this folder exist, configs and volumes are declared, and none is left over."""
    used_configs, used_volumes = set[str](), set[str]()
    for name, service in SERVICES.items():
        used_configs |= {one["source"] for one in service.get("configs", ())}
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), (name, source)
            else:
                used_volumes.add(source)
    assert used_configs == CONFIGS.keys()
    assert used_volumes == COMPOSE["volumes"].keys()
    assert {ROOT / "helm/files/alerts.yaml"} == {ALERTS_FILE}
    assert {path.parent for path in DASHBOARDS.values()} == {ROOT / "helm/files/dashboards"}


def test_prometheus_scrapes_every_role_under_the_name_that_alerts_use() -> None:
    """The label `role` is set for exactly the processes that have metrics."""
    [job] = yaml.safe_load(CONFIGS["prometheus"])["scrape_configs"]
    assert {one["labels"]["role"]: one["targets"] for one in job["static_configs"]} == {
        role: [f"{role}:9100"] for role in ROLES
    }


def test_the_image_can_be_built_from_what_is_sent_to_the_builder() -> None:
    """The Dockerfile is there, and all it copies passes .dockerignore."""
    allowed = set(re.findall(r"(?m)^!(\S+)$", (ROOT / ".dockerignore").read_text()))
    assert {service["build"]["context"] for service in SERVICES.values() if "build" in service} == {"."}
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text())
    sources = {source for line in copied for source in line.split()}
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_the_dockerfile_is_clean() -> None:
    """hadolint has nothing to say, and would if there were."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not in this environment")
    run = [str(hadolint), "--no-color"]
    done = subprocess.run([*run, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    bad = subprocess.run([*run, "-"], input="FROM x:latest\n", capture_output=True, text=True, timeout=60, check=False)
    assert "DL3007" in bad.stdout
