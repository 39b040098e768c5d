#!/bin/sh
# HAProxy, as Ray Serve starts it, but with nothing open to other machines - Ray's template binds the statistics and
# the metrics to every interface - and not outliving the process that started it, or it would keep the port.
config=
previous=
for argument in "$@"; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done
if [ -n "$config" ]; then
    sed -i -E 's/^( *bind )\*?:([0-9])/\1127.0.0.1:\2/' "$config"
fi
if command -v setpriv >/dev/null; then
    exec setpriv --pdeathsig TERM "${PROSOPON_HAPROXY:?the path of the haproxy to run}" "$@"
fi
exec "${PROSOPON_HAPROXY:?the path of the haproxy to run}" "$@"
