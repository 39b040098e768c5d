"""The kinds of jobs that there are. Each is declared beside its payload.

| kind | what | paid | owed |
|---|---|---|---|
| swap | faces put into a picture | by the task's key | the webhook that tells of it |
| search | faces found in an index | by the search's key | |
| training | a collection's classifier | | |
| result | a generated picture or film, computed once for all who ask | | |
| webhook | a call that tells of a swap | | |
"""

from typing import Any

from prosopon.deployments.state.galleries.collections import TRAINING
from prosopon.deployments.state.jobs.deliveries import WEBHOOK
from prosopon.deployments.state.jobs.jobs import JobKind
from prosopon.deployments.state.jobs.searches import SEARCH
from prosopon.deployments.state.jobs.tasks import SWAP
from prosopon.deployments.state.results import RESULT

JOBS: tuple[JobKind[Any], ...] = (SWAP, SEARCH, TRAINING, RESULT, WEBHOOK)
