"""PyPI authlib: a backend service that proves itself by private_key_jwt."""

import time

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey

from lib import SETTINGS, done, step

BASE = SETTINGS["base"]
SERVICE = SETTINGS["clients"]["backend"]


def discovered():
    found = requests.get(f"{BASE}/.well-known/smart-configuration", timeout=30).json()
    algorithms = found["token_endpoint_auth_signing_alg_values_supported"]
    assert {"RS384", "ES384"} & set(algorithms), algorithms
    return found["token_endpoint"]


def session(token_endpoint, key="pem"):
    found = OAuth2Session(
        SERVICE["id"],
        ECKey.import_key(SERVICE[key]),
        token_endpoint_auth_method="private_key_jwt",
        scope="system/*.rs",
    )
    # The library lets an assertion live an hour; SMART five minutes at most.
    claims = {"exp": int(time.time()) + 300}
    headers = {"kid": SERVICE["kid"]}
    found.register_client_auth_method(PrivateKeyJWT(token_endpoint, claims, headers, "ES384"))
    return found


def granted(token_endpoint):
    found = session(token_endpoint)
    token = found.fetch_token(token_endpoint, grant_type="client_credentials")
    assert token["token_type"].lower() == "bearer" and token["expires_in"] <= 300, token["expires_in"]
    assert "refresh_token" not in token, "a refresh token for a backend service"
    return found


def reads(service):
    answer = service.get(f"{BASE}/Patient?_count=50", headers={"Accept": "application/fhir+json"})
    assert answer.status_code == 200, answer.status_code
    entries = answer.json().get("entry", [])
    assert len(entries) > 1, "one patient only"
    return f"{len(entries)} patients"


def refused(token_endpoint):
    service = session(token_endpoint, "foreign_pem")
    try:
        service.fetch_token(token_endpoint, grant_type="client_credentials")
    except Exception as error:
        assert "invalid_client" in str(error), error
        return
    raise AssertionError("a token for a key that is not registered")


ENDPOINT = step("discovery", discovered)
if ENDPOINT:
    SESSION = step("client_credentials", lambda: granted(ENDPOINT))
    if SESSION:
        step("patients of all", lambda: reads(SESSION))
    step("a foreign key is refused", lambda: refused(ENDPOINT))
done()
