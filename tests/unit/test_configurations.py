"""The ready-made configurations: what Ray Serve, the settings and Kubernetes ask of them."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft4Validator, Draft202012Validator
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from pydantic import ValidationError
from ray.serve import Application
from ray.serve.schema import ServeDeploySchema

from prosopon.configs.settings import DeploymentSettings, Settings
from prosopon.models.faces.attributes.table import ATTRIBUTES
from prosopon.pipelines.app import build
from prosopon.pipelines.commands.serve import without_gpu
from prosopon.pipelines.running import HANDLE_ENVIRONMENT, PROCESS_ENVIRONMENT
from tests.paths import ROOT

SERVER = {
    "PROSOPON_DATABASE_URL": "postgresql://prosopon@db/prosopon",
    "PROSOPON_VECTORS_URI": "http://milvus:19530",
    "PROSOPON_BLOBS_URL": "s3://bucket/prosopon",
}
NODE_CPUS = 8
SCHEMAS = ROOT / "tests/schemas"
"""Other projects' own, as they publish them: its README says whose."""


def document(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    if content.get("kind") == "RayService":
        content = yaml.safe_load(content["spec"]["serveConfigV2"])
    return content


def settings_of(name: str) -> Settings:
    return Settings.model_validate(document(name)["applications"][0]["args"])


def resources(settings: Settings) -> list[DeploymentSettings]:
    deployments = settings.deployments
    faces = [role.resources_in(deployments) for role in ATTRIBUTES.roles.values()]
    return [getattr(deployments, name) for name in type(deployments).model_fields] + faces


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVER.items():
        monkeypatch.setenv(name, value)


ALL = ("serve_config.yaml", "configs/gpu.yaml", "configs/cluster.yaml", "configs/kubernetes.yaml")
CLUSTERS = ("configs/cluster.yaml", "configs/kubernetes.yaml")


@pytest.mark.parametrize("name", ALL)
def test_a_configuration_is_one_that_ray_serve_deploys(name: str, servers: None) -> None:
    schema = ServeDeploySchema.model_validate(document(name))
    assert [application.import_path for application in schema.applications] == [
        "prosopon.pipelines.app:build"
    ]
    assert isinstance(build(settings_of(name)), Application)


@pytest.mark.parametrize("name", ["serve_config.yaml", "configs/gpu.yaml"])
def test_one_machine_listens_on_loopback_and_keeps_its_state(name: str) -> None:
    assert document(name)["http_options"]["host"] == "127.0.0.1"
    assert settings_of(name).state.vectors_are_local


def test_the_laptop_needs_two_cores() -> None:
    assert sum(one.num_cpus * one.max_replicas for one in resources(settings_of("serve_config.yaml"))) <= 2


def test_swaps_alone_bring_what_makes_faces_anew() -> None:
    alone = Settings.model_validate({"apis": ["aifaceswap"]})
    assert {"mapper", "generator", "embedder"} < set(alone.roles(()))
    warped = Settings.model_validate({"apis": ["aifaceswap"], "swap": {"method": "warp"}})
    assert set(warped.roles(())) == {"detector", "landmarks", "swapper"}


def test_the_gpu_box_packs_several_replicas_on_one_card() -> None:
    deployments = resources(settings_of("configs/gpu.yaml"))
    shares = [one for one in deployments if one.num_gpus]
    assert all(one.num_gpus < 1 for one in shares)
    assert any(one.max_replicas > 1 for one in shares)
    assert sum(one.num_gpus * one.max_replicas for one in shares) <= 1


def test_the_gpu_box_does_not_wait_for_a_card_that_is_not_there() -> None:
    settings = settings_of("configs/gpu.yaml")
    waiting = without_gpu(settings, {"CPU": 8.0, "memory": 1e10})
    assert {"detector", "embedder", "generator"} <= set(waiting) and "video_encoder" not in waiting
    assert without_gpu(settings, {"CPU": 8.0, "GPU": 1.0}) == []
    assert without_gpu(settings_of("serve_config.yaml"), {"CPU": 2.0}) == []


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_without_servers_for_its_state_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in SERVER:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValidationError, match="Milvus server"):
        settings_of(name)


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_reads_its_servers_from_the_environment(name: str, servers: None) -> None:
    settings = settings_of(name)
    assert [settings.state.database, settings.state.vectors, settings.state.blobs] == list(SERVER.values())
    assert settings.development_key is False


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_has_two_of_everything_that_recognition_needs(name: str, servers: None) -> None:
    deployments = settings_of(name).deployments
    needed = (
        deployments.ingress,
        deployments.detector,
        deployments.face_index,
        deployments.identifier,
        *(role.resources_in(deployments) for role in ATTRIBUTES.roles.values()),
    )
    assert all(one.min_replicas >= 2 for one in needed)
    assert max(one.num_cpus for one in resources(settings_of(name))) <= NODE_CPUS


