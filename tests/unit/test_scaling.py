"""How many replicas the open work asks for."""

from types import SimpleNamespace

import pytest

from deployments.scaling import by_backlog


@pytest.mark.parametrize(
    ("reported", "wanted"),
    [([], 1), ([0], 1), ([4], 1), ([5], 2), ([40, 37], 10), ([4000], 12)],
)
def test_replicas_follow_the_open_work_within_their_bounds(reported: list[float], wanted: int) -> None:
    context = SimpleNamespace(
        aggregated_metrics={"backlog": {f"replica {i}": value for i, value in enumerate(reported)}},
        config=SimpleNamespace(target_ongoing_requests=4),
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=12,
    )
    assert by_backlog(context) == (wanted, {})  # type: ignore[arg-type]
