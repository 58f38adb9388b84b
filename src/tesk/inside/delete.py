"""Remove whatever a hostile program left, with no path, no recursion and one open descriptor at a time."""

import errno
import itertools
import os

# Somebody who makes one more entry while we remove the last one costs us a round; a hundred lost the race at times.
_ROUNDS = 10_000


def delete(folder: int, name: str) -> None:
    """Remove the entry `name` of an open folder with all that lies below it; OSError names what is left, if anything."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=folder)
            return
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise  # EBUSY: another file system is mounted here
        for _ in range(_ROUNDS):
            top = _open_for_removal(name, folder)
            try:
                empty(top)
            finally:
                os.close(top)
            try:
                os.rmdir(name, dir_fd=folder)
                return
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                # Something was made in it while we looked.
        raise OSError(errno.ENOTEMPTY, "is filled faster than it can be emptied") from None


def empty(top: int) -> None:
    """Remove all that lies below an open folder.

    A folder's folders are moved up into `top` before it goes, so no path grows long, whatever the depth. A place where
    another file system is mounted can be neither moved nor removed, so it is never entered.
    """
    token = f".deleting-{os.urandom(8).hex()}-"
    numbers = itertools.count()
    left: list[OSError] = []
    pending = _strip(top, left)
    patience = 1000
    while pending:
        name = pending.pop()
        try:
            folder = _open_for_removal(name, top)
        except FileNotFoundError:
            continue
        except OSError as error:
            left.append(error)
            continue
        before = len(left)
        try:
            for inner in _strip(folder, left):
                moved = f"{token}{next(numbers)}"
                try:
                    os.rename(inner, moved, src_dir_fd=folder, dst_dir_fd=top)
                except PermissionError:
                    os.close(_open_for_removal(inner, folder))  # to move a folder one must be able to write to it
                    os.rename(inner, moved, src_dir_fd=folder, dst_dir_fd=top)
                pending.append(moved)
        except OSError as error:
            left.append(error)
        finally:
            os.close(folder)
        try:
            os.rmdir(name, dir_fd=top)
        except FileNotFoundError:
            pass
        except OSError as error:
            if len(left) > before or patience == 0:
                left.append(error)
            else:
                patience -= 1
                pending.append(name)  # something was made in it while we looked
    if left:
        raise left[0]


def _strip(folder: int, left: list[OSError]) -> list[str]:
    """Remove all of a folder but the folders that are not empty; return their names."""
    full = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=folder)
                    continue
                os.rmdir(entry.name, dir_fd=folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR}:
                    full.append(entry.name)
                else:
                    left.append(error)
    return full


def _open_for_removal(name: str, folder: int) -> int:
    """Open a folder so that its entries can be listed and removed, whatever its mode."""
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        path = f"/proc/self/fd/{found}"
        if os.fstat(found).st_mode & 0o700 != 0o700:
            os.chmod(path, 0o700)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(found)
