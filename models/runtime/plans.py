"""Which runtime, in which precision, runs a network on this machine: chosen by measurement, once, and kept.

A model says which precisions are used only where they are named, since they cost something (docs/performance.md); which
of the others is the fastest differs from processor to processor. Where nothing can be chosen, on a card, on a processor
without the instructions or without OpenVINO, ONNX Runtime computes in full precision.
"""

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from prosopon.configs.settings import PlanName
from prosopon.models.runtime import openvino_network
from prosopon.models.runtime.session import Compute, DeviceError, create_session
from prosopon.models.weights.checksums import write_atomically

Precision = Literal["float32", "bfloat16", "int8"]
Form = Callable[[], Path | bytes]
"""Makes, or finds, an ONNX model."""
Network = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
"""All outputs of a one-input network. Safe to call from several threads."""

DEFAULT: PlanName = "onnxruntime/float32"
WORTH = 0.9
"""A plan takes the default's place where it takes less than this share of its time."""
_SECONDS, _ROUNDS = 1.0, 5
"""A measurement ends after so many seconds for each plan, or so many rounds."""

log = logging.getLogger(__name__)


class Plans:
    """The forms of one network, and the choice among them."""

    def __init__(
        self,
        name: str,
        forms: Mapping[Precision, Form],
        shape: tuple[int, ...],
        folder: Path | None,
        by_name: Collection[Precision] = (),
        one_stream: bool = False,
    ) -> None:
        """name: of the network with its weights, as a file may be named. forms: the model for each precision; bfloat16
        is computed out of the file for float32. shape: of a typical input. folder: where choices are kept; None keeps
        none. by_name: precisions whose price is too high to be chosen unasked. one_stream: OpenVINO, which keeps memory
        for each stream, makes one run at a time, on the threads of all.
        """
        self._name, self._forms, self._shape, self._folder = name, forms, shape, folder
        self._by_name, self._one_stream = by_name, one_stream

    def open(self, compute: Compute) -> tuple[PlanName, Network]:
        """The network by the plan that `compute` names, or the fastest. Raises `DeviceError` for a plan that cannot be
        had here."""
        if compute.device == "cuda":
            return DEFAULT, self._network(DEFAULT, compute)
        if compute.plan:
            if compute.plan not in self.possible():
                raise DeviceError(
                    f"{self._name} cannot be run by {compute.plan} here: it can by {', '.join(self.possible())}"
                )
            return compute.plan, self._network(compute.plan, compute)
        chosen = self.fastest(compute)
        return chosen, self._network(chosen, compute)

    def possible(self) -> list[PlanName]:
        """The plans that this machine can run well, the default first."""
        runtimes = ["onnxruntime"] + ["openvino"] * (openvino_network.core() is not None)
        names = [f"{runtime}/{precision}" for runtime in runtimes for precision in self._forms]
        possible = {
            "float32": True,
            "bfloat16": openvino_network.computes_bfloat16(),
            "int8": multiplies_bytes(),
        }
        return [
            cast(PlanName, name)
            for name in names
            if name in get_args(PlanName) and possible[name.partition("/")[2]]
        ]

    def unasked(self) -> list[PlanName]:
        """Those of them that may be chosen where none is named."""
        return [plan for plan in self.possible() if plan.partition("/")[2] not in self._by_name]

    def fastest(self, compute: Compute) -> PlanName:
        """As it was measured by an earlier call or, with the same number of threads, is measured now."""
        plans = self.unasked()
        if len(plans) == 1:
            return plans[0]
        kept = self._folder and self._folder / f"{self._name}.plan-{self._machine(compute, plans)}.json"
        if kept and kept.exists():
            chosen = json.loads(kept.read_text())["plan"]
            return cast(PlanName, chosen)
        times = self.measure(compute, plans)
        best = min(times, key=lambda plan: times[plan])
        chosen = best if times[best] < WORTH * times[DEFAULT] else DEFAULT
        log.info("%s is run by %s: %s ms of processor time", self._name, chosen, times)
        if kept:
            try:
                write_atomically(
                    kept, json.dumps({"plan": chosen, "milliseconds": times}, indent=2).encode() + b"\n"
                )
            except OSError:
                log.warning("%s cannot be written: the plan is measured at every start", kept)
        return chosen

    def measure(self, compute: Compute, plans: list[PlanName]) -> dict[PlanName, float]:
        """Least milliseconds of processor time of one run, in turns, so that other work on the machine meets all alike.
        A plan that cannot be opened is left out."""
        single, networks = replace(compute, streams=1, occupancy=None), dict[PlanName, Network]()
        for plan in plans:
            try:
                networks[plan] = self._network(plan, single)
            except Exception as error:  # Of another's code: whatever it is, the default serves.
                if plan == DEFAULT:
                    raise
                log.warning("%s cannot be run by %s: %r", self._name, plan, error)
        batch = np.random.default_rng(0).uniform(0, 1, self._shape).astype(np.float32)
        times: dict[PlanName, float] = dict.fromkeys(networks, float("inf"))
        for network in networks.values():
            network(batch)
        until = time.monotonic() + _SECONDS * len(networks)
        for turn in range(_ROUNDS):
            if turn and time.monotonic() > until:
                break
            for plan, network in networks.items():
                began = time.process_time()
                network(batch)
                times[plan] = min(times[plan], round((time.process_time() - began) * 1000, 2))
        return times

    def _network(self, plan: PlanName, compute: Compute) -> Network:
        """A run that is alone in its replica is made by another copy, which shares each layer among all threads: that
        takes little more processor time and half of the wait. Where others run, a thread for each is the quicker."""
        network, occupancy = self._opened(plan, compute), compute.occupancy
        if occupancy is None or compute.streams == 1 or compute.device != "cpu":
            return network
        alone = self._opened(plan, compute.in_one_stream())
        return lambda batch: (alone if occupancy.alone else network)(batch)

    def _opened(self, plan: PlanName, compute: Compute) -> Network:
        runtime, _, precision = plan.partition("/")
        form = self._forms[cast(Precision, precision)]()
        if runtime == "openvino":
            if self._one_stream:
                compute = compute.in_one_stream()
            return openvino_network.OpenVinoNetwork(form, precision, compute)
        session = create_session(form, compute)
        name = session.get_inputs()[0].name
        return lambda batch: cast(list[NDArray[np.float32]], session.run(None, {name: batch}))

    def _machine(self, compute: Compute, plans: list[PlanName]) -> str:
        """A short name for all that a choice depends on."""
        threads = str(compute.threads)
        parts = (*processor(), onnxruntime.__version__, openvino_network.version(), threads, *plans)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@cache
def processor() -> tuple[str, ...]:
    """The processor's name and its instruction sets, as far as the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return (platform.machine(), platform.processor())
    told = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    return (platform.machine(), told.get("model name", ""), *sorted(told.get("flags", "").split()))


def multiplies_bytes() -> bool:
    """Whether the processor sums products of bytes without overflow (VNNI): without, 8 bits cost accuracy."""
    return bool({"avx512_vnni", "avx_vnni"} & set(processor()))
