"""Does the attribute `quality` tell which embeddings can be trusted?  python -m tests.benchmarks.quality

Genuine pairs: London's neutral portraits against the smiling ones, degraded in ten ways and two worse ones. Strangers:
FairFace's faces, as they are and far out of focus (sigma 10 at 112 px). Neither set was trained on.
"""

import numpy as np

from prosopon.configs.settings import DetectionSettings, ModelSettings
from prosopon.models.evaluation.degradations import DEGRADATIONS, blurred, shrunk
from prosopon.models.evaluation.embedded import Change
from prosopon.models.evaluation.sets import PortraitSet, fairface, london
from prosopon.models.evaluation.verification import distances, strangers_of, threshold_at
from prosopon.models.faces.attributes.quality import WEIGHTS, QualityNet
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.matching.calibration import load_similarity
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from tests.paths import DATA, require

WORSE = {**DEGRADATIONS, "16 px": shrunk(16), "blur 6": blurred(6)}
REFUSED = (0.0, 0.05, 0.1, 0.2)
_COMPUTE, _MODELS = Compute(threads=1), ModelSettings()
_DETECTOR, _EMBEDDER = load_detector(_MODELS, DetectionSettings(), _COMPUTE), load_embedder(_MODELS, _COMPUTE)
_QUALITY = QualityNet(WEIGHTS, _COMPUTE)


def look(portraits: PortraitSet, change: Change | None = None) -> tuple[list[str], np.ndarray, np.ndarray]:
    """People, unit embeddings and qualities of the biggest faces; a changed face is looked for again."""
    names, embeddings, qualities = [], [], []
    for portrait in portraits.portraits:
        picture = portrait.read()
        faces = _DETECTOR.detect([picture], 0.35)[0] if picture is not None else ()
        if picture is None or not len(faces):
            continue
        if change:
            picture = change(picture, faces.largest_first())
            faces = _DETECTOR.detect([picture], 0.35)[0]
            if not len(faces):
                continue
        face = faces.largest_first()
        chips = [
            cut(picture, face.boxes[0], face.landmarks[0], crop).pixels
            for crop in (_EMBEDDER.crop, _QUALITY.crop)
        ]
        names.append(portrait.person)
        embeddings.append(normalize(_EMBEDDER.embed(chips[0][None]))[0])
        qualities.append(float(_QUALITY.estimate(chips[1][None])[0]))
    return names, np.stack(embeddings), np.array(qualities)


def main() -> None:
    data = require(DATA)
    similarity = load_similarity(_MODELS, _EMBEDDER.fingerprint)
    names, strangers, quality = look(fairface(data))
    border = threshold_at(distances(strangers, strangers)[strangers_of(names)], 1e-3)
    people, enrolled, clean = look(london(data, "neutral"))
    print(
        f"London, neutral: quality {np.mean(clean):.3f}, least {clean.min():.3f}; FairFace {quality.mean():.3f}"
    )
    print("probe        quality   cosine   refused at a false match rate of 1e-3")
    apart, trusted = [], []
    for name, change in WORSE.items():
        who, probes, seen = look(london(data, "smiling"), change)
        rows = [people.index(person) for person in who if person in people]
        kept = [i for i, person in enumerate(who) if person in people]
        cosine = (enrolled[rows] * probes[kept]).sum(axis=1)
        distance = np.linalg.norm(enrolled[rows] - probes[kept], axis=1)
        print(f"{name:12} {seen.mean():.3f}     {cosine.mean():.3f}    {(distance > border).mean():.3f}")
        apart.append(distance)
        trusted.append(seen[kept])
    far, qualities = np.concatenate(apart), np.concatenate(trusted)
    rank = lambda values: np.argsort(np.argsort(values))  # noqa: E731
    print(f"rank correlation of quality and distance: {np.corrcoef(rank(qualities), rank(-far))[0, 1]:.3f}")
    for share in REFUSED:
        taken = qualities >= np.quantile(qualities, share)
        print(f"the worst {share:.0%} refused: {(far[taken] > border).mean():.4f} of true pairs are missed")
    names, spoilt, quality = look(fairface(data), blurred(10))
    everyone = similarity.similarity(distances(spoilt, spoilt)[strangers_of(names)]) >= 0.5
    print(
        f"strangers, blurred by sigma 10: quality {quality.mean():.3f}, {everyone.mean():.4f} of pairs match at 0.5"
    )
    for least in (0.3, 0.5, 0.7):
        print(f"  of quality {least} or more: {(quality >= least).mean():.3f} of the faces")


if __name__ == "__main__":
    main()
