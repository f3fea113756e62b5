// mqtt.js or async-mqtt in the matrix.
// Arguments: client(mqtt.js|async-mqtt) url ca prefix cells(version:qos …)
"use strict";

const fs = require("node:fs");
const { cell, makeInbox, cellOptions } = require("./matrix_cell.js");

const [name, url, ca, prefix, ...cells] = process.argv.slice(2);
const mqtt = require(name === "mqtt.js" ? "mqtt" : "async-mqtt");

// The same promises of both: mqtt.js has them under other names.
function promises(client) {
  if (name !== "mqtt.js") return client;
  return {
    subscribe: (...words) => client.subscribeAsync(...words),
    publish: (...words) => client.publishAsync(...words),
    end: () => client.endAsync(),
  };
}

async function connect(options, inbox) {
  const client = await mqtt.connectAsync(url, { ...options, ca: fs.readFileSync(ca) });
  client.on("message", inbox.take);
  return client;
}

async function run(version, qos, topic) {
  const inbox = makeInbox();
  const client = await connect(cellOptions(version, topic), inbox);
  const promised = promises(client);
  await cell(promised, inbox, topic, qos);
  await promised.end();
}

async function main() {
  for (const [version, qos] of cells.map((cell) => cell.split(":").map(Number))) {
    const said = await run(version, qos, `${prefix}/${version}/${qos}`).then(
      () => "ok",
      (error) => String(error.message).replaceAll("\n", " "),
    );
    console.log(`cell ${version} ${qos} ${said}`);
  }
  process.exit(0);
}

main();
