"""Landmarks and head pose of every model that is here: python -m tests.benchmarks.landmarks

Milliseconds of a face on one core, by the clock of the processor; how far the tip of the nose is from the
noses of CompreFace's samples; how far the points of a mirrored picture are from their mirror image; and how the pose
changes when a picture is turned by a known angle, or mirrored. Distances are shares of that between the eyes.
"""

import os
import time
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from prosopon.models.evaluation.landmarks import on_noses
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.head_pose import head_pose
from prosopon.models.faces.landmarks import ibug
from prosopon.models.load import load_landmarks
from prosopon.models.pictures.crops import Crop, cut
from prosopon.models.roles import HeadPose, LandmarkPredictor
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.geometry import MIRRORED
from tests.faces import detector, read
from tests.paths import DATA
from tests.weights import model_settings, weights

MODELS = ("mediapipe-face-mesh", "dlib-landmarks68")
FOLDERS = {"london": 6, "faker": 6, "compreface_samples": 1, "fairface": 10, "mask/with_mask": 8}
"""Folder -> every how many pictures of it."""
LARGEST = 2000
TURNS = (-40, -20, 20, 40)


def pictures(folder: str) -> Iterator[RGBImage]:
    """Not longer than `LARGEST`."""
    for path in sorted((DATA / folder).glob("*.jpg"))[:: FOLDERS[folder]]:
        picture = read(path)
        scale = LARGEST / max(picture.shape)
        yield (
            cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            if scale < 1
            else picture
        )


def crops(model: LandmarkPredictor, picture: RGBImage, faces: Detections) -> list[Crop]:
    return [cut(picture, *face, model.crop) for face in zip(faces.boxes, faces.landmarks, strict=True)]


def points(model: LandmarkPredictor, crop: Crop) -> Float32:
    """In pixels of the picture."""
    return crop.to_picture(model.predict(crop.pixels[None])[0])


def eyes_apart(faces: Detections, index: int) -> float:
    return float(np.linalg.norm(faces.landmarks[index, 0] - faces.landmarks[index, 1]))


def at_noses(models: dict[str, LandmarkPredictor]) -> None:
    for name, error in on_noses(detector(), models, DATA / "compreface_samples", 0.5).items():
        print(f"noses  {name:22} {error.mean:.3f} mean, {error.most:.3f} most, of {error.noses}")


def mirrored(model: LandmarkPredictor, name: str) -> None:
    """A mirror image must give the mirror image, of each face where both are found."""
    for folder in FOLDERS:
        apart, five = [], []
        for picture in pictures(folder):
            other = np.ascontiguousarray(picture[:, ::-1])
            here, there = detector().detect([picture, other], 0.5)
            if len(here) != len(there):
                continue
            width = picture.shape[1] - 1
            for index, crop in enumerate(crops(model, picture, here)):
                back = np.abs(width - there.landmarks[:, 2, 0] - here.landmarks[index, 2, 0])
                nearest = int(
                    (back + np.abs(there.landmarks[:, 2, 1] - here.landmarks[index, 2, 1])).argmin()
                )
                unit = eyes_apart(here, index)
                ours = ibug(points(model, crop))
                theirs = ibug(points(model, crops(model, other, there)[nearest]))[MIRRORED[:68]]
                theirs = np.column_stack([width - theirs[:, 0], theirs[:, 1]])
                apart.append(np.linalg.norm(ours - theirs, axis=1).mean() / unit)
                seen = there.landmarks[nearest][[1, 0, 2, 4, 3]] * (-1, 1) + (width, 0)
                five.append(np.linalg.norm(seen - here.landmarks[index], axis=1).mean() / unit)
        print(
            f"mirror {name:22} {folder:20} {np.mean(apart):.3f} mean, {np.percentile(apart, 95):.3f} of 95 %, "
            f"of {len(apart)} (the detector's five: {np.mean(five):.3f}, {np.percentile(five, 95):.3f})"
        )


def pose_of(model: LandmarkPredictor, picture: RGBImage) -> HeadPose | None:
    faces = detector().detect([picture], 0.5)[0].largest_first()
    if not len(faces):
        return None
    return head_pose(points(model, crops(model, picture, faces)[0]), (picture.shape[1], picture.shape[0]))


def poses(model: LandmarkPredictor, name: str) -> None:
    """Turning adds to the roll and leaves pitch and yaw; a mirror turns yaw and roll about."""
    turned, mirror, frontal = [], [], []
    for folder in ("london", "faker"):
        for picture in pictures(folder):
            pose = pose_of(model, picture)
            if pose is None:
                continue
            frontal.append((pose.pitch, pose.yaw, pose.roll))
            other = pose_of(model, np.ascontiguousarray(picture[:, ::-1]))
            if other:
                mirror.append((other.pitch - pose.pitch, other.yaw + pose.yaw, other.roll + pose.roll))
            height, width = picture.shape[:2]
            for degrees in TURNS:
                matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 0.7)
                other = pose_of(model, cv2.warpAffine(picture, matrix, (width, height)))
                if other:
                    turned.append(
                        (other.pitch - pose.pitch, other.yaw - pose.yaw, other.roll - pose.roll - degrees)
                    )
    for what, errors in (("turned", turned), ("mirrored", mirror)):
        mean = np.abs(errors).mean(axis=0)
        print(
            f"pose   {name:22} {what:10} pitch {mean[0]:.1f} yaw {mean[1]:.1f} roll {mean[2]:.1f} degrees off"
        )
    spread = np.std(frontal, axis=0)
    print(
        f"pose   {name:22} portraits  spread: pitch {spread[0]:.1f} yaw {spread[1]:.1f} roll {spread[2]:.1f}"
    )


def speed(model: LandmarkPredictor, name: str) -> None:
    chips = []
    for folder in ("london", "compreface_samples", "fairface"):
        for picture in pictures(folder):
            faces = detector().detect([picture], 0.5)[0]
            chips += [crop.pixels for crop in crops(model, picture, faces)]
    model.predict(chips[0][None])
    seconds = []
    for chip in chips:
        start = time.thread_time()
        model.predict(chip[None])
        seconds.append(time.thread_time() - start)
    quarters = np.percentile(seconds, [25, 50, 75]) * 1000
    print(
        f"speed  {name:22} {quarters[1]:.2f} ms a face, {quarters[0]:.2f} to {quarters[2]:.2f} the middle half, "
        f"of {len(chips)}"
    )


def main() -> None:
    cv2.setNumThreads(1)
    models: dict[str, LandmarkPredictor] = {}
    for name in MODELS:
        weights(name)
        settings = model_settings().model_copy(update={"overrides": {"landmarks": name}})
        models[name] = load_landmarks(settings, Compute())
    for name, model in models.items():
        speed(model, name)
    at_noses(models)
    for name, model in models.items():
        mirrored(model, name)
        poses(model, name)


if __name__ == "__main__":
    main()
