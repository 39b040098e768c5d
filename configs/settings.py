"""The settings object: everything that an operator can decide, validated before anything is bound.

`serve run` and `serve deploy` pass it as the application's `args`. The environment is read here and nowhere else;
an explicit value always wins over the environment.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Api = Literal["compreface", "trueface", "facecheck", "checkface", "aifaceswap"]
Role = str
"""detector, mapper, generator, swapper, or the name of a role of faces. Those are declared beside their models, in
`models/faces/attributes/`; `models.load.check_names` refuses others."""


PlanName = Literal[
    "onnxruntime/float32", "onnxruntime/int8", "openvino/float32", "openvino/bfloat16", "openvino/int8"
]
"""A runtime and the precision in which it computes a network."""


class _Strict(BaseModel):
    """The text below a setting is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DeploymentSettings(_Strict):
    """Resources of one deployment."""

    num_cpus: Annotated[float, Field(gt=0)] = 0.1
    """CPUs that Ray reserves for a replica. ONNX, OpenCV and torch get as many threads as that rounds up to."""
    num_gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs that Ray reserves for a replica."""
    min_replicas: Annotated[int, Field(ge=1)] = 1
    """How many replicas there always are."""
    max_replicas: Annotated[int, Field(ge=1)] = 1
    """How many there may be: they follow load."""
    target_ongoing_requests: Annotated[float, Field(gt=0)] = 4
    """Requests of one replica at a time: there is one replica for each that many."""
    upscale_seconds: Annotated[float, Field(ge=0)] = 10
    """How long load lasts before replicas are added."""
    downscale_seconds: Annotated[float, Field(ge=0)] = 300
    """How long load lacks before replicas are taken away."""
    max_ongoing_requests: Annotated[int, Field(ge=1)] = 64
    """How many requests are in a replica at once, at most."""
    max_queued_requests: Annotated[int, Field(ge=-1)] = 256
    """How many more wait at each caller; the rest are refused. -1 is any number."""
    max_batch_size: Annotated[int, Field(ge=1)] = 8
    """How many requests that wait together form a batch, at most."""
    batch_wait_ms: Annotated[float, Field(ge=0)] = 0
    """How long a batch waits to be filled."""
    concurrent_batches: Annotated[int, Field(ge=1)] = 1
    """Batches that a replica works on at a time, each with threads of its own."""
    log_calls: bool = False
    """A line for every call, with the id of the request that it serves."""

    @model_validator(mode="after")
    def _replicas_in_order(self) -> "DeploymentSettings":
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas is smaller than min_replicas")
        return self

    @property
    def threads(self) -> int:
        """Threads of a session in one replica: the CPU share, rounded up."""
        return max(1, -int(-self.num_cpus // 1))


class DetectionSettings(_Strict):
    """How faces are looked for."""

    max_side: Annotated[int, Field(ge=64, le=16384)] = 640
    """Pictures are shrunk to this longer side (pixels) before detection, never enlarged. Beyond 1280 they are looked at
    in tiles of that size, each of which takes as long as three or four ordinary pictures."""
    largest_side: Annotated[int, Field(ge=64, le=16384)] = 4096
    """Up to this size a request may ask for another."""
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least probability of a face."""
    nms_threshold: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Of two faces that overlap by more (intersection over union), the less probable is dropped."""
    colocated: tuple[Role, ...] | None = None
    """The models that the detector's replica runs itself on the faces that it cuts, where they are here; null is all.
    That spares a picture a hop for each, and a small machine a process for each. The others are deployed by
    themselves: where models scale apart, name none of them, ``[]``."""

    def colocates(self, roles: Iterable[Role]) -> list[Role]:
        """Which of the roles of faces the detector's replica runs."""
        return list(roles) if self.colocated is None else list(self.colocated)


