#!/bin/sh
# HAProxy, as Ray Serve starts it, but with nothing open to other machines - Ray's template binds the statistics and
# the metrics to every interface - and not outliving the process that started it, or it would keep the port. Nor does it
# splice requests: once a body is spliced, HAProxy 2.8 no longer notices, despite abortonclose, that the client has left.
# It looks for the ingress replicas where these listen: at the server's own address, which need not be 127.0.0.1.
config=
previous=
for argument in "$@"; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done
if [ -n "$config" ]; then
    host=${PROSOPON_HTTP_HOST:-127.0.0.1}
    case $host in 0.0.0.0 | ::) host=127.0.0.1 ;; esac
    sed -i -E "s/^( *bind )\*?:([0-9])/\1127.0.0.1:\2/; s/^( *server [^ ]+ )127\.0\.0\.1:/\1$host:/
        /^ *option splice-request\$/d" "$config"
fi
if command -v setpriv >/dev/null; then
    exec setpriv --pdeathsig TERM "${PROSOPON_HAPROXY:?the path of the haproxy to run}" "$@"
fi
exec "${PROSOPON_HAPROXY:?the path of the haproxy to run}" "$@"
