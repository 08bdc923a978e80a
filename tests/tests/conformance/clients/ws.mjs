// Drives the package `ws` from the folder that the argument names, as web.js does. It offers fragments and pings too.

import { createRequire } from "node:module";
import { EventEmitter, once } from "node:events";
import { answer } from "./lines.mjs";

const WebSocket = createRequire(process.argv[2])("ws");
const reports = new EventEmitter();
let socket, events;

const report = (event) => {
  events.push(event);
  reports.emit("event");
};

const commands = {
  async connect(url) {
    events = [];
    const connecting = (socket = new WebSocket(url));
    socket.on("message", (data, isBinary) => report(isBinary ? ["binary", data.toString("latin1")] : ["text", data.toString()]));
    socket.on("pong", (payload) => report(["pong", payload.toString("latin1")]));
    socket.on("close", (code, reason) => report(["close", code, reason.toString()]));
    await once(connecting, "open");
    // An error is followed by a close.
    socket.on("error", () => {});
  },
  text: (text) => socket.send(text),
  binary: (bytes) => socket.send(Buffer.from(bytes, "latin1")),
  fragments: (texts) => texts.forEach((text, index) => socket.send(text, { fin: index === texts.length - 1 })),
  ping: (payload) => socket.ping(payload),
  close: (...close) => socket.close(...close),
  async next() {
    if (events.length === 0) await once(reports, "event");
    return events.shift();
  },
};

await answer(async ([command, ...parameters]) => commands[command](...parameters));
