# The one door: what is red in continuous integration is red here.

# Everything: formatting, lints, all tests against the built binary.
all:
    ./test

# What is quick enough to run before every commit.
check: fmt-check lint unit

fmt:
    cargo fmt --all

fmt-check:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Tests without peers: everything but the package in `tests/`.
unit *args:
    cargo test --workspace --exclude portcullis-tests --locked {{args}}

# Tests whose name contains NAME, such as px_096, with everything they need.
test name="":
    ./test {{name}}

# Everything that reads what strangers send, under libFuzzer: so many seconds for each target, or for those that are named.
# A failure prints its input, which belongs into `fuzz/corpus` as a line. Needs a C++ compiler and Python.
fuzz seconds="180" *targets:
    tools/fuzz.py --seconds {{seconds}} {{targets}}

# Mutated inputs without libFuzzer: so many times what `./test` tries, from a new seed.
mutate rounds="30":
    PORTCULLIS_FUZZ_ROUNDS={{rounds}} PORTCULLIS_FUZZ_SEED="$(date +%s)" cargo test --locked -p portcullis-proxy --lib fuzz::

# Known vulnerabilities of dependencies, beside what `./test` checks of them (needs cargo-deny and a network).
deny:
    cargo deny check

# Writes the generated pages of docs/src/reference/ again.
docs-gen:
    UPDATE_DOCS=1 cargo test --locked -p portcullis -p portcullis-testkit up_to_date

# The book, in docs/book (needs mdbook).
book:
    mdbook build docs

# The binary that is released, in target/profiled (takes most of an hour, and needs what tools/release.py --help names).
release:
    tools/release.py

# Try it.
demo *args:
    cargo run --release -- demo {{args}}
