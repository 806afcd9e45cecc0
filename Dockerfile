# One image for every process of the platform; compose.yaml says which one runs.
FROM python:3.13-slim

RUN apt-get update \
 && apt-get install --yes --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 stepwell

WORKDIR /srv/stepwell
COPY . .

# The same target, the same pinned versions as on a developer's machine, without the extras.
RUN make install EXTRAS=

ENV PATH=/srv/stepwell/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STEPWELL_HOME=/var/lib/stepwell
RUN install -d -o stepwell -g stepwell -m 0700 /var/lib/stepwell
USER stepwell

CMD ["stepwell", "--help"]
