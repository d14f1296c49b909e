#!/usr/bin/env python3
"""Opens the page of a live channel in headless Chromium and looks at what it shows.

    check-watch.py URL VIDEO

Whoever calls it publishes at URL: after 6 s for 24 s, then nothing for 9 s, then for 24 s, and ends. The page must
wait, play with little delay on a large screen and on a phone, come back by itself after the gap, and say when it is
over. Then VIDEO takes the place of a recording, and must be played. Needs chromium and nothing else.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

# Seconds behind. The parts are a third of a second long, and players stay three of them behind.
MOST_BEHIND = 3.0
# Seconds after which a player must have found its pace: there is next to nothing to play when it begins.
SETTLE = 6
LOOK = """(() => { const v = document.getElementById('video'), text = id => document.getElementById(id).textContent;
  return {time: v.currentTime, paused: v.paused, muted: v.muted, src: v.currentSrc, width: v.videoWidth,
    frames: v.getVideoPlaybackQuality().totalVideoFrames, state: document.getElementById('state').dataset.state,
    label: text('state'), notice: text('notice'), latency: text('latency'), unmute: text('unmute'),
    button: !document.getElementById('unmute').hidden, wide: document.documentElement.scrollWidth > innerWidth}; })()"""


class Browser:
    """Chromium, by the DevTools protocol over a pair of pipes: objects that end with a NUL."""

    def __init__(self, profile):
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if not chromium:
            sys.exit("chromium is missing: apt-get install chromium")
        to_read, self.to = os.pipe()
        self.answers, from_write = os.pipe()

        def pipes():
            os.dup2(to_read, 13)
            os.dup2(from_write, 14)
            os.dup2(13, 3)
            os.dup2(14, 4)

        self.process = subprocess.Popen(
            [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             f"--user-data-dir={profile}"],
            preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.last, self.got, self.there = 0, {}, threading.Condition()
        self.complaints, self.instead = [], {}
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        rest = b""
        while data := os.read(self.answers, 1 << 20):
            *whole, rest = (rest + data).split(b"\0")
            for message in map(json.loads, whole):
                with self.there:
                    self.got[message.get("id")] = message
                    self.there.notify_all()
                self.hear(message)

    def hear(self, message):
        params = message.get("params", {})
        if message.get("method") == "Fetch.requestPaused":
            path = params["request"]["url"].split("/", 3)[3].split("?")[0]
            kind, body = self.instead.get(path, ("text/plain", b""))
            headers = [{"name": "Content-Type", "value": kind}]
            self.send("Fetch.fulfillRequest", message["sessionId"], requestId=params["requestId"], responseCode=200,
                      responseHeaders=headers, body=base64.b64encode(body).decode())
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        elif message.get("method") == "Log.entryAdded" and params["entry"]["source"] == "security":
            self.complaints.append(params["entry"]["text"])

    def send(self, method, session=None, **params):
        with self.there:
            self.last += 1
            message = {"id": self.last, "method": method, "params": params}
            if session:
                message["sessionId"] = session
            os.write(self.to, json.dumps(message).encode() + b"\0")
            return self.last

    def ask(self, method, session=None, **params):
        number = self.send(method, session, **params)
        with self.there:
            if not self.there.wait_for(lambda: number in self.got, 30):
                sys.exit(f"the browser does not answer {method}")
            answer = self.got.pop(number)
        if "error" in answer:
            sys.exit(f"{method}: {answer['error']}")
        return answer["result"]


class Page:
    """A page of its own, of this size, in this language."""

    def __init__(self, browser, url, width, height, language, phone=False):
        self.browser = browser
        target = browser.ask("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        self.id = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, mobile=phone,
                 deviceScaleFactor=2 if phone else 1)
        self.ask("Emulation.setUserAgentOverride", acceptLanguage=language,
                 userAgent="Mozilla/5.0 (Linux; Android 15) Chrome" if phone else "Mozilla/5.0 (X11; Linux) Chrome")
        # Every page is in front, as if it had a screen of its own.
        self.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        if url:
            self.ask("Page.navigate", url=url)

    def ask(self, method, **params):
        return self.browser.ask(method, self.id, **params)

    def do(self, script):
        return self.ask("Runtime.evaluate", expression=script, userGesture=True, returnByValue=True)["result"].get("value")

    def look(self):
        return self.do(LOOK)

    def picture(self, name):
        folder = os.environ.get("GARIM_SCREENSHOTS")
        if folder:
            with open(os.path.join(folder, f"{name}.png"), "wb") as file:
                file.write(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def wait(self, what, seconds, good):
        """Until `good` of what it shows."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            seen = self.look()
            # Nothing yet, when the page is not there yet.
            if seen and good(seen):
                print(f"{what}: after {time.monotonic() - start:.1f} s, {seen['label']!r} {seen['latency']!r}")
                return seen
            time.sleep(0.25)
        sys.exit(f"{what}: not within {seconds} s: {seen}")


