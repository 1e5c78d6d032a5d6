#!/usr/bin/env python3
"""Prints the licences of everything that is linked into the binary, with their texts, to be handed on beside it.

That is every crate that `portcullis` depends on when it runs, and what some of them carry that is written in C. A crate
that brings no text of its licence is named with what its manifest says. `tools/release.py` leaves the same in
`target/profiled/NOTICES.txt`.

Needs cargo, and the crates where cargo keeps them.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = re.compile(r"(licen[cs]e|copying|notice|copyright|unlicense)", re.IGNORECASE)
# Folders of crates that hold the sources of somebody else.
CARRIED = {"tikv-jemalloc-sys": ["jemalloc"], "aws-lc-sys": ["aws-lc"]}


def host():
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return re.search(r"^host: (.+)$", version, re.MULTILINE)[1]


def linked(target):
    """Packages that are part of the program, other people's alone; neither what builds it nor what tests it."""
    found = json.loads(subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target],
                                      cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    waiting = [package["id"] for package in found["packages"] if package["name"] == "portcullis" and not package["source"]]
    seen = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            macro = any("proc-macro" in part["kind"] for part in packages[dependency["pkg"]]["targets"])
            runs = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if runs and not macro and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    return sorted((packages[one] for one in seen if packages[one]["source"]), key=lambda package: package["name"])


def texts(package):
    """The texts of licences in a package."""
    folder = Path(package["manifest_path"]).parent
    files = []
    for place in [folder] + [folder / part for part in CARRIED.get(package["name"], [])]:
        if not place.is_dir():
            sys.exit(f"{package['name']} has no folder {place.name} any more")
        files += sorted(file for file in place.iterdir() if file.is_file() and TEXT.match(file.name))
    if package.get("license_file"):
        files.append(folder / package["license_file"])
    return [file.read_text(errors="replace").strip() for file in dict.fromkeys(files)]


def notices(target):
    """All of it as one text; a text that several packages bring is there once."""
    packages = linked(target)
    users, lines = defaultdict(list), ["Portcullis contains these packages, under these licences:", ""]
    for package in packages:
        name = f"{package['name']} {package['version']}"
        found = texts(package)
        lines.append(f"{name}: {package['license'] or 'see below'}{'' if found else ' (it brings no text)'}")
        for text in found:
            users["\n".join(line.rstrip() for line in text.splitlines())].append(name)
    for text, names in users.items():
        lines += ["", "-" * 80, "Of " + ", ".join(dict.fromkeys(names)) + ":", "", text]
    return "\n".join(lines) + "\n"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--target", help="of another machine than this one, as cargo names it")
    sys.stdout.write(notices(options.parse_args().target or host()))


if __name__ == "__main__":
    main()
