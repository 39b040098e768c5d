"""What every process that Ray starts imports first (`RAY_preload_python_modules`): Ray Serve, at less cost.

Ray Serve (2.60, `serve._private.utils`) imports pandas where it is installed, which pymilvus sees to, to encode data
frames: a third of a second and 40 MB of each of a server's dozen processes. And what is imported is looked through for
garbage again and again, of which there is none.
"""

import gc
import sys

from prosopon.deployments.serving.inside import keep_inside

gc.disable()
sys.modules["pandas"] = None  # type: ignore[assignment]  # Importing it fails, as where it is not installed.
try:
    import ray.serve._private.replica  # noqa: F401  # With it all that a replica, the controller and proxies need.
finally:
    del sys.modules["pandas"]
    gc.freeze()
    gc.enable()
keep_inside()  # This package asked for it already, before Ray Serve was here.
