# Both services in one image: `gateway` and `worker`. Not root, nothing to write to.

FROM rust:1-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin gateway --bin worker \
 && cp target/release/gateway target/release/worker /usr/local/bin/

FROM debian:bookworm-slim
# Certificates: for Postgres, RabbitMQ and JWKS over TLS.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/gateway /usr/local/bin/worker /usr/local/bin/
USER 65534:65534
CMD ["gateway"]
