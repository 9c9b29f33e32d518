#!/bin/sh
# Builds a free-threaded CPython 3.13 from Debian's source package, and runs the concurrency tests on it
# with the interpreter lock off. Takes about ten minutes the first time and one after that; not part of CI.
#
#   tests/system/free_threaded.sh [DIRECTORY] [PYTEST ARGUMENTS...]
#
# DIRECTORY keeps the build (default: ~/.cache/flask_idlesession/free_threaded). Needs apt-get with
# Debian's archive keys, dpkg-dev, a C compiler, make, and the headers of zlib, libffi, OpenSSL and SQLite
# (zlib1g-dev libffi-dev libssl-dev libsqlite3-dev). With a free-threaded interpreter at hand, say
# PYTHON=/path/to/python3.13t, and nothing is built.
set -eu

tree=$(cd "$(dirname "$0")/../.." && pwd)
keep=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/flask_idlesession/free_threaded}
[ $# -eq 0 ] || shift
mkdir -p "$keep"
keep=$(cd "$keep" && pwd)
suite=${SUITE:-trixie}
# Debian's archive, as this machine knows it.
archive=${ARCHIVE:-$(apt-get indextargets --format '$(REPO_URI)' | grep '/debian/*$' | head -n 1)}
keyring=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}

# A private apt configuration: the machine's own sources, lists and packages stay as they are.
fetch() {
    mkdir -p "$keep/apt/lists/partial" "$keep/apt/archives/partial" "$keep/source"
    : >"$keep/apt/status"
    echo "deb-src [signed-by=$keyring] $archive $suite main" >"$keep/apt/sources.list"
    cat >"$keep/apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$keep/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$keep/apt";
Dir::State::status "$keep/apt/status";
Dir::Cache "$keep/apt";
APT::Sandbox::User "root";
CONF
    (
        cd "$keep/source"
        export APT_CONFIG="$keep/apt/apt.conf"
        apt-get -q update
        apt-get -q source --download-only python3.13
        # apt has checked every file against the signed list of the archive. What Debian patches is about
        # where it installs Python, so the pristine source is built.
        tar -xJf python3.13_*.orig.tar.xz --strip-components=1
    )
}

build() {
    [ -f "$keep/source/configure" ] || fetch
    (
        cd "$keep/source"
        ./configure --prefix="$keep/python" --disable-gil --disable-test-modules >"$keep/configure.log"
        make -j"$(nproc)" >"$keep/make.log" 2>&1
        make install >"$keep/install.log" 2>&1
    )
}

python=${PYTHON:-$keep/python/bin/python3.13t}
[ -x "$python" ] || build

if [ ! -x "$keep/venv/bin/python" ]; then
    "$python" -m venv "$keep/venv"
    "$keep/venv/bin/python" -m pip install -q "Flask>=3.0" "itsdangerous>=2.1.2" --only-binary hypothesis \
        "pytest>=8" "pytest-xdist>=3.5" "gunicorn>=22" "hypothesis>=6.100"
    # Where ormsgpack has no wheel for this interpreter, msgpack does, or runs as plain Python.
    "$keep/venv/bin/python" -m pip install -q --only-binary ormsgpack ormsgpack ||
        MSGPACK_PUREPYTHON=1 "$keep/venv/bin/python" -m pip install -q --no-binary msgpack msgpack
fi

# Without this an extension module that does not say it can do without would switch the lock on again.
export PYTHON_GIL=0 PYTHONPATH="$tree" PYTHONDONTWRITEBYTECODE=1
"$keep/venv/bin/python" -c '
import sys
from flask_idlesession.model import msgpack as engine
assert not sys._is_gil_enabled(), "the interpreter lock is on"
print(sys.version, "| lock off | values packed by", "ormsgpack" if hasattr(engine, "ormsgpack") else "msgpack")
'
cd "$tree"
if [ $# -eq 0 ]; then
    set -- tests/system/test_linearizability.py tests/system/test_scheduler.py tests/sessions/test_locking.py tests/system/test_races.py
fi
exec "$keep/venv/bin/python" -m pytest -q -p no:cacheprovider "$@"
