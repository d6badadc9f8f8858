FROM python:3.12-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

COPY requirements.txt /app/
RUN pip install --no-cache-dir --no-compile -r /app/requirements.txt

COPY models.py queries.py migrate_*.py cli.py /app/
COPY indexer /app/indexer
COPY sample /app/sample

# The default database is the file crm.db in the working directory; mount a volume over /data to keep it.
RUN mkdir /data && chown 10001:10001 /data
VOLUME /data
WORKDIR /data

# What hints tell the user to type: DATABASE_URL is passed on where it is set.
ENV INDEXER_PROGRAM="docker run --rm -e DATABASE_URL -v crm-data:/data indexer"

USER 10001:10001
ENTRYPOINT ["python", "/app/cli.py"]
CMD ["up"]
