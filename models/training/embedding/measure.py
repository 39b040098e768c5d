"""How well an embedding tells people apart on pictures that training never sees.

    python -m prosopon.models.training.embedding.measure --london london --fairface fairface \\
        --detector centerface.onnx --cache /tmp/chips --student checkpoint.pt

Strangers are all pairs of FairFace's pictures (one picture a person). Genuine pairs are a neutral studio portrait and
the same person smiling, degraded in ten ways. Every picture goes through the detector after it was degraded, and is
aligned on what the detector finds; a face that is not found counts as not recognised.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.pictures.crops import CropSpec, cut
from prosopon.models.runtime.session import Compute, create_session
from prosopon.models.training.embedding.export import Served
from prosopon.models.training.embedding.network import SIDE, Student
from prosopon.models.training.embedding.teachers import ARCFACE, RETAIL

Degrade = Callable[[RGBImage, Float32, Float32], RGBImage]
"""picture, its box ``(4,)`` and its landmarks ``(5, 2)`` to a worse picture."""

CROPS = {
    "student": CropSpec(SIDE, tuple((float(x), float(y)) for x, y in ARCFACE)),  # type: ignore[arg-type]
    "retail": CropSpec(128, tuple((float(x), float(y)) for x, y in RETAIL)),  # type: ignore[arg-type]
}


def _jpeg(picture: RGBImage, quality: int) -> RGBImage:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _small(picture: RGBImage, box: Float32, pixels: int) -> RGBImage:
    """As if the face had been `pixels` wide, and then enlarged again."""
    zoom = pixels / float(max(box[2:] - box[:2]))
    tiny = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(tiny, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def _turned(picture: RGBImage, degrees: float) -> RGBImage:
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(
        cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _masked(picture: RGBImage, points: Float32) -> RGBImage:
    """A plain pale blue mask from the bridge of the nose to below the chin."""
    left, right, nose, mouth = points[0], points[1], points[2], points[3:].mean(axis=0)
    across, down = right - left, mouth - (left + right) / 2
    bridge = nose - 0.25 * down
    shape = [bridge - 0.75 * across, bridge - 0.2 * down, bridge + 0.75 * across]
    shape += [mouth + 0.55 * across + 0.5 * down, mouth + 0.85 * down, mouth - 0.55 * across + 0.5 * down]
    worn = picture.copy()
    cv2.fillPoly(worn, [np.round(shape).astype(np.int32)], (160, 195, 220), cv2.LINE_AA)
    return worn


def _shaded(picture: RGBImage, points: Float32) -> RGBImage:
    """Sunglasses."""
    across = points[1] - points[0]
    span = float(np.linalg.norm(across))
    worn = picture.copy()
    for eye in points[:2]:
        centre = tuple(int(v) for v in np.round(eye))
        cv2.ellipse(
            worn, centre, (int(0.36 * span), int(0.27 * span)), 0, 0, 360, (22, 20, 20), -1, cv2.LINE_AA
        )
    ends = [tuple(int(v) for v in np.round(p)) for p in (points[0] - 0.8 * across, points[1] + 0.8 * across)]
    cv2.line(worn, ends[0], ends[1], (22, 20, 20), max(1, int(0.07 * span)), cv2.LINE_AA)
    return worn


def _half_lit(picture: RGBImage, points: Float32) -> RGBImage:
    """Light from the right: the left half of the face keeps a fifth of it."""
    span = float(np.linalg.norm(points[1] - points[0]))
    xs = (np.arange(picture.shape[1]) - points[2, 0]) / (0.25 * span)
    lit = 0.2 + 0.8 / (1 + np.exp(-xs))
    return np.asarray(picture * lit[None, :, None], np.uint8)


def _grey(picture: RGBImage) -> RGBImage:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


DEGRADED: dict[str, Degrade] = {
    "jpeg 20": lambda picture, box, points: _jpeg(picture, 20),
    "32 px": lambda picture, box, points: _small(picture, box, 32),
    "24 px": lambda picture, box, points: _small(picture, box, 24),
    # As wide as on a face of 112 pixels.
    "blur 2": lambda picture, box, points: np.asarray(
        cv2.GaussianBlur(picture, (0, 0), 2 * float(max(box[2:] - box[:2])) / SIDE), np.uint8
    ),
    "dark": lambda picture, box, points: (picture * 0.2).astype(np.uint8),
    "turned 25": lambda picture, box, points: _turned(picture, 25),
    "mask": lambda picture, box, points: _masked(picture, points),
    "sunglasses": lambda picture, box, points: _shaded(picture, points),
    "half lit": lambda picture, box, points: _half_lit(picture, points),
    "grey": lambda picture, box, points: _grey(picture),
}


def _read(path: Path) -> RGBImage:
    return np.ascontiguousarray(np.asarray(cv2.imread(str(path)), np.uint8)[..., ::-1])


def cut_all(london: Path, fairface: Path, detector: CenterFace, cache: Path) -> None:
    """Write the chips of every crop of `CROPS` as ``{crop}.npy`` and the pictures' names as `rows.csv`.

    A face that is not found leaves a black chip and `found` 0.
    """
    rows: list[tuple[str, str, str, int]] = []
    chips: dict[str, list[RGBImage]] = {name: [] for name in CROPS}

    def add(part: str, name: str, picture: RGBImage, group: str = "") -> tuple[Float32, Float32] | None:
        found = detector.detect([picture], 0.35)[0]
        rows.append((part, name, group, int(len(found) > 0)))
        for crop, spec in CROPS.items():
            black = np.zeros((spec.size, spec.size, 3), np.uint8)
            chips[crop].append(
                cut(picture, found.boxes[0], found.landmarks[0], spec).pixels if len(found) else black
            )
        return (found.boxes[0], found.landmarks[0]) if len(found) else None

    with (fairface / "labels.csv").open() as stream:
        for row in csv.DictReader(stream):
            picture = _read(fairface / row["file"])
            # FairFace's pictures end at the face.
            wide = cv2.copyMakeBorder(picture, *(picture.shape[0] // 4,) * 4, cv2.BORDER_CONSTANT)
            add("strangers", row["file"], wide, f"{row['race']} {row['gender']}")
    for path in sorted(london.glob("*_neutral.jpg")):
        person = path.name.split("_")[0]
        add("enrolled", person, _read(path))
        smiling = _read(path.with_name(f"{person}_smiling.jpg"))
        known = add("clean", person, smiling)
        for name, degrade in DEGRADED.items():
            add(name, person, degrade(smiling, *known) if known else smiling)
    cache.mkdir(parents=True, exist_ok=True)
    for crop, cutouts in chips.items():
        np.save(cache / f"{crop}.npy", np.stack(cutouts))
    with (cache / "rows.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("part", "name", "group", "found"), *rows])


def verify(embeddings: Float32, rows: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """For each way to degrade: true match rates at three false match rates, and the equal error rate.

    embeddings: ``(N, D)``, compared by cosine.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    parts = np.array([row["part"] for row in rows])
    found = np.array([row["found"] == "1" for row in rows])
    people = unit[(parts == "strangers") & found]
    strangers = np.sort((people @ people.T)[np.triu_indices(len(people), 1)])
    limits = {rate: float(strangers[-int(len(strangers) * rate)]) for rate in (1e-2, 1e-3, 1e-4)}
    table = {}
    for part in ("clean", *DEGRADED):
        chosen = parts == part
        alike = (unit[parts == "enrolled"] * unit[chosen]).sum(axis=1)
        alike[~found[chosen]] = -1
        table[part] = {f"{rate:.0e}": float((alike >= limit).mean()) for rate, limit in limits.items()}
        grid = np.unique(alike)
        false = 1 - np.searchsorted(strangers, grid) / len(strangers)
        missed = np.array([(alike < limit).mean() for limit in grid])
        table[part]["eer"] = float(np.maximum(false, missed).min())
    hard = [table[part] for part in DEGRADED]
    table["mean of ten"] = {key: float(np.mean([row[key] for row in hard])) for key in hard[0]}
    table["limit"] = {f"{rate:.0e}": limit for rate, limit in limits.items()} | {"eer": float("nan")}
    return table


