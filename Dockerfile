# One image for each service: `docker build --target gateway .` and `--target worker`. An image contains
# only the program, the libraries that it is linked with, and the certificates of the authorities. It has
# no shell, and the program does not run as root.

FROM rust:1-slim-bookworm AS build
WORKDIR /source
COPY . .
# The caches keep the compiled dependencies, so a change of the sources compiles only the sources.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin gateway --bin worker \
 && for service in gateway worker; do \
      mkdir -p /$service/usr/local/bin /$service/etc/ssl/certs \
   && cp target/release/$service /$service/usr/local/bin/ \
   && ldd target/release/$service | grep -o '/[^ ]*' | xargs -I{} cp --parents -L {} /$service \
   && cp /etc/ssl/certs/ca-certificates.crt /$service/etc/ssl/certs/ ; \
    done

FROM scratch AS gateway
COPY --from=build /gateway /
ENV PATH=/usr/local/bin LISTEN=0.0.0.0:8080 METRICS_LISTEN=0.0.0.0:9464
USER 65534:65534
EXPOSE 8080 9464
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["gateway", "healthcheck"]
ENTRYPOINT ["gateway"]

FROM scratch AS worker
COPY --from=build /worker /
ENV PATH=/usr/local/bin LISTEN=0.0.0.0:8081
USER 65534:65534
EXPOSE 8081
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["worker", "healthcheck"]
ENTRYPOINT ["worker"]
