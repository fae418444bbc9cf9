# SPDX-License-Identifier: Apache-2.0
"""Configuration of the HTTP servers that stand for the admin's web server of an http marketplace."""
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Optional

_NGINX = """\
daemon off; master_process off; worker_processes 1;
pid "{directory}/nginx.pid"; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log "{directory}/access.log";
  client_body_temp_path "{directory}/body"; proxy_temp_path "{directory}/proxy";
  fastcgi_temp_path "{directory}/fastcgi"; uwsgi_temp_path "{directory}/uwsgi"; scgi_temp_path "{directory}/scgi";
  default_type application/octet-stream; sendfile on; tcp_nopush on;
  server {{ listen 127.0.0.1:{port}; server_name localhost; root "{public}"; autoindex on; }}
}}
"""
_APACHE = """\
ServerRoot "{directory}"
ServerName localhost
Listen 127.0.0.1:{port}
PidFile "{directory}/apache.pid"
DefaultRuntimeDir "{directory}"
ErrorLog "{directory}/error.log"
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule autoindex_module /usr/lib/apache2/modules/mod_autoindex.so
DocumentRoot "{public}"
<Directory "{public}">
  Options Indexes FollowSymLinks
  Require all granted
</Directory>
"""


def command(directory: Path, public: Path, port: int) -> Optional[list[str]]:
    """Write a configuration into `directory` and return the command of the server that is installed."""
    values = {"directory": directory, "public": public.resolve(), "port": port}
    nginx, apache = _program("nginx"), _program("apache2")
    if nginx:
        configuration = directory / "nginx.conf"
        configuration.write_text(_NGINX.format(**values))
        return [nginx, "-p", f"{directory}/", "-c", str(configuration), "-e", "stderr"]
    if apache:
        configuration = directory / "apache.conf"
        configuration.write_text(_APACHE.format(**values))
        return [apache, "-f", str(configuration), "-DFOREGROUND"]
    return None


def _program(name: str) -> Optional[str]:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
