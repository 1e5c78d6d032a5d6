#!/usr/bin/env python3
"""Has libFuzzer try the targets of crates/proxy/src/fuzz: `tools/fuzz.py [--seconds N] [TARGET …]`.

A stable compiler is enough: it is told to count what code is reached. Inputs are the lines of fuzz/corpus/TARGET.txt, written
by hand, and of fuzz/found/TARGET.txt. The latter is written anew at the end: the smallest inputs that reach what those written
by hand do not. An input that fails is printed as a line for fuzz/corpus.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUZZ = ROOT / "fuzz"
WORK = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "fuzz"
TARGETS = sorted(path.stem for path in (FUZZ / "corpus").glob("*.txt"))

# What cargo-fuzz gives a nightly compiler, without the sanitizers: nothing of ours is unsafe.
RUSTFLAGS = " ".join(["-Cpasses=sancov-module", *(f"-Cllvm-args=-sanitizer-coverage-{part}" for part in [
    "level=4", "inline-8bit-counters", "pc-table", "trace-compares"]), "--cap-lints=allow"])

# Longest inputs that are made, and how many bytes of lines are kept of what was found.
LONGEST = {"request": 2048, "question": 1024, "webauthn": 1024, "pieces": 7}
KEPT = 12_000

HEAD = "# Kept by `just fuzz`: what libFuzzer found to reach more than the lines in fuzz/corpus.\n"
ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\", "'": b"'", '"': b'"'}


def read(line):
    """The bytes of a line; the same language as in crates/proxy/src/fuzz/engine.rs."""
    made, at = bytearray(), 0
    while at < len(line):
        if line[at] != "\\":
            made += line[at].encode()
            at += 1
        elif line[at + 1] == "x":
            made.append(int(line[at + 2:at + 4], 16))
            at += 4
        else:
            made += ESCAPES[line[at + 1]]
            at += 2
    return bytes(made)


def written(data):
    """The line of some bytes."""
    names = {value[0]: "\\" + name for name, value in ESCAPES.items() if name not in "'\""}
    line = "".join(names.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data)
    # Neither a remark nor space that an editor takes away.
    line = "\\x23" + line[1:] if line.startswith("# ") else line
    return line[:-1] + "\\x20" if line.endswith(" ") else line


def lines(path):
    if not path.exists():
        return []
    return [read(line) for line in path.read_text().splitlines() if line and not line.startswith("# ")]


def unpacked(folder, inputs):
    """A new folder with a file for each input."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, data in enumerate(inputs):
        (folder / f"{number:05}").write_bytes(data)
    return folder


def build():
    host = subprocess.run(["rustc", "--print", "host-tuple"], check=True, capture_output=True, text=True).stdout.strip()
    # With `--target`, the flags are for what runs in the end, not for what builds it.
    subprocess.run(["cargo", "build", "--release", "--locked", "--target", host, "--target-dir", WORK], check=True, cwd=FUZZ,
                   env={**os.environ, "RUSTFLAGS": RUSTFLAGS})
    return WORK / host / "release/portcullis-fuzz"


def run(program, target, *arguments):
    return subprocess.run([program, *arguments], env={**os.environ, "PORTCULLIS_FUZZ_TARGET": target}).returncode == 0


def fuzz(program, target, seconds):
    """Tries one target for so long; whether all held."""
    print(f"\n==> {target}, {seconds} s", flush=True)
    ours, found = lines(FUZZ / f"corpus/{target}.txt"), lines(FUZZ / f"found/{target}.txt")
    tried = unpacked(WORK / target / "tried", ours + found)
    failed = unpacked(WORK / target / "failed", [])
    words = unpacked(WORK / target / "words", []) / "dictionary"
    words.write_text("".join(
        '"' + "".join(f"\\x{byte:02X}" for byte in word) + '"\n' for word in lines(FUZZ / "dictionary.txt") if word))
    held = run(program, target, f"-max_total_time={seconds}", f"-max_len={LONGEST.get(target, 256)}", f"-dict={words}",
               f"-artifact_prefix={failed}/", "-timeout=20", "-print_final_stats=1", "-verbosity=0", "-close_fd_mask=1", tried)
    for path in sorted(failed.iterdir()):
        print(f"{path.name.split('-')[0]}, a line for fuzz/corpus/{target}.txt:\n{written(path.read_bytes())}", flush=True)
    # Edges alone, without how often they are taken: a corpus to be read, not one for each number of rounds in a loop.
    least = unpacked(WORK / target / "least", ours)
    before = {path.name for path in least.iterdir()}
    if held and run(program, target, "-merge=1", "-use_counters=0", "-verbosity=0", least, tried):
        kept, size = [], 0
        for data in sorted((path.read_bytes() for path in least.iterdir() if path.name not in before), key=lambda d: (len(d), d)):
            line = written(data)
            if line and size + len(line) < KEPT:
                kept.append(line + "\n")
                size += len(line) + 1
        (FUZZ / f"found/{target}.txt").write_text(HEAD + "".join(kept))
        print(f"{len(kept)} inputs kept, {size} bytes", flush=True)
    return held


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=int, default=180, help="how long each target is tried (%(default)s)")
    arguments.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {' '.join(TARGETS)}; all without any")
    arguments = arguments.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        sys.exit(f"no such target: {' '.join(unknown)}")
    program = build()
    failed = [target for target in arguments.targets or TARGETS if not fuzz(program, target, arguments.seconds)]
    if failed:
        sys.exit(f"failed: {' '.join(failed)}")


main()