class GenerationSettings(_Strict):
    """How faces are made out of latents, and how much of what was made is kept."""

    truncation_psi: Annotated[float, Field(ge=0, le=1)] = 0.7
    """How far styles go from the mean; 1 is all the way. What a generator's pictures lose in variety they gain in
    quality."""
    truncated_pixels: Annotated[int, Field(ge=0)] = 32
    """Highest resolution, in pixels, of the layers that truncation_psi is for."""
    cache_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    """Most bytes of pictures and films that are kept; the least recently used are dropped."""
    max_latents: Annotated[int, Field(ge=1)] = 50_000
    """Most latents that are kept for clients who registered them, 2 to 50 kB each; beyond that the oldest leave."""
    inversion_seconds: Annotated[float, Field(gt=0)] = 30
    """Longest search for the latent of a photograph; longer comes closer."""
    inversion_steps: Annotated[int, Field(ge=1)] = 150
    """Most steps of that search, whichever ends first."""
    inversion_threads: Annotated[int, Field(ge=1)] = 2
    """Threads of that search, which gives way to all other work."""
    upload_bytes: Annotated[int, Field(gt=0)] = 16 * 1024**2
    """Largest photograph whose latent is asked for, where that is more than `images.max_bytes`."""


class FilmLimits(_Strict):
    """Films (gif, animated webp, mp4) in which faces are swapped. They are decoded in a process of their own, which has
    `images.decode_bytes` of memory and, for every second of the film and one more, `images.decode_seconds`."""

    max_bytes: Annotated[int, Field(ge=1)] = 16 * 1024**2
    """Largest file, in bytes."""
    max_seconds: Annotated[float, Field(ge=0)] = 15
    """Longest film; 0 takes none."""
    max_frames: Annotated[int, Field(ge=2)] = 450
    """Most frames."""
    max_pixels: Annotated[int, Field(ge=1)] = 1920 * 1080
    """Largest frame: width times height."""
    points_per_second: Annotated[int, Field(ge=0)] = 2
    """What each second that has begun costs for each face, beside the price of a picture."""


class SwapSettings(_Strict):
    """Face swaps, and how much of them is kept."""

    method: Literal["best", "regenerate", "warp", "inswapper"] = "best"
    """`warp` lays the face's own pixels over the other's, in a moment; `regenerate` makes the new face with the face
    generator, in some 10 seconds of two cores and 1.5 GB of memory; `inswapper` is InsightFace's network, where the
    role swapper has it. `best` is inswapper there, else regenerate for faces of some size as long as no crowd waits,
    and warp for all others."""
    most_regenerated: Annotated[int, Field(ge=1)] = 3
    """Faces of one picture up to which each is made anew, one after the other; of more, all are warped."""
    crowd: Annotated[int, Field(ge=1)] = 20
    """Tasks open at once above which `best` is warp for all: they would wait for minutes."""
    retry: bool = True
    """Whether a face whose result fails by `warp` or `inswapper` is made again by `regenerate`, where its models are
    here, before the task fails; that takes 2 GB of memory from then on."""
    seconds: Annotated[float, Field(gt=0)] = 30
    """How long one face may be made anew."""
    threads: Annotated[int, Field(ge=1)] = 2
    """Of making one face anew."""
    least_similarity: Annotated[float, Field(ge=-1, le=1)] = 0.15
    """By the judge's cosine, of a result to the new face; that to the one it replaces may be 0.1 more at most. A result
    that fails is made by another method, then refused."""
    most_shift: Annotated[float, Field(gt=0)] = 0.15
    """Most that landmarks may have moved, in distances of the eyes."""
    least_eyes: Annotated[float, Field(ge=0)] = 16
    """Pixels between the eyes of a face that is put in, and of one that is judged."""
    least_quality: Annotated[float, Field(ge=0, le=1)] = 0.74
    """Quality (0..1, as `galleries.least_quality` counts it) of a face that is put in: below it are faces that are
    covered, out of focus or dark."""
    most_yaw: Annotated[float, Field(gt=0, le=90)] = 60
    """Degrees that a face that is put in may be turned sideways."""
    format: Literal["png", "webp", "jpg", "source"] = "png"
    """Format of results; `source` is the format of the picture that was changed, where it can be written. png keeps
    every pixel outside the faces exactly as it was, jpg does not."""
    max_faces: Annotated[int, Field(ge=1, le=100)] = 16
    """Most faces that are replaced in one picture."""
    result_hours: Annotated[float, Field(gt=0)] = 24
    """How long a result can be fetched, and a failed task be retried; then its pictures are deleted."""
    history_days: Annotated[float, Field(gt=0)] = 30
    """How long a task without pictures stays on record."""
    max_waiting: Annotated[int, Field(ge=1)] = 2000
    """Tasks that may be open at once; more are refused."""
    max_waiting_per_tenant: Annotated[int, Field(ge=1)] = 500
    """Tasks of one tenant that may be open at once."""
    lease_seconds: Annotated[float, Field(gt=0)] = 20
    """Time after which another worker takes over a task whose worker died."""
    max_attempts: Annotated[int, Field(ge=1)] = 5
    """Attempts before a task is given up."""
    films: FilmLimits = FilmLimits()


