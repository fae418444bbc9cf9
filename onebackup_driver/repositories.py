# SPDX-License-Identifier: Apache-2.0
"""The repositories of this site: what a marketplace's template says of its repository, and which ones are known.

The driver is told the template by oned; the gateway is not. So the driver leaves what it was told in the state
directory, by the repository's id, readable by oneadmin only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from onebackup_driver import errors, files, paths, stored_object
from onebackup_driver.app import Marketplace
from onebackup_driver.repository import location

if TYPE_CHECKING:  # what compresses and encrypts is loaded by those who need it
    from onebackup_driver.repository.repository import Repository

DRIVER = "onebackup"
_OPTIONS = ("ENDPOINT", "REGION", "SIGNATURE_VERSION", "FORCE_PATH_STYLE", "QUOTA_MB")


@dataclass(frozen=True)
class Settings:
    """How a repository is reached. Keys are named by their files; only what a template itself holds is in `keys`."""

    place: str
    options: dict[str, str] = field(default_factory=dict)
    credentials_file: str = ""
    marketplace_id: int = -1
    keys: dict[str, str] = field(default_factory=dict, repr=False)
    key_file: str = ""
    compression_level: int = 0

    @property
    def warnings(self) -> list[str]:
        """What works but should not stay so."""
        if not self.keys:
            return []
        return ["the S3 keys are in the marketplace's template: put them into a file and name it in CREDENTIALS_FILE"]


def of_marketplace(marketplace: Marketplace, credentials_file: str = "") -> Settings:
    """What a marketplace's template says; `credentials_file` is the site's. Raises UsageError."""
    template = {name: value.strip() for name, value in marketplace.attributes.items() if value.strip()}
    what = f"marketplace {marketplace.marketplace_id} ({marketplace.name})"
    place = template.get("REPOSITORY", "")
    if not place:
        raise errors.UsageError(f'{what} has no REPOSITORY="dir:/path" or "s3://bucket/prefix" in its template')
    level = template.get("COMPRESSION_LEVEL", "0")
    if not (level.isascii() and level.isdigit() and 0 <= int(level) <= 19):
        raise errors.UsageError(f"{what}: COMPRESSION_LEVEL is a number from 1 to 19, not {level[:20]!r}")
    given = Settings(
        place,
        {name: template[name] for name in _OPTIONS if name in template},
        template.get("CREDENTIALS_FILE", "") or credentials_file,
        marketplace.marketplace_id,
        key_file=template.get("KEY_FILE", ""),
        compression_level=int(level),
    )
    if not given.credentials_file:
        given = replace(given, keys={name: template[name] for name in _KEYS if name in template})
    locate(given, Path())
    return given


_KEYS = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")


def shown(marketplace: Marketplace, credentials_file: str, where: paths.Paths) -> Settings:
    """As `of_marketplace`, of a template as the API shows it: keys in it are encrypted then, so they are taken from
    what the driver was told, when it was. Raises UsageError."""
    settings = of_marketplace(marketplace, credentials_file)
    told = of_number(where, marketplace.marketplace_id) if settings.keys else None
    return settings if told is None or told.place != settings.place else replace(settings, keys=told.keys)


def locate(settings: Settings, cache: Path) -> location.Location:
    """Where the repository is. Raises UsageError."""
    options = dict(settings.options)
    if settings.place.startswith("s3:"):
        options["CACHE"] = str(cache)
        found = stored_object.site_credentials(settings.credentials_file, settings.marketplace_id)
        options.update(settings.keys or {name: value for name, value in zip(_KEYS, found) if value})
    return location.parse(settings.place, options)


def open(settings: Settings, where: paths.Paths) -> Repository:
    """Open it. Raises UsageError, NotARepository, WrongKey, Damaged, StoreFailed."""
    from onebackup_driver.repository import keys, problems, repository

    key = keys.load(Path(settings.key_file)) if settings.key_file else None
    store = locate(settings, where.state / "cache").open_store()
    try:
        opened = repository.open(store, key)
    except problems.Damaged as error:
        told = f"{error.reason}; without it nothing can be read: bring it back from a copy of {store.place}"
        raise problems.Damaged(error.name, told) from error
    if settings.compression_level:
        parameters = opened.parameters._replace(compression_level=settings.compression_level)
        opened = repository.Repository(opened.store, opened.header._replace(parameters=parameters), opened.vault)
    return opened


def identity(opened: Repository) -> str:
    """The id of a repository as it is in URLs and file names."""
    return opened.header.repository_id.hex()


def remember(where: paths.Paths, settings: Settings, opened: Repository) -> None:
    """Let the gateway of this front-end know the repository."""
    path = _file(where, identity(opened))
    content = (json.dumps(asdict(settings), sort_keys=True, indent=1) + "\n").encode()
    try:
        if path.read_bytes() == content:
            return
    except OSError:
        pass
    files.make_private_directory(path.parent)
    files.write(path, content)


def known(where: paths.Paths, repository_id: str) -> Optional[Settings]:
    """What was remembered of a repository; None for one that is not known. Raises UsageError."""
    try:
        return _settings(json.loads(_file(where, repository_id).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise errors.UsageError(f"cannot read what is known of repository {repository_id}: {error}") from error


def all_known(where: paths.Paths) -> dict[str, Settings]:
    """Everything that was remembered, by the ids of the repositories."""
    found = {path.stem: known(where, path.stem) for path in sorted(_folder(where).glob("*.json"))}
    return {name: settings for name, settings in found.items() if settings is not None}


def of_number(where: paths.Paths, marketplace_id: int) -> Optional[Settings]:
    """What the driver of this front-end was told of a marketplace, when it was."""
    found = (settings for settings in all_known(where).values() if settings.marketplace_id == marketplace_id)
    return next(found, None)


def _settings(values: Mapping[str, Any]) -> Settings:
    return Settings(**values)


def _folder(where: paths.Paths) -> Path:
    return where.state / "repositories"


def _file(where: paths.Paths, repository_id: str) -> Path:
    return _folder(where) / f"{repository_id}.json"
