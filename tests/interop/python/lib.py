"""What the Python clients share: settings, how a step is told, and a walk through the server's pages."""

import json
import os
import sys
from html.parser import HTMLParser
from urllib.parse import urljoin

import requests

with open(os.environ["KILN_INTEROP"], encoding="utf-8") as file:
    SETTINGS = json.load(file)

_failed = False


def step(name, work):
    """Runs a step and prints a line of JSON about it; None when it fails."""
    global _failed
    try:
        detail = work()
    except Exception as error:  # a client may raise anything; the table shows what
        _failed = True
        print(json.dumps({"step": name, "ok": False, "detail": f"{type(error).__name__}: {error}"}), flush=True)
        return None
    told = detail if isinstance(detail, str) else ""
    print(json.dumps({"step": name, "ok": True, "detail": told}), flush=True)
    return detail if detail is not None else True


def done():
    sys.exit(1 if _failed else 0)


class _Forms(HTMLParser):
    """The forms of a page, each with its action, method and fields."""

    def __init__(self, page):
        super().__init__()
        self.forms = []
        self._is_open = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "form":
            self._is_open = True
            method = (attributes.get("method") or "get").lower()
            self.forms.append({"action": attributes.get("action") or "", "method": method, "fields": []})
        elif tag in ("input", "button") and self._is_open and attributes.get("name"):
            kind = attributes.get("type") or ("submit" if tag == "button" else "text")
            value = attributes.get("value") or ""
            self.forms[-1]["fields"].append((attributes["name"], value, kind, "checked" in attributes))

    def handle_endtag(self, tag):
        if tag == "form":
            self._is_open = False


def _filled(form, user, patient):
    """What to send of a form that is known; None for others."""
    names = {name for name, _, _, _ in form["fields"]}
    sent = [
        (name, value)
        for name, value, kind, on in form["fields"]
        if kind not in ("submit", "button") and (kind not in ("checkbox", "radio") or on)
    ]
    if "password" in names:
        entered = {"username": user["name"], "password": user["password"]}
    elif "decision" in names:
        entered = {"decision": "allow"}
    elif "patient" in names:
        entered = {"patient": patient, "action": "choose"}
    elif "birthdate" in names:
        entered = {"name": SETTINGS["patientName"], "action": "search"}
    else:
        return None
    return [(name, value) for name, value in sent if name not in entered] + list(entered.items())


def walk(address, until, user, patient):
    """Follows an authorization address through the pages; gives the address that it ends at."""
    session = requests.Session()
    answer = session.get(address, allow_redirects=False, timeout=30)
    for _ in range(20):
        if answer.is_redirect:
            target = urljoin(answer.url, answer.headers["location"])
            if target.startswith(until):
                return target
            answer = session.get(target, allow_redirects=False, timeout=30)
            continue
        # Where patients are listed, the form to search for others stands first.
        for form in reversed(_Forms(answer.text).forms):
            sent = _filled(form, user, patient)
            if sent is not None:
                action = urljoin(answer.url, form["action"])
                # __Host- cookies are for HTTPS; on loopback the session sends them by hand.
                answer = session.request(
                    form["method"].upper(), action, data=sent, allow_redirects=False, timeout=30,
                    headers={"Cookie": "; ".join(f"{c.name}={c.value}" for c in session.cookies)},
                )
                break
        else:
            raise RuntimeError(f"{answer.url.split('?')[0]}: {answer.status_code}, a page we do not know")
    raise RuntimeError("still no redirect after 20 pages")
