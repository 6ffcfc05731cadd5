"""Blobs of the previous run that nothing names: an agent that dies between a blob and its event's commit leaves the blob
behind, perhaps a photo. The start deletes every blob that is neither needed nor a module.
"""

from __future__ import annotations

import asyncio
import logging

from agent.blobs import BlobStore, ByHand
from agent.errors import BlobError

log = logging.getLogger(__name__)

MODULE = b"\0asm"
"""How a WebAssembly module begins; other nodes fetch modules from any node that has them, also of pipelines that are gone here."""


async def sweep(store: BlobStore, added: ByHand) -> int:
    """Delete blobs that nothing needs; returns their number. For the start, before anything makes new blobs.

    A blob that cannot be read or deleted stays, with a warning.
    """
    try:
        await added.load()
        here = await asyncio.to_thread(store.contents)
    except (OSError, UnicodeError) as e:
        log.warning(
            "skipping the clean-up of blobs from the previous run: cannot read the blobs or the list of blobs added by hand: %s",
            e,
        )
        return 0
    gone = 0
    for cid in here:
        if store.needs.needed(cid):
            continue
        try:
            if await store.read_at(cid, 0, len(MODULE)) == MODULE:
                continue
            await store.delete(cid)
        except (BlobError, OSError) as e:
            log.warning("blob %s from the previous run stays: %s", cid, e)
        else:
            gone += 1
    if gone:
        log.info("deleted %d blobs from the previous run that nothing needs", gone)
    return gone
