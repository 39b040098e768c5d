"""What several kinds of tests share: one running server for a whole session, and pictures."""

import os
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
        "fetch": {"allow": ["127.0.0.1"], "seconds": 5},
        # Conformance does not depend on how close an inversion comes.
        "generation": {"inversion_seconds": 4},
        # Every picture that is asked about masks goes to a replica of its own and through Serve's queue there, which
        # is for those that wait.
        "detection": {"colocated": ["embedder", "landmarks", "age", "gender", "liveness", "quality"]},
        "deployments": {"mask": {"batch_wait_ms": 1}},
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
