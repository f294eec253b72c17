# Builds slowburn and puts it, alone, into an empty image:
#
#     make image
#     docker run --read-only --cap-drop ALL -v slowburn:/data -v "$PWD":/src:ro -p 127.0.0.1:9469:9469 slowburn \
#         serve /src --data-dir /data --listen 0.0.0.0:9469

FROM golang:1.26-bookworm AS build
WORKDIR /src
# The modules first: they change less often than the sources.
COPY go.mod go.sum ./
COPY contract/tsgo/go.mod contract/tsgo/go.su[m] contract/tsgo/
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    make build VERSION="$VERSION"
# What an empty image lacks: roots of trust for TLS, time zones for mute times, and a data directory that is not root's.
RUN mkdir -p /image/data /image/tmp /image/etc/ssl/certs /image/usr/bin /image/usr/share/doc/slowburn \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && cp "$(go env GOROOT)/lib/time/zoneinfo.zip" /image/etc/ \
 && cp bin/slowburn /image/usr/bin/ \
 && cp LICENSE NOTICE /image/usr/share/doc/slowburn/ \
 && chmod 1777 /image/tmp && chown 65532:65532 /image/data

FROM scratch
ARG VERSION=unknown
LABEL org.opencontainers.image.title=slowburn \
      org.opencontainers.image.description="Burn-rate alerts from SLOs written in TypeScript" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION
COPY --from=build /image /
ENV ZONEINFO=/etc/zoneinfo.zip
# No name for it: /etc/passwd isn't there, and nothing asks for one.
USER 65532:65532
VOLUME /data
EXPOSE 9469
ENTRYPOINT ["/usr/bin/slowburn"]
