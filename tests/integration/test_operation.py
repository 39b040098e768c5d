"""What operators see of a running server: metrics, the dashboard's panels, request ids, health and a graceful end."""

import json
import os
import re
import time
import uuid
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.benchmarks.serving import Server
from tests.conformance.client import new_client, new_key, part
from tests.paths import ROOT

DASHBOARD = ROOT / "configs" / "grafana_dashboard.json"
EXPORT_SECONDS = 40
STAGES = {"detect", "embed", "age", "gender", "mask", "index_add", "index_search", "generate"}


def metrics(server: Server) -> str:
    answer = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


def series(text: str) -> set[str]:
    return set(re.findall(r"^([a-zA-Z_:][\w:]*)[{ ]", text, re.MULTILINE))


@pytest.fixture(scope="module")
def worked(server: Server, london: list[Path]) -> Server:
    """The server after a little of everything, so that every metric has been written once."""
    client = new_client(server, "recognition", "detection", "verification")
    client.enrol("Ann", london[0])
    client.post(
        "/recognition/recognize",
        params={"face_plugins": "age,gender,mask,pose"},
        files={"file": part(london[0])},
    )
    for _ in range(2):
        httpx.get(f"{server.url}/api/face/?value={uuid.uuid4()}&dim=32", timeout=60)
        httpx.get(f"{server.url}/api/face/?value=again&dim=32", timeout=60)
    return server


def expressions() -> dict[str, list[str]]:
    """Panel -> the queries in it."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return {
        panel["title"]: [target["expr"] for target in panel["targets"]]
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", expression))


@pytest.mark.slow
def test_every_metric_of_the_dashboard_is_exported(worked: Server) -> None:
    of_gpus = {
        name
        for title, queries in expressions().items()
        if "GPU" in title
        for name in names_in(" ".join(queries))
    }
    wanted = {name for queries in expressions().values() for name in names_in(" ".join(queries))} - of_gpus
    assert len(wanted) > 12
    deadline, missing = time.monotonic() + EXPORT_SECONDS, wanted
    while missing and time.monotonic() < deadline:
        missing = wanted - series(metrics(worked))
        time.sleep(1)
    assert not missing, (
        f"{missing} of {sorted(name for name in series(metrics(worked)) if 'prosopon' in name)}"
    )


@pytest.mark.slow
def test_metrics_say_what_has_happened(worked: Server) -> None:
    deadline = time.monotonic() + EXPORT_SECONDS
    while time.monotonic() < deadline:
        text = metrics(worked)
        stages = set(re.findall(r'ray_prosopon_stage_seconds_count\{[^}]*stage="(\w+)"', text, re.IGNORECASE))
        outcomes = dict(re.findall(r'ray_prosopon_results_total\{[^}]*outcome="(\w+)"[^}]*\} ([\d.]+)', text))
        faces = re.findall(r"ray_prosopon_gallery_faces\{[^}]*\} ([\d.]+)", text)
        if stages >= STAGES and {"made", "found"} <= set(outcomes) and faces and float(faces[0]):
            break
        time.sleep(1)
    assert stages >= STAGES
    assert {"made", "found"} <= set(outcomes)
    assert float(faces[0]) >= 1


def test_no_process_of_the_server_takes_a_core_from_its_models(server: Server) -> None:
    policies = {os.sched_getscheduler(pid) for pid in server.pids() if Path(f"/proc/{pid}").exists()}
    assert policies == {os.SCHED_BATCH}


def test_ray_starts_no_process_that_nobody_asks_for(server: Server) -> None:
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in server.pids()]
    assert any("raylet" in command for command in commands)
    for name in ("log_monitor.py", "monitor.py", "dashboard/dashboard.py"):
        assert not any(name in command for command in commands), name


def test_metrics_are_for_administrators(server: Server) -> None:
    url = f"{server.url}/metrics"
    assert httpx.get(url).status_code == 401
    other = httpx.get(url, headers={"x-api-key": new_key(server, "recognition")})
    assert other.status_code == 401 and "admin" in other.json()["message"]
    assert httpx.get(url, headers={"x-api-key": new_key(server, "admin")}).status_code == 200


def test_a_request_keeps_the_id_that_its_client_gave_it(server: Server) -> None:
    # Not `/healthz`, which the proxy answers by itself.
    for path in ("/readyz", "/api/v1/recognition/subjects", "/api/hashdata/?value=a"):
        answer = httpx.get(f"{server.url}{path}", headers={"X-Request-ID": "of-the-client"})
        assert answer.headers.get_list("x-request-id") == ["of-the-client"]


def test_a_request_without_an_id_gets_one(server: Server) -> None:
    ids = {httpx.get(f"{server.url}/healthz").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3 and all(ids)


def test_health_and_readiness_are_answered(server: Server) -> None:
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{server.url}/readyz").json() == {"status": "ok"}


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["title"] == "Prosopon" and dashboard["uid"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    places = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["w"] > 0 and place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not places & cells, f"{panel['title']} covers another panel"
        places |= cells
        for target in panel.get("targets", []):
            assert target["expr"].count("(") == target["expr"].count(")")


def test_no_port_of_the_server_is_open_to_other_machines(server: Server) -> None:
    listening = [
        connection.laddr.ip
        for pid in server.pids()
        for connection in listening_of(pid)
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 10
    open_to_all = [ip for ip in listening if not ip_address(ip.removeprefix("::ffff:")).is_loopback]
    assert open_to_all == []


def listening_of(pid: int) -> list[Any]:
    """The sockets of a process, unless it has just ended."""
    try:
        return list(psutil.Process(pid).net_connections("inet"))
    except psutil.NoSuchProcess:
        return []
