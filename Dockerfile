# The image of wapipe: one program, all roles. Build: docker build -t wapipe .
# The base is pinned by digest in releases: --build-arg BASE=python:3.11-slim-bookworm@sha256:…
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /opt/wapipe
# Dependencies first: they change less often than the code.
COPY requirements.lock ./
# A package index of your own: docker build --secret id=pip,src=pip.conf; nothing of it stays in the image.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/wapipe/bin/pip install --no-deps --require-hashes -r requirements.lock
COPY LICENSE README.md pyproject.toml ./
COPY pipeline ./pipeline
# The program beside them, as an installer would lay it; no build tool is needed for pure Python.
RUN cp -r pipeline "$(/opt/wapipe/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/" \
    && printf '#!/opt/wapipe/bin/python\nfrom pipeline.cli.main import main\n\nmain()\n' > /opt/wapipe/bin/wapipe \
    && chmod 755 /opt/wapipe/bin/wapipe \
    && /opt/wapipe/bin/python -m pip uninstall --quiet --yes setuptools pip \
    && /opt/wapipe/bin/python -m compileall -q /opt/wapipe/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="wapipe" \
      org.opencontainers.image.description="Sends WhatsApp messages from Kafka: with consent, within the limit, in order, once." \
      org.opencontainers.image.licenses="Apache-2.0"
# The base's own installer goes, too: nothing can be added to what runs.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin wapipe \
    && mkdir -p /var/lib/wapipe \
    && chown 10001:10001 /var/lib/wapipe \
    && rm -rf /usr/local/bin/pip* /usr/local/bin/wheel /usr/local/lib/python3*/site-packages/* \
       /usr/local/lib/python3*/ensurepip
COPY --from=build /opt/wapipe /opt/wapipe
ENV PATH=/opt/wapipe/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WAPIPE_STORAGE__DATA_DIR=/var/lib/wapipe
USER 10001:10001
WORKDIR /var/lib/wapipe
ENTRYPOINT ["wapipe"]
CMD ["--help"]
