// Drives the built-in `WebSocket` of Node.js.

import "./web.js";
import { answer } from "./lines.mjs";

await answer(globalThis.drive);
