FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1

COPY requirements.txt /app/
RUN PYTHONDONTWRITEBYTECODE=1 pip install --no-cache-dir -r /app/requirements.txt

COPY models.py queries.py migrate_*.py cli.py /app/
COPY indexer /app/indexer
COPY sample /app/sample

# The user below cannot store bytecode, so that each start would compile all that it imports, even of Python's library:
# the image has none of that. These commands import, and so compile, what a start needs; pip compiles what it installs.
RUN python -m compileall -q /app && cd /tmp \
 && PYTHONPATH=/app python -c "import indexer.postgres.connect, indexer.postgres.run.schedule, rich.live" \
 && for command in --help up status check verify down; do python /app/cli.py "$command" >/dev/null || exit; done \
 && rm crm.db

# The default database is the file crm.db in the working directory; mount a volume over /data to keep it.
RUN mkdir /data && chown 10001:10001 /data
VOLUME /data
WORKDIR /data

# What hints tell the user to type: DATABASE_URL is passed on where it is set.
ENV INDEXER_PROGRAM="docker run --rm -e DATABASE_URL -v crm-data:/data indexer"

USER 10001:10001
ENTRYPOINT ["python", "/app/cli.py"]
CMD ["up"]
