"""PyPI sqlmap: it tries parameters of each type, an id, the form of a search and that of the token endpoint."""

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import requests

from lib import SETTINGS, done, step

BASE = SETTINGS["secureBase"]
TOKEN = f"{SETTINGS['keyed']['issuer']}/token"
SERVICE = SETTINGS["keyed"]["service"]
# All of it together; who started this waits for five minutes.
UNTIL = time.monotonic() + 240

SUBJECT = {"reference": "Patient/injected"}
CODE = {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}
MMHG = {"value": 120, "unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}
RESOURCES = [
    {"resourceType": "Organization", "id": "injected", "name": "Injected"},
    {
        "resourceType": "Patient", "id": "injected", "birthDate": "1980-04-05",
        "name": [{"family": "Injected"}], "identifier": [{"system": "urn:injected", "value": "n4711"}],
        "managingOrganization": {"reference": "Organization/injected"},
    },
    {
        "resourceType": "Observation", "id": "injected", "status": "final", "subject": SUBJECT, "code": CODE,
        "valueQuantity": MMHG,
    },
    {
        "resourceType": "RiskAssessment", "id": "injected", "status": "final", "subject": SUBJECT,
        "prediction": [{"probabilityDecimal": 0.5}],
    },
    {"resourceType": "ValueSet", "id": "injected", "status": "draft", "url": "http://example.org/vs/injected"},
]


class Target:
    """A request that is answered well, and the names in it whose values are tried."""

    def __init__(self, name, path, fields, tried=None, form=False, expected=200):
        self.name, self.tried, self.expected = name, tried or list(fields), expected
        sent = urlencode(fields, quote_via=quote, safe=":/|$,")
        self.method = "POST" if form else "GET"
        address = path if path.startswith("http") else f"{BASE}{path}"
        self.address = address if form or not fields else f"{address}?{sent}"
        self.body = sent if form else ""
        self.headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}

    def answer(self):
        # The star marks what is tried in a path.
        address = self.address.replace("*", "")
        return requests.request(self.method, address, data=self.body, headers=self.headers, timeout=30)

    def raw(self):
        parts = urlsplit(self.address)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers = {"Host": parts.netloc, **self.headers}
        lines = [f"{self.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", self.body])

    def place(self, name):
        """What sqlmap calls it."""
        return f"URI parameter '{name}'" if name.startswith("#") else f"{self.method} parameter '{name}'"


CREDENTIALS = {"client_id": SERVICE["id"], "client_secret": SERVICE["secret"]}
GRANTED = {"grant_type": "client_credentials", **CREDENTIALS, "scope": "system/Patient.rs"}
REFRESHED = {"grant_type": "refresh_token", "refresh_token": "kiln_rt_none", **CREDENTIALS}
FOUND = {"name": "Injected", "identifier": "urn:injected|n4711"}
SHOWN = {"_sort": "family", "_include": "Patient:organization"}
QUANTITY = "120|http://unitsofmeasure.org|mm[Hg]"
TARGETS = [
    Target("strings, tokens and dates", "/Patient", {**FOUND, "birthdate": "1980-04-05"}),
    Target("references and quantities", "/Observation", {"subject": "Patient/injected", "value-quantity": QUANTITY}),
    Target("composites", "/Observation", {"code-value-quantity": f"http://loinc.org|8480-6${QUANTITY}"}),
    Target("numbers", "/RiskAssessment", {"probability": "0.5"}),
    Target("URIs", "/ValueSet", {"url": "http://example.org/vs/injected"}),
    Target("parameters of all types", "/Patient", {"_id": "injected", "_lastUpdated": "gt2020-01-01"}),
    Target("orders and includes", "/Patient", {"_id": "injected", **SHOWN}, list(SHOWN)),
    Target("modifiers", "/Patient", {"name:contains": "njecte", "identifier:not": "urn:injected|none"}),
    Target("chains", "/Observation", {"subject:Patient.name": "Injected"}),
    Target("_has", "/Patient", {"_has:Observation:subject:code": "http://loinc.org|8480-6"}),
    Target("_filter", "/Patient", {"_filter": 'name eq "Injected"'}),
    Target("ids", "/Patient/injected*", {}, ["#1*"]),
    Target("forms of searches", "/Patient/_search", FOUND, form=True),
    Target("the form for a token", TOKEN, GRANTED, ["client_id", "client_secret", "scope"], form=True),
    Target("the form for a token anew", TOKEN, REFRESHED, ["client_id", "refresh_token"], form=True, expected=400),
]