class WebhookSettings(_Strict):
    """How webhooks are called."""

    seconds: Annotated[float, Field(gt=0)] = 10
    """Longest time of one attempt."""
    max_attempts: Annotated[int, Field(ge=1)] = 12
    """Attempts before a call is given up."""
    first_pause_seconds: Annotated[float, Field(gt=0)] = 5
    """Pause after the first attempt; it doubles after each further one."""
    max_pause_seconds: Annotated[float, Field(gt=0)] = 3600
    """Longest pause."""
    concurrency: Annotated[int, Field(ge=1)] = 64
    """Attempts at once."""
    per_host: Annotated[int, Field(ge=1)] = 4
    """How many of them go to one host, at most."""
    per_key: Annotated[int, Field(ge=1)] = 16
    """How many of them belong to one key, at most."""


class IngestionSettings(_Strict):
    """How `prosopon ingest` uses the machines."""

    num_cpus: Annotated[float, Field(gt=0)] = 1
    """CPUs of a worker, which gets as many threads as that rounds up to."""
    num_gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs of a worker."""
    workers: Annotated[int | None, Field(ge=1)] = None
    """Workers; null is one for each such share of the cluster."""
    fetchers: Annotated[int, Field(ge=1)] = 2
    """Processes that fetch URLs."""
    concurrent_fetches: Annotated[int, Field(ge=1)] = 16
    """URLs that each of them fetches at a time."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Pictures that are looked at and committed together."""
    alone: Annotated[int, Field(ge=0)] = 32
    """So many pictures, at most, the command looks at by itself where no cluster runs: to start one would take longer.
    Not where the vectors are on a Milvus server."""
    writers: Annotated[int, Field(ge=1)] = 1
    """Processes that write where the vectors are on a Milvus server; a Milvus Lite file has one."""


class CompreFaceSettings(_Strict):
    """What CompreFace's clients are told."""

    mask_values: Literal["document", "server"] = "document"
    """`document`: the plugin `mask` says `mask_worn_correctly` and `mask_worn_incorrectly`, as CompreFace's document
    does; `server`: `with_mask` and `mask_weared_incorrect`, as its server does."""


class GallerySettings(_Strict):
    """What a face must be to be enrolled, by any API, and where galleries are searched."""

    least_quality: Annotated[float, Field(ge=0, le=1)] = 0
    """Faces whose `quality` (0..1; CompreFace's answer tells it as `X-Face-Quality`) is below it are refused; 0 takes
    all. A sharp portrait has 0.75 or more, a face that is far out of focus less than 0.5."""
    copied_faces: Annotated[int, Field(ge=0)] = 4000
    """Galleries of up to so many faces, in a Milvus Lite file, are searched in copies where the request is, which
    spares it a hop. A process holds at most 64 MiB of copies; 0 makes none."""
    search_threads: Annotated[int, Field(ge=1)] = 2
    """Threads that share a search of a gallery in memory from 65,536 faces on."""


