// Drives the `WebSocket` of browsers, which Node.js has too. `drive` takes one command, such as `["text", "hello"]`, and
// returns a promise: of the next event for `["next"]`, otherwise of nothing. Bytes are strings with a character each.

globalThis.drive = (() => {
  let socket, events, waiting;

  const report = (event) => (waiting ? waiting(event) : events.push(event));

  const commands = {
    connect(url) {
      events = [];
      waiting = undefined;
      socket = new WebSocket(url);
      socket.binaryType = "arraybuffer";
      socket.onmessage = ({ data }) =>
        report(
          typeof data === "string"
            ? ["text", data]
            : ["binary", Array.from(new Uint8Array(data), (byte) => String.fromCharCode(byte)).join("")],
        );
      socket.onclose = ({ code, reason }) => report(["close", code, reason]);
      return new Promise((resolve, reject) => {
        socket.onopen = () => resolve();
        socket.onerror = () => reject(new Error(`no connection to ${url}`));
      });
    },
    text: (text) => socket.send(text),
    binary: (bytes) => socket.send(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0))),
    close: (...close) => socket.close(...close),
    next: () =>
      events.shift() ??
      new Promise((resolve) => {
        waiting = (event) => {
          waiting = undefined;
          resolve(event);
        };
      }),
  };

  return async ([command, ...parameters]) => (commands[command] ? commands[command](...parameters) : "not offered");
})();
