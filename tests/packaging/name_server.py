"""A DNS server on 127.0.0.1 that answers every A question with 127.0.0.7, and listens there on the mesh's port.

It prints what happens, each thing once.
"""

from __future__ import annotations

import socket
import sys
import threading

ADDRESS = "127.0.0.7"
said: set[str] = set()


def say(text: str) -> None:
    """Print a line once."""
    if text not in said:
        said.add(text)
        print(text, flush=True)


def listen() -> None:
    """Accept connections at the address and close them."""
    with socket.create_server((ADDRESS, 7946)) as server:
        say("ready")
        while True:
            with server.accept()[0]:
                say(f"somebody connects to {ADDRESS}")


def main() -> None:
    """Answer until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as names:
        names.bind(("127.0.0.1", 53))
        threading.Thread(target=listen, daemon=True).start()
        while True:
            query, client = names.recvfrom(512)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode())
                at += 1 + query[at]
            question = query[12 : at + 5]
            is_a = query[at + 1 : at + 3] == b"\0\1"
            say(f"asked for {'.'.join(labels)}")
            header = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(ADDRESS) if is_a else b""
            names.sendto(header + question + answer, client)


if __name__ == "__main__":
    sys.exit(main())
