# The steps that fetch, featurise, watch and promote; no Ray.
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS build
# CPU wheels unless told otherwise; pytorch.org keeps one index for each version of CUDA
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/carryflow \
    && /opt/carryflow/bin/pip install --no-cache-dir --no-deps --index-url "${TORCH_INDEX}" torch==2.13.0
# versions are the lock's
RUN /opt/carryflow/bin/pip install --no-cache-dir --constraint requirements.lock \
        torch==2.13.0 \
        kfp \
        kfp-kubernetes \
        "feast[redis,duckdb]" \
        ccxt \
        evidently \
        safetensors \
        polars \
        pyarrow \
        numba \
        gymnasium \
        aiohttp \
        plotly \
        jinja2 \
        prometheus-client \
        sentry-sdk \
        typer \
        rich \
        pydantic \
        pyyaml
COPY pyproject.toml README.md ./
COPY components components
COPY feature_repo feature_repo
COPY pipelines pipelines
COPY serving serving
COPY src src
RUN /opt/carryflow/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
# numba keeps its compiled kernels, and Feast its scratch, where a read-only root leaves room
ENV PATH=/opt/carryflow/bin:$PATH \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/tmp/numba \
    OMP_NUM_THREADS=1 \
    PYTHONUNBUFFERED=1
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin carryflow
COPY --from=build /opt/carryflow /opt/carryflow
WORKDIR /tmp
USER 1000:1000
ENTRYPOINT ["carryflow"]