def behind(seen):
    digits = "".join(c for c in seen["latency"] if c in "0123456789.")
    return float(digits) if digits else 1e9


def plays(page, seconds, what):
    """Whether the picture moves as fast as the clock, near the edge."""
    first, start, most = page.look(), time.monotonic(), 0
    while time.monotonic() - start < seconds:
        time.sleep(0.5)
        most = max(most, behind(page.look()))
    last, took = page.look(), time.monotonic() - start
    speed = (last["time"] - first["time"]) / took
    print(f"{what}: {speed:.2f} of the clock's speed, {last['frames'] - first['frames']} frames in {took:.1f} s, "
          f"at most {most:.1f} s behind")
    if not 0.9 < speed < 1.3 or most > MOST_BEHIND:
        sys.exit(f"{what}: it does not play as it should: {last}")


def main():
    url, video = sys.argv[1], sys.argv[2]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            check(browser, url, video)
        finally:
            browser.process.kill()
            browser.process.wait()
    if browser.complaints:
        sys.exit(f"the browser complains: {browser.complaints}")


def check(browser, url, video):
    desk = Page(browser, url, 1280, 800, "en-GB,en")
    phone = Page(browser, url, 390, 844, "ko-KR,ko", phone=True)
    for page, name in ((desk, "large screen waits"), (phone, "phone waits")):
        page.wait(name, 5, lambda seen: seen["state"] == "waiting" and seen["notice"])
    phone.picture("waiting-phone")
    desk.wait("large screen begins", 15, lambda seen: seen["state"] == "live" and seen["time"] > 0 and behind(seen) < MOST_BEHIND)
    phone.wait("phone begins", 10, lambda seen: seen["state"] == "live" and seen["time"] > 0 and behind(seen) < MOST_BEHIND)
    time.sleep(SETTLE)
    plays(desk, 3, "large screen")
    plays(phone, 3, "phone")
    seen = phone.look()
    if not (seen["muted"] and seen["button"]) or seen["unmute"] != "눌러서 소리 켜기" or seen["wide"]:
        sys.exit(f"the phone should be muted, with a button in Korean, and fit: {seen}")
    desk.picture("live")
    phone.picture("live-phone")
    phone.do("document.getElementById('unmute').click()")
    phone.wait("sound", 3, lambda seen: not seen["muted"] and not seen["button"] and not seen["paused"])
    time.sleep(0.5)
    phone.picture("live-phone-sound")
    for page, name in ((desk, "large screen"), (phone, "phone")):
        page.wait(f"{name} stops in the gap", 20, lambda seen: behind(seen) > 4)
    # It plays what comes after the gap, without anybody's help.
    for page, name in ((desk, "large screen"), (phone, "phone")):
        page.wait(f"{name} comes back", 20, lambda seen: seen["state"] == "live" and behind(seen) < MOST_BEHIND)
    time.sleep(SETTLE)
    for page, name in ((desk, "large screen"), (phone, "phone")):
        plays(page, 3, f"{name} again")
    desk.wait("ends", 30, lambda seen: seen["state"] == "ended" and seen["notice"])
    phone.wait("ends on the phone", 15, lambda seen: seen["state"] == "ended" and seen["label"] == "종료됨")
    desk.picture("ended")
    recording(browser, url, video)


def recording(browser, url, video):
    """The same page, told that there is a recording."""
    state = {"state": "ended", "session": None, "live": None, "vod": "/recording.mp4", "recording": False,
             "now": int(time.time() * 1000)}
    page = Page(browser, None, 1280, 800, "en-GB,en")
    browser.instead[f"{url.split('/', 3)[3]}/state"] = ("application/json", json.dumps(state).encode())
    with open(video, "rb") as file:
        browser.instead["recording.mp4"] = ("video/mp4", file.read())
    page.ask("Fetch.enable", patterns=[{"urlPattern": "*/state"}, {"urlPattern": "*/recording.mp4"}])
    page.ask("Page.navigate", url=url)
    page.wait("recording", 15, lambda seen: seen["label"] == "Recording" and seen["time"] > 1 and not seen["latency"])
    page.picture("recording")


if __name__ == "__main__":
    main()
