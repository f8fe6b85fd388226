#!/usr/bin/env bash
# Load on attache, answering from its cache ("hit") and asking policy every time ("miss"), and on a server that always allows,
# side by side: the same request, the same client, the same core.
# Each server runs alone on core 0, h2load on core 1. Three rounds, alternating; the best of each counts, because
# whatever else runs on the machine only ever makes a round slower.
# With ENGINE=opa also on attache that asks a real OPA for every request ("opa"), which runs on core 0 too and whose CPU is
# not counted.
# Usage: [ENGINE=opa] benches/load.sh [REQUESTS]    Last line: the ratios as key=value.
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

# Starts attache on port NUMBER91, with the lines of $2 added to its configuration; its process id is in $started.
serve() { # NUMBER MORE
  local name=attache$1 ready=
  sed -e "s/127.0.0.1:9191/127.0.0.1:${1}91/" -e "s/127.0.0.1:8082/127.0.0.1:${1}82/" -e "s|/tmp/attache-dev|$work/$name|" \
    -e "s|sinks: \[stdout\]|sinks: [{jsonl: $work/$name.jsonl}]|" deploy/dev.yaml > "$work/$name.yaml"
  echo "$2" >> "$work/$name.yaml"
  taskset -c 0 "$built/attache" serve --config "$work/$name.yaml" 2> "$work/$name.log" &
  started=$!
  for _ in $(seq 50); do
    "$built/attache" health --addr "127.0.0.1:${1}82" >/dev/null 2>&1 && ready=yes && break
    read -rt 0.1 <> <(:) || true
  done
  [[ -n $ready ]] || { echo "attache does not get ready:" >&2; cat "$work/$name.log" >&2; exit 1; }
}

serve 191 ''
hit=$started
serve 192 'policy: {cache: {size: 0}}'
miss=$started
taskset -c 0 "$built/examples/always_allow" 127.0.0.1:19392 &
always=$!
servers=("hit 19191 $hit" "miss 19291 $miss")
if [[ ${ENGINE:-} == opa ]]; then
  opa=$(tests/tools/opa)
  taskset -c 0 "$opa" run --server --skip-version-check --log-level error --addr 127.0.0.1:19481 deploy/policy/default.rego &
  serve 194 'policy: {engine: opa, opa: {endpoint: "http://127.0.0.1:19481"}, cache: {size: 0}}'
  servers+=("opa 19491 $started")
fi
servers+=("always 19392 $always")

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
  declare -A rates=([hit]=0 [miss]=0 [opa]=0 [always]=0) cpus=([hit]=1e9 [miss]=1e9 [opa]=1e9 [always]=1e9)
  for _ in 1 2 3; do
    for server in "${servers[@]}"; do
      read -r name port pid <<< "$server"
      read -r rate cpu <<< "$(round "$port" "$pid" "$connections" "$streams")"
      rates[$name]=$(awk -v a="${rates[$name]}" -v b="$rate" 'BEGIN {print (a > b) ? a : b}')
      cpus[$name]=$(awk -v a="${cpus[$name]}" -v b="$cpu" 'BEGIN {print (a < b) ? a : b}')
    done
  done
  for server in "${servers[@]}"; do
    name=${server%% *}
    printf '%-14s %-14s %12s %14s\n' "$name" "${connections}x$streams" "${rates[$name]}" "${cpus[$name]}"
  done
  for server in "${servers[@]}"; do
    name=${server%% *}
    [[ $name != always ]] || continue
    summary+=$(awk -v name="${name}_${connections}x$streams" -v a="${rates[$name]}" -v b="${rates[always]}" \
      -v c="${cpus[$name]}" -v d="${cpus[always]}" 'BEGIN {printf "rate_%s=%.2f cpu_%s=%.2f ", name, a / b, name, c / d}')
  done
done
if grep -q '"result":"denied"' "$work"/*.jsonl; then
  echo "requests were denied, so the figures are not of allowances" >&2
  exit 1
fi
echo "attache / always-allow: $summary"
