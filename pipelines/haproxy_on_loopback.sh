#!/bin/sh
# HAProxy, as Ray Serve starts it, but with nothing open to other machines - Ray's template binds the statistics and
# the metrics to every interface - and not outliving the process that started it, or it would keep the port. Nor does it
# splice requests: once a body is spliced, HAProxy 2.8 no longer notices, despite abortonclose, that the client has left.
config=
previous=
for argument in "$@"; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done
if [ -n "$config" ]; then
    sed -i -E 's/^( *bind )\*?:([0-9])/\1127.0.0.1:\2/; /^ *option splice-request$/d' "$config"
fi
if command -v setpriv >/dev/null; then
    exec setpriv --pdeathsig TERM "${PROSOPON_HAPROXY:?the path of the haproxy to run}" "$@"
fi
exec "${PROSOPON_HAPROXY:?the path of the haproxy to run}" "$@"
