"""A server that stands in for a publisher's, and can break off its answers."""

import contextlib
import functools
import http.server
import threading


class Faulty(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; the first `broken` answers end in the middle."""

    broken = 0

    def copyfile(self, source, outputfile):
        content = source.read()
        Faulty.broken -= 1
        outputfile.write(content[:len(content) // 2] if Faulty.broken >= 0 else content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(folder):
    """A folder on a server of this machine, for as long as the block lasts: its address, with a slash at the end."""
    Faulty.broken = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Faulty, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
