"""Every benchmark, one after the other: `make bench`, or `python -m tests.benchmarks NAME...` for some."""

import os
import subprocess
import sys

from prosopon.pipelines.running import PROCESS_ENVIRONMENT

BENCHMARKS = (
    "embedder_speed",
    "precision",
    "smaller_look",
    "stages",
    "attributes",
    "landmarks",
    "mask",
    "liveness",
    "swap",
    "identification",
    "scores",
    "fusion",
    "hops",
    "server",
    "runtimes",
    "trueface",
    "checkface",
    "inversion",
    "aifaceswap",
    "gallery_search",
    "ingest",
    "archive",
    "vector_server",
    "capacity",
    "elasticity",
)


def main() -> None:
    names = sys.argv[1:] or BENCHMARKS
    if unknown := set(names) - set(BENCHMARKS):
        raise SystemExit(
            f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        # One thread of OpenMP, as Ray gives a replica with a share of a core, and the rest as replicas have it.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **PROCESS_ENVIRONMENT}
        if subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], env=environment).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
