#!/usr/bin/env python3
"""What listens where the gateway would: answers every GET, and /slow over a while."""
import http.server
import time


class Gateway(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        pieces = [b"slowly\n"] * 20 if self.path == "/slow" else [b"the gateway\n"]
        self.send_response(200)
        self.send_header("content-length", str(sum(map(len, pieces))))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            if self.path == "/slow":
                time.sleep(1)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 18789), Gateway).serve_forever()