def strangers_by_group(
    embeddings: Float32, rows: list[dict[str, str]]
) -> dict[str, tuple[float, float, float]]:
    """False match rates among pairs of one race and sex, at the limits where all pairs reach 1e-2, 1e-3, 1e-4."""
    chosen = [i for i, row in enumerate(rows) if row["part"] == "strangers" and row["found"] == "1"]
    unit = embeddings[chosen] / np.linalg.norm(embeddings[chosen], axis=1, keepdims=True)
    groups = np.array([rows[i]["group"] for i in chosen])
    alike = unit @ unit.T
    upper = np.triu(np.ones_like(alike, bool), 1)
    everyone = np.sort(alike[upper])
    limits = [everyone[-int(len(everyone) * rate)] for rate in (1e-2, 1e-3, 1e-4)]
    table = {}
    for group in sorted(set(groups)):
        mine = groups == group
        pairs = alike[np.ix_(mine, mine)][upper[np.ix_(mine, mine)]]
        first, second, third = (float((pairs >= limit).mean()) for limit in limits)
        table[str(group)] = (first, second, third)
    return table


def embed(network: Served, chips: np.ndarray, mirrored: bool) -> Float32:
    """``(N, 112, 112, 3)`` uint8 RGB to ``(N, 256)``, unit; with `mirrored` the mean of a chip and its mirror image."""
    out = []
    with torch.no_grad():
        for start in range(0, len(chips), 64):
            batch = torch.from_numpy(chips[start : start + 64]).permute(0, 3, 1, 2).float()
            found = network(batch)
            if mirrored:
                found = found + network(batch.flip(3))
            out.append(torch.nn.functional.normalize(found))
    return torch.cat(out).numpy()


