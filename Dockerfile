# syntax=docker/dockerfile:1
# docker build -t larder .
# docker run -p 8080:8080 -v larder:/var/cache/larder -e LARDER_UPSTREAM=http://app:3000 larder

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --bin larder \
    && install -D -m 755 target/dist/larder /out/larder

FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 larder \
    && useradd --system --uid 10001 --gid larder --home-dir /nonexistent --no-create-home \
       --shell /usr/sbin/nologin larder \
    && install -d -o larder -g larder -m 700 /var/cache/larder
COPY --from=build /out/larder /usr/local/bin/larder
USER 10001:10001
# The directory of the disk tier, as systemd would name it; a volume outlives the container.
ENV CACHE_DIRECTORY=/var/cache/larder
VOLUME /var/cache/larder
EXPOSE 8080
# SIGTERM drains for up to `drain_timeout` (20s): give it longer by `docker stop --time 30`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["larder", "health"]
ENTRYPOINT ["larder"]
CMD ["run"]
