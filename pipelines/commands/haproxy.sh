#!/bin/sh
# HAProxy, made for strangers first: see support/haproxy.py.
exec "${PROSOPON_PYTHON:?the interpreter}" -I -S "$(dirname "$0")/support/haproxy.py" "$@"
