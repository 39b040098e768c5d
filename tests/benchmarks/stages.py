"""Where a millisecond goes: processor time of each step that a picture of one face takes, and of one made face.

In one process of one thread, by every plan of the detector and of the generator that this machine can run, in turns.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np

from prosopon.configs.settings import DetectionSettings, ImageLimits, ModelSettings
from prosopon.models.faces import centerface
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.generation import mobile_stylegan
from prosopon.models.generation.mobile_stylegan import MobileStyleGan, MobileStyleGanMapper
from prosopon.models.load import load_embedder
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.decoding import decode
from prosopon.models.pictures.encoding import encode_picture
from prosopon.models.pictures.letterbox import batches
from prosopon.models.runtime.plans import DEFAULT
from prosopon.models.runtime.session import Compute
from tests.benchmarks.bare import pictures
from tests.weights import weights

TURNS, FACES = 24, 4
Step = Callable[[], object]


def milliseconds(step: Step) -> float:
    began = time.process_time()
    step()
    return (time.process_time() - began) * 1000


def table(title: str, times: dict[str, list[float]]) -> None:
    print(f"{title}: median and least milliseconds of processor time")
    for name, found in times.items():
        print(f"{np.median(found):>8.2f}{min(found):>8.2f}  {name}")


def of_a_picture() -> dict[str, list[float]]:
    compute, settings, path = Compute(), DetectionSettings(), weights("centerface").path
    detectors = {
        plan: CenterFace(path, Compute(plan=plan), settings)
        for plan in centerface.plans(path, CenterFace.name).possible()
    }
    embedder = load_embedder(ModelSettings(), compute)
    times: dict[str, list[float]] = defaultdict(list)
    for turn, data in zip(range(TURNS + 1), itertools.cycle(pictures()), strict=False):
        picture = decode(data, ImageLimits())
        face = detectors[DEFAULT].detect([picture], 0.5)[0].largest_first()
        where = face.boxes[0], face.landmarks[0], embedder.crop
        steps: dict[str, Step] = {
            "decode the JPEG": partial(decode, data, ImageLimits()),
            "fit the detector's input": partial(next, batches([picture], settings.max_side)),
        }
        for plan, detector in detectors.items():
            steps[f"detect, {plan}, with its input"] = partial(detector.detect, [picture], 0.5)
        steps["cut the chip"] = partial(cut, picture, *where)
        steps["embed"] = partial(embedder.embed, cut(picture, *where).pixels[None])
        note(times, steps, counted=turn > 0)
    return times


def of_a_face() -> dict[str, list[float]]:
    paths = weights("mobilestylegan-generator").paths
    mapper = MobileStyleGanMapper(*weights("mobilestylegan-mapper").paths, Compute())
    generators = {
        f"synthesise {side} px, {plan}": MobileStyleGan(*paths, Compute(plan=plan), side)
        for side in (512, 1024)
        for plan in mobile_stylegan.plans(*paths, side, MobileStyleGan.name).possible()
    }
    rng, times = np.random.default_rng(0), defaultdict[str, list[float]](list)
    for turn in range(FACES + 1):
        z = rng.standard_normal((1, 512)).astype(np.float32)
        w = mapper.truncate(mapper.map(z), 0.7)
        made = next(iter(generators.values())).generate(w)[0]
        steps: dict[str, Step] = {"map z to w": partial(mapper.map, z)}
        steps |= {name: partial(network.generate, w) for name, network in generators.items()}
        steps["encode 512 px as JPEG"] = partial(encode_picture, made, "jpg")
        note(times, steps, counted=turn > 0)
    return times


def note(times: dict[str, list[float]], steps: dict[str, Step], counted: bool) -> None:
    """The steps one after the other. The first time allocates: it does not count."""
    for name, step in steps.items():
        took = milliseconds(step)
        if counted:
            times[name].append(took)


def main() -> None:
    Compute().limit_libraries()
    table("A picture of one face, 640 px", of_a_picture())
    table("A face that is made", of_a_face())


if __name__ == "__main__":
    main()
