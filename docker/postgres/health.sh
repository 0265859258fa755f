#!/bin/bash
#
# Healthy: the server takes connections and the scheduler in it works.
set -euo pipefail

pg_isready --quiet --timeout=3
[ "$(psql -XAtqc 'SELECT unidesk.worker_alive()')" = t ]
