# Trains on one or several GPUs:
#   docker build -t qwen_lightning .
#   docker run --gpus all --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD":/work qwen_lightning fit -c configs/sft.yaml
FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04

ENV DEBIAN_FRONTEND=noninteractive \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# A compiler and headers: triton builds small launchers at run time.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv "$VIRTUAL_ENV" \
    && useradd --create-home --uid 10001 trainer \
    && install --directory --owner trainer /work

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

ENTRYPOINT ["python", "-m", "qwen_lightning"]
CMD ["--help"]
