"""What a process has under way stays within a bound, and what is refused says when to come back."""

import pytest

from prosopon.deployments.serving.calls import Overloaded
from prosopon.deployments.serving.fair_queue import Bound


def test_one_too_many_is_refused_until_another_has_ended() -> None:
    bound = Bound(1, "films are being made", 15)
    with bound:
        with pytest.raises(Overloaded, match="1 films are being made") as refused, bound:
            pass
        assert refused.value.retry_after == 15
    with bound:
        pass
