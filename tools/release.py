#!/usr/bin/env python3
"""Builds the binary that is released: the compiler knows from a measurement which parts of it are used, and how.

Three steps: a binary that counts what it does, the work it is counted at (requests of every kind that the benchmarks
send, uploads, lists and writes of a directory, expressions), and the binary for that (profile-guided optimisation). Then the
same once more with the binary that came of it, whose parts are put in the order in which they run (BOLT).
`cargo build --release` makes the same program without that knowledge. Beside the binary it leaves the licences of what is
linked into it, to be handed on with it. Takes most of an hour with two cores.

Needs cargo with rustup, which brings llvm-tools, BOLT, and what the benchmarks need: on Debian,
apt-get install make nginx-light wrk openssl nghttp2-client bolt-19 libbolt-19-dev.
"""

import argparse
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches"))

import notices  # noqa: E402
import servers  # noqa: E402
from servers import HOST, TOKEN, Portcullis, Stage, program  # noqa: E402

FOLDER = ROOT / "target/profiled"
BINARY = FOLDER / "portcullis"


def rustc(*arguments):
    return subprocess.run(["rustc", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def llvm_tools(host):
    """Where the tools of the compiler's own LLVM are: others do not read its profiles."""
    folder = Path(rustc("--print", "sysroot").strip()) / "lib/rustlib" / host / "bin"
    are_there = lambda: all((folder / name).exists() for name in ("llvm-profdata", "llvm-strip"))
    if not are_there() and program("rustup"):
        subprocess.run(["rustup", "component", "add", "llvm-tools"], cwd=ROOT, check=True)
    if not are_there():
        sys.exit("llvm-profdata or llvm-strip is missing: rustup component add llvm-tools")
    return folder


def bolt_tools():
    """Where BOLT's tools are; Debian has them outside the path, in a folder for each version."""
    version = lambda path: int(path.parts[-3].removeprefix("llvm-").split(".")[0])
    found = sorted(Path("/usr/lib").glob("llvm-*/bin/llvm-bolt"), key=version, reverse=True)
    for bolt in [program("llvm-bolt") or "", *found]:
        folder = Path(bolt).resolve().parent
        if all((folder / name).exists() for name in ("llvm-bolt", "merge-fdata", "../lib/libbolt_rt_instr.a")):
            return folder
    sys.exit("llvm-bolt, merge-fdata or libbolt_rt_instr.a is missing; on Debian: apt-get install bolt-19 libbolt-19-dev")


def build(host, name, *flags, **settings):
    """A release build with more flags for what runs, but not for what is run to build it."""
    folder = FOLDER / name
    before = os.environ.get("CARGO_ENCODED_RUSTFLAGS", "\x1f".join(os.environ.get("RUSTFLAGS", "").split()))
    flags = "\x1f".join(filter(None, [before, *flags]))
    subprocess.run(["cargo", "build", "--release", "--locked", "--target", host, "--target-dir", folder, "--bin", "portcullis"],
                   cwd=ROOT, check=True, env=os.environ | {"CARGO_ENCODED_RUSTFLAGS": flags} | settings)
    return folder / host / "release/portcullis"


def work(binary, counts):
    """What a binary is counted at. Each process leaves its counts when it ends."""
    shutil.rmtree(counts, ignore_errors=True)
    counts.mkdir()
    left = lambda: sum(file.stat().st_mtime_ns for file in counts.iterdir())
    before = left()

    def counted():
        nonlocal before
        if left() == before:
            sys.exit("a process has left no counts: was it ended before it could?")
        before = left()

    for command in (["run", "--only", "Portcullis", "--rounds", "2", "--seconds", "1"],
                    ["directory", "--users", "3000", "--groups", "500", "--applications", "50", "--tokens", "200"]):
        subprocess.run([ROOT / "benches" / command[0], "--binary", binary, *command[1:]], check=True, stdout=subprocess.DEVNULL)
        counted()
    servers.BINARY = binary
    with tempfile.TemporaryDirectory(prefix="portcullis-release-") as temporary:
        stage = Stage(Path(temporary))
        try:
            site = Portcullis(stage, "data")
            uploads(site)
            expressions(site)
        finally:
            stage.stop()
    counted()


def laid_out(built, bolt, counts):
    """A binary whose functions and blocks are in the order in which they ran, apart from what did not."""
    counting, new = FOLDER / "counting-blocks", BINARY.with_suffix(".new")

    def bolted(to, *how):
        done = subprocess.run([bolt / "llvm-bolt", built, "-o", to, *how], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout if done.returncode == 0 else sys.exit(done.stdout)

    bolted(counting, "-instrument", f"-instrumentation-file={counts / 'blocks'}", "-instrumentation-file-append-pid")
    work(counting, counts)
    counted = FOLDER / "blocks"
    with counted.open("wb") as file:
        subprocess.run([bolt / "merge-fdata", *counts.iterdir()], check=True, stdout=file)
    # In the place of the code that was there, which would stay in the file otherwise.
    said = bolted(new, f"-data={counted}", "-reorder-blocks=ext-tsp", "-reorder-functions=cdsort", "-split-functions",
                  "-split-all-cold", "-split-eh", "-use-old-text", "-no-huge-pages")
    if "using original .text" not in said:
        sys.exit(f"{said}\nThe code has not found room in the place of the old one: leave -use-old-text out")
    return new


def uploads(site):
    """Bodies of requests, with a length and without; the upstream refuses them when it has read them."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    headers = {"Host": site.host, "Cookie": site.cookie}
    for number in range(500):
        body = b"a" * (1000 + 200 * number)
        connection.request("POST", "/", body if number % 2 else iter([body[:700], body[700:]]), headers, encode_chunked=True)
        connection.getresponse().read()


def expressions(site):
    """The examples, as policies about a user; those that are meant to be refused are."""
    cases = [case.split("\n--- ")[0].split("\n", 2)[2]
             for file in sorted((ROOT / "crates/expr/cases").glob("*.txt"))
             for case in ("\n" + file.read_text()).split("\n=== ")[1:] if case.split("\n--- ")[0].count("\n") >= 2]
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": f"localhost:{site.port}", "Content-Type": "application/json"}

    def ask(method, path, body):
        connection.request(method, f"/api/v3/policies/{path}", servers.json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, servers.json.loads(answer.read())

    user = site.api("GET", "/core/users/?username=ada")["results"][0]["pk"]
    ran = 0
    for number, expression in enumerate(cases):
        status, policy = ask("POST", "expression/", {"name": f"case-{number}", "expression": expression})
        for _ in range(5 if status == 201 else 0):
            ran += ask("POST", f"all/{policy['pk']}/test/", {"user": user})[0] == 200
    if ran < len(cases):
        sys.exit(f"only {ran} evaluations of {len(cases)} expressions")


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for tool in ("cargo", "nginx", "wrk", "h2load", "openssl"):
        if not program(tool):
            sys.exit(f"{tool} is missing; on Debian: apt-get install nginx-light wrk openssl nghttp2-client")
    host = notices.host()
    llvm, bolt = llvm_tools(host), bolt_tools()
    # What is there of an earlier run would look like the result of this one.
    licences = FOLDER / "NOTICES.txt"
    for old in (BINARY, licences):
        old.unlink(missing_ok=True)
    counts = FOLDER / "counts"
    # Counts are taken before the pieces are put together: that would only take its time.
    counting = build(host, "counting", f"-Cprofile-generate={counts}", CARGO_PROFILE_RELEASE_LTO="off")
    work(counting, counts)
    for old in FOLDER.glob("*.profdata"):
        old.unlink()
    made = FOLDER / "new.profdata"
    subprocess.run([llvm / "llvm-profdata", "merge", "--output", made, *counts.glob("*.profraw")], check=True)
    # Cargo builds anew what was built by another profile if that has another name.
    profile = FOLDER / f"{hashlib.sha256(made.read_bytes()).hexdigest()[:16]}.profdata"
    made.rename(profile)
    # As one piece, of which what is used lies together: blocks in the order in which they mostly follow each other. What is
    # put in another order later has to say where its parts name each other.
    built = build(host, "using", f"-Cprofile-use={profile}", "-Cllvm-args=-enable-ext-tsp-block-placement",
                  "-Clink-arg=-Wl,--emit-relocs", CARGO_PROFILE_RELEASE_LTO="fat", CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1",
                  CARGO_PROFILE_RELEASE_STRIP="none")
    new = laid_out(built, bolt, counts)
    subprocess.run([llvm / "llvm-strip", new], check=True)
    subprocess.run([new, "--version"], check=True, stdout=subprocess.DEVNULL)
    licences.write_text(notices.notices(host))
    new.rename(BINARY)
    print(f"{BINARY.relative_to(ROOT)}, {BINARY.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