def main(
    london: Annotated[Path, typer.Option(help="The Face Research Lab London Set")],
    fairface: Annotated[Path, typer.Option(help="FairFace, 1,200 pictures with labels.csv")],
    detector: Annotated[Path, typer.Option(help="centerface.onnx")],
    cache: Annotated[Path, typer.Option(help="Folder for the chips, written once")],
    student: Annotated[Path | None, typer.Option(help="A checkpoint of the training")] = None,
    retail: Annotated[Path | None, typer.Option(help="face-reidentification-retail-0095 as ONNX")] = None,
    side: Annotated[int, typer.Option(help="Pixels of the views of training")] = SIDE,
    mirrored: bool = False,
) -> None:
    torch.set_num_threads(1)
    if not (cache / "rows.csv").exists():
        cut_all(london, fairface, CenterFace(detector, Compute(), DetectionSettings()), cache)
    with (cache / "rows.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    results: dict[str, Float32] = {}
    if student is not None:
        network = Student()
        saved = torch.load(student, weights_only=True)
        network.load_state_dict(saved["average"])
        print(f"student after {saved['views']} views")
        served = Served(network, side).eval()
        results["student"] = embed(served, np.load(cache / "student.npy"), mirrored)
    if retail is not None:
        session = create_session(retail, Compute())
        pictures = np.load(cache / "retail.npy")[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        name = session.get_inputs()[0].name
        batches = [session.run(None, {name: pictures[i : i + 64]})[0] for i in range(0, len(pictures), 64)]
        results["retail"] = np.concatenate(batches).reshape(len(pictures), -1)
    for name, embeddings in results.items():
        table = verify(embeddings, rows)
        print(f"{name:16}" + "".join(f"{key:>9}" for key in table["clean"]))
        for part, figures in table.items():
            print(f"{part:16}" + "".join(f"{value:9.4f}" for value in figures.values()))
        print("false matches among strangers of one group")
        for group, rates in strangers_by_group(embeddings, rows).items():
            print(f"{group:24}" + "".join(f"{rate:10.5f}" for rate in rates))


if __name__ == "__main__":
    typer.run(main)
