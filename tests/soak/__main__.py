"""`make soak`: an hour of what a server must withstand, and a table of what came of it.

``python -m tests.soak [--share 0.1] [PART...]`` runs some of it: fuzz, kills, floods, memory, disk, nodes.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from prosopon.configs.settings import ImageLimits
from tests.benchmarks.elasticity import failed, summary
from tests.benchmarks.serving import Server, serving
from tests.conformance.client import new_key
from tests.integration.processes import NotInstalled
from tests.integration.test_ingestion import kill_ingestion
from tests.integration.test_tasks_killed import kill_workers_and_couriers
from tests.paths import DATA, MIRROR, require
from tests.soak.disk import EXPECTED, fill_and_empty, small_disk
from tests.soak.floods import flood
from tests.soak.fuzz import LONGEST_SECONDS, fuzz
from tests.soak.kills import survive
from tests.soak.memory import held, hostile_pictures_at_once
from tests.soak.nodes import BACK_SECONDS, outlive

REQUESTS = 10_000
KILLS = 100
INSTANCES = 10
GROWTH = 0.10
REFUSAL_SECONDS = 0.1
Row = tuple[str, str, str, bool]
"""What was measured, what came of it, what was to come of it, and whether it did."""
console = Console(width=150)


def portraits() -> list[bytes]:
    return [path.read_bytes() for path in sorted(require(DATA / "london").glob("*_neutral.jpg"))[:8]]


def _make_a_latent(server: Server) -> None:
    """The Inverter, and torch, are loaded for the first photograph, which is not to be among the fuzzed requests."""
    picture = {"usrimg": portraits()[0]}
    httpx.post(f"{server.url}/api/encodeimage/", files=picture, timeout=600).raise_for_status()


def fuzzed(share: float) -> Iterable[Row]:
    # An inversion is half a minute of work, however small the picture.
    with serving({"generation": {"inversion_steps": 4}, "swap": {"method": "warp"}}) as server:
        fuzz(server, round(REQUESTS * share / 10), seed=1)  # Threads, pools and caches are there afterwards.
        _make_a_latent(server)
        before = held(server)
        found = fuzz(server, round(REQUESTS * share))
        after = held(server)
    total = sum(api.count for api in found)
    yield f"{total} requests", f"of {round(REQUESTS * share)} asked for", "", total >= 0.9 * REQUESTS * share
    for api in found:
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(api.statuses.items()))
        yield (
            f"{api.count} requests to {api.api}",
            f"{statuses}; faults: {len(api.faults)}",
            "none of 5xx but 503 with Retry-After",
            not api.faults,
        )
        yield (
            f"slowest of {api.api}",
            f"{api.slowest:.1f} s",
            f"{LONGEST_SECONDS} s",
            api.slowest <= LONGEST_SECONDS,
        )
    growth = after / before - 1
    yield (
        "memory before and after",
        f"{before / 2**20:.0f} and {after / 2**20:.0f} MiB: {growth:+.1%}",
        f"at most {GROWTH:+.0%}",
        growth <= GROWTH,
    )


def killed(share: float) -> Iterable[Row]:
    instances = max(1, round(INSTANCES * share))
    with tempfile.TemporaryDirectory() as home:
        try:
            survived = survive(Path(home), portraits(), round(KILLS * share) - instances, instances)
        except AssertionError as error:
            yield "kills while every API is written to", f"{error}", "nothing lost, nothing doubled", False
            return
    total = survived.killed.total()
    yield f"{total} kills", f"{dict(survived.killed)}", "", True
    acknowledged = sum(survived.acknowledged.values())
    yield f"{acknowledged} writes acknowledged meanwhile", f"{survived.acknowledged}", "of every API", True
    yield "of these lost, doubled", "0, 0", "0, 0", True  # Or `survive` had said which.
    yield (
        "swaps interrupted",
        f"{survived.interrupted}",
        "some, of 100 kills",
        survived.interrupted > 0 or total < 50,
    )
    with tempfile.TemporaryDirectory() as home:
        seen = kill_workers_and_couriers(Path(home), max(20, round(200 * share)), max(4, round(40 * share)))
    yield "workers and couriers without models", seen, "nothing lost, nothing doubled", True
    people = sorted(require(DATA / "london").glob("*_neutral.jpg"))[:48]
    with tempfile.TemporaryDirectory() as folder:
        seen = kill_ingestion(Path(folder), people, len(people), max(4, round(20 * share)))
    yield "ingestions", seen, "nothing lost, nothing doubled", True
    yield "restarts", ", ".join(f"{seconds:.1f} s" for seconds in survived.restarts), "", True


def flooded(share: float) -> Iterable[Row]:
    with serving({"swap": {"method": "warp"}}) as server:
        for it in flood(server, portraits()[0], seconds=max(3.0, 20 * share)):
            refused = [status for status, _ in it.answers if status != 200]
            yield (
                f"another key under a flood of {it.flood} {it.what}",
                f"{len(refused)} of {len(it.answers)} refused; p50 {it.median:.2f} s, p99 {it.nearly_all:.2f} s, "
                f"{it.alone:.2f} s without the flood",
                "none refused",
                not refused,
            )
            if it.refusals:
                quick = sum(seconds < REFUSAL_SECONDS for seconds in it.refusals) / len(it.refusals)
                yield (
                    f"the flood's own refusals ({len(it.refusals)}, {it.crowd} connections)",
                    f"p50 {it.refused_in * 1000:.0f} ms, {quick:.0%} within 100 ms; meanwhile without a key "
                    f"{it.least * 1000:.0f} ms",
                    "p50 100 ms above that without a key",
                    it.refused_in < it.least + REFUSAL_SECONDS,
                )


def hostile(share: float) -> Iterable[Row]:
    limits = ImageLimits()
    with serving({"apis": ["compreface"]}) as server:
        key = new_key(server, "detection")
        found = hostile_pictures_at_once(server, key, limits)
    for name, statuses in found.statuses.items():
        yield (
            f"{len(statuses)} of {name} at once",
            f"{statuses}",
            "400 or 503",
            set(statuses) <= {200, 400, 503},
        )
    yield (
        "memory of all processes",
        f"idle {found.idle / 2**20:.0f} MiB, at most {found.peak / 2**20:.0f} MiB: "
        f"{found.peak / found.idle:.2f} times idle",
        f"{found.bound / 2**20:.0f} MiB: 1.5 times idle, and images.decode_bytes",
        found.peak <= found.bound,
    )


def full(share: float) -> Iterable[Row]:
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder)) as mounted:
        if not mounted:
            yield "a disk that fills up", "no file system can be mounted here", "", True
            return
        for what, came in fill_and_empty(Path(folder), portraits()).items():
            yield what, f"{came}", f"{EXPECTED[what]}", came == EXPECTED[what]


def spread(share: float) -> Iterable[Row]:
    with tempfile.TemporaryDirectory(prefix="nodes-") as folder:
        try:
            outlived = outlive(Path(folder), portraits(), max(10.0, 60 * share))
        except NotInstalled as error:
            yield "two nodes", f"{error}", "", True
            return
        except AssertionError as error:
            yield "a node is killed under load", f"{error}", "nothing lost, nothing doubled", False
            return
    for name, nodes in outlived.spread.items():
        replicas = ", ".join(f"{node}: {count} with {calls} calls" for node, (count, calls) in nodes.items())
        yield f"{name} on two nodes", replicas, "", True
    yield "until all ran on both nodes", f"{outlived.started:.0f} s", "", True
    yield (
        "until all ran again on one",
        f"{outlived.back:.0f} s",
        f"{BACK_SECONDS} s",
        True,
    )  # Or it had raised.
    acknowledged = sum(outlived.acknowledged.values())
    yield (
        f"{acknowledged} writes acknowledged",
        f"{outlived.acknowledged}; {dict(outlived.answers)}",
        "",
        True,
    )
    yield "of these lost, doubled", "0, 0", "0, 0", True
    yield "longest without an acknowledged write", f"{outlived.pause:.1f} s", "", True
    without = failed(outlived.asked)
    yield "clients that recognise", summary(outlived.asked), "none failed", not without


PARTS: dict[str, Callable[[float], Iterable[Row]]] = {
    "fuzz": fuzzed, "kills": killed, "floods": flooded, "memory": hostile, "disk": full, "nodes": spread,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    parser.add_argument("--share", type=float, default=1.0, help="of the requests and kills")
    asked = parser.parse_args()
    if MIRROR.exists():
        os.environ.setdefault("PROSOPON_MODELS_MIRROR", str(MIRROR))
    table = Table("what", "came of it", "bound", "")
    failed = False
    for part in asked.parts or PARTS:
        for what, came, bound, held_ in PARTS[part](asked.share):
            failed |= not held_
            console.print(f"{what}: {came}", highlight=False, markup=False)
            table.add_row(what, came, bound, "[green]holds[/green]" if held_ else "[red]does not hold[/red]")
    console.print(table)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
