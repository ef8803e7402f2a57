# Two images of docker-compose.yml: `mlflow`, the tracking server, and `ray`, every node of the cluster and the sweep.
# They hold the packages alone, at the versions of constraints.txt. The code is mounted into the sweep, and the sweep
# ships it to the workers, so that a change of the code needs no new image.
# Unproven: no Docker engine has built these; the same installations ran outside Docker.
FROM python:3.11-slim-bookworm AS base
ENV HOME=/tmp/home \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Whatever user a container runs as, it can write to the volumes: a new one takes over the folder's mode.
RUN mkdir --mode=1777 /tmp/home /storage /results /artifacts /claims
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /build
COPY pyproject.toml constraints.txt ./

FROM base AS mlflow
RUN uv pip install --system --no-cache --constraint constraints.txt mlflow psycopg2-binary
WORKDIR /tmp/home

FROM base AS ray
# git: a study records the commit. g++: `compute.compile` builds its kernels with it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git g++ \
    && rm -rf /var/lib/apt/lists/*
RUN uv pip install --system --no-cache --constraint constraints.txt --extra cluster -r pyproject.toml
WORKDIR /tmp/home
