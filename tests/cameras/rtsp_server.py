"""A real RTSP server for the tests, by GStreamer; run with the system's Python, which has its bindings.

rtsp_server.py PORT USER PASSWORD: serves rtsp://…:PORT/jpeg, /h264 and /dark (black in the first half second of each
session, as a camera's pictures are) and prints READY.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

CAPS = "video/x-raw,format=I420,width=640,height=360,framerate=25/1"
LIVE = f"videotestsrc is-live=true pattern=smpte ! {CAPS}"
STREAMS = {
    "/jpeg": f"{LIVE} ! jpegenc ! rtpjpegpay name=pay0 pt=26",
    "/h264": f"{LIVE} ! openh264enc gop-size=10 ! rtph264pay name=pay0 pt=96 config-interval=1",
    "/dark": f"concat name=c ! jpegenc ! rtpjpegpay name=pay0 pt=26 "
    f"videotestsrc is-live=true pattern=black num-buffers=12 ! {CAPS} ! c. {LIVE} ! c.",
}


def main() -> None:
    """Serve until killed."""
    port, user, password = sys.argv[1:4]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    for path, launch in STREAMS.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {launch} )")
        factory.set_shared(path != "/dark")
        factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
    if not server.attach(None):
        raise SystemExit("the port is taken")
    print("READY", flush=True)
    GLib.MainLoop().run()


main()
