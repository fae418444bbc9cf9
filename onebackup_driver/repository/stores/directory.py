# SPDX-License-Identifier: Apache-2.0
"""A repository in a directory, local or on NFS: temporary file, fsync, link to the name, fsync of the directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from onebackup_driver import files
from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Buffer
from onebackup_driver.repository.stores import base
from onebackup_driver.units import MIB

_TEMPORARY = ".tmp-"


class DirectoryStore(base.Store):
    """`root` must be there when an existing repository is opened: a missing mount is not an empty repository."""

    def __init__(self, root: Path):
        self.root = root
        self.place = f"dir:{root}"
        self.parallel = max(2, min(8, os.cpu_count() or 2))

    def prepare(self, folders: tuple[str, ...]) -> None:
        try:
            for folder in folders:
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            files.sync_directory(self.root)
        except OSError as error:
            raise _failed(self.root, "cannot be prepared", error) from error

    def put(self, name: str, data: bytes) -> bool:
        writer = self.create(name)
        try:
            writer.write(data)
            return writer.publish()
        finally:
            writer.abandon()

    def create(self, name: str) -> base.Writer:
        base.check_name(name)
        return _Writer(self.root, self.root / name)

    def get(self, name: str, offset: int = 0, length: Optional[int] = None) -> bytes:
        with _Opened(self.root, name) as descriptor:
            wanted = os.fstat(descriptor).st_size - offset if length is None else length
            pieces = []
            while wanted > 0 and (piece := os.pread(descriptor, min(wanted, 1 << 30), offset)):
                pieces.append(piece)
                offset, wanted = offset + len(piece), wanted - len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_into(self, name: str, offset: int, view: memoryview) -> int:
        done = 0
        with _Opened(self.root, name) as descriptor:
            while done < len(view) and (count := os.preadv(descriptor, [view[done:]], offset + done)):
                done += count
        return done

    def size(self, name: str) -> int:
        with _Opened(self.root, name) as descriptor:
            return os.fstat(descriptor).st_size

    def delete(self, name: str) -> None:
        base.check_name(name)
        try:
            os.unlink(self.root / name)
            files.sync_directory((self.root / name).parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _failed(self.root, name, error) from error

    def list(self, prefix: str) -> Iterator[base.Entry]:
        if not prefix.endswith("/"):
            raise problems.StoreFailed(f"not a folder: {prefix!r}")
        return self._below(self.root / prefix, prefix)

    def _below(self, folder: Path, prefix: str) -> Iterator[base.Entry]:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from self._below(folder / entry.name, f"{prefix}{entry.name}/")
                    continue
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue  # deleted since
                yield base.Entry(prefix + entry.name, status.st_size, status.st_mtime)
        except OSError as error:
            raise _failed(self.root, prefix, error) from error

    def time(self) -> float:
        """Of a file that is written for it: on NFS that is the server's time."""
        path = self.root / f"{_TEMPORARY}{os.urandom(8).hex()}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            try:
                os.write(descriptor, b"what time is it")
                os.fsync(descriptor)
                return os.fstat(descriptor).st_mtime
            finally:
                os.close(descriptor)
                os.unlink(path)
        except OSError as error:
            raise _failed(self.root, "its time", error) from error

    def free_mb(self) -> Optional[int]:
        try:
            status = os.statvfs(self.root)
        except OSError as error:
            raise _failed(self.root, "free space", error) from error
        return status.f_bavail * status.f_frsize // MIB

    def local_copy(self, name: str, repository_id: bytes, fresh: bool = False) -> Path:
        self.size(name)
        return self.root / name

    def remove_stale(self, before: float) -> int:
        removed = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                try:
                    if name.startswith(_TEMPORARY) and path.stat().st_mtime < before:
                        path.unlink()
                        removed += 1
                except OSError:
                    pass  # its writer has just finished
        return removed


class _Opened:
    def __init__(self, root: Path, name: str):
        base.check_name(name)
        self._root, self._path, self._name = root, root / name, name

    def __enter__(self) -> int:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise problems.Missing(self._name) from None
        except OSError as error:
            raise _failed(self._root, self._name, error) from error
        return self._descriptor

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        os.close(self._descriptor)
        if isinstance(error, OSError):
            raise _failed(self._root, self._name, error) from error


class _Writer(base.Writer):
    def __init__(self, root: Path, path: Path):
        self._root, self._path = root, path
        self._name = path.relative_to(root).as_posix()
        self._temporary = path.parent / f"{_TEMPORARY}{os.urandom(8).hex()}"
        try:
            self._descriptor = self._create()
        except OSError as error:
            raise _failed(root, self._name, error) from error

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(self._temporary, flags, 0o640)
        except FileNotFoundError:
            if self._path.parent.parent == self._root:
                raise  # the folders of a repository are there: this is none, or not mounted any more
            self._path.parent.mkdir(exist_ok=True)
            files.sync_directory(self._path.parent.parent)
            return os.open(self._temporary, flags, 0o640)

    def write(self, data: Buffer) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _failed(self._root, self._name, error) from error

    def publish(self) -> bool:
        try:
            os.fsync(self._descriptor)
            published = _link(self._temporary, self._path)
            files.sync_directory(self._path.parent)
            return published
        except OSError as error:
            raise _failed(self._root, self._name, error) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        try:
            os.unlink(self._temporary)
        except OSError:
            pass  # renamed, or gc takes it later


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
        return True
    except FileExistsError:
        return os.path.samefile(temporary, path)  # NFS: the answer was lost, the server did it, the client asked again
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
    if path.exists():  # a file system without links
        return False
    os.rename(temporary, path)
    return True


def _failed(root: Path, name: str, error: OSError) -> problems.StoreFailed:
    return problems.StoreFailed(f"dir:{root}: {name}: {error.strerror or error}")
