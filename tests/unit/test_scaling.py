"""How many replicas the open work asks for, and which deployments are seen to follow it."""

from types import SimpleNamespace

import pytest

from prosopon.configs.settings import Deployments, DeploymentSettings
from prosopon.deployments.serving.scaling import by_backlog
from prosopon.models.faces.attributes.table import ATTRIBUTES
from tests.integration import test_elasticity, test_milvus_server, test_scaling


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


def test_every_deployment_is_seen_to_scale_by_an_integration_test() -> None:
    served = (test_elasticity.SETTINGS, test_scaling.SETTINGS, test_milvus_server.SCALING)
    roles = [
        role
        for settings in served
        for role, given in Deployments.model_validate(settings["deployments"])
        if isinstance(given, DeploymentSettings) and given.max_replicas > given.min_replicas
    ]
    assert sorted(roles) == sorted([*Deployments.model_fields, *ATTRIBUTES.roles])
