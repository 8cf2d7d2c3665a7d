"""Every manifest, as `kubectl kustomize` writes it: right by the schemas, and locked up."""

import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from taskdb.settings.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
OVERLAYS = ("overlays/small", "overlays/large")
KUSTOMIZATIONS = (*OVERLAYS, "base")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
OWN = {"keda.sh/v1alpha1"}
SCHEMAS = Path(__file__).with_name("kubernetes_schemas.json")

Manifest = dict[str, Any]


@cache
def rendered(folder: str) -> tuple[Manifest, ...]:
    """What `kubectl apply --kustomize` would send."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("kubectl")), "kustomize", str(FOLDER / folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "kustomize warns of what it will not take much longer"
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(folder: str, kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in rendered(folder) if one["kind"] == kind}


def pods(folder: str) -> dict[str, Manifest]:
    """The template of every pod that anything here starts."""
    found = {**of_kind(folder, "Deployment"), **of_kind(folder, "Job")}
    return {name: one["spec"]["template"] for name, one in found.items()}


def containers(folder: str) -> list[tuple[str, Manifest]]:
    return [
        (name, container)
        for name, template in pods(folder).items()
        for part in ("initContainers", "containers")
        for container in template["spec"].get(part, ())
    ]


def is_selected(selector: Manifest, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ())
    )


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    folder: str = request.param
    return folder


# --- schemas ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_manifest_is_right_by_the_schemas(folder: str, version: str) -> None:
    kinds = set()
    for manifest in rendered(folder):
        kinds.add(manifest["kind"])
        if manifest["apiVersion"] not in OWN:
            kubernetes_validate.validate(manifest, version, strict=True)

    assert {"Deployment", "Job", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"} <= kinds


def test_the_schemas_know_a_wrong_field() -> None:
    worker = of_kind("base", "Deployment")["taskdb-worker"]
    wrong = json.loads(json.dumps(worker))
    wrong["spec"]["template"]["spec"]["terminationGrace"] = 3

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_the_objects_of_keda_are_right_by_their_schema() -> None:
    schema = json.loads(SCHEMAS.read_text())["keda.sh/v1alpha1/ScaledObject"]
    (scaled,) = of_kind("overlays/large", "ScaledObject").values()

    jsonschema.validate(scaled, schema)
    for part, value in (("minReplicas", 1), ("triggers", [])):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**scaled, "spec": {**scaled["spec"], part: value}}, schema)


def test_the_example_of_the_secret_has_every_key_that_is_asked_for() -> None:
    example = yaml.safe_load((FOLDER / "base/secret.example.yaml").read_text())
    kubernetes_validate.validate(example, NEWEST, strict=True)
    asked = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for folder in OVERLAYS
        for _, container in containers(folder)
        for variable in container.get("env", ())
        if "valueFrom" in variable
    }

    of_flower = {"flower-basic-auth", "flower-broker-url"}
    assert asked - of_flower == set(example["stringData"])
    assert all("replace-me" in value for value in example["stringData"].values())
    said = (FOLDER / "components/flower/kustomization.yaml").read_text()
    assert all(key in said for key in of_flower)


def test_only_the_migration_connects_as_the_owner_and_flower_as_one_who_cannot_publish(
    overlay: str,
) -> None:
    keys = {
        name: {
            one["valueFrom"]["secretKeyRef"]["key"]
            for one in container.get("env", ())
            if "valueFrom" in one
        }
        for name, container in containers(overlay)
    }

    assert {name for name, found in keys.items() if "owner-database-url" in found} == {
        "taskdb-migrate"
    }
    assert "database-url" not in keys["taskdb-migrate"]
    if "taskdb-flower" in keys:
        assert keys["taskdb-flower"] == {"flower-broker-url", "flower-basic-auth"}


# --- images -----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", sorted(KUSTOMIZATIONS))
def test_every_image_has_a_tag_that_stays(folder: str) -> None:
    """Of every overlay, also one that a user puts together of the base and any components."""
    images = {name: container["image"] for name, container in containers(folder)}

    assert images
    for name, image in images.items():
        tag = image.rpartition("/")[2].partition(":")[2]
        assert re.fullmatch(r"v?\d+(\.\d+)+([.-]\w+)*", tag), f"{name}: {image}"
    assert set(images.values()) == {f"celery-taskdb:{VERSION}"}


def test_an_overlay_of_a_user_names_the_image_for_flower_as_well(tmp_path: Path) -> None:
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(FOLDER / "overlays/small", tmp_path)],
        "images": [{"name": "celery-taskdb", "newName": "registry.example/shop", "newTag": "7"}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))

    images = {container["image"] for _, container in containers(str(tmp_path))}
    assert images == {"registry.example/shop:7"}


# --- locked up --------------------------------------------------------------------------------


def test_every_pod_is_as_the_restricted_standard_wants_it(overlay: str) -> None:
    for name, template in pods(overlay).items():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert all(
            {"emptyDir", "persistentVolumeClaim"} & volume.keys() for volume in pod["volumes"]
        )
    for name, container in containers(overlay):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_workload_has_an_account_of_its_own_without_a_token(overlay: str) -> None:
    accounts = of_kind(overlay, "ServiceAccount")
    used = {template["spec"]["serviceAccountName"] for template in pods(overlay).values()}

    assert used == set(accounts)
    assert len(used) == len(pods(overlay))
    assert all(one["automountServiceAccountToken"] is False for one in accounts.values())


def test_secrets_come_by_reference_and_stand_nowhere(overlay: str) -> None:
    assert of_kind(overlay, "Secret") == {}
    for name, container in containers(overlay):
        for variable in container.get("env", ()):
            if any(word in variable["name"] for word in ("_URL", "AUTH", "PASSWORD")):
                assert set(variable["valueFrom"]) == {"secretKeyRef"}, name
        assert "://" not in str(container.get("args", "")), name


def test_the_network_is_closed_but_for_what_each_needs(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy")
    closed = policies["deny-all"]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    def ports(component: str, direction: str) -> set[int]:
        labels = {"app.kubernetes.io/component": component}
        return {
            port["port"]
            for policy in policies.values()
            if is_selected(policy["spec"]["podSelector"], labels)
            for rule in policy["spec"].get(direction, ())
            for port in rule["ports"]
        }

    database, broker = {5432, 6432}, {6379, 5671, 5672}
    assert ports("migrate", "egress") == {53} | database
    assert ports("worker", "egress") == {53} | database | broker
    assert ports("beat", "egress") == {53} | database | broker | {443, 587}
    assert ports("flower", "egress") == {53} | broker
    assert ports("beat", "ingress") == {9808}
    assert ports("worker", "ingress") == ports("flower", "ingress") == set()


# --- alive, and stopped in order --------------------------------------------------------------


def test_a_worker_has_the_time_to_stop_in_order(overlay: str) -> None:
    (settings,) = of_kind(overlay, "ConfigMap").values()
    its = Settings.load(
        {name: value for name, value in settings["data"].items() if name.startswith("TASKDB_")}
    )
    grace = pods(overlay)["taskdb-worker"]["spec"]["terminationGracePeriodSeconds"]

    assert settings["data"]["REMAP_SIGTERM"] == "SIGQUIT"
    assert its.worker_soft_shutdown_seconds > 0
    assert grace >= its.worker_soft_shutdown_seconds + its.worker_exit_seconds + 10


def test_each_that_goes_on_is_asked_whether_it_does_well(overlay: str) -> None:
    for name in of_kind(overlay, "Deployment"):
        (container,) = pods(overlay)[name]["spec"]["containers"]
        assert {"readinessProbe", "livenessProbe"} <= container.keys(), name
    (worker,) = pods(overlay)["taskdb-worker"]["spec"]["containers"]
    assert worker["readinessProbe"]["exec"]["command"] == ["health", "worker"]
    # An away database is no reason to end a worker.
    assert worker["livenessProbe"]["exec"]["command"] == ["health", "worker", "--alive"]
    (beat,) = pods(overlay)["taskdb-beat"]["spec"]["containers"]
    assert beat["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert beat["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert beat["args"] == ["beat", "--http", f"0.0.0.0:{beat['ports'][0]['containerPort']}"]


def test_a_beat_that_is_not_ready_is_found_by_who_scrapes_it(overlay: str) -> None:
    service = of_kind(overlay, "Service")["taskdb-beat"]

    assert service["spec"]["clusterIP"] == "None", "the name has the address of each beat"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["metadata"]["annotations"]["prometheus.io/scrape"] == "true"


def test_rows_can_be_read_before_anyone_reads_them(overlay: str) -> None:
    for name in ("taskdb-worker", "taskdb-beat"):
        (first,) = pods(overlay)[name]["spec"]["initContainers"]
        assert first["args"] == ["sh", "-c", "until taskdb migrate --check; do sleep 3; done"]
    (words,) = pods(overlay)["taskdb-migrate"]["spec"]["containers"][0]["args"][2:]
    assert words.split("; ") == [
        "taskdb migrate",
        "taskdb grants --runtime taskdb --read-only taskdb_reader --apply",
    ]


def test_selectors_find_the_pods_that_they_mean(overlay: str) -> None:
    labels = {name: template["metadata"]["labels"] for name, template in pods(overlay).items()}
    for name, deployment in of_kind(overlay, "Deployment").items():
        chosen = [pod for pod in labels if is_selected(deployment["spec"]["selector"], labels[pod])]
        assert chosen == [name]
    for name, service in of_kind(overlay, "Service").items():
        chosen = [
            pod for pod in labels if service["spec"]["selector"].items() <= labels[pod].items()
        ]
        assert chosen == [name]
    budgets = of_kind(overlay, "PodDisruptionBudget")
    assert set(budgets) == {"taskdb-worker", "taskdb-beat"}
    for name, budget in budgets.items():
        assert is_selected(budget["spec"]["selector"], labels[name])
        spread = pods(overlay)[name]["spec"]["topologySpreadConstraints"]
        assert all(is_selected(one["labelSelector"], labels[name]) for one in spread)


def test_every_container_says_what_it_needs_and_how_much_memory_it_may_have(overlay: str) -> None:
    for name, container in containers(overlay):
        resources = container["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}, name
        # A limit of processor time would only make latency worse.
        assert resources["limits"].keys() == {"memory"}, name


def test_volumes_are_mounted_where_the_image_writes(overlay: str) -> None:
    (settings,) = of_kind(overlay, "ConfigMap").values()
    for name in ("taskdb-worker", "taskdb-beat"):
        (container,) = pods(overlay)[name]["spec"]["containers"]
        mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        assert mounts == {"/tmp": "tmp", "/var/lib/taskdb": "payloads"}
        assert settings["data"]["TASKDB_PAYLOAD_DIR"].startswith("/var/lib/taskdb/")


# --- scaling ----------------------------------------------------------------------------------


def test_one_autoscaler_moves_the_workers_and_no_number_stands_beside_it(overlay: str) -> None:
    scalers = {**of_kind(overlay, "HorizontalPodAutoscaler"), **of_kind(overlay, "ScaledObject")}

    assert [one["spec"]["scaleTargetRef"]["name"] for one in scalers.values()] == ["taskdb-worker"]
    assert "replicas" not in of_kind(overlay, "Deployment")["taskdb-worker"]["spec"]
    assert of_kind(overlay, "Deployment")["taskdb-beat"]["spec"]["replicas"] >= 2


def test_latency_scales_and_processor_time_stands_in_for_it() -> None:
    (scaled,) = of_kind("overlays/large", "ScaledObject").values()
    kinds = [trigger["type"] for trigger in scaled["spec"]["triggers"]]

    assert kinds == ["prometheus", "cpu"]
    names = set(re.findall(r"taskdb_[a-z_]+", str(scaled["spec"]["triggers"])))
    figures = (ROOT / "docs/reference/metrics.md").read_text()
    assert names
    assert all(f"`{name}`" in figures for name in names), "a figure that a beat has"
    low, high = scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]
    assert low <= scaled["spec"]["fallback"]["replicas"] <= high
