# Targets: `serve` (the default; server and worker, no torch) and `train`.
# EXTRA=serve-gpu is for an NVIDIA GPU: the CUDA libraries come as wheels, so the base image is the same.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /build
# Install the dependencies first, with an empty package: then a change of smalti does not download them again.
COPY pyproject.toml constraints.txt ./
RUN mkdir smalti && touch smalti/__init__.py README.md LICENSE NOTICE
ARG EXTRA=serve
RUN /opt/venv/bin/pip install -c constraints.txt ".[${EXTRA}]"
COPY README.md LICENSE NOTICE ./
COPY smalti smalti
RUN /opt/venv/bin/pip install --no-deps --force-reinstall .

FROM packages AS train-packages
ARG TORCH_INDEX=
RUN if [ -n "${TORCH_INDEX}" ]; then \
      /opt/venv/bin/pip install --no-deps --index-url "${TORCH_INDEX}" "$(grep '^torch==' constraints.txt)"; \
    fi \
 && /opt/venv/bin/pip install -c constraints.txt ".[train]"

FROM python:${PYTHON}-slim AS base
RUN useradd --uid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin smalti
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

FROM base AS train
RUN mkdir -p /app/data /app/runs /app/model_repository && chown -R smalti:smalti /app
ENV HOME=/tmp MPLCONFIGDIR=/tmp
COPY --from=train-packages /opt/venv /opt/venv
COPY smalti smalti
COPY models models
COPY training training
COPY evaluation evaluation
COPY export export
USER smalti
VOLUME ["/app/data", "/app/runs", "/app/model_repository"]
CMD ["python", "-m", "training", "--help"]

FROM base AS serve
RUN mkdir -p /app/model_repository && chown -R smalti:smalti /app
ENV HOME=/tmp SMALTI_LISTEN=0.0.0.0:50051 SMALTI_METRICS_HOST=0.0.0.0 SMALTI_LOG_FORMAT=json
COPY --from=packages /opt/venv /opt/venv
COPY --chown=smalti:smalti model_repository model_repository
COPY smalti smalti
COPY server server
COPY worker worker
USER smalti
EXPOSE 50051 9401 9402
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-m", "server.health"]
CMD ["python", "-m", "server"]
