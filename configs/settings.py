"""The settings object: everything that an operator can decide, validated before anything is bound.

`serve run` and `serve deploy` pass it as the application's `args`. The environment is read here and nowhere else;
an explicit value always wins over the environment.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

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
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeploymentSettings(_Strict):
    """Resources of one deployment.

    num_cpus and num_gpus are what Ray reserves for a replica; ONNX, OpenCV and torch get as many threads as the
    share rounds up to. Replicas follow load between min_replicas and max_replicas: one is added for every
    target_ongoing_requests once load has lasted upscale_seconds, and taken away once it has lacked downscale_seconds.
    A replica takes at most max_ongoing_requests at once; up to max_queued_requests more wait at each caller and the
    rest are refused. Requests that wait together form a batch of at most max_batch_size; a replica works on
    concurrent_batches of them at a time, each with its own threads. log_calls: a line for every call, with the id of
    the request that it serves.
    """

    num_cpus: Annotated[float, Field(gt=0)] = 0.1
    num_gpus: Annotated[float, Field(ge=0)] = 0
    min_replicas: Annotated[int, Field(ge=1)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 1
    target_ongoing_requests: Annotated[float, Field(gt=0)] = 4
    upscale_seconds: Annotated[float, Field(ge=0)] = 10
    downscale_seconds: Annotated[float, Field(ge=0)] = 300
    max_ongoing_requests: Annotated[int, Field(ge=1)] = 64
    max_queued_requests: Annotated[int, Field(ge=-1)] = 256
    max_batch_size: Annotated[int, Field(ge=1)] = 8
    batch_wait_ms: Annotated[float, Field(ge=0)] = 0
    concurrent_batches: Annotated[int, Field(ge=1)] = 1
    log_calls: bool = False

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
    """max_side: pictures are shrunk to this longer side (pixels) before detection, never enlarged. Beyond 1280 they are
    looked at in tiles of that size, each of which takes as long as three or four ordinary pictures; a request may ask
    for another size, up to largest_side.

    colocated: the models that the detector's replica runs itself on the faces that it cuts, where they are here; null
    is all. That spares a picture a hop for each, and a small machine a process for each. The others are deployed by
    themselves: where models scale apart, name none of them, ``[]``.
    """

    max_side: Annotated[int, Field(ge=64, le=16384)] = 640
    largest_side: Annotated[int, Field(ge=64, le=16384)] = 4096
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    nms_threshold: Annotated[float, Field(gt=0, le=1)] = 0.3
    colocated: tuple[Role, ...] | None = None

    def colocates(self, roles: Iterable[Role]) -> list[Role]:
        """Which of the roles of faces the detector's replica runs."""
        return list(roles) if self.colocated is None else list(self.colocated)


class GenerationSettings(_Strict):
    """How faces are made out of latents, and how much of what was made is kept.

    truncation_psi: how far styles go from the mean, for the layers up to truncated_pixels; 1 is all the way. What a
    generator's pictures lose in variety they gain in quality. cache_bytes: of pictures and films, the least recently
    used of which are dropped. max_latents: that are kept for clients who registered them, 2 to 50 kB each; beyond that
    the oldest leave.

    inversion_seconds, inversion_steps: what the search for the latent of a photograph may take, whichever ends first;
    longer comes closer. inversion_threads: of that search, which gives way to all other work. upload_bytes: of a
    photograph whose latent is asked for, where that is more than `images.max_bytes`.
    """

    truncation_psi: Annotated[float, Field(ge=0, le=1)] = 0.7
    truncated_pixels: Annotated[int, Field(ge=0)] = 32
    cache_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    max_latents: Annotated[int, Field(ge=1)] = 50_000
    inversion_seconds: Annotated[float, Field(gt=0)] = 30
    inversion_steps: Annotated[int, Field(ge=1)] = 150
    inversion_threads: Annotated[int, Field(ge=1)] = 2
    upload_bytes: Annotated[int, Field(gt=0)] = 16 * 1024**2


