"""The image and the compose file, as far as they can be read without a Docker engine."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskdb.settings.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text()
SECRETS = (
    "POSTGRES_PASSWORD",
    "DATABASE_OWNER_PASSWORD",
    "DATABASE_PASSWORD",
    "DATABASE_READER_PASSWORD",
    "BROKER_PASSWORD",
    "FLOWER_BROKER_PASSWORD",
    "FLOWER_PASSWORD",
    "GRAFANA_PASSWORD",
)
GOOD = {name: f"{number}{'0123456789abcdef' * 3}" for number, name in enumerate(SECRETS)}
OURS = ("prepare", "roles", "migrate", "worker", "beat", "flower")
OBSERVERS = ("prometheus", "alertmanager", "grafana")
SHOP = ROOT / "examples/django_shop"

# --- the compose file -------------------------------------------------------------------------


def test_images_are_the_public_ones_and_our_own() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}

    ours = dict.fromkeys(OURS, "${TASKDB_IMAGE:-celery-taskdb:local}")
    others = {
        "postgres": "postgres:17-alpine",
        "redis": "redis:7-alpine",
        "rabbitmq": "rabbitmq:4",
        "prometheus": "prom/prometheus:v3.5.0",
        "alertmanager": "prom/alertmanager:v0.28.1",
        "grafana": "grafana/grafana:12.1.0",
    }
    assert images == ours | others


def test_every_port_is_bound_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert len(ports) == 7
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_no_secret_has_a_default_or_stands_in_an_argument() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    for name in SECRETS:
        assert f"${{{name}:-" not in text
        assert f"${{{name}-" not in text
        assert f"${{{name}:?" in text, "an empty one must be refused before anything starts"
    words = [
        str(SERVICES[name].get(part, "")) for name in SERVICES for part in ("command", "entrypoint")
    ]
    assert [word for word in words if "PASSWORD" in word] == []


def test_nothing_starts_before_the_secrets_were_looked_at() -> None:
    checked = "service_completed_successfully"

    def waits_for_prepare(name: str, seen: tuple[str, ...] = ()) -> bool:
        needs = SERVICES[name].get("depends_on", {})
        return any(
            condition["condition"] == checked
            if other == "prepare"
            else waits_for_prepare(other, (*seen, name))
            for other, condition in needs.items()
        )

    for name in set(SERVICES) - {"prepare", *OBSERVERS}:
        assert waits_for_prepare(name), name
    # What these need is behind a profile of its own, and asks nothing of the others.
    for name in OBSERVERS:
        assert SERVICES[name]["profiles"] == ["observability"]


def test_rows_can_be_read_before_anyone_reads_them() -> None:
    for name in ("worker", "beat"):
        needs = SERVICES[name]["depends_on"]
        assert needs["migrate"] == {"condition": "service_completed_successfully"}
        # Directly: a stop goes the other way, and looks past no container that has ended.
        assert needs["postgres"] == needs["redis"] == {"condition": "service_healthy"}
    assert SERVICES["migrate"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "roles": {"condition": "service_completed_successfully"},
    }
    for name in ("prepare", "roles", "migrate"):
        assert SERVICES[name]["restart"] == "no"


def test_everything_else_comes_back_by_itself_and_has_a_bounded_log() -> None:
    for name, service in SERVICES.items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        if name not in {"prepare", "roles", "migrate"}:
            assert service["restart"] == "unless-stopped", name


def test_our_own_containers_can_write_nothing_but_what_is_named() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for volume in service.get("volumes", ()):
            assert volume.endswith(":ro") or volume.split(":")[0] in {"payloads", "broker-user"}


def test_data_lies_in_volumes_with_names() -> None:
    mounted = {
        "postgres": "postgres-data:/var/lib/postgresql/data",
        "redis": "redis-data:/data",
        "rabbitmq": "rabbitmq-data:/var/lib/rabbitmq",
        "worker": "payloads:/var/lib/taskdb",
        "beat": "payloads:/var/lib/taskdb",
    }
    for name, volume in mounted.items():
        assert volume in SERVICES[name]["volumes"]
        assert volume.split(":")[0] in COMPOSE["volumes"]


def test_redis_keeps_what_it_is_given() -> None:
    words = SERVICES["redis"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))

    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"


def test_postgresql_keeps_what_it_said_it_has() -> None:
    options = dict(word[2:].split("=", 1) for word in SERVICES["postgres"]["command"][1:])

    assert [options[name] for name in ("fsync", "full_page_writes", "synchronous_commit")] == [
        "on", "on", "on",
    ]  # fmt: skip
    assert options["jit"] == "off"


def test_flower_looks_and_does_not_touch() -> None:
    given = SERVICES["flower"]["environment"]

    assert given["FLOWER_READ_ONLY"] == "true"
    assert given["FLOWER_BASIC_AUTH"].startswith("${FLOWER_USER:-admin}:${FLOWER_PASSWORD:?")
    assert not any("POSTGRES" in str(value) for value in given.values())
    assert not any("DATABASE" in str(value) for value in given.values())
    # A user of its own, and nothing that would have to be published.
    assert "://flower:${FLOWER_BROKER_PASSWORD:?" in given["TASKDB_BROKER_URL"]
    assert given["FLOWER_ENABLE_EVENTS"] == "false"
    assert json.loads(given["TASKDB_CELERY"]) == {"worker_enable_remote_control": False}


def test_only_the_containers_that_need_it_have_the_password_of_a_stronger_role() -> None:
    has: dict[str, set[str]] = {name: set() for name in SECRETS}
    for service, one in SERVICES.items():
        for key, value in one.get("environment", {}).items():
            for name in SECRETS:
                if key == name or f"{{{name}" in str(value):
                    has[name].add(service)

    for name in SECRETS:
        has[name].discard("prepare")
    assert has["POSTGRES_PASSWORD"] == {"postgres", "roles"}
    assert has["DATABASE_OWNER_PASSWORD"] == {"roles", "migrate"}
    assert has["DATABASE_READER_PASSWORD"] == {"roles"}
    assert has["DATABASE_PASSWORD"] == {"roles", "worker", "beat"}
    assert has["FLOWER_BROKER_PASSWORD"] == {"rabbitmq", "flower"}
    assert has["BROKER_PASSWORD"] == {"redis", "rabbitmq", "worker", "beat"}
    migrate = SERVICES["migrate"]["environment"]["TASKDB_DATABASE_URL"]
    assert migrate.startswith("postgresql://taskdb_owner:")
    worker = SERVICES["worker"]["environment"]["TASKDB_DATABASE_URL"]
    assert worker.startswith("postgresql://taskdb:")
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] == "postgres"
    words = SERVICES["migrate"]["command"]
    assert words[-1].endswith("grants --runtime taskdb --read-only taskdb_reader --apply")


def test_what_users_reach_is_in_another_network_than_database_and_broker() -> None:
    networks = {name: set(one["networks"]) for name, one in SERVICES.items() if "networks" in one}

    assert set(COMPOSE["networks"]) == {"inner", "edge"}
    assert set(SERVICES) - set(networks) == {"prepare"}
    assert SERVICES["prepare"]["network_mode"] == "none"
    both, inner, edge = {"inner", "edge"}, {"inner"}, {"edge"}
    assert networks == {
        "postgres": inner, "redis": inner, "rabbitmq": inner, "roles": inner, "migrate": inner,
        "worker": inner, "beat": both, "flower": both,
        "prometheus": edge, "alertmanager": edge, "grafana": edge,
    }  # fmt: skip
    assert set(shop_services()["web"]["networks"]) == both


def test_alarms_reach_the_processes_that_deliver_them() -> None:
    for name in ("worker", "beat"):
        given = SERVICES[name]["environment"]
        for variable in ("CHANNELS", "ROUTES", "SOURCES"):
            assert given[f"TASKDB_ALARM_{variable}"] == f"${{TASKDB_ALARM_{variable}:-}}"
    assert "TASKDB_ALARM_CHANNELS" not in SERVICES["flower"]["environment"]
    (line,) = re.findall(r"^#TASKDB_ALARM_CHANNELS=(.*)$", EXAMPLE, re.MULTILINE)
    (routes,) = re.findall(r"^#TASKDB_ALARM_ROUTES=(.*)$", EXAMPLE, re.MULTILINE)
    found = Settings.load({"TASKDB_ALARM_CHANNELS": line, "TASKDB_ALARM_ROUTES": routes})
    assert [one.name for one in found.alarm_channels] == ["ops"]


def test_a_worker_has_the_time_to_stop_in_order() -> None:
    soft = float(image_variables()["TASKDB_WORKER_SOFT_SHUTDOWN_SECONDS"])
    grace = float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))

    assert image_variables()["REMAP_SIGTERM"] == "SIGQUIT"
    assert grace >= soft + Settings().worker_exit_seconds + 10


def test_prometheus_asks_every_beat_and_grafana_finds_the_dashboards() -> None:
    scraping = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = scraping["scrape_configs"]
    (name,) = job["dns_sd_configs"]
    assert name["names"] == ["beat"]
    assert SERVICES["beat"]["command"] == ["beat", "--http", f"0.0.0.0:{name['port']}"]
    assert [list((ROOT / "deploy/prometheus").glob(one)) for one in scraping["rule_files"]] != [[]]

    grafana = ROOT / "deploy/grafana"
    (source,) = yaml.safe_load((grafana / "provisioning/datasources/taskdb.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((grafana / "provisioning/dashboards/taskdb.yml").read_text())[
        "providers"
    ]
    folder = provider["options"]["path"]
    assert f"./deploy/grafana:{folder}:ro" in SERVICES["grafana"]["volumes"]
    assert list(grafana.glob("*.json"))


def test_prometheus_hands_its_alerts_to_an_alertmanager_that_has_a_receiver() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (manager,) = prometheus["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    given = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    receivers = {one["name"] for one in given["receivers"]}
    routes = [given["route"], *given["route"]["routes"]]
    assert {one["receiver"] for one in routes} == receivers
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/taskdb.rules.yml").read_text())
    names = {rule.get("alert") for group in alerts["groups"] for rule in group["rules"]}
    for rule in given["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            assert matcher.partition("=")[2].strip('"') in names


# --- the shop beside it -----------------------------------------------------------------------


def shop_services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((SHOP / "docker-compose.yml").read_text())["services"]
    return services


def test_one_image_of_the_shop_serves_it_and_runs_its_tasks() -> None:
    shop = shop_services()
    images = {name: one["image"] for name, one in shop.items() if "image" in one}

    assert images == dict.fromkeys(
        ("migrate", "worker", "beat", "web"), "${SHOP_IMAGE:-django-shop:local}"
    )
    assert set(shop) - set(SERVICES) == {"web"}
    assert SERVICES["migrate"].get("build") is None
    # By the service that all others wait for, so that it is there when they start.
    assert [name for name, one in shop.items() if "build" in one] == ["migrate"]
    assert shop["migrate"]["build"]["context"] == str(SHOP.relative_to(ROOT))
    assert "manage.py migrate --noinput; taskdb grants" in shop["migrate"]["command"][-1]
    database = shop["migrate"]["environment"]["SHOP_DATABASE"]
    assert database.startswith("postgresql://taskdb_owner:${DATABASE_OWNER_PASSWORD}@")


def test_the_web_server_of_the_shop_is_locked_up_as_our_own_containers_are() -> None:
    web, ours = shop_services()["web"], SERVICES["beat"]

    for name in (
        "read_only", "tmpfs", "cap_drop", "security_opt", "pids_limit", "restart", "logging",
    ):  # fmt: skip
        assert web[name] == ours[name], name
    assert web["volumes"] == ["payloads:/var/lib/taskdb"]
    assert [port.partition(":")[0] for port in web["ports"]] == ["127.0.0.1"]
    assert web["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "postgres": {"condition": "service_healthy"},
    }
    assert "/healthz" in web["healthcheck"]["test"][-1]


def test_the_secret_of_the_shop_has_no_default_and_is_looked_at_before_anything_starts() -> None:
    shop = shop_services()

    for name in ("migrate", "worker", "beat", "web"):
        assert shop[name]["environment"]["SHOP_SECRET_KEY"].startswith("${SHOP_SECRET_KEY:?")
    assert shop["prepare"]["environment"] == {
        "MORE_SECRETS": "SHOP_SECRET_KEY",
        "SHOP_SECRET_KEY": None,
    }


@pytest.mark.parametrize("name", ["examples/containers", "examples/django_shop"])
def test_an_image_that_stands_on_ours_is_not_root_and_not_hidden_by_a_mount(name: str) -> None:
    text = (ROOT / name / "Dockerfile").read_text()
    mounted = SERVICES["worker"]["volumes"][0].split(":")[-2]
    said = re.findall(r"^(?!#)([A-Z]+) (.*)$", text, re.MULTILINE)

    assert [what for word, what in said if word == "USER"][-1:] in ([], ["10001:10001"])
    (folder,) = [what for word, what in said if word == "WORKDIR"]
    assert folder != mounted == "/app"
    copied = [what.split()[-1] for word, what in said if word == "COPY"]
    assert copied
    assert all(target.startswith("./") for target in copied)
    # Each is held to a series: "name==1.*".
    installed = re.findall(r"^RUN pip .*?install (.*?[^\\])$", text, re.MULTILINE | re.DOTALL)
    packages = [word for words in installed for word in re.findall(r'"(.*?)"', words)]
    assert [one for one in packages if not re.fullmatch(r"[a-z]+==[\d.]+(\.\*)?", one)] == []


# --- the secrets ------------------------------------------------------------------------------


def example_values() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))


def prepare(folder: Path, **values: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / "deploy/compose/prepare"), str(folder)],
        env={"PATH": os.environ["PATH"], **values},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_the_example_is_refused_as_it_stands_whatever_else_was_filled_in(tmp_path: Path) -> None:
    example = {name: value for name, value in example_values().items() if name in SECRETS}

    assert set(example.values()) == {"replace-me"}
    assert set(example) == set(SECRETS)
    for name in SECRETS:
        done = prepare(tmp_path, **{**GOOD, name: example[name]})
        assert done.returncode == 2
        assert f"{name}: is still the placeholder" in done.stderr
        assert "openssl rand" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "is empty"),
        ("0f3b9c", "shorter than 16"),
        ("with@sign/and:colons0123", "stands in URLs"),
        (GOOD["FLOWER_PASSWORD"], "the same as another"),
    ],
)
def test_a_secret_that_is_none_is_refused(tmp_path: Path, value: str, reason: str) -> None:
    done = prepare(tmp_path, **{**GOOD, "GRAFANA_PASSWORD": value})

    assert done.returncode == 2
    assert "GRAFANA_PASSWORD" in done.stderr
    assert reason in done.stderr
    assert not value or value not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_secrets_of_other_services_are_looked_at_as_well(tmp_path: Path) -> None:
    more = {**GOOD, "MORE_SECRETS": "SHOP_SECRET_KEY"}

    for value, reason in (
        ("", "is empty"),
        ("replace-me", "is still the placeholder"),
        (GOOD["BROKER_PASSWORD"], "is the same as another"),
    ):
        done = prepare(tmp_path, **more, SHOP_SECRET_KEY=value)
        assert done.returncode == 2
        assert f"SHOP_SECRET_KEY: {reason}" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert prepare(tmp_path, **more, SHOP_SECRET_KEY="9" * 48).returncode == 0


def test_redis_is_given_the_hash_of_the_password_and_not_the_password(tmp_path: Path) -> None:
    done = prepare(tmp_path, **GOOD)

    assert done.returncode == 0, done.stderr
    written = (tmp_path / "users.acl").read_text()
    assert "user default off" in written
    users = [line.split()[1] for line in written.splitlines()]
    assert users == ["default", "taskdb", "flower"]
    assert not any(value in written for value in GOOD.values())
    assert GOOD["BROKER_PASSWORD"] not in written + done.stdout
    assert re.search(r"user taskdb on #[0-9a-f]{64} ", written)


def test_the_file_of_secrets_gets_into_neither_git_nor_the_image() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().split()
    # Nothing is taken but what is named.
    assert (ROOT / ".dockerignore").read_text().split("\n")[1] == "*"
    assert "!.env" not in (ROOT / ".dockerignore").read_text()


# --- the image --------------------------------------------------------------------------------


def stages() -> list[str]:
    return re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]


def image_variables() -> dict[str, str]:
    (lines,) = re.findall(r"^ENV (PATH=.*?[^\\])$", stages()[-1], re.MULTILINE | re.DOTALL)
    return dict(word.split("=", 1) for word in lines.replace("\\\n", " ").split())


def test_the_last_stage_installs_nothing_and_is_nobodys_root() -> None:
    last = stages()[-1]

    assert len(stages()) == 3
    assert not re.search(r"\b(pip|apt|apt-get|gcc|make)\b +(install|update)", last)
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["10001:10001"]
    assert "STOPSIGNAL SIGTERM" in last
    assert 'ENTRYPOINT ["dumb-init", "--single-child", "--", "entrypoint"]' in last
    assert "HEALTHCHECK" in last


def test_every_version_in_the_image_is_pinned() -> None:
    text = DOCKERFILE.replace("\\\n", " ")
    installs = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) (.*?)(?:&&|\n)", text)

    assert len(installs) == 4
    for words in installs:
        assert "--require-hashes --requirement constraints-" in words or "--no-deps" in words


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    sources = [
        word
        for words in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for word in words.split()
    ]

    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert source in allowed
    for name in ("entrypoint", "health", "compose/prepare", "compose/roles"):
        assert os.access(ROOT / "deploy" / name, os.X_OK)


def test_its_variables_are_settings_that_exist() -> None:
    ours = {name: value for name, value in image_variables().items() if name.startswith("TASKDB_")}

    settings = Settings.load(ours)
    assert settings.worker_soft_shutdown_seconds == 20
    assert settings.log_format == "json"


def run_entrypoint(*words: str, **values: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / "deploy/entrypoint"), *words],
        env={"PATH": os.environ["PATH"], **values},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_the_entrypoint_refuses_a_placeholder_and_names_it_without_its_value() -> None:
    url = "postgresql://taskdb:replace-me@somewhere/secretly"
    done = run_entrypoint("sh", "-c", "echo started", TASKDB_DATABASE_URL=url)

    assert done.returncode == 2
    assert "TASKDB_DATABASE_URL" in done.stderr
    assert "somewhere" not in done.stderr + done.stdout
    assert "started" not in done.stdout


def test_the_entrypoint_becomes_what_it_was_told_to_run() -> None:
    done = run_entrypoint("sh", "-c", "echo $$")
    assert done.returncode == 0
    assert done.stdout.strip().isdigit()


def test_the_image_of_a_user_in_the_guide_is_the_one_of_the_examples() -> None:
    guide = (ROOT / "docs/how-to/deploy-with-compose.md").read_text()
    ((path, text),) = re.findall(r"```dockerfile\n# (\S+)\n(.*?)```", guide, re.DOTALL)

    assert (ROOT / path).read_text() == text


def test_the_secrets_in_the_guide_are_made_as_the_example_says() -> None:
    guide = (ROOT / "docs/how-to/deploy-with-compose.md").read_text()
    said = "\n".join(re.findall(r"^#   (.*)$", EXAMPLE, re.MULTILINE))

    assert said in guide


# --- the health check -------------------------------------------------------------------------


def health(*words: str, **values: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-IS", str(ROOT / "deploy/health"), *words],
        env={"PATH": os.environ["PATH"], **values},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_worker_is_well_while_its_heartbeat_reaches_the_database(tmp_path: Path) -> None:
    def asked(*words: str) -> tuple[int, str]:
        done = health("worker", *words, TASKDB_HEALTH_DIR=str(tmp_path))
        return done.returncode, done.stdout.strip()

    assert asked() == (1, "seen: not yet")
    for name in ("alive", "seen"):
        (tmp_path / name).touch()
    assert asked() == (0, "")
    old = (tmp_path / "seen").stat().st_mtime - 60
    os.utime(tmp_path / "seen", (old, old))
    code, reason = asked()
    assert code == 1
    assert re.fullmatch(r"seen: 6\d s ago, more than 20 s", reason)
    assert asked("--alive") == (0, ""), "its database is away, which is no reason to end it"
    assert health("worker").stdout.strip() == "TASKDB_HEALTH_DIR names no folder"


@pytest.fixture
def beat_server() -> Iterator[HTTPServer]:
    """What answers on the port of a beat."""

    class Answer(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self) -> None:
            self.send_response(type(self).status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_beat_is_well_while_it_says_so(beat_server: HTTPServer) -> None:
    port = str(beat_server.server_port)

    assert health("beat", f"--port={port}").returncode == 0
    beat_server.RequestHandlerClass.status = 503  # type: ignore[attr-defined]
    done = health("beat", f"--port={port}")
    assert (done.returncode, done.stdout.strip()) == (1, "/healthz: status 503")
    assert health("beat", "--port=1").returncode == 1
    assert health("migrate").returncode == 0, "there is nothing to look at"
