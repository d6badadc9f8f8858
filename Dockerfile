# Pinned to the patch release of Python and the release of Debian. For a mirror or a digest:
# docker build --build-arg PYTHON=python@sha256:... .
ARG PYTHON=python:3.13.15-slim-trixie

FROM ${PYTHON} AS build

COPY requirements-image.txt /
RUN python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv install --no-cache-dir --no-compile --require-hashes -r /requirements-image.txt

COPY models.py queries.py migrate_*.py cli.py deploy/healthcheck.py /app/
COPY indexer /app/indexer
COPY sample /app/sample

# The files never change, so that no start needs to compare their times.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib /app


FROM ${PYTHON}

COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1

# Python's own library is not compiled in the base image, and the user below cannot store what a start compiles. These
# commands import, and so compile, what a start needs. Nothing is installed afterwards: pip can go.
WORKDIR /tmp
RUN PYTHONPATH=/app python -c "import indexer.postgres.connect, indexer.postgres.run.schedule, rich.live" \
 && PYTHONPATH=/app python -c "import indexer.service.service, indexer.service.page, waitress, prometheus_client" \
 && for command in --help up status check verify health down wait; do python /app/cli.py "$command" >/dev/null || exit; done \
 && python /app/healthcheck.py \
 && rm crm.db \
 && /usr/local/bin/python -m pip uninstall --yes --quiet --root-user-action ignore pip \
 && mkdir /data && chown 10001:10001 /data

# The default database is the file crm.db in the working directory; mount a volume over /data to keep it.
VOLUME /data
WORKDIR /data

# What hints tell the user to type: DATABASE_URL is passed on where it is set.
ENV INDEXER_PROGRAM="docker run --rm -e DATABASE_URL -v crm-data:/data indexer"

ARG REVISION=unknown
LABEL org.opencontainers.image.title="indexer" \
      org.opencontainers.image.description="Create and drop performance indexes on a live CRM database" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"

USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "/app/healthcheck.py"]
ENTRYPOINT ["python", "/app/cli.py"]
CMD ["up"]
