"""A real TensorBoard on a loopback port, started with ``ttprof view``."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
import urllib.parse
import urllib.request

import pytest

DEADLINE_S = 90


class Server:
    """``ttprof view`` on a free port; ready once it has printed its address."""

    def __init__(self, logdir):
        command = [sys.executable, "-m", "ttprof", "view", str(logdir), "--port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._output: list[str] = []
        self._ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        if not self._ready.wait(DEADLINE_S):
            self.stop()
            pytest.fail("TensorBoard did not start: " + "".join(self._output))

    def _listen(self):
        for line in self._process.stdout:
            self._output.append(line)
            if (address := re.search(r"http://127\.0\.0\.1:\d+", line)) is not None:
                self.address = address[0]
                self._ready.set()

    def get(self, path: str, **query: str):
        body = self.fetch(f"{path}?{urllib.parse.urlencode(query)}" if query else path)
        return json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)

    def fetch(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=DEADLINE_S) as response:
            return response.read()

    def poll(self, path: str, until):
        """Repeat a request until *until* accepts the answer, because a plugin reads runs in a background thread."""
        pause = threading.Event()
        for _ in range(10 * DEADLINE_S):
            answer = self.get(path)
            if until(answer):
                return answer
            pause.wait(0.1)
        return pytest.fail(f"{path} did not become ready; its last answer: {answer}")

    def stop(self):
        self._process.terminate()
        self._process.wait(DEADLINE_S)
