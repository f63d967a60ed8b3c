# The recipes on TensorFlow 2, on a CPU:
#   docker build --tag cookbook .
#   docker run --rm -it -v "$PWD/output:/cookbook/output" -v "$PWD/data:/cookbook/data" cookbook make mnist
# On NVIDIA cards, with the NVIDIA Container Toolkit on the host:
#   docker build --tag cookbook-gpu --build-arg CUDA=1 .
#   docker run --rm -it --gpus all -v "$PWD/output:/cookbook/output" cookbook-gpu make mnist
FROM python:3.13-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /cookbook
ARG CUDA=0
ENV CUDA=${CUDA} STACK=tf2 PYTHONUTF8=1
COPY make_venv.sh requirements*.txt ./
RUN sh ./make_venv.sh
COPY . .
ENV PATH="/cookbook/.venv/bin:${PATH}"
CMD ["make"]
