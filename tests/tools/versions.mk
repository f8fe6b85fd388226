# Tools that cargo installs. Wheels are pinned, with their digests, in requirements*.txt.
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
