"""PyPI hl7 and hl7apy: messages that hl7apy makes, sent by hl7 over TCP and TLS, and answers that both read."""

import ssl

import hl7
import requests
from hl7.client import MLLPClient
from hl7apy.core import Message
from hl7apy.parser import parse_message

from lib import SETTINGS, done, step

CERTIFICATES = SETTINGS["certificates"]


def result(control_id, patient, status="F", value="7.1"):
    """A result as hl7apy writes it."""
    made = Message("ORU_R01", version="2.5")
    made.msh.msh_3, made.msh.msh_4 = "PYLAB", "INTEROP"
    made.msh.msh_5, made.msh.msh_6 = "KILN", "KILN"
    made.msh.msh_7 = "20260704120000+0000"
    made.msh.msh_9 = "ORU^R01^ORU_R01"
    made.msh.msh_10 = control_id
    made.msh.msh_11 = "P"
    group = made.add_group("ORU_R01_PATIENT_RESULT")
    person = group.add_group("ORU_R01_PATIENT")
    person.pid.pid_3 = f"{patient}^^^INTEROP^MR"
    person.pid.pid_5 = "Feedperson^Python"
    order = group.add_group("ORU_R01_ORDER_OBSERVATION")
    order.obr.obr_1 = "1"
    order.obr.obr_3 = f"F{patient}^PYLAB"
    order.obr.obr_4 = "718-7^Hemoglobin^LN"
    order.obr.obr_7 = "20260704110000+0000"
    order.obr.obr_25 = status
    observed = order.add_group("ORU_R01_OBSERVATION")
    observed.obx.obx_1, observed.obx.obx_2 = "1", "NM"
    observed.obx.obx_3 = "718-7^Hemoglobin^LN"
    observed.obx.obx_5 = value
    observed.obx.obx_6 = "g/dL"
    observed.obx.obx_11 = status
    return made.to_er7()


class Secure(MLLPClient):
    """The same over TLS, with a certificate of the client."""

    def __init__(self, port, certificate):
        super().__init__("127.0.0.1", port)
        context = ssl.create_default_context(cafile=f"{CERTIFICATES}/authority.pem")
        context.load_cert_chain(f"{CERTIFICATES}/{certificate}.pem", f"{CERTIFICATES}/{certificate}.key")
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")


def plain():
    return MLLPClient("127.0.0.1", SETTINGS["feed"])


def secure(certificate="client"):
    return Secure(SETTINGS["secureFeed"], certificate)


def ask(client, *messages):
    """The answers, as text without their frames."""
    with client as open_client:
        answers = [open_client.send_message(it).decode().strip("\x0b\x1c\r") for it in messages]
    if not all(answers):
        raise ConnectionError("the connection was closed without an answer")
    return answers


def code(answer):
    return str(hl7.parse(answer).segment("MSA")[1])


def answered(connect, way):
    answers = ask(connect(), *(result(f"py-{way}-{at}", f"P{way}{at}") for at in range(3)))
    assert [code(it) for it in answers] == ["AA"] * 3, answers
    for at, answer in enumerate(answers):
        read = parse_message(answer, find_groups=False)
        assert read.msa.msa_2.to_er7() == f"py-{way}-{at}", answer
        assert "Feedperson" not in answer, answer
    return "read by both libraries"


def corrected():
    first = result("py-first", "PC", "P", "7.0")
    last = result("py-last", "PC", "C", "7.3")
    assert [code(it) for it in ask(secure(), first, last)] == ["AA", "AA"]
    found = requests.get(
        f"{SETTINGS['secureBase']}/Observation",
        params={"subject.identifier": "PC", "_count": "10"},
        timeout=30,
    ).json()
    assert found["total"] == 1, found
    observation = found["entry"][0]["resource"]
    assert observation["status"] == "corrected", observation
    assert str(observation["valueQuantity"]["value"]) == "7.3", observation
    return observation["valueQuantity"]["unit"]


def incomplete():
    answer = ask(plain(), result("py-incomplete", "PI").replace("PI^^^INTEROP^MR", ""))[0]
    assert code(answer) == "AE", answer
    fault = hl7.parse(answer).segment("ERR")
    assert str(fault[2]).startswith("PID^1^3"), answer
    assert str(fault[3]).startswith("101"), answer
    return str(fault[3])


def foreign():
    try:
        ask(secure("foreign"), result("py-foreign", "PF"))
    except (ssl.SSLError, ConnectionError, OSError):
        return "no handshake"
    raise AssertionError("a certificate of a stranger is let in")


def bare():
    context = ssl.create_default_context(cafile=f"{CERTIFICATES}/authority.pem")
    client = MLLPClient("127.0.0.1", SETTINGS["secureFeed"])
    try:
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        ask(client, result("py-bare", "PB"))
    except (ssl.SSLError, ConnectionError, OSError):
        return "no handshake"
    raise AssertionError("a client without a certificate is let in")


step("results over TCP are answered with AA, in their order", lambda: answered(plain, "TCP"))
step("results over TLS are answered with AA, in their order", lambda: answered(secure, "TLS"))
step("a corrected result is the same Observation with another version", corrected)
step("a message without a patient is answered with AE, and where", incomplete)
step("a certificate of another authority gets no handshake", foreign)
step("a client without a certificate gets no handshake", bare)
done()
