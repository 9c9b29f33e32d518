"""Starts what stands around an application in production: nginx in front of it, Prometheus that asks it."""

import urllib.request
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from support.programs import find_program
from support.servers import a_folder
from support.servers import free_port
from support.servers import running
from support.servers import Server

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
    server {{
        listen 127.0.0.1:{port};
        {server}
    }}
}}
"""


@contextmanager
def nginx(server: str, *, http: str = "") -> Iterator[Server]:
    """Run nginx with one server; what is given stands within the blocks ``server`` and ``http`` of its configuration.

    It listens on the port of the server's ``url``.
    """
    program = find_program("nginx")
    with a_folder() as folder:
        port = free_port()
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, port=port, server=server, http=http))
        command = [program, "-e", "stderr", "-p", str(folder), "-c", str(config)]
        nginx = Server(command, f"http://127.0.0.1:{port}", port=port, folder=folder)
        with running(nginx):
            yield nginx


@contextmanager
def prometheus(config: str, *, files: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run Prometheus with this configuration; ``files`` (rules, by their names) are written beside it."""
    program = find_program("prometheus")
    with a_folder() as folder:
        port = free_port()
        for name, text in {"prometheus.yml": config, **(files or {})}.items():
            (folder / name).write_text(text)
        server = Server(
            [program, *_prometheus_options(folder, port)],
            f"http://127.0.0.1:{port}",
            port=port,
            folder=folder,
            answers=lambda: _is_ready(f"http://127.0.0.1:{port}/-/ready"),
        )
        with running(server):
            yield server


def _prometheus_options(folder: Path, port: int) -> list[str]:
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    return [*options, f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle"]


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
