# accord's command line: a worker by default.
FROM python:3.11.13-slim-bookworm AS build
COPY . /src
RUN python -m venv /opt/accord && /opt/accord/bin/pip install --no-cache-dir '/src[otel,service]'

FROM python:3.11.13-slim-bookworm
COPY --from=build /opt/accord /opt/accord
ENV PATH=/opt/accord/bin:$PATH
# The volume takes its owner from this folder.
RUN useradd --system accord && install --directory --owner=accord /var/lib/accord
USER accord
WORKDIR /var/lib/accord
VOLUME /var/lib/accord
CMD ["accord", "worker"]
