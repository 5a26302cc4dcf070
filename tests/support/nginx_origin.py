"""nginx as a real peer: as an origin, or as another proxy that the same traffic can be sent through.

It runs in the foreground from its own directory with one worker and its own configuration; the system's nginx service
and its files are never touched.
"""

from __future__ import annotations

from pathlib import Path

from ports import free_port, split_address
from program import Program, installed
from raw_client import RawClient

MAIN = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
"""

CONFIG = """
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000;
    server {{
        listen {address};
{locations}
    }}
}}
"""

ORIGIN = """
        location / { default_type text/plain; return 200 "nginx\\n"; }
        location /status/204 { return 204; }
        location /files/ { alias %s/files/; }
"""

PROXY = """
        location / {
            proxy_pass http://%s;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }
"""


def nginx_is_installed() -> bool:
    return installed("nginx") is not None


class Nginx(Program):
    """Serves `directory`/files below /files/ when `upstream` is "", else forwards everything to `upstream`; or does
    what `blocks` say, configuration in which ADDRESS stands for where to listen. `modules` are loaded first."""

    def __init__(self, directory: Path, upstream: str = "", blocks: str = "", modules: tuple[Path, ...] = ()) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        (directory / "files").mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        locations = PROXY % upstream if upstream else ORIGIN % directory
        config = directory / "nginx.conf"
        if blocks:
            blocks = blocks.replace("ADDRESS", self.address)
        else:
            blocks = CONFIG.format(directory=directory, address=self.address, locations=locations)
        loaded = "".join(f"load_module {module};\n" for module in modules)
        config.write_text(loaded + MAIN.format(directory=directory) + blocks)
        program = installed("nginx")
        assert program is not None, "nginx is not installed"
        command = [program, "-p", str(directory), "-c", str(config), "-e", "stderr"]
        super().__init__(command, directory, self.is_ready, "nginx")

    def is_ready(self) -> bool:
        try:
            RawClient(self.address).close()
        except OSError:
            return False
        return True

    @property
    def port(self) -> int:
        return split_address(self.address)[1]
