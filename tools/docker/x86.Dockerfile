# The runtime on an x86 machine without a GPU. From the root of the repository:
#   docker build --file tools/docker/x86.Dockerfile --tag stpr .
#   docker run --device /dev/video0 --volume ./bundles:/srv/stpr/bundles:ro stpr --camera 0 --headless --json -
FROM python:3.11-slim-bookworm
COPY pyproject.toml setup.py constraints.txt README.md LICENSE /source/
COPY runtime /source/runtime
COPY train /source/train
COPY export /source/export
RUN pip install --no-cache-dir --constraint /source/constraints.txt "/source[server]"
RUN useradd --create-home --groups video stpr
USER stpr
WORKDIR /srv/stpr
ENTRYPOINT ["stpr-run"]