class FaceCheckSettings(_Strict):
    """What a search by face costs, and how long it and its pictures are kept."""

    search_credits: Annotated[int, Field(ge=0)] = 3
    """Price of a completed search."""
    demo_credits: Annotated[int, Field(ge=0)] = 0
    """Price of a completed search with `demo`."""
    keep_hours: Annotated[float, Field(gt=0)] = 24
    """How long a search is kept after its last use; then it is deleted, together with its pictures."""
    max_results: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most faces in an answer."""
    min_score: Annotated[int, Field(ge=0, le=100)] = 50
    """Least score of a face in an answer."""
    concurrent_searches: Annotated[int, Field(ge=1)] = 4
    """Searches that one process makes at a time."""
    max_waiting: Annotated[int, Field(ge=0)] = 256
    """Searches that wait for these in one process; more are refused."""
    max_waiting_per_tenant: Annotated[int, Field(ge=1)] = 64
    """Most of them of one tenant; tenants take turns."""
    show_files: bool = False
    """Whether results name the whole path of a picture that was ingested without a url, which tells clients of this
    machine's folders; otherwise the file's name alone."""
    null_output: bool = True
    """Answer ``"output": null`` before there is one, as clients need it that index the answer without asking (the
    vendor's own example does). The API's OpenAPI document does not allow null: false leaves the field out."""


class HttpSettings(_Strict):
    """How clients reach this server, and what strangers may hold of it while they talk to it."""

    public_url: Annotated[str, Field(pattern=r"^(https?://[\w.:\[\]-]+(/[\w.~-]+)*)?$")] = ""
    """How clients reach this server, such as ``https://example.org/faces`` behind a proxy; empty is as they asked for
    it. The proxy may keep the path's beginning or take it off."""
    body_bytes: Annotated[int, Field(ge=1)] = 128 * 1024 * 1024
    """Largest body of a request, whatever its route allows."""
    held_bytes: Annotated[int, Field(ge=1)] = 256 * 1024 * 1024
    """Most bytes of all bodies that one process holds at a time."""
    idle_seconds: Annotated[float, Field(gt=0)] = 20
    """Longest pause between two pieces of a request or of an answer."""
    header_seconds: Annotated[float, Field(gt=0)] = 10
    """Longest time until a request's headers are there."""
    body_seconds: Annotated[float, Field(gt=0)] = 120
    """Longest time until its body is there."""
    connections: Annotated[int, Field(ge=16)] = 8192
    """Most connections at a time."""
    connections_per_source: Annotated[int, Field(ge=1)] = 512
    """Most of these from one address; raise that where many clients come through one proxy."""
    requests_per_second: Annotated[float | None, Field(gt=0)] = None
    """Most requests of one key or, on routes that ask for none, of one address; null is any number. More are answered
    429, and each ingress replica counts for itself."""
    burst: Annotated[int, Field(ge=1)] = 20
    """So many of them may come at once after a pause."""
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    """Addresses and networks of the proxies before this server, whose X-Forwarded-For says who asks; everybody else's
    is replaced by the address that the connection comes from."""

    @property
    def prefix(self) -> str:
        """What the paths of `public_url` begin with, without a slash at its end; mostly nothing."""
        return urlsplit(self.public_url).path


class ImageLimits(_Strict):
    """Checked before a picture is decoded. Pictures that may take long or much memory to decode go to a process of
    their own."""

    max_bytes: Annotated[int, Field(ge=1)] = 5 * 1024 * 1024
    """Largest file, in bytes."""
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000
    """Largest picture: width times height."""
    max_segments: Annotated[int, Field(ge=1)] = 2000
    """Most parts of a file's header and metadata, such as a JPEG's segments or a PNG's chunks."""
    max_scans: Annotated[int, Field(ge=1)] = 500
    """Most scans of a progressive JPEG."""
    decode_seconds: Annotated[float, Field(gt=0)] = 10
    """Processor time after which that process ends."""
    decode_bytes: Annotated[int, Field(ge=1 << 26)] = 1 << 30
    """Most memory, in bytes, that that process can take."""
    costly_decodes: Annotated[int, Field(ge=1)] = 1
    """How many such pictures are decoded at a time on a machine, at most; the others wait."""


class FetchSettings(_Strict):
    """What the server may ask of other servers when a client names a URL. Addresses that are not public are refused."""

    allow: tuple[str, ...] = ()
    """Exceptions, each a host's name (``pictures.internal``, ``*.internal``: whatever it resolves to), an address or a
    network (``10.1.0.0/16``)."""
    seconds: Annotated[float, Field(gt=0)] = 20
    """Longest request, with all of its redirects."""
    connect_seconds: Annotated[float, Field(gt=0)] = 5
    """Longest wait for a connection."""
    max_redirects: Annotated[int, Field(ge=0)] = 5
    """Most redirects of one request."""


class _Environment(BaseSettings):
    """Defaults out of the environment, each under `PROSOPON_` and its name."""

    model_config = SettingsConfigDict(env_prefix="PROSOPON_", env_ignore_empty=True, extra="ignore")

    home: Path = Path("~/.prosopon")
    models: Path = Path("~/.cache/prosopon/models")
    models_mirror: Path | None = None
    database_url: str = ""
    blobs_url: str = ""
    vectors_uri: str = ""
    vectors_token: str = ""


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _mirror() -> Path | None:
    mirror = _Environment().models_mirror
    return mirror and _absolute(mirror)


class ModelSettings(_Strict):
    """Which weights serve which role."""

    pack: str = "open"
    """`open`, or `insightface/<pack name or folder>`."""
    overrides: dict[Role, str] = {}
    """Role -> artifact name of the registry, or the path of a file."""
    generator_class: Annotated[int, Field(ge=0)] | None = None
    """Of a StyleGAN2 file with classes, the one whose faces are made."""
    plans: dict[Literal["detector", "generator"], PlanName] = {}
    """Role -> runtime and precision on CPUs. Unset, the fastest on this machine, by measurement, of those that cost
    no accuracy or memory worth naming (docs/performance.md)."""
    directory: Path = Field(default_factory=lambda: _absolute(_Environment().models))
    """Where weights are kept."""
    mirror: Path | None = Field(default_factory=_mirror)
    """A folder in which they are looked for first."""


class VectorIndexSettings(_Strict):
    """How a Milvus server indexes embeddings. A Milvus Lite file has no index: searches are answered from memory."""

    kind: Literal["HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "DISKANN"] = "HNSW"
    """Milvus' name of the index."""
    build: dict[str, int | float | str | bool] = {}
    """Parameters of the index, where they differ from the defaults in `deployments/state/vectors/index.py`."""
    search: dict[str, int | float | str | bool] = {}
    """Parameters of a search, in the same way."""
    candidates: Annotated[int, Field(ge=1)] = 4
    """So many times more faces than are wanted are asked for, and compared exactly with the records' embeddings."""
    partitions: Annotated[int, Field(ge=1, le=1024)] = 64
    """Partitions that galleries are spread over; chosen when the collection is made."""
    shards: Annotated[int, Field(ge=1)] = 1
    """Shards that writes are spread over; chosen when the collection is made."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """Replicas of the loaded index; chosen when the collection is made."""


def local_path(url: str) -> str | None:
    """The path of a URL that names a file or a folder of this machine: SQLAlchemy's of SQLite, or fsspec's."""
    scheme, _, rest = url.partition("://")
    if not rest:
        return url
    if scheme.startswith("sqlite"):
        return rest.removeprefix("/").partition("?")[0]
    return rest if scheme in ("file", "local") else None


class StateSettings(_Strict):
    """Where state lives. What is not set lies under `home`."""

    home: Path = Field(default_factory=lambda: _absolute(_Environment().home))
    """Folder of what has no place of its own below."""
    database_url: str = Field(default_factory=lambda: _Environment().database_url)
    """SQLAlchemy's URL of the records."""
    blobs_url: str = Field(default_factory=lambda: _Environment().blobs_url)
    """fsspec's URL of a directory for images and results."""
    vectors_uri: str = Field(default_factory=lambda: _Environment().vectors_uri)
    """A Milvus Lite file, or a server's URI (`http://host:19530`)."""
    vectors_token: str = Field(default_factory=lambda: _Environment().vectors_token, repr=False)
    """Token of a Milvus server."""
    vector_index: VectorIndexSettings = VectorIndexSettings()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _keep_apart(self) -> "StateSettings":
        """A damaged index is set aside as a whole: nothing else may be in its folder, nor it in that of the images."""
        if self.vectors_are_local:
            vectors = Path(self.vectors).expanduser().resolve()
            others = [
                self.home,
                *(Path(url) for url in (local_path(self.database), local_path(self.blobs)) if url),
            ]
            for other in (path.expanduser().resolve() for path in others):
                if other.is_relative_to(vectors):
                    raise ValueError(f"state.vectors_uri: {vectors} holds {other}: name a folder of its own")
            blobs = local_path(self.blobs)
            if blobs and vectors.is_relative_to(Path(blobs).expanduser().resolve()):
                raise ValueError(f"state.vectors_uri: {vectors} is in the folder of the images: name another")
        return self

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the records."""
        return self.database_url or f"sqlite:///{self.home / 'records.db'}"

    @property
    def blobs(self) -> str:
        """fsspec URL of the directory that holds the blobs."""
        return self.blobs_url or f"file://{self.home / 'blobs'}"

    @property
    def vectors(self) -> str:
        """Milvus Lite file or server URI."""
        return self.vectors_uri or str(self.home / "vectors.db")

    @property
    def versions(self) -> Path:
        """File by which other processes of the machine know what of a Milvus Lite file has changed."""
        return self.home / "gallery-versions"

    @property
    def vectors_are_local(self) -> bool:
        """True for a Milvus Lite file, which one process alone may write."""
        return "://" not in self.vectors


class Deployments(_Strict):
    """Resources of every deployment; a model of faces has its role's name, and its defaults from beside the model.

    The defaults are the laptop's: two cores, one process a model.

    On two cores the detector takes nearly all the time, and two pictures side by side on one thread each beat one
    after the other on two. One process with two worker threads shares the weights and never has one replica idle
    while the other's queue is full. The generator gains nothing from a batch (on a GPU it does: give it a larger
    max_batch_size there), and OpenVINO makes one face at a time, on the threads of all. A film may take a minute, so
    few wait.

    What waits should wait in the replica (max_ongoing_requests): a caller that holds requests back asks again at
    growing intervals, and the replica runs dry meanwhile. But a crowd waits at the caller as a whole until the replica
    has said how much it has to do: with a short queue there, most are refused though the replica is idle.
    """

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)
    __pydantic_extra__: dict[str, DeploymentSettings] = Field(init=False)

    ingress: DeploymentSettings = DeploymentSettings(max_ongoing_requests=2048)
    """Takes the requests."""
    detector: DeploymentSettings = DeploymentSettings(
        num_cpus=0.5, max_batch_size=1, concurrent_batches=2, max_ongoing_requests=80, max_queued_requests=64
    )
    """Decodes pictures and finds faces."""
    face_index: DeploymentSettings = DeploymentSettings(max_ongoing_requests=256, max_batch_size=64)
    """Holds galleries."""
    identifier: DeploymentSettings = DeploymentSettings()
    """Trains and asks the classifiers of collections."""
    generator: DeploymentSettings = DeploymentSettings(
        num_cpus=0.3, max_batch_size=1, concurrent_batches=2, max_ongoing_requests=16, max_queued_requests=32
    )
    """Makes faces."""
    video_encoder: DeploymentSettings = DeploymentSettings(
        concurrent_batches=2, max_ongoing_requests=2, max_queued_requests=6
    )
    """Makes films."""
    swap_worker: DeploymentSettings = DeploymentSettings(num_cpus=0.05, concurrent_batches=2)
    """Swaps faces."""
    courier: DeploymentSettings = DeploymentSettings(num_cpus=0.01)
    """Calls webhooks."""
    inverter: DeploymentSettings = DeploymentSettings(
        num_cpus=0.02, max_batch_size=1, max_ongoing_requests=4, max_queued_requests=2
    )
    """Finds latents of photographs."""

    @property
    def of_roles(self) -> dict[Role, DeploymentSettings]:
        """What was set for models of faces."""
        return self.__pydantic_extra__


class Settings(_Strict):
    """The `args` of the application."""

    apis: tuple[Api, ...] = ("compreface", "trueface", "facecheck", "checkface", "aifaceswap")
    """Which of the five APIs are served; only the deployments that they need are started."""
    models: ModelSettings = Field(default_factory=ModelSettings)
    detection: DetectionSettings = DetectionSettings()
    images: ImageLimits = ImageLimits()
    http: HttpSettings = HttpSettings()
    ingestion: IngestionSettings = IngestionSettings()
    fetch: FetchSettings = FetchSettings()
    swap: SwapSettings = SwapSettings()
    webhooks: WebhookSettings = WebhookSettings()
    generation: GenerationSettings = GenerationSettings()
    galleries: GallerySettings = GallerySettings()
    compreface: CompreFaceSettings = CompreFaceSettings()
    facecheck: FaceCheckSettings = FaceCheckSettings()
    state: StateSettings = Field(default_factory=StateSettings)
    deployments: Deployments = Deployments()
    cors: dict[Api, tuple[str, ...]] = {}
    """From which origins a browser's pages may call an API (``https://example.org``); ``*``, which is the default, is
    from all, none from nowhere."""
    development_key: bool = True
    """Create a key with every scope at the first start and print it."""

    @model_validator(mode="after")
    def _one_writer(self) -> "Settings":
        if self.state.vectors_are_local and self.deployments.face_index.max_replicas > 1:
            raise ValueError(
                "face_index: a Milvus Lite file has one writer; several replicas need a Milvus server"
            )
        return self

    def serves(self, *apis: Api) -> bool:
        """Whether one of the APIs is served."""
        return any(api in self.apis for api in apis)

    @property
    def photographs(self) -> ImageLimits:
        """Of pictures whose latent is asked for: people bring photographs as they are."""
        most = max(self.images.max_bytes, self.generation.upload_bytes)
        return self.images.model_copy(update={"max_bytes": most})

    def roles(self, faces: Iterable[Role]) -> tuple[Role, ...]:
        """The roles whose models the configured APIs use where the pack has them. faces: all that look at faces."""
        roles: dict[Role, None] = {}
        for api in self.apis:
            for role in _ROLES[api]:
                roles.update(dict.fromkeys(faces if role == _FACES else [role]))
        if self.serves("aifaceswap") and self.swap.method in ("best", "regenerate"):
            roles.update(dict.fromkeys(_REGENERATING))
        return tuple(roles)


_FACES = "faces"
"""All roles of faces."""
_ROLES: dict[Api, tuple[Role, ...]] = {
    "compreface": ("detector", _FACES),
    # The generator makes the strangers that classifiers learn; it is not served.
    "trueface": ("detector", _FACES, "mapper", "generator"),
    "facecheck": ("detector", "embedder"),
    # A photograph's latent is found by its face.
    "checkface": ("mapper", "generator", "detector", "embedder", "landmarks"),
    "aifaceswap": ("detector", "landmarks", "swapper"),
}
_REGENERATING: tuple[Role, ...] = ("mapper", "generator", "embedder")
"""What a face that is put in is made anew with."""
