"""CheckFace's films in a browser: they play, have the right length and size, can be sought in, and loop."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.benchmarks.serving import Server

FILM = "from_value=example&to_value=yeet&dim=101&num_frames=24&fps=8"


@pytest.fixture(scope="module")
def page(server: Server, chromium: Any) -> Iterator[Any]:
    """A page of the server's own origin, so that pixels may be read."""
    page = chromium.new_page()
    page.goto(f"{server.url}/status/")
    yield page
    page.close()


VIDEO = """
async ([path, seek]) => {
    const video = document.createElement('video');
    video.muted = true; video.playsInline = true; video.src = path;
    document.body.append(video);
    const event = name => new Promise((resolve, reject) => {
        video.addEventListener(name, resolve, {once: true});
        video.addEventListener('error', () => reject(new Error(video.error.message)), {once: true});
    });
    await event('loadeddata');
    const shot = () => {
        const canvas = document.createElement('canvas');
        canvas.width = video.videoWidth; canvas.height = video.videoHeight;
        const context = canvas.getContext('2d', {willReadFrequently: true});
        context.drawImage(video, 0, 0);
        return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
    };
    const facts = {duration: video.duration, width: video.videoWidth, height: video.videoHeight, shots: []};
    for (const time of seek) {
        // The frame may be shown a moment after the seek is over.
        const shown = new Promise(resolve => video.requestVideoFrameCallback(resolve));
        const sought = event('seeked');
        video.currentTime = time;
        await Promise.all([sought, shown]);
        facts.shots.push(shot());
    }
    const ended = event('ended');
    video.currentTime = 0; video.playbackRate = 4;
    await video.play();
    await ended;
    facts.ended = video.currentTime;
    video.remove();
    return facts;
}
"""


def difference(a: list[int], b: list[int]) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)


def test_an_mp4_plays_to_its_end_and_can_be_sought_in(page: Any) -> None:
    statuses: list[int] = []
    page.on("response", lambda r: "/api/mp4/" in r.url and statuses.append(r.status))
    # Frames 0 and 12 of 24 are the two ends; frame 23 is frame 1.
    facts = page.evaluate(VIDEO, [f"/api/mp4/?{FILM}", [1.56, 0.06, 2.94, 0.19]])
    assert facts["duration"] == pytest.approx(3, abs=0.05)
    assert (facts["width"], facts["height"]) == (102, 102), "an odd side gets one more pixel"
    end, start, last, second = facts["shots"]
    assert difference(start, end) > 10, "seeking shows another face"
    assert difference(last, second) < 4, "the film returns to where it began"
    assert facts["ended"] == pytest.approx(3, abs=0.05)
    assert 206 in statuses, "the browser asks for ranges"


def test_the_embedded_film_loops(page: Any, server: Server) -> None:
    # Its policy forbids scripts, the test's own too.
    other = page.context.browser.new_page(bypass_csp=True)
    errors: list[str] = []
    other.on("console", lambda message: message.type == "error" and errors.append(message.text))
    other.goto(
        f"{server.url}/api/mp4/?from_value=example&to_value=yeet&dim=64&num_frames=6&fps=12&embed_html=true"
    )
    other.wait_for_function("document.querySelector('video').currentTime > 0.1", timeout=30_000)
    rounds = other.evaluate(
        """() => new Promise(resolve => {
            const video = document.querySelector('video'); let rounds = 0, last = video.currentTime;
            video.addEventListener('timeupdate', () => {
                if (video.currentTime < last) rounds += 1;
                last = video.currentTime;
                if (rounds >= 2) resolve(rounds);
            });
        })"""
    )
    assert rounds >= 2
    assert other.evaluate("document.querySelector('video').loop")
    assert [error for error in errors if "favicon" not in error and "404" not in error] == []
    other.close()


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_animations_play_again_and_again(page: Any, format: str) -> None:
    """The browser's own decoder says how often an animation is repeated."""
    facts = page.evaluate(
        """async ([path, type]) => {
            const answer = await fetch(path);
            const decoder = new ImageDecoder({data: answer.body, type});
            await decoder.completed;
            const track = decoder.tracks.selectedTrack;
            const {image} = await decoder.decode({frameIndex: 3});
            return {frames: track.frameCount, repeats: String(track.repetitionCount),
                    width: image.displayWidth, duration: image.duration};
        }""",
        [f"/api/{format}/?from_value=example&to_value=yeet&dim=64&num_frames=8&fps=10", f"image/{format}"],
    )
    assert facts == {"frames": 8, "repeats": "Infinity", "width": 64, "duration": 100_000}


def test_a_face_is_shown(page: Any) -> None:
    width = page.evaluate(
        """async path => {
            const image = new Image();
            image.src = path;
            await image.decode();
            return image.naturalWidth;
        }""",
        "/api/face/?value=example&dim=80",
    )
    assert width == 80
