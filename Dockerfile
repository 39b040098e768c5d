# Prosopon with the models of pack `open` inside: on CPUs, or with DEVICE=gpu on an NVIDIA GPU.
#
#   docker build -t prosopon:0.1.0 .
#   docker run --init -p 127.0.0.1:8000:8000 -v prosopon:/data --shm-size 2g prosopon:0.1.0
#
#   docker build --build-arg DEVICE=gpu -t prosopon:0.1.0-gpu .
#   docker run --init --gpus all -p 127.0.0.1:8000:8000 -v prosopon:/data --shm-size 4g prosopon:0.1.0-gpu
#
# PIP_ARGUMENTS: of uv, such as a mirror's index; on CPUs they say where torch's builds for CPUs are, too.
ARG DEVICE

FROM python:3.11-slim-bookworm AS source
# What OpenCV and FFmpeg load; wget is what KubeRay's probes of Ray's pods call.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 wget \
    && rm -rf /var/lib/apt/lists/*
RUN python -m pip install --no-cache-dir --upgrade pip uv
WORKDIR /opt/prosopon
COPY pyproject.toml README.md LICENSE serve_config.yaml ./
COPY .package .package
COPY configs configs
COPY deployments deployments
COPY models models
COPY pipelines pipelines

FROM source AS cpu
# By default torch brings CUDA, some gigabytes that no CPU can use.
ARG PIP_ARGUMENTS="--torch-backend cpu"
RUN uv pip install --system --no-cache ${PIP_ARGUMENTS} ".[postgres,s3]" \
    && python -c "import torch; assert torch.version.cuda is None, torch.__version__" \
    && rm -rf build
RUN cp serve_config.yaml config.yaml

FROM source AS gpu
# torch and ONNX Runtime bring CUDA's libraries in packages; the driver is the host's, which NVIDIA's container toolkit
# puts in. It reads these three.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility NVIDIA_REQUIRE_CUDA="cuda>=13.0"
ARG PIP_ARGUMENTS=""
# onnxruntime, which insightface asks for, and onnxruntime-gpu share a module, so only the second is installed.
RUN echo "onnxruntime; python_version < '3'" > /tmp/without \
    && uv pip install --system --no-cache ${PIP_ARGUMENTS} --override /tmp/without ".[postgres,s3,gpu]" \
    && python -c "import torch, torchvision; assert torch.version.cuda" \
    && python -c "import onnxruntime; assert 'CUDAExecutionProvider' in onnxruntime.get_available_providers()" \
    && rm -rf build /tmp/without
RUN cp configs/gpu.yaml config.yaml

# The default stands here, since Debian's buildah does not find it above.
FROM ${DEVICE:-cpu}
# The container's port is open to whom `docker run -p` opens it to.
RUN sed -i 's/host: 127.0.0.1/host: 0.0.0.0/' config.yaml && grep -q 'host: 0.0.0.0' config.yaml

RUN useradd --create-home --uid 1000 prosopon && install -d -o prosopon -g prosopon /data /opt/models
USER prosopon
# How replicas of a cluster talk to each other, and how they compute; `prosopon serve` sets these by itself.
ENV PROSOPON_HOME=/data PROSOPON_MODELS=/opt/models \
    RAY_USAGE_STATS_ENABLED=0 RAY_ENABLE_AUTO_CONNECT=0 RAY_SERVE_THROUGHPUT_OPTIMIZED=1 RAY_SERVE_ENABLE_DIRECT_INGRESS=0 \
    RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE=1 \
    RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH=268435456 \
    MALLOC_TRIM_THRESHOLD_=134217728 MALLOC_MMAP_THRESHOLD_=33554432 OPENBLAS_NUM_THREADS=1
RUN prosopon models pull

VOLUME /data
EXPOSE 8000
HEALTHCHECK --start-period=180s CMD wget -q -O /dev/null http://127.0.0.1:8000/readyz
CMD ["prosopon", "serve", "config.yaml", "--no-dashboard"]
