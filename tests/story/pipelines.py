"""The story's pipeline for tests: the real modules, and a container that answers at once instead of the detector."""

from __future__ import annotations

import json

from tests.executors.docker_image import IMAGE

NAME = "person-at-the-door"
DETECTOR = r"""
{
  match($0, /"id":"[^"]*"/); id = substr($0, RSTART + 6, RLENGTH - 7)
  d = substr($0, index($0, "\"data\":{") + 7); depth = 0
  for (i = 1; i <= length(d); i++) {
    c = substr(d, i, 1)
    if (c == "{") depth++
    if (c == "}" && --depth == 0) break
  }
  label = d ~ /"camera":"[^"]*\/empty/ ? "cat" : "person"
  printf "{\"id\":\"%s\",\"events\":[{\"type\":\"image.labels\",\"data\":{\"labels\":[{\"name\":\"%s\",\"score\":0.9,", id, label
  printf "\"box\":[0.1,0.1,0.5,0.5]}],%s}}]}\n", substr(d, 2, i - 2)
  fflush()
}
"""
"""Names a person on every photo of a camera, but a cat where the camera's name begins with `empty`."""
_AWK = json.dumps(DETECTOR)


def story(filters: str, *, deadline: str = "10m", shots: int = 1) -> str:
    """The YAML of `examples/person-at-the-door.yaml` with modules of `filters` and no time of learning."""
    return f"""\
version: 1
name: {NAME}
steps:
  wifi:
    tail: auto
    where: wifi-log=true
    wasm: {{module: {filters}/wifi-join.wasm}}
    emit: [wifi.client.joined, wifi.client.left, wifi.client.roamed, wifi.client.active, wifi.access_point.restarted]
  arrived:
    after: wifi
    presence: {{away: 30m, learn: 0s}}
  photos:
    after: arrived
    when: "!data.device.known"
    where: camera=true
    camera: {{shots: {shots}, every: 1s}}
    deadline: {deadline}
  small:
    after: photos
    wasm: {{module: {filters}/rescale.wasm, args: [--max, "64"]}}
  labels:
    after: small
    docker: {{image: "{IMAGE}", args: [/bin/busybox, awk, {_AWK}]}}
    where: docker=true
  alert:
    after: labels
    when: "data.labels[?name=='person' && score >= `0.4`]"
    cooldown: {{key: [root, data.camera], for: 30m}}
    sink: {{photo: labelled}}
keep: {{matched: 7d, unmatched: 0}}
"""