OPTIONS = [
    "--batch", "--disable-coloring", "--ignore-proxy", "--flush-session", "--skip-waf", "--level", "2", "--risk", "1",
    "--technique", "BEUST", "--dbms", "postgresql", "--time-sec", "2", "--union-cols", "1-6", "--timeout", "30",
    # A client that does not prove itself is what is expected.
    "--ignore-code", "401",
]
CLAIM = re.compile(r"is vulnerable|the following injection point|might be (SQL )?injectable")


def store():
    for resource in RESOURCES:
        address = f"{BASE}/{resource['resourceType']}/{resource['id']}"
        headers = {"Content-Type": "application/fhir+json"}
        requests.put(address, json=resource, headers=headers, timeout=30).raise_for_status()
    for target in TARGETS:
        answer = target.answer()
        assert answer.status_code == target.expected, f"{target.name}: {answer.status_code} {answer.text[:300]}"
        told = answer.json()
        assert told.get("resourceType") != "Bundle" or told.get("entry"), f"{target.name}: nothing is found"
    return f"{len(TARGETS)} requests"


def run(target):
    """What sqlmap says, the numbers of its requests and the statuses of their answers; None where time is up."""
    with tempfile.TemporaryDirectory() as folder:
        request, traffic = Path(folder, "request"), Path(folder, "traffic")
        request.touch(mode=0o600)
        request.write_bytes(target.raw().encode())
        # What is marked in a path is all that is tried there.
        tried = [] if target.tried[0].startswith("#") else ["-p", ",".join(target.tried)]
        words = [Path(sys.executable).parent / "sqlmap", "-r", request, "-t", traffic, "--output-dir", folder, *tried]
        env = {**os.environ, "HOME": folder, "XDG_DATA_HOME": folder}
        try:
            ended = subprocess.run(
                [*words, *OPTIONS], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=max(1, UNTIL - time.monotonic()), check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        sent = traffic.read_text("utf-8", "replace") if traffic.exists() else ""
        asked = re.findall(r"^HTTP request \[#(\d+)\]", sent, re.MULTILINE)
        statuses = re.findall(r"^HTTP response \[#\d+\] \((\d+)", sent, re.MULTILINE)
        return ended.stdout.decode("utf-8", "replace"), asked, statuses


def judged(target, told):
    assert told is not None, "sqlmap had no time to end"
    text, asked, statuses = told
    claim = CLAIM.search(text)
    assert claim is None, text[max(0, claim.start() - 300):claim.end() + 1500]
    for name in map(target.place, target.tried):
        assert f"testing for SQL injection on {name}" in text, f"{name} was not tried: {text[-800:]}"
        assert f"{name} does not seem to be injectable" in text, f"{name}: {text[-800:]}"
    assert len(asked) > 20 * len(target.tried), f"{len(asked)} requests only: {text[-800:]}"
    faults = [status for status in statuses if status.startswith("5") or status == "429"]
    assert statuses and not faults, f"{len(faults)} of {len(statuses)} answers: {sorted(set(faults))}"
    return f"{len(asked)} requests for {', '.join(target.tried)}"


if step("the requests to be tried are answered", store):
    with ThreadPoolExecutor(max_workers=2) as pool:
        told = list(pool.map(run, TARGETS))
    for target, of_target in zip(TARGETS, told):
        step(f"nothing is injected into {target.name}", lambda: judged(target, of_target))
done()
