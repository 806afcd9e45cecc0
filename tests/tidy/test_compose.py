"""compose.yaml and the Dockerfile say what the rest of the repository does."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.platform.children import GRANTED

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: it for name, it in SERVICES.items() if str(it["image"]).startswith("stepwell")}


def test_every_part_of_the_platform_is_a_service() -> None:
    assert set(OURS) == {
        *("migrate", "api", "worker-waits", "worker-computes", "scheduler", "flower")
    }
    assert set(SERVICES) - set(OURS) == {"postgres", "redis", "mail"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_a_service_that_stays_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert str(port).startswith("127.0.0.1:")


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_command_starts_a_module_that_exists(name: str) -> None:
    words = OURS[name]["command"]
    if words[0] == "python":
        assert words[1] == "-m"
        assert find_spec(words[2]) is not None
    else:
        assert words == ["stepwell", "migrate"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_only_the_scheduler_and_the_migration_get_the_operators_login(name: str) -> None:
    assert "STEPWELL_OPERATOR_DATABASE_URL" in GRANTED
    has_it = "STEPWELL_OPERATOR_DATABASE_URL" in OURS[name]["environment"]
    assert has_it == (name in {"scheduler", "migrate"})


def test_the_image_is_installed_by_the_target_that_the_tests_use() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "RUN make install EXTRAS=" in dockerfile
    assert "test: check" in makefile
    assert "check: install" in makefile
    assert "--constraint constraints.txt" in makefile


def test_the_image_gets_the_package_without_the_extras() -> None:
    said = subprocess.run(
        ["make", "--dry-run", "--always-make", "install", "EXTRAS="],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--editable '.'\n" in said
