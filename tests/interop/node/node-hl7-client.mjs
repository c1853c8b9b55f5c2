// npm node-hl7-client: a sender over TCP, and over TLS with a certificate.
import { readFileSync } from "node:fs";
import Client, { Batch, Message } from "node-hl7-client";
import { done, ensure, equal, settings, step } from "./lib.mjs";

const file = (name) => readFileSync(`${settings.certificates}/${name}`);

/** An admission: the header is the library's, what follows is set part by part. */
function admission(id, patient, application = "NODEADT") {
  const message = new Message({ messageHeader: { msh_9_1: "ADT", msh_9_2: "A01", msh_10: id, msh_11_1: "P" } });
  message.set("MSH.3", application);
  message.set("MSH.4", "INTEROP");
  const event = message.addSegment("EVN");
  event.set("2", "20260704120000+0000");
  const person = message.addSegment("PID");
  person.set("3.1", patient);
  person.set("3.4", "INTEROP");
  person.set("3.5", "MR");
  person.set("5.1", "Feedperson");
  person.set("5.2", "Node & Sons");
  person.set("7", "19800102");
  person.set("8", "F");
  const visit = message.addSegment("PV1");
  visit.set("2", "I");
  visit.set("19.1", `V${patient}`);
  visit.set("19.4", "INTEROP");
  return message;
}

/** Sends over one connection, a message when the one before is answered; gives the answers. */
async function send(messages, { port, tls }) {
  const client = new Client({ host: "127.0.0.1", ...(tls ? { tls } : {}) });
  const answers = [];
  let told = () => {};
  const connection = client.createConnection({ port }, async (answer) => {
    const found = answer.getMessage();
    answers.push({ code: found.get("MSA.1").toString(), id: found.get("MSA.2").toString(), text: found.toString() });
    told();
  });
  connection.on("client.error", () => {});
  connection.on("error", () => {});
  try {
    for (const message of messages) {
      const answered = new Promise((resolve, reject) => {
        told = resolve;
        setTimeout(() => reject(new Error("no answer within 20 seconds")), 20_000).unref();
      });
      await connection.sendMessage(message);
      await answered;
    }
  } finally {
    await connection.close();
  }
  return answers;
}

const plain = { port: settings.feed };
const secure = {
  port: settings.secureFeed,
  tls: { ca: file("authority.pem"), cert: file("client.pem"), key: file("client.key"), rejectUnauthorized: true },
};

for (const [way, where] of [["TCP", plain], ["TLS", secure]]) {
  await step(`admissions over ${way} are answered with AA, in their order`, async () => {
    const ids = ["1", "2", "3"].map((number) => `node-${way}-${number}`);
    const answers = await send(ids.map((id, at) => admission(id, `N${way}${at}`)), where);
    equal(answers.map(({ code }) => code).join(" "), "AA AA AA", "the codes");
    equal(answers.map(({ id }) => id).join(" "), ids.join(" "), "the ids");
    ensure(answers.every(({ text }) => !text.includes("Feedperson")), "an answer tells a name");
    return `${answers.length} answers`;
  });
}

await step("the same message again has the same answer", async () => {
  const once = admission("node-again", "NAGAIN").toString();
  const [first] = await send([new Message({ text: once })], secure);
  const [second] = await send([new Message({ text: once })], secure);
  equal(second.text, first.text, "the second answer");
});

await step("the patient is in the store, once", async () => {
  const found = await fetch(`${settings.secureBase}/Patient?identifier=NTLS0&_count=10`).then((it) => it.json());
  equal(found.total, 1, "the number of patients");
  equal(found.entry[0].resource.name[0].family, "Feedperson", "the name");
  equal(found.entry[0].resource.name[0].given[0], "Node & Sons", "the given name");
  equal(found.entry[0].resource.birthDate, "1980-01-02", "the birth date");
});

await step("a batch is answered", async () => {
  const batch = new Batch();
  batch.start();
  for (const number of [1, 2]) batch.add(admission(`node-batch-${number}`, `NB${number}`));
  batch.end();
  const answers = await send([batch], plain);
  ensure(answers.every(({ code }) => code === "AA"), `the codes are ${answers.map(({ code }) => code)}`);
});

await step("a name that the certificate is not bound to is refused with AR", async () => {
  const [answer] = await send([admission("node-foreign", "NX", "OTHER")], secure);
  equal(answer.code, "AR", "the code");
});

done();
