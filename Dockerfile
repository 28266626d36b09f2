# Trains on one or several GPUs, and serves; tools/compose.yaml runs the server with TensorBoard and Neo4j.
#   docker build -t qwen_lightning .
#   docker run --gpus all --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD":/work qwen_lightning fit -c configs/sft.yaml
#   docker run --gpus all -v "$PWD":/work:ro -v hub:/home/trainer/.cache/huggingface -p 127.0.0.1:8000:8000 \
#       qwen_lightning serve --adapters adapters --host 0.0.0.0
FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04

ENV DEBIAN_FRONTEND=noninteractive \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# A compiler and headers: triton builds small launchers at run time. The hub's cache is there so that a volume that is
# mounted on it belongs to the user.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv "$VIRTUAL_ENV" \
    && useradd --create-home --uid 10001 trainer \
    && install --directory --owner trainer /work /home/trainer/.cache /home/trainer/.cache/huggingface

# torch in a layer of its own: it changes seldom and is large.
RUN pip install torch==2.13.0

WORKDIR /opt/qwen_lightning
COPY pyproject.toml README.md LICENSE ./
COPY qwen_lightning ./qwen_lightning
# The project's own ranges pin its packages.
# hadolint ignore=DL3013
RUN pip install ".[gpu,judge,postgres,vllm]"

USER 10001
WORKDIR /work
COPY --chown=trainer configs ./configs

# The server's and TensorBoard's. A health check of the server stands in tools/compose.yaml: a training has none.
EXPOSE 8000 6006

ENTRYPOINT ["python", "-m", "qwen_lightning"]
CMD ["--help"]
