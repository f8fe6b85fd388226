#!/usr/bin/env bash
# Load on attache and on a server that always allows, side by side: the same request, the same client, the same core.
# Each server runs alone on core 0, h2load on core 1. Three rounds, alternating; the best of each counts, because
# whatever else runs on the machine only ever makes a round slower.
# Usage: benches/load.sh [REQUESTS]    Last line: the ratios as key=value.
set -euo pipefail
cd "$(dirname "$0")/.."

requests=${1:-100000}
for tool in h2load taskset; do
  command -v "$tool" >/dev/null || { echo "missing: $tool (Debian: nghttp2-client, util-linux)" >&2; exit 1; }
done

cargo build --release --bin attache --example always_allow --example check_request
built=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
"$built/examples/check_request" > "$work/check.grpc"
sed -e 's/127.0.0.1:9191/127.0.0.1:19191/' -e 's/127.0.0.1:8082/127.0.0.1:18082/' \
  -e "s|sinks: \[stdout\]|sinks: [{jsonl: $work/audit.jsonl}]|" deploy/dev.yaml > "$work/attache.yaml"

taskset -c 0 "$built/attache" serve --config "$work/attache.yaml" 2> "$work/attache.log" &
attache=$!
taskset -c 0 "$built/examples/always_allow" 127.0.0.1:19292 &
always=$!
for _ in $(seq 50); do
  ready=
  "$built/attache" health --addr 127.0.0.1:18082 >/dev/null 2>&1 && ready=yes && break
  read -rt 0.1 <> <(:) || true
done
[[ -n $ready ]] || { echo "attache does not get ready:" >&2; cat "$work/attache.log" >&2; exit 1; }

# Prints requests per second and microseconds of server CPU per request.
round() { # PORT PID CONNECTIONS STREAMS
  local before after out
  before=$(awk '{print $14 + $15}' "/proc/$2/stat")
  out=$(taskset -c 1 h2load -n "$requests" -c "$3" -m "$4" -d "$work/check.grpc" \
    -H 'content-type: application/grpc' -H 'te: trailers' \
    "http://127.0.0.1:$1/envoy.service.auth.v3.Authorization/Check")
  after=$(awk '{print $14 + $15}' "/proc/$2/stat")
  grep -q " $requests succeeded, 0 failed" <<< "$out" || { echo "requests failed: $out" >&2; exit 1; }
  awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" -v n="$requests" \
    '/^finished in/ {gsub(",", "", $4); printf "%.0f %.1f\n", $4, ticks / hz / n * 1e6}' <<< "$out"
}

printf '%-14s %-14s %12s %14s\n' server 'conns x streams' 'requests/s' 'CPU us/request'
summary=
for shape in '1 1' '1 8' '4 16'; do
  read -r connections streams <<< "$shape"
  best_attache=0 best_always=0 cpu_attache=1e9 cpu_always=1e9
  for _ in 1 2 3; do
    read -r rate cpu <<< "$(round 19191 $attache "$connections" "$streams")"
    best_attache=$(awk -v a="$best_attache" -v b="$rate" 'BEGIN {print (a > b) ? a : b}')
    cpu_attache=$(awk -v a="$cpu_attache" -v b="$cpu" 'BEGIN {print (a < b) ? a : b}')
    read -r rate cpu <<< "$(round 19292 $always "$connections" "$streams")"
    best_always=$(awk -v a="$best_always" -v b="$rate" 'BEGIN {print (a > b) ? a : b}')
    cpu_always=$(awk -v a="$cpu_always" -v b="$cpu" 'BEGIN {print (a < b) ? a : b}')
  done
  printf '%-14s %-14s %12s %14s\n' attache "${connections}x$streams" "$best_attache" "$cpu_attache"
  printf '%-14s %-14s %12s %14s\n' always-allow "${connections}x$streams" "$best_always" "$cpu_always"
  summary+=$(awk -v name="${connections}x$streams" -v a="$best_attache" -v b="$best_always" -v c="$cpu_attache" -v d="$cpu_always" \
    'BEGIN {printf "rate_%s=%.2f cpu_%s=%.2f ", name, a / b, name, c / d}')
done
echo "attache / always-allow: $summary"
