# The image: a wheel is built where there is a compiler, and installed where there is none.
# tools/check_image.py carries out these steps without a container engine (make image-check).

FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY discovery ./discovery
COPY mesh ./mesh
COPY proxy ./proxy
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-compile /wheels/*.whl \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin hivemesh
COPY examples/container.yaml /etc/hivemesh/hivemesh.yaml
USER 10001
EXPOSE 8080 9901
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9901/livez', timeout=2)"]
ENTRYPOINT ["hivemesh"]
CMD ["run", "-c", "/etc/hivemesh/hivemesh.yaml"]
