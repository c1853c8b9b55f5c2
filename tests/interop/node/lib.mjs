// What all clients share: the settings of the run, and how a step is told.
import { readFileSync } from "node:fs";

/** Settings of the run: addresses, clients, users, keys. Written by main.mjs. */
export const settings = JSON.parse(readFileSync(process.env.KILN_INTEROP, "utf8"));

let failed = false;

/** Runs a step and prints a line of JSON about it, with what it returns when that is a text. */
export async function step(name, work) {
  try {
    const detail = await work();
    console.log(JSON.stringify({ step: name, ok: true, detail: typeof detail === "string" ? detail : "" }));
    return detail;
  } catch (error) {
    failed = true;
    const cause = error?.cause?.message ? `: ${error.cause.message}` : "";
    console.log(JSON.stringify({ step: name, ok: false, detail: `${error?.message ?? error}${cause}` }));
    return undefined;
  }
}

/** Ends the process: 1 when a step failed. */
export function done() {
  process.exit(failed ? 1 : 0);
}

export function equal(found, expected, what) {
  if (found !== expected) throw new Error(`${what} is ${found}, not ${expected}`);
}

export function ensure(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}