class SwapSettings(_Strict):
    """Face swaps, and how much of them is kept.

    format: of results; `source` is the format of the picture that was changed, where it can be written. png keeps
    every pixel outside the faces exactly as it was, jpg does not. max_faces: replaced in one picture. result_hours:
    for which a result can be fetched, and a failed task be retried; then its pictures are deleted. history_days: for
    which a task without pictures stays on record. max_waiting: tasks that may be open at once, of one tenant at
    most max_waiting_per_tenant; more are refused. lease_seconds: after which another worker takes over a task whose
    worker died. max_attempts: of one task. public_url: how clients reach this server; empty is as they asked for it.
    """

    format: Literal["png", "webp", "jpg", "source"] = "png"
    max_faces: Annotated[int, Field(ge=1, le=100)] = 16
    result_hours: Annotated[float, Field(gt=0)] = 24
    history_days: Annotated[float, Field(gt=0)] = 30
    max_waiting: Annotated[int, Field(ge=1)] = 2000
    max_waiting_per_tenant: Annotated[int, Field(ge=1)] = 500
    lease_seconds: Annotated[float, Field(gt=0)] = 20
    max_attempts: Annotated[int, Field(ge=1)] = 5
    public_url: Annotated[str, Field(pattern=r"^(https?://[^/]+)?$")] = ""


class WebhookSettings(_Strict):
    """How webhooks are called. seconds: for one attempt; the pause after it starts at first_pause_seconds and doubles
    up to max_pause_seconds. concurrency: attempts at once, of which at most per_host go to one host and per_key
    belong to one key.
    """

    seconds: Annotated[float, Field(gt=0)] = 10
    max_attempts: Annotated[int, Field(ge=1)] = 12
    first_pause_seconds: Annotated[float, Field(gt=0)] = 5
    max_pause_seconds: Annotated[float, Field(gt=0)] = 3600
    concurrency: Annotated[int, Field(ge=1)] = 64
    per_host: Annotated[int, Field(ge=1)] = 4
    per_key: Annotated[int, Field(ge=1)] = 16


class IngestionSettings(_Strict):
    """How `prosopon ingest` uses the machines.

    num_cpus and num_gpus are a worker's, which gets as many threads as its CPU share rounds up to; workers: None is one
    for each such share of the cluster. fetchers: processes that fetch URLs, concurrent_fetches at a time each.
    batch: pictures that are looked at and committed together. writers: processes that write where the vectors are on a
    Milvus server; a Milvus Lite file has one.
    """

    num_cpus: Annotated[float, Field(gt=0)] = 1
    num_gpus: Annotated[float, Field(ge=0)] = 0
    workers: Annotated[int | None, Field(ge=1)] = None
    fetchers: Annotated[int, Field(ge=1)] = 2
    concurrent_fetches: Annotated[int, Field(ge=1)] = 16
    batch: Annotated[int, Field(ge=1)] = 16
    writers: Annotated[int, Field(ge=1)] = 1


class CompreFaceSettings(_Strict):
    """mask_values: the plugin `mask` says `mask_worn_correctly` and `mask_worn_incorrectly`, as CompreFace's document
    does, or `with_mask` and `mask_weared_incorrect`, as its server does.
    """

    mask_values: Literal["document", "server"] = "document"


class FaceCheckSettings(_Strict):
    """What a search by face costs, and how long it and its pictures are kept.

    search_credits and demo_credits: of one completed search. keep_hours: after the last use of a search; then it is
    deleted, together with its pictures. max_results: faces in an answer, of those that score at least min_score.
    concurrent_searches: made at a time by one process; up to max_waiting more wait, of one tenant at most
    max_waiting_per_tenant, and the rest are refused. Tenants take turns.
    show_files: whether results name the whole path of a picture that was ingested without a url, which tells clients of
    this machine's folders; otherwise the file's name alone.
    null_output: answer ``"output": null`` before there is one, as clients need it that index the answer without
    asking (the vendor's own example does); the API's OpenAPI document does not allow null: false leaves the field out.
    """

    search_credits: Annotated[int, Field(ge=0)] = 3
    demo_credits: Annotated[int, Field(ge=0)] = 0
    keep_hours: Annotated[float, Field(gt=0)] = 24
    max_results: Annotated[int, Field(ge=1, le=1000)] = 100
    min_score: Annotated[int, Field(ge=0, le=100)] = 50
    concurrent_searches: Annotated[int, Field(ge=1)] = 4
    max_waiting: Annotated[int, Field(ge=0)] = 256
    max_waiting_per_tenant: Annotated[int, Field(ge=1)] = 64
    show_files: bool = False
    null_output: bool = True


