// One cell of the matrix with mqtt.js, in Node and in a browser alike.
//
// `client` is a connected client whose publish and subscribe give promises; `inbox` is filled by its `message` event.
"use strict";

async function cell(client, inbox, topic, qos) {
  const wait = async () => {
    for (const end = Date.now() + 20000; inbox.messages.length === 0; ) {
      if (Date.now() > end) throw new Error("nothing came");
      await inbox.next();
    }
    return inbox.messages.shift();
  };
  const receive = async (name, payload, retain) => {
    const got = await wait();
    const wanted = JSON.stringify([`${topic}/${name}`, payload, qos, retain]);
    if (JSON.stringify(got) !== wanted) throw new Error(`${JSON.stringify(got)} came where ${wanted} was expected`);
  };
  const publish = async (name, payload, retain) => {
    await client.publish(`${topic}/${name}`, payload, { qos, retain });
    await receive(name, payload, false);
  };
  await client.subscribe(`${topic}/#`, { qos });
  await publish("live", "from mqtt.js", false);
  await publish("kept", "kept", true);
  await client.subscribe(`${topic}/kept`, { qos });
  await receive("kept", "kept", true);
  await publish("kept", "", true);
}

// Messages as [topic, payload, qos, retain], and a promise for the next one.
function makeInbox() {
  const inbox = { messages: [], wake: () => {} };
  inbox.next = () =>
    new Promise((resolve) => {
      const patience = setTimeout(resolve, 1000);
      inbox.wake = () => {
        clearTimeout(patience);
        resolve();
      };
    });
  inbox.take = (topic, payload, packet) => {
    inbox.messages.push([topic, payload.toString(), packet.qos, packet.retain]);
    inbox.wake();
  };
  return inbox;
}

// Options of a connection of a cell.
function cellOptions(version, topic) {
  return {
    protocolVersion: version,
    protocolId: version === 3 ? "MQIsdp" : "MQTT",
    clientId: topic.replaceAll("/", "-"),
    will: { topic: `${topic}/will`, payload: "last words", qos: 1, retain: false },
    reconnectPeriod: 0,
    connectTimeout: 20000,
  };
}

if (typeof module !== "undefined") module.exports = { cell, makeInbox, cellOptions };
