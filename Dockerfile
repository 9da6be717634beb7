FROM python:3.11-slim

RUN useradd --system --create-home --uid 10001 ledger \
    && install --directory --owner=ledger --group=ledger --mode=0700 /data
WORKDIR /app

COPY locks/run.txt locks/run.txt
RUN pip install --no-cache-dir --require-hashes --requirement locks/run.txt

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

USER ledger
# Where the embedded database lives if LEDGER_DATABASE_URL is not set, and the master key if
# LEDGER_MASTER_KEY is not.
ENV LEDGER_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
CMD ["booking-ledger", "serve", "--host", "0.0.0.0"]
