// mqtt.js against a broker: subscribe, publish, see it come back; or report the refusal.
// Arguments: url version(3|4|5) qos ca user password
"use strict";

const fs = require("node:fs");
const mqtt = require("mqtt");

const [url, version, qos, ca, user, password] = process.argv.slice(2);
const topic = `mqttjs/${version}/${qos}`;
const client = mqtt.connect(url, {
  protocolVersion: Number(version),
  protocolId: version === "3" ? "MQIsdp" : "MQTT",
  clientId: `mqttjs-${version}-${qos}`,
  ca: ca ? fs.readFileSync(ca) : undefined,
  username: user || undefined,
  password: user ? password : undefined,
  reconnectPeriod: 0,
});

function end(text) {
  console.log(text);
  client.end(true);
  clearTimeout(patience);
}

const patience = setTimeout(() => end("nothing came"), 15000);
client.on("error", (error) => end(`refused ${error.code ?? error.message}`));
client.on("connect", () => {
  client.subscribe(topic, { qos: Number(qos) }, () => client.publish(topic, "from mqtt.js", { qos: Number(qos) }));
});
client.on("message", (_topic, payload, packet) => end(`got ${payload} qos ${packet.qos}`));
