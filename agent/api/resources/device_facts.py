"""The facts of the hardware as an answer."""

from __future__ import annotations

from agent.api import results
from agent.platforms import Platform


def device_facts(platform: Platform) -> results.DeviceFacts:
    """The platform as an answer."""
    return results.DeviceFacts(
        arch=platform.arch,
        engine=platform.engine,
        system=platform.system,
        name=platform.name,
        model=platform.model,
        processor=platform.processor,
        cores=platform.cores,
        neon=platform.neon,
        memory=platform.memory,
        flash=platform.flash.total,
        init=platform.init,
        libc=platform.libc,
        log_source=platform.log_source,
        gpus=platform.gpus,
        radios=list(platform.radios),
        video=[results.Video(v.source, v.text) for v in platform.video],
        labels=platform.labels,
    )
