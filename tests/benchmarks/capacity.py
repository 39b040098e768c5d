"""What one core, or one GPU, serves: the models alone, one process of one thread.

    python -m tests.benchmarks.capacity          # one core
    python -m tests.benchmarks.capacity cuda     # one GPU, fed by one process

An upper bound: the server adds the network, keys and records, and divides the machine among more processes.
"""

import sys
from collections.abc import Callable
from functools import partial

from tests.benchmarks.bare import Device, Generate, Recognise, Swap, pictures
from tests.benchmarks.limits import Work, limit

SECONDS = 10.0


def main() -> None:
    device: Device = "cuda" if "cuda" in sys.argv[1:] else "cpu"
    print(f"one {'GPU' if device == 'cuda' else 'core'}, models alone:")
    works: dict[str, Callable[[], Work]] = {
        "recognitions of 640 px pictures": partial(Recognise, device=device),
        "faces of 300 px": partial(Generate, 300, device),
        "swaps in 640 px pictures": partial(Swap, pictures()[0], device),
    }
    for name, make in works.items():
        print(f"  {limit(make, pictures(), SECONDS, processes=1):6.1f} {name} a second")


if __name__ == "__main__":
    main()
