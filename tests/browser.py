"""Chromium without a window, through its driver: what a page asks for, says, measures and prints."""

from __future__ import annotations

import base64
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any


def find_browser() -> str:
    """Why pages cannot be looked at here; empty where they can."""
    if find_spec("selenium") is None:
        return "selenium is not installed"
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{missing[0]} is not installed: apt-get install chromium chromium-driver" if missing else ""


class Browser:
    """One browser; use it in a `with`."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.driver.quit()

    def open(self, page: Path | str, width: int, scheme: str = "light") -> None:
        """Show a file or an address in a window of a width, in pixels; what earlier pages said is forgotten."""
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(page.as_uri() if isinstance(page, Path) else page)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression on the page."""
        return self.driver.execute_script(f"return {script}")

    def console(self) -> list[str]:
        """What the page said on the console, refusals by its policy among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Every address that the page asked for, its own first."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def pdf(self) -> bytes:
        """The page as it prints on A4."""
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True}
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", paper)["data"])
