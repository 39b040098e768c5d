"""One face put into every frame of a film: who is followed, how steadily, and what comes out."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from prosopon.configs.settings import DetectionSettings, FilmLimits, ImageLimits, SwapSettings
from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.film import Film
from prosopon.models.pictures.film_headers import read_film
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.face_swap import FaceSwap, check_source, film_points
from prosopon.models.swap.tracks import Track, Tracks, steady
from prosopon.models.swap.types import FaceGeometry, NoSwap
from tests.faces import faces_of, portrait, read
from tests.support.films import animation, heard, moved, mp4, shown
from tests.weights import model_settings, weights

RATE = 25.0


def face_at(x: float, y: float = 100.0, tremble: float = 0.0, seed: int = 0) -> FaceGeometry:
    """A real face's shape, 80 px between the eyes, at a place."""
    _, face = portrait("london/002_neutral.jpg")
    scale = np.float32(80 / np.linalg.norm(face.landmarks[0] - face.landmarks[1]))
    middle = face.dense.mean(axis=0)
    noise = np.random.default_rng(seed).normal(0, tremble, (473, 2)).astype(np.float32)
    there = np.array([x, y], np.float32)
    points = (np.concatenate([face.landmarks, face.mesh[:, :2]]) - middle) * scale + there + noise
    box = (face.box.reshape(2, 2) - middle) * scale + there
    mesh = np.column_stack([points[5:], face.mesh[:, 2] * scale])
    return FaceGeometry(box.ravel(), points[:5], mesh)


def followed(*frames: list[FaceGeometry], pictures: list[RGBImage] | None = None) -> Tracks:
    tracks = Tracks(None)
    for index, faces in enumerate(frames):
        tracks.add(pictures[index] if pictures else np.zeros((64, 64, 3), np.uint8), faces)
    return tracks


def test_two_faces_that_pass_are_two_tracks_whatever_their_order() -> None:
    left, right = [face_at(100 + 8 * i) for i in range(6)], [face_at(600 - 8 * i, 400) for i in range(6)]
    frames = [[a, b] if i % 2 else [b, a] for i, (a, b) in enumerate(zip(left, right, strict=True))]
    tracks = followed(*frames)
    assert len(tracks.all) == 2
    for track, own in zip(tracks.first, (right, left), strict=True):
        assert [track.faces[i] for i in range(6)] == own


def test_a_face_that_is_missed_for_a_moment_is_filled_and_one_that_goes_is_not() -> None:
    there = [[face_at(100 + 10 * i)] if i not in (3, 4) else [] for i in range(8)]
    (track,) = followed(*there).all
    assert list(track.faces) == [0, 1, 2, 5, 6, 7]
    filled = steady(track, RATE)
    assert list(filled) == list(range(8))
    assert filled[3].dense.mean(axis=0)[0] == pytest.approx(130, abs=0.5)
    gone = followed([face_at(100)], *[[]] * 10, [face_at(100)])
    assert len(gone.all) == 2


def test_after_a_cut_a_face_in_the_same_place_is_another() -> None:
    dark, bright = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8)
    tracks = followed(*[[face_at(100)]] * 4, pictures=[dark, dark, bright, bright])
    assert [list(track.faces) for track in tracks.all] == [[0, 1], [2, 3]]


def test_the_same_person_is_found_again_after_a_cut_by_the_face_alone() -> None:
    embeddings = {100: [1.0, 0.0], 300: [0.0, 1.0], 200: [0.9, np.sqrt(1 - 0.81)]}

    def embed(_: RGBImage, face: FaceGeometry) -> np.ndarray:
        return np.array(embeddings[round(float(face.dense.mean(axis=0)[0]))], np.float32)

    tracks = Tracks(embed)
    dark, bright = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8)
    tracks.add(dark, [face_at(100), face_at(300, 400)])
    tracks.add(bright, [face_at(200, 250)])
    (own,) = tracks.of([tracks.first[0]])
    assert [list(track.faces) for track in own] == [[0], [1]]
    (other,) = tracks.of([tracks.first[1]])
    assert [list(track.faces) for track in other] == [[0]]


def test_what_trembles_is_steadied_and_what_moves_is_not_held_back() -> None:
    """A steady pan and a parabola, with noise of half a pixel: the mean error falls, no frame lags."""
    places = [(100 + 6.0 * i, 100 + 0.2 * i * i) for i in range(30)]
    clean = [face_at(*place) for place in places]
    noisy = Track({i: face_at(*place, tremble=0.5, seed=i) for i, place in enumerate(places)})
    smooth = steady(noisy, RATE)
    before = np.mean([np.abs(noisy.faces[i].dense - clean[i].dense).mean() for i in range(30)])
    after = np.mean([np.abs(smooth[i].dense - clean[i].dense).mean() for i in range(30)])
    assert after < 0.75 * before
    exact = steady(Track(dict(enumerate(clean))), RATE)
    assert max(np.abs(exact[i].dense - clean[i].dense).max() for i in range(30)) < 0.05


