FROM python:3.12-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --no-compile -r requirements.txt

COPY models.py queries.py migrate_*.py cli.py ./
COPY indexer indexer
COPY proof proof

# The default database is a file beside the code; mount a volume over /data to keep it.
RUN mkdir /data && chown 10001:10001 /data
VOLUME /data
ENV DATABASE_URL=sqlite:////data/crm.db

USER 10001:10001
ENTRYPOINT ["python", "cli.py"]
CMD ["up"]
