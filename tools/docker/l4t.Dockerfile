# The runtime on a Jetson with JetPack 6. On the Jetson, from the root of the repository:
#   docker build --file tools/docker/l4t.Dockerfile --tag stpr .
#   docker run --runtime nvidia --device /dev/video0 --volume ./bundles:/srv/stpr/bundles:ro stpr --camera 0 --headless --json -
# csi:// also wants --volume /tmp/argus_socket:/tmp/argus_socket.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip python3-venv python3-opencv \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml setup.py README.md LICENSE /source/
COPY runtime /source/runtime
COPY train /source/train
COPY export /source/export
# The system's packages are seen: TensorRT, and an OpenCV with GStreamer, which was built for numpy 1.
# No constraints.txt: its versions are for newer Pythons than JetPack's 3.10.
RUN python3 -m venv --system-site-packages /opt/stpr \
    && /opt/stpr/bin/pip install --no-cache-dir "/source[jetson]" "numpy<2"
RUN useradd --create-home --groups video stpr
USER stpr
WORKDIR /srv/stpr
ENTRYPOINT ["/opt/stpr/bin/stpr-run"]
