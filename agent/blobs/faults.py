"""The errors of this package that more than one module raises."""

from __future__ import annotations

import errno

from agent.errors import BlobError, in_words


def too_large(size: int | str, limit: int) -> BlobError:
    """The error for a blob of `size` bytes above `limit`."""
    return BlobError(
        f"the blob has {size} bytes; the limit here is {limit}",
        code="blob.too-large",
        hint="make it smaller, or raise the limit of the step or the quota of the node",
    )


def wrong_size(cid: str, size: int, declared: int) -> BlobError:
    """The error for a blob whose event declares another size than its bytes have."""
    return BlobError(
        f"blob {cid} has {size} bytes where {declared} were declared",
        code="blob.size",
        hint="the node that made the event declared a false size: see its version and log",
    )


def missing(cid: str) -> BlobError:
    """The error for a blob that is not here."""
    return BlobError(f"blob {cid} is not on this node", code="blob.missing", hint="fetch it from a node that holds it")


def not_there(cid: str) -> BlobError:
    """The error for a holder that does not have the blob, or not for this node."""
    return BlobError(f"{cid} is not there, or this node may not read it", code="blob.missing")


def quota_full(quota: int) -> BlobError:
    """The error for a blob that has no room beside the blobs that are needed."""
    return BlobError(
        f"the blob quota of {quota} bytes is full of blobs that are still needed",
        code="blob.quota",
        hint="raise blobs.quota, or wait until open events have settled",
    )


def no_room(size: int) -> BlobError:
    """The error for `size` bytes that the disk has no room for."""
    return disk_error(OSError(errno.ENOSPC, f"no room for {size} bytes"))


def disk_error(error: OSError) -> BlobError:
    """The error for a file or folder that the system refused."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "free some space on the disk of the state folder" if full else "check its permissions and the disk"
    return BlobError(f"blob store: {in_words(error, file=True)}", code="blob.disk", hint=hint)


def index_error(error: Exception) -> BlobError:
    """The error for an index that can neither be used nor made again."""
    return BlobError(
        f"blob store: {error}", code="blob.disk", hint="is the disk of the state folder full, or read-only?"
    )
