# docker build -t throughline .
# BASE_IMAGE: any Debian image with Python 3.11 or newer and its venv module.
ARG BASE_IMAGE=python:3.13.12-slim-bookworm@sha256:a58daefb915e1e03ad48f3ca4df8832065412c5c35cacb9d39f4229184de12b6

FROM $BASE_IMAGE AS build
# For builds that reach their package index another way than pip's default; none is kept in the image.
ARG PIP_INDEX_URL
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
RUN python3 -m venv /opt/throughline
COPY requirements/runtime.txt /build/
RUN /opt/throughline/bin/pip install --quiet --require-hashes --no-deps --only-binary :all: -r /build/runtime.txt \
    && /opt/throughline/bin/python -m pip uninstall --quiet --yes pip setuptools
COPY api /opt/throughline/app/api
COPY events /opt/throughline/app/events
COPY migrations /opt/throughline/app/migrations
COPY observability /opt/throughline/app/observability
COPY pipelines /opt/throughline/app/pipelines
COPY settings /opt/throughline/app/settings
COPY storage /opt/throughline/app/storage
COPY throughline /opt/throughline/app/throughline
COPY worker /opt/throughline/app/worker
RUN printf '#!/opt/throughline/bin/python\nfrom throughline.cli.main import main\n\nmain()\n' >/opt/throughline/bin/throughline \
    && chmod 755 /opt/throughline/bin/throughline \
    && echo /opt/throughline/app >"$(/opt/throughline/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth" \
    && chmod -R a+rX /opt/throughline \
    && /opt/throughline/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/throughline

FROM $BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="Throughline" \
      org.opencontainers.image.description="Events in over HTTP, pipelines run for them on Celery workers, every step visible" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
RUN groupadd --gid 10001 throughline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin throughline
COPY --from=build /opt/throughline /opt/throughline
# A container is reached from outside: what may reach it, its network decides.
ENV PATH=/opt/throughline/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    THROUGHLINE_API_HOST=0.0.0.0 \
    THROUGHLINE_FLOWER_HOST=0.0.0.0 \
    THROUGHLINE_RELAY_METRICS_HOST=0.0.0.0 \
    THROUGHLINE_WORKER_METRICS_HOST=0.0.0.0
USER 10001:10001
WORKDIR /opt/throughline/app
EXPOSE 8000 5555 9101 9102 9103
ENTRYPOINT ["throughline"]
