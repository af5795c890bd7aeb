"""Folders that are the agent's own: made where they are not there, refused where others could write them."""

import errno
import os
import stat
from pathlib import Path


def own(folder: Path, mode: int = 0o700) -> None:
    """OSError where it can't be made, or is another's; a disk that is full or read-only is no reason to stop."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.ENOSPC):
            raise
        return
    about = folder.lstat()
    if about.st_uid != os.geteuid() or about.st_mode & 0o022 or not stat.S_ISDIR(about.st_mode):
        raise OSError(errno.EPERM, "must be a folder of this user's that nobody else can write", str(folder))


def readable(folder: Path) -> None:
    """A folder of our own that everybody may look into, and those above it that are made for it. OSError as `own`."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    for above in reversed(missing):
        above.mkdir()
        # Whatever the mask says.
        above.chmod(0o755)
    own(folder, 0o755)
