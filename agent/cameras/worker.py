"""The capture worker: the only process that loads OpenCV. It may hang or crash; its parent kills it at the deadline.

`capture.py` starts it as `python -m agent.cameras.worker FD` (a frozen agent: `edge-agent camera-worker FD`).
Messages (`agent.worker`) are msgpack: an Ask in, a Reply out. It ends when the parent closes its end, and when a live
source breaks.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from typing import Any

import msgspec

from agent.cameras.jpeg import END, MAX_PIXELS, START
from agent.cameras.losses import Losses, Messages, udp_alone, why_closed
from agent.cameras.spec import View
from agent.worker import end_with_parent, receive, send

QUALITY = 90
"""JPEG quality of pictures that are encoded here."""
DARK = 20.0
"""Mean luma (0..255) below which a picture right after opening counts as taken before the exposure has settled;
video's black is 16."""
SETTLE = 1.0
"""Seconds after the first frame in which dark frames are skipped."""


TRANSPORT = "rtsp_transport;tcp+udp|rtsp_flags;prefer_tcp|allowed_media_types;video|flags;low_delay"
FAST = f"{TRANSPORT}|analyzeduration;100000"
"""FFmpeg examines a stream for up to five seconds before its first picture; 0.1 s (in microseconds) is enough for most.

Without `nobuffer` the frames of this examination count, so that the first key frame is the first picture.
"""
PATIENT = f"{TRANSPORT}|analyzeduration;60000000|probesize;50000000|fpsprobesize;0"
"""For H.264 and H.265 without their parameters in the description: they come with a key frame, 8 to 20 s later.

FAST may give up at that key frame, and then needs another one; PATIENT needs seven frames more of a stream of H.264.
"""
INSECURE = "|tls_verify;0"
REACTION = 0.2
"""Seconds in which FFmpeg may notice that its time is over, and the worker say why."""
GREY = 128
"""The value of pixels that a JPEG decoder has no data for."""
MISSING = 0.4
"""Share of a picture that may be missing."""
DAMAGED = "camera.damaged"


class Ask(msgspec.Struct, array_like=True):
    """`open` a source, take a `frame` of it, or `convert` a picture's bytes.

    `until`: the monotonic time in seconds at which there must be an answer; loading OpenCV takes a part of the time before.
    `late`: the parameters of the stream come with a key frame.
    """

    verb: str
    source: str = ""
    view: View = View()
    until: float = 0.0
    picture: bytes = b""
    insecure: bool = False
    late: bool = False


class Reply(msgspec.Struct, array_like=True):
    """A picture, with the monotonic time in seconds when it was taken; or an error."""

    jpeg: bytes = b""
    width: int = 0
    height: int = 0
    taken: float = 0.0
    error: str = ""
    code: str = "camera"


class CaptureError(Exception):
    """A camera's error with its code; the text never has its address."""

    def __init__(self, text: str, code: str = "camera.stream") -> None:
        super().__init__(text)
        self.code = code


class Live:
    """A device or stream that runs by itself: a thread takes every frame, so that no frame waits in a buffer.

    Frames that a loss has damaged are not given.
    """

    def __init__(self, capture: Any, messages: Messages, kind_property: int) -> None:
        self._capture = capture
        self._messages = messages
        self._kind = kind_property
        self._losses = Losses()
        self._ready = threading.Condition()
        self._frame: Any = None
        self._taken = 0.0
        self._wanted = True
        self._broken = False
        self._fault = CaptureError("the stream ended", "camera.ended")
        threading.Thread(target=self._run, daemon=True, name="frames").start()

    def _run(self) -> None:
        while True:
            good = self._capture.grab()
            taken = time.monotonic()
            if not good:
                break
            self._losses.frame(self._messages.take(), int(self._capture.get(self._kind)), taken)
            with self._ready:
                if not self._wanted or self._losses.damaged:
                    continue
                good, frame = self._capture.retrieve()
                if not good or frame is None:
                    self._fault = CaptureError("its pictures cannot be decoded: their pixels are of an unknown format")
                    break
                self._frame, self._taken, self._wanted = frame, taken, False
                self._ready.notify_all()
        with self._ready:
            self._broken = True
            self._ready.notify_all()

    def frame(self, timeout: float) -> tuple[Any, float]:
        """The next frame after this call, within `timeout` seconds."""
        with self._ready:
            self._frame, self._wanted = None, True
            self._ready.wait_for(lambda: self._frame is not None or self._broken, timeout)
            if self._frame is not None:
                return self._frame, self._taken
            if self._broken:
                raise self._fault
            if self._losses.damaged:
                raise CaptureError("its pictures are damaged: parts of the stream are lost on the way", DAMAGED)
            raise CaptureError(f"it answers, but gives no picture within {timeout:.1f} s", "camera.timeout")

    def settled(self, timeout: float) -> None:
        """Wait for the first frame that is not dark, at most SETTLE seconds after the first one."""
        frame, first = self.frame(timeout)
        while luma(frame) < DARK:
            frame, taken = self.frame(timeout)
            if taken - first > SETTLE:
                return

    @property
    def broken(self) -> bool:
        """Whether it has ended."""
        return self._broken


