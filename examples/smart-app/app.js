// What the app shows: the patient in context, problems and the latest observations.
import { comeBack, fhir, refresh, session, signIn, signOut } from "./smart.js";

const at = (id) => document.getElementById(id);
const status = (text) => (at("status").textContent = text);

/** An element with text; nothing that a server sends is ever read as HTML. */
function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

const named = (concept) => concept?.text ?? concept?.coding?.[0]?.display ?? concept?.coding?.[0]?.code ?? "unnamed";

function value(observation) {
  const { valueQuantity: quantity, valueString, valueCodeableConcept: concept } = observation;
  if (quantity) return `${quantity.value} ${quantity.unit ?? ""}`;
  return valueString ?? (concept ? named(concept) : "");
}

function list(title, bundle, line) {
  const entries = (bundle.entry ?? []).map(({ resource }) => element("li", line(resource)));
  return [element("h3", title), entries.length ? element("ul", "", ...entries) : element("p", "None.")];
}

async function show() {
  const { patient, scope } = session();
  status(`Signed in. Granted: ${scope}`);
  at("actions").hidden = false;
  if (!patient) return;
  const [person, conditions, observations] = await Promise.all([
    fhir(`Patient/${patient}`),
    fhir(`Condition?patient=${patient}&_count=10`),
    fhir(`Observation?patient=${patient}&_sort=-date&_count=10`),
  ]);
  const { given = [], family = "" } = person.name?.[0] ?? {};
  at("patient").replaceChildren(
    element("h2", [...given, family].join(" ")),
    element("p", `${person.gender ?? ""} ${person.birthDate ?? ""}`),
    ...list("Problems", conditions, (it) => named(it.code)),
    ...list("Latest observations", observations, (it) => `${named(it.code)}: ${value(it)}`),
  );
}

async function run() {
  const query = new URLSearchParams(location.search);
  at("iss").value = query.get("iss") ?? "http://127.0.0.1:8080/fhir";
  at("client").value = query.get("client") ?? "example-app";
  const chosen = () => ({ iss: at("iss").value.replace(/\/$/, ""), client: at("client").value });
  at("start").addEventListener("submit", (event) => {
    event.preventDefault();
    guard(() => signIn(chosen()));
  });
  at("refresh").addEventListener("click", () => guard(async () => { await refresh(); await show(); }));
  at("sign-out").addEventListener("click", () => guard(async () => { await signOut(); location.reload(); }));
  await comeBack();
  // An EHR starts the app with its address and a handle: no question is left to ask.
  if (query.has("launch")) return signIn({ ...chosen(), launch: query.get("launch") });
  if (session()) return show();
  at("start").hidden = false;
  return status("Not signed in.");
}

function guard(work) {
  return work().catch((error) => {
    at("start").hidden = false;
    status(error.message);
  });
}

guard(run);
