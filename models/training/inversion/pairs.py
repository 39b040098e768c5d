"""Pairs of styles and small pictures: python -m prosopon.models.training.inversion.pairs --count 16000 --out FOLDER

Pictures are previews of 64 px. They are written in shards of 256 while the work goes on, so that training can begin.
"""

import argparse
from pathlib import Path

import numpy as np

from prosopon.models.generation.mobile_stylegan import to_pixels
from prosopon.models.generation.mobile_stylegan_network import export_styled
from prosopon.models.generation.mobile_stylegan_previews import load_previews
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.inversion.faces import RandomStyles, generator, layered

SIDE = 64
SHARD, BATCH = 256, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=16000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    styles = RandomStyles(options.seed)
    session = create_session(export_styled(load_previews(*generator())[SIDE]), Compute())
    for number in range(-(-options.count // SHARD)):
        groups = styles.draw(SHARD)
        batches = (layered(groups[start : start + BATCH]) for start in range(0, SHARD, BATCH))
        pictures = np.concatenate([to_pixels(run(session, batch)[0]) for batch in batches])
        path = options.out / f"{options.seed}-{number:04}.npz"
        np.savez(path.with_suffix(".part.npz"), pictures=pictures, styles=groups.astype(np.float16))
        path.with_suffix(".part.npz").rename(path)
        print(path, flush=True)


if __name__ == "__main__":
    main()