@pytest.fixture(scope="module")
def swapping() -> FaceSwap:
    for name in ("centerface", "mediapipe-face-mesh", "face-reidentification-retail-0095"):
        weights(name)
    return FaceSwap.load(
        model_settings(), DetectionSettings(), ImageLimits(), SwapSettings(method="warp"), Compute()
    )


@pytest.fixture(scope="module")
def scene(london: list[Path]) -> RGBImage:
    return cv2.resize(read(london[0]), (256, 256), interpolation=cv2.INTER_AREA)


def test_every_frame_of_a_film_has_the_new_face_and_its_times_and_sound_stay(
    swapping: FaceSwap, scene: RGBImage, london: list[Path]
) -> None:
    moments = [0, 40, 80, 160, 200, 240, 320, 400]
    data = mp4(moved(scene, len(moments), (1.5, 0.5)), moments, sound=True)
    told: list[float] = []
    swapped = swapping.swap(data, [london[3].read_bytes()], None, told.append)
    assert (swapped.media_type, swapped.suffix, swapped.method) == ("video/mp4", ".mp4", "warp")
    assert swapped.similarity is not None and swapped.similarity > 0.4
    (before, times), (after, kept) = shown(data), shown(swapped.data)
    assert kept == pytest.approx(times)
    assert heard(swapped.data) == heard(data)
    assert told == sorted(told) and told[-1] == 1
    for old, new in zip(before, after, strict=True):
        assert len(faces_of(new)) == 1
        apart = np.abs(old.astype(int) - new).mean(axis=2)
        x1, y1, x2, y2 = faces_of(old)[0].box.astype(int)
        assert apart[y1:y2, x1:x2].mean() > 4 and apart[:20].mean() < 3


def test_frames_without_a_face_stay_as_they_are_and_a_gif_stays_a_gif(
    swapping: FaceSwap, scene: RGBImage, london: list[Path]
) -> None:
    nobody = Image.fromarray(cv2.GaussianBlur(scene, (0, 0), 60))
    flipped = nobody.transpose(Image.Transpose.FLIP_TOP_BOTTOM)  # Pillow makes one frame of two equal ones.
    frames = [Image.fromarray(scene), nobody, flipped, Image.fromarray(scene)]
    data = animation(frames, "GIF", [100] * 4, loop=0)
    swapped = swapping.swap(data, [london[3].read_bytes()], [0])
    assert (swapped.media_type, swapped.suffix) == ("image/gif", ".gif")
    films, limits = FilmLimits(), ImageLimits()
    pixels = []
    for film_data in (data, swapped.data):
        header = read_film(film_data, films)
        assert header is not None and header.durations == (100,) * 4
        with Film(film_data, header, limits, films) as film:
            pixels.append([frame.pixels for frame in film.frames()])
    changed = [(old != new).any(axis=2).mean() for old, new in zip(*pixels, strict=True)]
    assert changed[1] == changed[2] == 0
    assert min(changed[0], changed[3]) > 0.05


def test_a_film_without_faces_or_with_a_bad_source_is_told(
    swapping: FaceSwap, scene: RGBImage, london: list[Path]
) -> None:
    face = london[3].read_bytes()
    nobody = animation([Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")], "GIF", [50, 50])
    assert swapping.faces(nobody).boxes == ()
    with pytest.raises(NoSwap, match="no face is found in source_image"):
        swapping.swap(nobody, [face], None)
    film = mp4(moved(scene, 3), [0, 40, 80])
    assert len(swapping.faces(film).boxes) == 1
    with pytest.raises(NoSwap, match="index 1 is out of range"):
        swapping.swap(film, [face], [1])


def test_the_length_of_a_film_has_a_price(scene: RGBImage, london: list[Path]) -> None:
    limits = FilmLimits(points_per_second=3)
    film = mp4(moved(scene, 4), [0, 400, 800, 1200])  # 1.6 s
    assert film_points(film, 2, limits) == 12
    assert film_points(london[0].read_bytes(), 2, limits) == 0
    assert check_source(film, ImageLimits(), limits) == "video/mp4"
    assert check_source(london[0].read_bytes(), ImageLimits(), limits) == "image/jpeg"
