// The records of the run: two patients of one clinician, with what granular scopes tell apart, and somebody who
// stands for both.
const terminology = "http://terminology.hl7.org/CodeSystem";
const us = "http://hl7.org/fhir/us/core/CodeSystem";

export const ids = {
  patient: "interop-ada", other: "interop-ben", practitioner: "interop-mori", encounter: "interop-visit", visits: ["interop-other-visit", "interop-other-later"],
  guardian: "interop-guardian",
};

const concept = (system, code) => ({ coding: [{ system, code }] });

const visit = (patient, id, day) => ({
  resourceType: "Encounter", id, status: "finished", subject: { reference: `Patient/${patient}` }, period: { start: day, end: day },
  class: { system: `${terminology}/v3-ActCode`, code: "AMB" },
  participant: [{ individual: { reference: `Practitioner/${ids.practitioner}` } }],
});

function chart(patient, encounter) {
  const subject = { reference: `Patient/${patient}` };
  const conditions = [
    ["encounter-diagnosis", `${terminology}/condition-category`], ["problem-list-item", `${terminology}/condition-category`],
    ["health-concern", `${us}/condition-category`],
  ].map(([code, system]) => ({
    resourceType: "Condition", id: `${patient}-${code}`, subject, category: [concept(system, code)],
    clinicalStatus: concept(`${terminology}/condition-clinical`, "active"), code: { text: code },
  }));
  const observations = [
    ["laboratory", `${terminology}/observation-category`, "4548-4"], ["vital-signs", `${terminology}/observation-category`, "8867-4"],
    ["social-history", `${terminology}/observation-category`, "72166-2"], ["survey", `${terminology}/observation-category`, "44261-6"],
    ["sdoh", `${us}/us-core-category`, "76513-1"],
  ].map(([code, system, loinc]) => ({
    resourceType: "Observation", id: `${patient}-${code}`, subject, status: "final", category: [concept(system, code)],
    code: concept("http://loinc.org", loinc), effectiveDateTime: "2026-03-01T10:00:00Z", valueString: code,
  }));
  const team = {
    resourceType: "CareTeam", id: `${patient}-team`, status: "active", subject,
    participant: [{ member: { reference: `Practitioner/${ids.practitioner}` } }],
  };
  return [...conditions, ...observations, visit(patient, encounter, "2026-03-01"), team];
}

const person = (id, family, given, gender) => ({
  resourceType: "Patient", id, name: [{ family, given: [given] }], gender, birthDate: "1984-02-29",
  generalPractitioner: [{ reference: `Practitioner/${ids.practitioner}` }],
  identifier: [{ system: "urn:example:mrn", value: id }],
});

/** A transaction with every record under an id of our choice. */
export function bundle() {
  const resources = [
    { resourceType: "Practitioner", id: ids.practitioner, name: [{ family: "Mori", given: ["Noor"] }] },
    person(ids.patient, "Okafor", "Ada", "female"), person(ids.other, "Lindqvist", "Ben", "male"),
    ...chart(ids.patient, ids.encounter), ...chart(ids.other, ids.visits[0]), visit(ids.other, ids.visits[1], "2026-04-01"),
    {
      resourceType: "Person", id: ids.guardian,
      link: [ids.patient, ids.other].map((id) => ({ target: { reference: `Patient/${id}` } })),
    },
  ];
  const entry = resources.map((resource) => ({
    resource, request: { method: "PUT", url: `${resource.resourceType}/${resource.id}` },
  }));
  return { resourceType: "Bundle", type: "transaction", entry };
}
