// Reads commands from standard input, a line of JSON each, and answers each with a line of JSON.

import { createInterface } from "node:readline";

export async function answer(drive) {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify((await drive(JSON.parse(line))) ?? null));
  }
  process.exit();
}
