"""What several kinds of tests share: one running server for a whole session, and pictures."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from prosopon.pipelines.running import HANDLE_ENVIRONMENT
from tests.benchmarks.serving import Server, serving
from tests.paths import DATA, MIRROR, require

# Ray Serve reads it when it is first imported, which other tests do before those of the handles.
for _name, _value in HANDLE_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

# How long an example takes is no property of the code: a busy machine must not fail a test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# In a shell's background SIGINT is ignored, and by all that is started there too: tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "only tests of the session's server and of the browser, or only the others"
    parser.addoption("--servers", choices=("shared", "own"), help=told)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if wanted := config.getoption("--servers"):
        others = [item for item in items if (wanted == "shared") != _shares_server(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


def _shares_server(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    definitions = item._fixtureinfo.name2fixturedefs
    return "chromium" in definitions or any(
        one.scope == "session" for one in definitions.get("server", ())[-1:]
    )


@pytest.fixture(scope="module", autouse=True)
def light_garbage() -> None:
    """What earlier modules left, close to a million objects, is looked through no more. imageio collects garbage at the
    end of every film that is read or written: with all of it, that takes longer than the film."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def models_mirror() -> Iterator[None]:
    """Optional weights come from the mirror where it is there."""
    with pytest.MonkeyPatch.context() as patch:
        if MIRROR.exists():
            patch.setenv("PROSOPON_MODELS_MIRROR", str(MIRROR))
        yield


@pytest.fixture(scope="session")
def server(models_mirror: None) -> Iterator[Server]:
    """`prosopon serve` over an empty state; every test uses keys and subjects of its own.

    It may fetch pictures from, and call webhooks on, this machine's own address.
    """
    args = {
        "fetch": {"allow": ["127.0.0.1"], "seconds": 3},
        "webhooks": {"first_pause_seconds": 1},
        # Conformance does not depend on how close an inversion comes.
        "generation": {"inversion_steps": 3},
        # Nor on how a face is made.
        "swap": {"method": "warp"},
        # Every picture that is asked about masks goes to a replica of its own, and waits there for others.
        "detection": {"colocated": ["embedder", "landmarks", "age", "gender", "liveness", "quality"]},
        "deployments": {
            "mask": {"batch_wait_ms": 1},
            # `test_trueface_settings` sees that they agree.
            "identifier": {"num_cpus": 0.01, "min_replicas": 2, "max_replicas": 2},
        },
    }
    with serving(args) as running:
        yield running


@pytest.fixture(scope="session")
def london() -> list[Path]:
    """Neutral portraits, one face each, sorted by person."""
    return sorted(require(DATA / "london").glob("*_neutral.jpg"))


@pytest.fixture(scope="session")
def group_picture() -> Path:
    """Six faces, from the insightface package."""
    import insightface

    return Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"