class HttpSettings(_Strict):
    """What strangers may hold of the server while they talk to it.

    body_bytes: of one request, whatever its route allows; held_bytes: of the bodies that one process holds at a time.
    idle_seconds: between two pieces of a request or of an answer; header_seconds, body_seconds: until its headers and
    its body are there. connections: at a time, of which connections_per_source are from one address; raise that where
    many clients come through one proxy. requests_per_second: of one key or, on routes that ask for none, of one
    address; null is any number. After a pause `burst` of them may come at once. More are answered 429, and each ingress
    replica counts for itself. trusted_proxies: addresses and networks of the proxies before this server, whose
    X-Forwarded-For says who asks; everybody else's is replaced by the address that the connection comes from.
    """

    body_bytes: Annotated[int, Field(ge=1)] = 128 * 1024 * 1024
    held_bytes: Annotated[int, Field(ge=1)] = 256 * 1024 * 1024
    idle_seconds: Annotated[float, Field(gt=0)] = 20
    header_seconds: Annotated[float, Field(gt=0)] = 10
    body_seconds: Annotated[float, Field(gt=0)] = 120
    connections: Annotated[int, Field(ge=16)] = 8192
    connections_per_source: Annotated[int, Field(ge=1)] = 512
    requests_per_second: Annotated[float | None, Field(gt=0)] = None
    burst: Annotated[int, Field(ge=1)] = 20
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()


class ImageLimits(_Strict):
    """Checked before a picture is decoded. Sizes in bytes and pixels.

    max_segments: parts of a file's header and metadata, such as a JPEG's segments or a PNG's chunks; max_scans: of a
    progressive JPEG. Pictures that may take long or much memory to decode go to a process of their own, which ends
    after decode_seconds of a processor's time and cannot take more than decode_bytes of memory; of these at most
    costly_decodes are at work on a machine, and the others wait.
    """

    max_bytes: Annotated[int, Field(ge=1)] = 5 * 1024 * 1024
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000
    max_segments: Annotated[int, Field(ge=1)] = 2000
    max_scans: Annotated[int, Field(ge=1)] = 500
    decode_seconds: Annotated[float, Field(gt=0)] = 10
    decode_bytes: Annotated[int, Field(ge=1 << 26)] = 1 << 30
    costly_decodes: Annotated[int, Field(ge=1)] = 1


class FetchSettings(_Strict):
    """What the server may ask of other servers when a client names a URL.

    Addresses that are not public are refused. allow: exceptions, each a host's name (``pictures.internal``,
    ``*.internal``: whatever it resolves to), an address or a network (``10.1.0.0/16``). seconds: for one request
    with all of its redirects; connect_seconds: for one connection.
    """

    allow: tuple[str, ...] = ()
    seconds: Annotated[float, Field(gt=0)] = 20
    connect_seconds: Annotated[float, Field(gt=0)] = 5
    max_redirects: Annotated[int, Field(ge=0)] = 5


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
    """Which weights serve which role.

    pack: `open`, or `insightface/<pack name or folder>`.
    overrides: role -> artifact name of the registry, or the path of a file.
    generator_class: of a StyleGAN2 file with classes, the one whose faces are made.
    plans: role -> runtime and precision on CPUs, for the roles detector and generator. Unset, the fastest on this
    machine, by measurement, of those in full precision (docs/performance.md).
    """

    pack: str = "open"
    overrides: dict[Role, str] = {}
    generator_class: Annotated[int, Field(ge=0)] | None = None
    plans: dict[Literal["detector", "generator"], PlanName] = {}
    directory: Path = Field(default_factory=lambda: _absolute(_Environment().models))
    mirror: Path | None = Field(default_factory=_mirror)


