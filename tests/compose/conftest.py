"""Tests of the containers: they need a Docker engine, and run by `make compose` alone."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest
from tests.compose.site import ROOT, Site, docker

try:
    from pytest_docker_tools.wrappers import container as docker_container
except ImportError:  # pragma: no cover - nothing below is collected then
    docker_container = None  # type: ignore[assignment]
else:
    # The ports of a container are published on this machine, also where the tests themselves run in
    # a container; the plugin would take the addresses of an inner network then.
    docker_container.tests_inside_container = lambda: False  # type: ignore[attr-defined]

_MISSING = "make compose needs {}: install it, start it, and see that `docker info` answers"
_PLUGIN = "pytest_celery.plugin"


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Only a run that has the plugin for containers is meant; every other one leaves these out."""
    return None if config.pluginmanager.hasplugin(_PLUGIN) else True


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """A Docker engine that answers, and docker-compose."""
    for program in ("docker", "docker-compose"):
        if shutil.which(program) is None:
            pytest.exit(_MISSING.format(program), returncode=2)
    asked = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.exit(_MISSING.format("a Docker engine that runs"), returncode=2)


@pytest.fixture(scope="session")
def image(engine: None) -> Iterator[str]:
    """Our image, built from this working tree."""
    name = f"celery-taskdb:test-{token_hex(4)}"
    docker("build", "--quiet", "--file", str(ROOT / "deploy/Dockerfile"), "--tag", name, str(ROOT))
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture(scope="module")
def site(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fresh clone with its secrets filled in; nothing of it runs yet."""
    site = Site(tmp_path_factory.mktemp("site"), image)
    try:
        yield site
    finally:
        site.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the containers of a failed test wrote."""
    report: pytest.TestReport = yield  # type: ignore[misc]
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(site, Site):
        report.sections.append(("Containers", site.tail()))
    return report  # type: ignore[return-value]


@pytest.fixture(scope="session")
def examples() -> Path:
    return ROOT / "examples"