class Film:
    """A video file that runs in a loop all the time."""

    def __init__(self, cv2: Any, capture: Any) -> None:
        self._cv2 = cv2
        self._capture = capture
        frames, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        self._seconds = frames / rate if frames > 0 and rate > 0 else 0.0

    def frame(self, timeout: float) -> tuple[Any, float]:
        """The frame that is due now."""
        due = time.time() % self._seconds if self._seconds else 0.0
        for at in (due, 0.0):
            self._capture.set(self._cv2.CAP_PROP_POS_MSEC, at * 1000)
            good, frame = self._capture.read()
            if good and frame is not None:
                return frame, time.monotonic()
        raise CaptureError("the video has no frame")

    broken = False


def luma(frame: Any) -> float:
    """Mean luma (0..255) of a BGR frame, from every eighth pixel (weights: ITU-R BT.601)."""
    blue, green, red = frame[::8, ::8].reshape(-1, 3).mean(axis=0)
    return float(0.114 * blue + 0.587 * green + 0.299 * red)


def seen(cv2: Any, frame: Any, view: View) -> Any:
    """The frame turned, masked and cut."""
    import numpy

    turns = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if view.rotate:
        frame = cv2.rotate(frame, turns[view.rotate])
    elif view.masks or view.hidden:
        frame = frame.copy()
    height, width = frame.shape[:2]
    for x, y, w, h in view.masks:
        # Outwards to whole pixels: a mask hides at least its box.
        frame[int(y * height) : int(-(-(y + h) * height // 1)), int(x * width) : int(-(-(x + w) * width // 1))] = 0
    for corners in view.hidden:
        points = numpy.array([[x * width, y * height] for x, y in corners]).round().astype(numpy.int32)
        cv2.fillPoly(frame, [points], (0, 0, 0))
        cv2.polylines(frame, [points], True, (0, 0, 0), 2)  # hides the pixels that its edges cut
    if view.crop:
        x, y, w, h = view.crop
        left, top = min(round(x * width), width - 1), min(round(y * height), height - 1)
        frame = frame[top : max(round((y + h) * height), top + 1), left : max(round((x + w) * width), left + 1)]
    return frame


class Worker:
    """Answers asks, one after another."""

    def __init__(self, cv2: Any, messages: Messages) -> None:
        self._cv2 = cv2
        self._messages = messages
        self._source: Live | Film | None = None

    def answer(self, ask: Ask) -> Reply:
        """The reply to one ask."""
        try:
            if ask.verb == "open":
                self._open(ask)
                return Reply()
            if ask.verb == "convert":
                return self._encoded(self._decoded(ask.picture), ask.view, time.monotonic())
            if self._source is None:
                return Reply(error="the camera is not open", code="camera.worker")
            frame, taken = self._source.frame(max(ask.until - time.monotonic(), 0.1))
            return self._encoded(frame, ask.view, taken)
        except CaptureError as e:
            return Reply(error=str(e), code=e.code)
        except self._cv2.error as e:
            return Reply(error=f"OpenCV refuses: {e.func or 'error'} {e.code}", code="camera.stream")

    @property
    def broken(self) -> bool:
        """Whether the source has ended, so that this process must end."""
        return self._source is not None and self._source.broken

    def _open(self, ask: Ask) -> None:
        cv2, start, end = self._cv2, time.monotonic(), ask.until
        if ask.source.startswith("/dev/"):
            capture = cv2.VideoCapture(ask.source, cv2.CAP_V4L2)
            if capture.isOpened():
                capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
                capture.set(cv2.CAP_PROP_FRAME_WIDTH, 1920)
                capture.set(cv2.CAP_PROP_FRAME_HEIGHT, 1080)
                capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        else:
            capture = self._ffmpeg(ask, PATIENT if ask.late else FAST, end - start)
            understood = capture.isOpened() and capture.get(cv2.CAP_PROP_FRAME_WIDTH) > 0
            if not understood and ask.source.startswith("rtsp") and (left := end - time.monotonic()) > 1:
                capture.release()
                capture = self._ffmpeg(ask, FAST if ask.late else PATIENT, left)
        said = self._messages.take()
        if not capture.isOpened():
            raise CaptureError(*why_closed(said))
        if ask.source.startswith("file:"):
            self._source = Film(cv2, capture)
        else:
            self._source = live = Live(capture, self._messages, cv2.CAP_PROP_FRAME_TYPE)
            try:
                live.settled(max(end - time.monotonic(), 0.01))
            except CaptureError as e:
                if e.code != "camera.timeout":
                    raise
                if udp_alone(said + self._messages.take()):
                    raise CaptureError(
                        "it sends its stream over UDP alone, and none arrives", "camera.transport"
                    ) from e
                raise CaptureError(f"it answers, but gives no picture within {end - start:.1f} s", e.code) from e

    def _ffmpeg(self, ask: Ask, options: str, seconds: float) -> Any:
        cv2, milliseconds = self._cv2, max(int((seconds - REACTION) * 1000), 1)
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = options + (INSECURE if ask.insecure else verified())
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds,
            cv2.CAP_PROP_N_THREADS, 1,
        ]  # fmt: skip
        return cv2.VideoCapture(ask.source.removeprefix("file:"), cv2.CAP_FFMPEG, limits)

    def _decoded(self, picture: bytes) -> Any:
        """The picture's pixels; the missing part of a JPEG is grey, and too large a part is an error."""
        import numpy

        whole = not picture.startswith(START) or picture.rfind(END) > 0
        data = numpy.frombuffer(picture + END, numpy.uint8)
        try:
            frame = self._cv2.imdecode(data, self._cv2.IMREAD_COLOR)
        except self._cv2.error as e:
            if e.func == "validateInputImageSize":
                raise CaptureError("the picture has more than 50 million pixels", "camera.too-large") from e
            raise CaptureError(f"the picture cannot be decoded: {e.func} {e.code}", "camera.picture") from e
        if frame is None:
            raise CaptureError("the picture cannot be decoded", "camera.picture" if whole else DAMAGED)
        if not whole and (frame == GREY).all(axis=2).mean() > MISSING:
            raise CaptureError(f"a JPEG that is cut off: more than {MISSING:.0%} of it is missing", DAMAGED)
        return frame

    def _encoded(self, frame: Any, view: View, taken: float) -> Reply:
        frame = seen(self._cv2, frame, view)
        good, jpeg = self._cv2.imencode(".jpg", frame, [self._cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not good:
            raise CaptureError("the picture cannot be encoded")
        height, width = frame.shape[:2]
        return Reply(jpeg.tobytes(), width, height, taken)


def load_cv2() -> Any:
    """OpenCV, with FFmpeg's messages at the level that tells of missing frames."""
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "48"
    # Frames before the first key frame cannot be decoded; the deadline bounds the wait for it, not these counts.
    os.environ["OPENCV_FFMPEG_DECODE_ATTEMPTS"] = os.environ["OPENCV_FFMPEG_READ_ATTEMPTS"] = "1000000"
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
    import cv2

    cv2.setNumThreads(1)
    return cv2


def verified() -> str:
    """FFmpeg's options for a stream over TLS whose certificate is checked; none where this system has no file of CAs."""
    files = (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt")
    file = next((f for f in files if f and os.path.isfile(f)), "")  # noqa: PTH113  pathlib costs the worker memory
    return f"|tls_verify;1|ca_file;{file}" if file else ""


def watch(link: socket.socket, worker: Worker) -> None:
    """End the process when the source breaks while nothing is asked."""
    while not worker.broken:
        time.sleep(0.1)
    link.shutdown(socket.SHUT_RD)


def serve(link: socket.socket) -> None:
    """Answer until the parent has closed its end or the source has ended."""
    try:
        worker = Worker(load_cv2(), Messages())
    except ImportError:
        worker = None
    if worker is not None:
        threading.Thread(target=watch, args=(link, worker), daemon=True, name="watch").start()
    while (message := receive(link)) is not None:
        if worker is None:
            reply = Reply(
                error="OpenCV is missing on this node: pip install 'edge-agent[camera]', or in a checkout pip install '.[camera]'",
                code="camera.worker",
            )
        else:
            reply = worker.answer(msgspec.msgpack.decode(message, type=Ask))
        send(link, msgspec.msgpack.encode(reply))
        if worker is not None and worker.broken:
            return


def main(arguments: list[str]) -> int:
    """Entry of the child process."""
    if len(arguments) != 1 or not arguments[0].isdigit():
        sys.stderr.write("this is the agent's camera worker; it is started by the agent\n")
        return 2
    end_with_parent()
    with socket.socket(fileno=int(arguments[0])) as link:
        serve(link)
    return 0


if __name__ == "__main__":
    # No clean-up at the end: a capture that hangs in its thread must not keep the process.
    os._exit(main(sys.argv[1:]))
