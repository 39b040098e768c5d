"""The public JavaScript client of CompreFace, under Node and in a page of another origin; the server runs."""

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.serving import Server
from tests.browser.chromium import browser
from tests.conformance.client import new_key
from tests.paths import smiling

PACKAGE = "@exadel/compreface-js-sdk@1.0.0"
OPTIONS = {"limit": 0, "det_prob_threshold": 0.5, "prediction_count": 1, "status": "true"}

NODE = """
import { CompreFace } from "@exadel/compreface-js-sdk";
console.log = () => {};  // the client talks
const asked = JSON.parse(process.argv[2]);
const server = new CompreFace(asked.host, asked.port);  // options of the client's own would follow a second "?"
const people = server.initFaceRecognitionService(asked.key);
const found = {};
await people.getSubjects().add("Ann");
found.subjects = await people.getSubjects().list();
found.renamed = await people.getSubjects().rename("Ann", "Anna");
found.added = await people.getFaceCollection().add(asked.first, "Zo\u00eb");
found.again = await people.getFaceCollection().add(asked.base64, "Anna");
found.recognized = await people.recognize(asked.second, asked.options);
found.verified = await people.getFaceCollection().verify(asked.first, found.added.image_id, asked.options);
found.pair = await server.initFaceVerificationService(asked.key).verify(asked.first, asked.second, asked.options);
found.detected = await server.initFaceDetectionService(asked.key).detect(asked.first, asked.options);
found.listed = await people.getFaceCollection().list();
found.gone = await people.getFaceCollection().delete(found.added.image_id);
found.deleted = await people.getFaceCollection().delete_all_subject("ANNA");
found.left = await people.getSubjects().list();
process.stdout.write(JSON.stringify(found));
process.exit(0);
"""

PAGE = """<!doctype html><meta charset="utf-8"><script src="/axios.js"></script>
<script type="importmap">
{"imports": {"axios": "/axios_module.js", "fs": "/nothing.js", "form-data": "/form.js"}}
</script>
<script type="module">import { CompreFace } from "/sdk/index.js"; window.CompreFace = CompreFace;</script>"""

IN_PAGE = """async ([host, port, key, options]) => {
  const blob = await (await fetch("/face.jpg")).blob();
  const server = new CompreFace(host, port);
  const people = server.initFaceRecognitionService(key);
  const found = {};
  found.added = await people.getFaceCollection().add(blob, "Zo\\u00eb");
  found.recognized = await people.recognize(blob, options);
  found.subjects = await people.getSubjects().list();
  found.refused = await server.initFaceDetectionService("nonsense").detect(blob, options)
    .catch((error) => ({ status: error.response.status, ...error.response.data }));
  found.deleted = await people.getSubjects().delete("Zo\\u00eb");
  return found;
}"""


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the client is installed, or a skipped test that says what is missing."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("sdk")
    (folder / "package.json").write_text('{"type": "module"}')
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    if installed.returncode:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr.strip()[-200:]}")
    return folder


def asked_of(server: Server) -> dict[str, Any]:
    host, port = server.url.rsplit(":", 1)
    key = new_key(server, "recognition", "detection", "verification")
    return {"host": host, "port": int(port), "key": key, "options": OPTIONS}


def test_every_call_under_node(sdk: Path, server: Server, london: list[Path]) -> None:
    for name, picture in (("first.jpg", london[0]), ("second.jpg", smiling(london[0]))):
        shutil.copy(picture, sdk / name)
    (sdk / "calls.mjs").write_text(NODE)
    text = base64.b64encode(london[1].read_bytes()).decode()
    asked = {**asked_of(server), "first": "./first.jpg", "second": "./second.jpg", "base64": text}
    command = ["node", "calls.mjs", json.dumps(asked)]
    ran = subprocess.run(command, cwd=sdk, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["subjects"] == {"subjects": ["Ann"]} and found["renamed"] == {"updated": True}
    assert found["added"]["subject"] == "Zoë" and found["again"]["subject"] == "Anna"
    (face,) = found["recognized"]["result"]
    assert face["subjects"][0]["subject"] == "Zoë" and face["subjects"][0]["similarity"] > 0.9
    assert found["recognized"]["plugins_versions"]["detector"]
    assert found["verified"]["result"][0]["subject"] == "Zoë"
    assert found["pair"]["result"][0]["face_matches"][0]["similarity"] > 0.9
    assert len(found["detected"]["result"]) == 1
    assert {entry["subject"] for entry in found["listed"]["faces"]} == {"Zoë", "Anna"}
    assert found["gone"] == found["added"] and found["deleted"] == {"deleted": 1}
    assert found["left"] == {"subjects": []}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def pages(sdk: Path, london: list[Path]) -> Iterator[str]:
    """URL of the page and of what it loads, at another origin than the server's."""
    modules, folder = sdk / "node_modules", sdk / "pages"
    shutil.copytree(modules / "@exadel" / "compreface-js-sdk", folder / "sdk")
    shutil.copy(modules / "axios" / "dist" / "axios.js", folder)
    shutil.copy(london[0], folder / "face.jpg")
    (folder / "index.html").write_text(PAGE)
    (folder / "axios_module.js").write_text("export default window.axios;")
    (folder / "nothing.js").write_text("export default {};")
    (folder / "form.js").write_text("export default window.FormData;")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as outside:
        threading.Thread(target=outside.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{outside.server_port}"
        outside.shutdown()


def test_a_page_of_another_origin(pages: str, server: Server) -> None:
    asked = asked_of(server)
    with browser() as chromium:
        page = chromium.new_page()
        page.goto(pages)
        page.wait_for_function("'CompreFace' in window")
        found = page.evaluate(IN_PAGE, [asked["host"], asked["port"], asked["key"], OPTIONS])
    assert found["added"]["subject"] == "Zoë" and found["subjects"] == {"subjects": ["Zoë"]}
    assert found["recognized"]["result"][0]["subjects"][0]["similarity"] > 0.99
    assert (found["refused"]["status"], found["refused"]["code"]) == (400, 26), "errors can be read too"
    assert found["deleted"] == {"subject": "Zoë"}
