#!/usr/bin/env python3
"""Opens an HTML report in headless Chromium, as its readers would: light and dark, wide and 400
pixels narrow, with and without JavaScript, printed. Says what is wrong: a request, a message on the
console, something wider than the screen, a tool that does nothing. Exit code 1 if anything is.

    browser.py REPORT.html [DIRECTORY for screenshots and the print]
"""
import base64
import json
import os
import subprocess
import sys
import tempfile
import time


class Browser:
    """Speaks the DevTools protocol over a pair of pipes, so that no port is opened."""

    def __init__(self, profile):
        to_read, self.to = os.pipe()
        self.answers, to_write = os.pipe()

        def connect():
            # Out of the way first: one of them may be 3 or 4 itself.
            a, b = os.dup(to_read), os.dup(to_write)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-default-apps", f"--user-data-dir={profile}", "--remote-debugging-pipe",
             "about:blank"],
            preexec_fn=connect, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.number, self.rest, self.events, self.session = 0, b"", [], None
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        self.session = self.call(
            "Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ["Page", "Network", "Log", "Runtime"]:
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.next()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def next(self):
        while b"\0" not in self.rest:
            data = os.read(self.answers, 1 << 20)
            if not data:
                raise RuntimeError("the browser has gone")
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']['text']}")
        return result["result"].get("value")

    def open(self, url, *, width=1200, height=900, dark=False, script=True):
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.next())

    def picture(self, path, *, whole=False):
        clip = {}
        if whole:
            # Chromium paints no more than 16384 pixels.
            height = min(self.run("document.documentElement.scrollHeight"), 16000)
            width = self.run("document.documentElement.clientWidth")
            clip = {"clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole, **clip)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def complaints(self, url):
        """Requests but for the page itself, and whatever the console says."""
        found = []
        for event in self.events:
            method, data = event.get("method"), event.get("params", {})
            if method == "Network.requestWillBeSent":
                asked = data["request"]["url"]
                if asked.split("#")[0] != url and not asked.startswith("data:"):
                    found.append(f"it asked for {asked}")
            elif method == "Log.entryAdded":
                found.append(f"log: {data['entry']['text']}")
            elif method == "Runtime.consoleAPICalled":
                found.append(f"console: {data['args']}")
            elif method == "Runtime.exceptionThrown":
                found.append(f"exception: {data['exceptionDetails']}")
        return found

    def close(self):
        try:
            self.call("Browser.close")
        except (RuntimeError, OSError):
            pass
        self.process.wait(timeout=30)


def tools(browser):
    """What is wrong with zooming, filtering and links."""
    found = []
    if browser.run("document.querySelectorAll('svg.lanes rect.m').length") > 0:
        mark = "document.querySelector('svg.lanes rect.m').getAttribute('x')"
        before, labels = browser.run(mark), browser.run(
            "document.querySelector('svg.lanes .axis').textContent")
        browser.run("document.querySelector('[data-zoom=in]').click()")
        if browser.run(mark) == before:
            found.append("zooming moved no mark")
        if browser.run("document.querySelector('svg.lanes .axis').textContent") == labels:
            found.append("zooming left the axis as it was")
        browser.run("document.querySelector('[data-zoom=all]').click()")
    rows = browser.run("document.querySelectorAll('.i').length")
    if rows:
        typed = ("(words => { const f = document.getElementById('filter'); f.value = words;"
                 " f.dispatchEvent(new Event('input')); })")
        shown = "document.querySelectorAll('.i:not([hidden])').length"
        browser.run(typed + "('no incident says this')")
        if browser.run(shown) != 0:
            found.append("a filter that fits nothing shows something")
        browser.run(typed + "('')")
        if browser.run(shown) != rows:
            found.append("an empty filter hides something")
        last = browser.run("[...document.querySelectorAll('.i')].at(-1).id")
        browser.run(f"location.hash = '{last}'")
        time.sleep(0.2)
        if not browser.run(f"document.getElementById('{last}').offsetParent !== null"):
            found.append("a link does not open its incident")
    return found


def main():
    url = "file://" + os.path.abspath(sys.argv[1])
    directory = sys.argv[2] if len(sys.argv) > 2 else None
    found = []
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(profile)
        try:
            for name, width, dark, script in [
                ("light", 1200, False, True), ("dark", 1200, True, True),
                ("narrow", 400, False, True), ("narrow-dark", 400, True, True),
                ("no-script", 1200, False, False),
            ]:
                began = time.monotonic()
                browser.open(url, width=width, dark=dark, script=script)
                loaded = time.monotonic() - began
                if script:
                    wide = browser.run("document.documentElement.scrollWidth")
                    if wide > width:
                        found.append(f"{name}: it is {wide} pixels wide on a screen of {width}")
                    if name == "light":
                        found += tools(browser)
                        print(f"opened in {loaded * 1000:.0f} ms, "
                              f"{browser.run('document.querySelectorAll(`*`).length')} elements")
                        browser.open(url, width=width, dark=dark)
                found += [f"{name}: {text}" for text in browser.complaints(url)]
                if directory:
                    browser.picture(f"{directory}/{name}.png")
                    if script:
                        browser.run("document.querySelectorAll('details').forEach(d => {"
                                    " if (!d.matches('.incident ~ .incident')) d.open = true; })")
                        browser.picture(f"{directory}/{name}-whole.png", whole=True)
            browser.open(url)
            paper = base64.b64decode(browser.call("Page.printToPDF", printBackground=False)["data"])
            if directory:
                with open(f"{directory}/print.pdf", "wb") as file:
                    file.write(paper)
            found += [f"print: {text}" for text in browser.complaints(url)]
        finally:
            browser.close()
    for text in found:
        print(f"WRONG {text}")
    sys.exit(1 if found else 0)


main()
