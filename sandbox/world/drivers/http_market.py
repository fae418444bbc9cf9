# SPDX-License-Identifier: Apache-2.0
"""The http marketplace: image files in PUBLIC_DIR, which some web server serves as BASE_URL.

BRIDGE_LIST (another host over ssh) is refused: the sandbox has one machine.
"""
from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from sandbox.world.drivers.request import Refused, Request, serve


def import_app(request: Request) -> Mapping[str, object]:
    """Copy the image file as it is under a name nobody can guess."""
    from sandbox.world import downloader  # half of the time that the other two actions would take

    name = os.urandom(16).hex()
    source, destination = request.text("IMPORT_SOURCE"), _public_directory(request) / name
    try:
        downloader.fetch(downloader.Request(source, destination, decompress=False))
    except downloader.DownloadFailed as error:
        command = f"downloader.sh -n {source} {destination}"
        raise Refused(
            f'ERROR: import: Command "{command}" failed: {error}\nError copying {source} to {destination}'
        ) from error
    request.dispose()
    return request.imported(f"{request.market('BASE_URL').rstrip('/')}/{name}")


def delete_app(request: Request) -> Mapping[str, object]:
    """Remove the file; a file that is not there is an error, as stock has it."""
    name = request.text("MARKETPLACEAPP/SOURCE")
    base = request.market("BASE_URL")
    name = name[len(base):] if name.startswith(base) else name
    path = Path(f"{_public_directory(request)}/{name}")
    if not path.is_file():
        raise Refused(f"ERROR: delete: Bad formed or unavailable app source: {path}")
    path.unlink()
    return {}


def monitor(request: Request) -> Mapping[str, object]:
    """Say how full the file system below PUBLIC_DIR is."""
    try:
        usage = shutil.disk_usage(_public_directory(request))
    except OSError as error:
        raise Refused(f"Empty value found: {error.strerror}") from error
    used, total = -(-usage.used // 2**20), -(-usage.total // 2**20)
    return {"USED_MB": used, "FREE_MB": total - used, "TOTAL_MB": total}


def _public_directory(request: Request) -> Path:
    if request.market("BRIDGE_LIST"):
        raise Refused("BRIDGE_LIST is not supported by the sandbox")
    return Path(request.market("PUBLIC_DIR", "/"))


if __name__ == "__main__":
    serve({"import": import_app, "delete": delete_app, "monitor": monitor})
