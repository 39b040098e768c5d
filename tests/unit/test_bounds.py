"""What a process has under way stays within a bound, and what is refused says when to come back."""

import pytest

from prosopon.configs.settings import DeploymentSettings
from prosopon.deployments.serving.calls import Overloaded
from prosopon.pipelines.http.concurrency import Bound


def test_one_too_many_is_refused_until_another_has_ended() -> None:
    bound = Bound(1, "films are being made", 15)
    with bound:
        with pytest.raises(Overloaded, match="1 films are being made") as refused, bound:
            pass
        assert refused.value.retry_after == 15
    with bound:
        pass


def test_a_deployment_takes_what_its_replicas_are_at_and_what_may_wait() -> None:
    bound = Bound.of(DeploymentSettings(max_ongoing_requests=1, max_queued_requests=1), "wait", 1)
    with bound, bound, pytest.raises(Overloaded), bound:
        pass


def test_a_deployment_for_which_any_number_may_wait_refuses_none() -> None:
    bound = Bound.of(DeploymentSettings(max_ongoing_requests=1, max_queued_requests=-1), "wait", 1)
    with bound, bound, bound:
        pass