def test_every_node_of_a_cluster_has_a_proxy() -> None:
    """What Ray Serve makes of the images' environment: with direct ingress only the head would have one."""
    program = (
        "from ray.serve._private.constants import RAY_SERVE_ENABLE_DIRECT_INGRESS as direct; print(direct)"
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RAY_")
    } | HANDLE_ENVIRONMENT
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert told.stdout.strip() == "False", told.stderr
    assert {document(name)["proxy_location"] for name in CLUSTERS} == {"EveryNode"}


def test_kubernetes_and_the_cluster_serve_the_same() -> None:
    assert document("configs/kubernetes.yaml") == document("configs/cluster.yaml")


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = manifest["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_the_manifest_starts_with_room_for_every_replica(servers: None) -> None:
    manifest = yaml.safe_load((ROOT / "configs/kubernetes.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    (workers,) = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    deployments = resources(settings_of("configs/kubernetes.yaml"))
    cpus = int(workers["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])
    assert cpus < NODE_CPUS, "a node keeps some for itself"
    assert sum(one.num_cpus * one.min_replicas for one in deployments) <= cpus * workers["minReplicas"]
    most = sum(one.num_cpus * one.max_replicas for one in deployments)
    assert most <= cpus * workers["maxReplicas"], "the autoscaler could not follow"


def test_no_pod_runs_as_root_or_may_become_it() -> None:
    for pod in pods(yaml.safe_load((ROOT / "configs/kubernetes.yaml").read_text())):
        (container,) = pod["containers"]
        context = container["securityContext"]
        assert context["runAsNonRoot"] and context["runAsUser"] == 1000
        assert context["capabilities"] == {"drop": ["ALL"]} and not context["allowPrivilegeEscalation"]


def test_policies_select_the_manifests_pods_and_ports() -> None:
    """KubeRay labels pods by the kind of node and by the group."""
    manifest = yaml.safe_load((ROOT / "configs/kubernetes.yaml").read_text())
    documents = list(yaml.safe_load_all((ROOT / "configs/kubernetes_policies.yaml").read_text()))
    policies = {document["kind"]: document["spec"] for document in documents}
    (workers,) = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    budget = policies["PodDisruptionBudget"]
    assert budget["selector"]["matchLabels"] == {"ray.io/group": workers["groupName"]}
    assert budget["maxUnavailable"] < workers["minReplicas"]
    ports = {
        port["name"]: port["containerPort"]
        for pod in pods(manifest)
        for port in pod["containers"][0]["ports"]
    }
    (everybody,) = [rule for rule in policies["NetworkPolicy"]["ingress"] if "from" not in rule]
    assert [port["port"] for port in everybody["ports"]] == [ports["serve"]]
    (endpoint,) = policies["PodMonitor"]["podMetricsEndpoints"]
    assert endpoint["port"] in ports


def test_alerts_are_about_what_the_dashboard_shows() -> None:
    """`promtool test rules tests/alerts_test.yaml` tries the rules themselves."""
    name = re.compile(r"ray_\w+")
    shown = set(name.findall((ROOT / "configs/grafana_dashboard.json").read_text()))
    rules = yaml.safe_load((ROOT / "configs/alerts.yaml").read_text())["groups"][0]["rules"]
    assert len(rules) == 5
    for rule in rules:
        assert set(name.findall(rule["expr"])) <= shown, rule["alert"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is of Prometheus")
def test_promtool_tries_the_alerts() -> None:
    subprocess.run(["promtool", "test", "rules", ROOT / "tests/alerts_test.yaml"], check=True)


def test_every_pod_has_the_servers_of_the_state_and_ray_asks_for_a_token() -> None:
    text = (ROOT / "configs/kubernetes.yaml").read_text()
    manifest = yaml.safe_load(text)
    for pod in pods(manifest):
        (container,) = pod["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "prosopon"}}]
        assert 8000 in [port["containerPort"] for port in container["ports"]]
    assert manifest["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}
    head = text.partition("apiVersion")[0]
    assert set(SERVER) <= set(re.findall(r"--from-literal=(\w+)", head))


# -------------------------------------------------------------------------------------------------------- schemas


def strict(schema: Any) -> Any:
    """The schema with fields that it does not name forbidden: Kubernetes would drop them without a word."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: strict(part) for name, part in schema.items()}
    closed = "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields")
    return {**known, "additionalProperties": schema.get("additionalProperties", False)} if closed else known


def test_the_manifest_fits_kuberays_own_schema() -> None:
    with gzip.open(SCHEMAS / "ray.io_rayservices.yaml.gz") as file:
        definition = yaml.load(file, yaml.CSafeLoader)  # A megabyte, which takes the other loader seconds.
    (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own.
    manifest = yaml.safe_load((ROOT / "configs/kubernetes.yaml").read_text())
    assert [error.message for error in Draft4Validator(schema).iter_errors(manifest)] == []
    manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["replica"] = 3
    assert not Draft4Validator(schema).is_valid(manifest)


def test_compose_fits_the_compose_specification() -> None:
    schema = json.loads((SCHEMAS / "compose-spec.json").read_text())
    document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert [error.message for error in Draft202012Validator(schema).iter_errors(document)] == []
    document["services"]["prosopon"]["volume"] = []
    assert not Draft202012Validator(schema).is_valid(document)


# --------------------------------------------------------------------------------------------------------- images


LAST = "last"


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments of each line of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The Dockerfile's instructions by stage; `LAST` has no name of its own."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for kind, text in instructions():
        if kind == "FROM":
            name = text.partition(" AS ")[2] or LAST
        if name:  # Before the first stage: arguments alone.
            found.setdefault(name, []).append((kind, text))
    return found


def test_an_image_copies_what_is_there_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in [
        part for kind, text in instructions() if kind == "COPY" for part in shlex.split(text)[:-1]
    ]:
        assert (ROOT / source).exists()
        assert Path(source).parts[0] in kept
    packages = {"configs", "deployments", "models", "pipelines"}
    assert packages <= {shlex.split(text)[0] for kind, text in instructions() if kind == "COPY"}


def test_an_image_serves_without_being_root() -> None:
    kinds = [kind for kind, _ in instructions()]
    assert kinds[-1] == "CMD" and "USER" in kinds and "HEALTHCHECK" in kinds
    assert [text for kind, text in instructions() if kind == "USER"][-1] == "prosopon"
    environment = " ".join(text for kind, text in instructions() if kind == "ENV")
    assert all(
        f"{key}={value}" in environment for key, value in (HANDLE_ENVIRONMENT | PROCESS_ENVIRONMENT).items()
    )


def test_an_image_keeps_to_hadolints_rules() -> None:
    """Those of its errors and warnings that can concern these files, by their numbers."""
    lines = instructions()
    for kind, text in lines:
        if kind == "FROM" and text.split()[0] not in (*stages(), "${DEVICE:-cpu}"):  # DL3006, DL3007
            image = text.split()[0]
            assert ":" in image and not image.endswith(":latest")
        if kind == "WORKDIR":  # DL3000
            assert text.startswith("/")
        if kind in ("CMD", "ENTRYPOINT"):  # DL3025
            assert json.loads(text)
        if kind == "RUN":
            words = re.split(r"\s+|&&", text)
            assert not {"sudo", "cd", "ssh"} & set(words)  # DL3003, DL3004
            if "apt-get install" in text:  # DL3008 is about versions, which Debian's archive does not keep.
                assert "--no-install-recommends" in text and " -y " in text  # DL3014, DL3015
                assert "rm -rf /var/lib/apt/lists/*" in text and "apt-get update" in text  # DL3009, DL3027
            if "pip install" in text:  # DL3042
                installs = re.findall(r"pip install (?:--system )?(--no-cache(?:-dir)?)?", text)
                assert all(installs), text
    kinds = [kind for kind, _ in lines]
    assert "ADD" not in kinds and "MAINTAINER" not in kinds  # DL3020, DL4000
    assert kinds.count("CMD") == kinds.count("HEALTHCHECK") == 1  # DL4003, DL3012


def test_one_file_builds_for_cpus_and_for_gpus() -> None:
    assert instructions()[0] == ("ARG", "DEVICE") and stages()[LAST][0] == ("FROM", "${DEVICE:-cpu}")
    for device, file in (("cpu", "serve_config.yaml"), ("gpu", "configs/gpu.yaml")):
        assert ("RUN", f"cp {file} config.yaml") in stages()[device]


def test_the_python_of_the_images_is_one_of_ours() -> None:
    (version,) = re.findall(r"^python:(\d+\.\d+)-slim", stages()["source"][0][1])
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert version in SpecifierSet(requires)


def test_the_gpu_image_has_the_onnxruntime_of_torchs_cuda_alone() -> None:
    """On the package index, ONNX Runtime's builds ask for `nvidia-cudnn-cu13` since 1.28, for cu12 up to 1.26; torch
    2.13 asks for cu13."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["gpu"]
    assert "onnxruntime-gpu[cuda,cudnn]>=1.28" in extras
    (install,) = [text for kind, text in stages()["gpu"] if kind == "RUN" and "gpu]" in text]
    ((override, file),) = re.findall(r'echo "(.+?)" > (\S+)', install)
    left_out = Requirement(override)
    assert left_out.name == "onnxruntime" and left_out.marker and not left_out.marker.evaluate()
    assert f"--override {file}" in install and "CUDAExecutionProvider" in install


def test_nvidias_container_toolkit_is_told_what_the_gpu_image_needs() -> None:
    told = {
        device: {
            key for kind, text in stages()[device] if kind == "ENV" for key in re.findall(r"NVIDIA_\w+", text)
        }
        for device in ("cpu", "gpu")
    }
    needed = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_REQUIRE_CUDA"}
    assert told == {"cpu": set(), "gpu": needed}


# -------------------------------------------------------------------------------------------------------- compose


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return found


def test_what_compose_publishes_is_for_this_machine_alone() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") and port.endswith(":8000") for port in ports)


def test_composed_servers_wait_for_healthy_ones_and_are_found_by_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    all_services = services()
    server = all_services["prosopon-servers"]
    for name, needed in server["depends_on"].items():
        healthy = needed["condition"] == "service_healthy"
        assert "healthcheck" in all_services[name] if healthy else "entrypoint" in all_services[name]
    for name, value in server["environment"].items():
        monkeypatch.setenv(name, value)
    state = Settings().state
    assert not state.vectors_are_local and state.database.startswith("postgresql://")
    hosts = {
        url.split("//")[1].split("@")[-1].split(":")[0].split("/")[0]
        for url in (state.database, state.vectors)
    }
    assert hosts <= set(all_services)


def test_what_compose_names_is_there() -> None:
    document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for name, service in document["services"].items():
        assert ":" in service["image"], f"{name}: of which version"
        for other in service.get("depends_on", {}):
            shared = set(document["services"][other].get("profiles", [])) >= set(service.get("profiles", []))
            assert shared, f"{name} would wait for {other}, which is not started with it"
        volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert volumes <= set(document["volumes"])


def test_composed_servers_write_where_they_may_alone() -> None:
    for name in ("prosopon", "prosopon-servers"):
        service = services()[name]
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert [volume.split(":")[1] for volume in service["volumes"]] == ["/data"]
