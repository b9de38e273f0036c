"""Compiled kernels on disk, shared by all processes of one user.

An entry is one file: the SHA-256 of the object code, then the code. It is named by a key over everything the code
depends on, written beside its place and renamed, so that readers see it whole or not at all; whatever does not match
its hash is dropped and compiled anew. The folder is ``$STRIATE_CACHE_DIR``, else ``striate`` in the user's cache
folder, readable by its owner alone: what lies there is executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from striate.files import replacing

HASH_BYTES = 32
DEFAULT_LIMIT_BYTES = 256 << 20
LOOKS_AFTER = "0"
"""Keys that begin so, one in sixteen, have the size looked after when they are written: it means reading the folder."""


def folder() -> Path:
    """Where compiled kernels are kept; not created before the first one is stored."""
    chosen = os.environ.get("STRIATE_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "striate"


def key(*parts: str) -> str:
    """The name of an entry: a hash over all that its code depends on."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class DiskCache:
    """Object code by key, in one folder, bounded in size; the least recently used entries make room."""

    folder: Path
    limit_bytes: int = DEFAULT_LIMIT_BYTES

    def read(self, key: str) -> bytes | None:
        """The code stored under ``key``; None if there is none or it is damaged."""
        path = self._path(key)
        try:
            if not self._trusted():
                return None
            content = path.read_bytes()
        except OSError:
            return None
        code = content[HASH_BYTES:]
        if len(content) <= HASH_BYTES or hashlib.sha256(code).digest() != content[:HASH_BYTES]:
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):  # removed by another process meanwhile; the code in hand is good
            os.utime(path)
        return code

    def has(self, key: str) -> bool:
        """Whether something is stored under ``key``, sound or not."""
        try:
            return self._trusted() and self._path(key).is_file()
        except OSError:
            return False

    def usable(self) -> bool:
        """Whether something can be stored; makes the folder if it is not there."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._trusted() and os.access(self.folder, os.W_OK)
        except OSError:
            return False

    def write(self, key: str, code: bytes) -> None:
        """Store ``code``. A full or read-only disk is no reason to fail: the kernel in memory is what was wanted."""
        try:
            if self.usable():
                with replacing(self._path(key)) as beside:
                    beside.write_bytes(hashlib.sha256(code).digest() + code)
                if key.startswith(LOOKS_AFTER):
                    self._make_room()
        except OSError:
            return

    def entries(self) -> list[Path]:
        """The files of the cache, least recently used first."""
        found = []
        for path in self.folder.glob("*.o"):
            try:
                found.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:
                continue  # another process cleared it
        return [path for _, path in sorted(found)]

    def size_bytes(self) -> int:
        """The size of all entries together."""
        return sum(path.stat().st_size for path in self.entries())

    def clear(self) -> int:
        """Remove every entry; return how many there were."""
        found = self.entries()
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.o"

    def _trusted(self) -> bool:
        """Whether nobody else can write to the folder."""
        state = self.folder.stat()
        return state.st_uid == os.getuid() and not state.st_mode & 0o022

    def _make_room(self) -> None:
        sizes = [(path, path.stat().st_size) for path in self.entries()]
        excess = sum(size for _, size in sizes) - self.limit_bytes
        for path, size in sizes:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
