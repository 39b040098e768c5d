"""Pictures of what CheckFace makes, for the docs folder: python -m tests.benchmarks.contact_sheets

Sixteen texts, a morph of nine frames, a link preview.
"""

import io

import httpx
from PIL import Image

from tests.benchmarks.serving import serving
from tests.paths import ROOT

DOCS = ROOT / "docs"
SIDE = 160
VALUES = (
    "example", "yeet", "apple", "banana", "orange", "hello", "world", "Ada",
    "Grace", "Alan", "Katherine", "こんにちは", "🙂", "", "prosopon", "check",
)  # fmt: skip
ENDS = {"from_value": "example", "to_value": "yeet"}


def picture(client: httpx.Client, path: str, **params: str | int) -> Image.Image:
    answer = client.get(f"/api/{path}/", params=params)
    answer.raise_for_status()
    return Image.open(io.BytesIO(answer.content)).convert("RGB")


def grid(pictures: list[Image.Image], columns: int) -> Image.Image:
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * SIDE, rows * SIDE))
    for number, part in enumerate(pictures):
        sheet.paste(part, (number % columns * SIDE, number // columns * SIDE))
    return sheet


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    with serving({"apis": ["checkface"]}) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        faces = [picture(client, "face", value=value, dim=SIDE, format="png") for value in VALUES]
        morph = {**ENDS, "num_frames": 9, "linear": "true", "dim": SIDE, "format": "png"}
        frames = [picture(client, "morphframe", **morph, frame_num=number) for number in range(9)]
        preview = picture(client, "linkpreview", **ENDS, width=800)
    for name, sheet in (
        ("checkface_values", grid(faces, 8)),
        ("checkface_morph", grid(frames, 9)),
        ("checkface_linkpreview", preview),
    ):
        sheet.save(DOCS / f"{name}.jpg", quality=85, optimize=True)
        print(DOCS / f"{name}.jpg", sheet.size)


if __name__ == "__main__":
    main()
