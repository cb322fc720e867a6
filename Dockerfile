# One supervisor worker. Kafka and Redis are elsewhere: docker-compose.yml has them beside it.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/ops-stream
# First what changes seldom: a new line of code does not fetch the libraries again.
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY agents_adapter ./agents_adapter
COPY ops_stream ./ops_stream
COPY conf ./conf
COPY schemas ./schemas
COPY topics ./topics
RUN /opt/ops-stream/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[supervisor]'

FROM python:3.12-slim
RUN groupadd --system --gid 10001 ops-stream \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/ops-stream ops-stream \
 && install --directory --owner ops-stream --group ops-stream --mode 0700 /var/lib/ops-stream
COPY --from=build /opt/ops-stream /opt/ops-stream
ENV PATH=/opt/ops-stream/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OPS_STREAM_DATA_DIR=/var/lib/ops-stream
# The instance's identity and the journal's key: lose them and the journal's own records are strangers.
VOLUME /var/lib/ops-stream
USER 10001:10001
EXPOSE 6066
HEALTHCHECK --interval=5s --timeout=3s --start-period=120s --retries=6 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6066/readyz', timeout=2)"]
ENTRYPOINT ["ops-stream"]
# In a container loopback is the container's own: who may come in is said where the port is published.
CMD ["worker", "--host", "0.0.0.0"]
