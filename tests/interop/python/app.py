"""PyPI fhirclient: an app of a confidential client, standalone and refreshed."""

from fhirclient import client
from fhirclient.models.condition import Condition
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient

from lib import SETTINGS, done, step, walk

REDIRECT = SETTINGS["apps"] + "/callback"


def launched():
    app = SETTINGS["clients"]["confidential"]
    smart = client.FHIRClient(
        settings={
            "app_id": app["id"],
            "app_secret": app["secret"],
            "api_base": SETTINGS["base"],
            "redirect_uri": REDIRECT,
            "scope": "openid fhirUser offline_access patient/*.rs",
        }
    )
    smart.prepare()
    address = smart.authorize_url
    assert address, "no authorization address: the CapabilityStatement does not name one"
    back = walk(address, REDIRECT, SETTINGS["users"]["clinician"], SETTINGS["patient"])
    smart.handle_callback(back)
    assert smart.ready, "not ready after the callback"
    return smart


def patient(smart):
    found = smart.patient
    assert found is not None and found.id == SETTINGS["patient"], "another patient"
    return smart.human_name(found.name[0])


def searches(smart):
    conditions = Condition.where({"patient": SETTINGS["patient"]}).perform_resources(smart.server)
    observations = Observation.where({"patient": SETTINGS["patient"]}).perform_resources(smart.server)
    assert conditions and observations, "nothing is found"
    return f"{len(conditions)} conditions, {len(observations)} observations"


def refreshed(smart):
    assert smart.reauthorize(), "no new token"
    assert Patient.read(SETTINGS["patient"], smart.server).id == SETTINGS["patient"]


SMART = step("standalone launch", launched)
if SMART:
    step("the patient in context", lambda: patient(SMART))
    step("searches", lambda: searches(SMART))
    step("refresh", lambda: refreshed(SMART))
done()
