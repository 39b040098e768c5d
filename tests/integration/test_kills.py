"""A tenth of `make soak`'s kills: processes killed while every API is written to."""

from pathlib import Path

import pytest

from tests.soak.kills import survive

PROCESSES = 5
INSTANCES = 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, london: list[Path], models_mirror: None
) -> None:
    survived = survive(tmp_path, [path.read_bytes() for path in london[:8]], PROCESSES, INSTANCES)
    assert survived.killed.total() == PROCESSES + INSTANCES
    assert all(survived.acknowledged.values()), "every API was written to"
    print(f"\n{survived}")