class VectorIndexSettings(_Strict):
    """How a Milvus server indexes embeddings. A Milvus Lite file has no index: searches are answered from memory.

    kind: Milvus' name. build and search: its parameters, where they differ from the defaults in
    `deployments/state/vectors/index.py`. candidates: so many times more faces than are wanted are asked for, and
    compared exactly with the records' embeddings. partitions: that galleries are spread over; shards: that writes are
    spread over; replicas: of the loaded index. These three are chosen when the collection is made.
    """

    kind: Literal["HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "DISKANN"] = "HNSW"
    build: dict[str, int | float | str | bool] = {}
    search: dict[str, int | float | str | bool] = {}
    candidates: Annotated[int, Field(ge=1)] = 4
    partitions: Annotated[int, Field(ge=1, le=1024)] = 64
    shards: Annotated[int, Field(ge=1)] = 1
    replicas: Annotated[int, Field(ge=1)] = 1


def local_path(url: str) -> str | None:
    """The path of a URL that names a file or a folder of this machine: SQLAlchemy's of SQLite, or fsspec's."""
    scheme, _, rest = url.partition("://")
    if not rest:
        return url
    if scheme.startswith("sqlite"):
        return rest.removeprefix("/").partition("?")[0]
    return rest if scheme in ("file", "local") else None


class StateSettings(_Strict):
    """Where state lives. Unset values fall to SQLite, a Milvus Lite file and a directory under `home`.

    database_url: SQLAlchemy URL; blobs_url: fsspec URL of a directory; vectors_uri: a Milvus Lite file or a
    server's URI (`http://host:19530`), which `vector_index` is for.
    """

    home: Path = Field(default_factory=lambda: _absolute(_Environment().home))
    database_url: str = Field(default_factory=lambda: _Environment().database_url)
    blobs_url: str = Field(default_factory=lambda: _Environment().blobs_url)
    vectors_uri: str = Field(default_factory=lambda: _Environment().vectors_uri)
    vectors_token: str = Field(default_factory=lambda: _Environment().vectors_token, repr=False)
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
    def vectors_are_local(self) -> bool:
        """True for a Milvus Lite file, which one process alone may write."""
        return "://" not in self.vectors


class Deployments(_Strict):
    """Resources of every deployment; a model of faces has its role's name, and its defaults from beside the model.

    The defaults are the laptop's: two cores, one process a model.

    On two cores the detector takes nearly all the time, and two pictures side by side on one thread each beat one
    after the other on two. One process with two worker threads shares the weights and never has one replica idle
    while the other's queue is full. The generator gains nothing from a second thread or from a batch (on a GPU it
    does: give it a larger max_batch_size there). A film may take a minute, so few wait.

    What waits should wait in the replica (max_ongoing_requests): a caller that holds requests back asks again at
    growing intervals, and the replica runs dry meanwhile. But a crowd waits at the caller as a whole until the replica
    has said how much it has to do: with a short queue there, most are refused though the replica is idle.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, DeploymentSettings] = Field(init=False)

    ingress: DeploymentSettings = DeploymentSettings(max_ongoing_requests=2048)
    detector: DeploymentSettings = DeploymentSettings(
        num_cpus=0.5, max_batch_size=1, concurrent_batches=2, max_ongoing_requests=80, max_queued_requests=64
    )
    face_index: DeploymentSettings = DeploymentSettings(max_ongoing_requests=256, max_batch_size=64)
    identifier: DeploymentSettings = DeploymentSettings()
    generator: DeploymentSettings = DeploymentSettings(
        num_cpus=0.3, max_batch_size=1, concurrent_batches=2, max_ongoing_requests=16, max_queued_requests=32
    )
    video_encoder: DeploymentSettings = DeploymentSettings(
        concurrent_batches=2, max_ongoing_requests=2, max_queued_requests=6
    )
    swap_worker: DeploymentSettings = DeploymentSettings(num_cpus=0.05, concurrent_batches=2)
    courier: DeploymentSettings = DeploymentSettings(num_cpus=0.01)
    inverter: DeploymentSettings = DeploymentSettings(
        num_cpus=0.02, max_batch_size=1, max_ongoing_requests=4, max_queued_requests=2
    )

    @property
    def of_roles(self) -> dict[Role, DeploymentSettings]:
        """What was set for models of faces."""
        return self.__pydantic_extra__


class Settings(_Strict):
    """The `args` of the application.

    apis: which of the five APIs are served; only the deployments that they need are started.
    cors: from which origins a browser's pages may call an API (``https://example.org``); ``*``, which is the default,
    is from all, none from nowhere.
    development_key: create a key with every scope at the first start and print it.
    """

    apis: tuple[Api, ...] = ("compreface", "trueface", "facecheck", "checkface", "aifaceswap")
    models: ModelSettings = Field(default_factory=ModelSettings)
    detection: DetectionSettings = DetectionSettings()
    images: ImageLimits = ImageLimits()
    http: HttpSettings = HttpSettings()
    ingestion: IngestionSettings = IngestionSettings()
    fetch: FetchSettings = FetchSettings()
    swap: SwapSettings = SwapSettings()
    webhooks: WebhookSettings = WebhookSettings()
    generation: GenerationSettings = GenerationSettings()
    compreface: CompreFaceSettings = CompreFaceSettings()
    facecheck: FaceCheckSettings = FaceCheckSettings()
    state: StateSettings = Field(default_factory=StateSettings)
    deployments: Deployments = Deployments()
    cors: dict[Api, tuple[str, ...]] = {}
    development_key: bool = True

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
