"""A real browser, for pages."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """Headless Chromium, spoken to over a pair of pipes (its DevTools protocol)."""

    def __init__(self, profile):
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        command = [
            sys.executable,
            "-c",
            HAND_OVER,
            str(to_read),
            str(to_write),
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command, pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._count = 0
        self._session = None
        self.failures = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        """End the browser."""
        with contextlib.suppress(OSError):
            os.close(self._to)
        self._process.kill()
        self._process.wait()
        os.close(self._from)

    def call(self, method, **params):
        """One command; its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.failures.append(answer["params"])

    def _receive(self):
        while b"\0" not in self._buffer:
            part = os.read(self._from, 65_536)
            assert part, "the browser is gone"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url):
        """Open a page."""
        self.call("Page.navigate", url=url)

    def value(self, script):
        """What a piece of JavaScript gives."""
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        return result["result"].get("value")

    def wait_for(self, script, expected, patience_s=10.0):
        """Wait until a piece of JavaScript gives what is expected."""
        until = time.monotonic() + patience_s
        while (found := self.value(script)) != expected:
            assert time.monotonic() < until, f"{script} gives {found!r}, not {expected!r}"
            time.sleep(0.05)

    def text(self, selector):
        """The script that reads an element's text."""
        return f"document.querySelector({selector!r})?.textContent"

    def press(self, key, code=0, text=""):
        """Press a key and let it go."""
        event = {"key": key, "windowsVirtualKeyCode": code, "text": text}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text):
        """Type a text where the focus is."""
        self.call("Input.insertText", text=text)

    def prefer(self, scheme, media="screen"):
        """Look at the page with light or dark colours, on a screen or on paper."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def screenshot(self, path):
        """Keep a picture of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def resize(self, width, height=900):
        """Look at the page on another screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
