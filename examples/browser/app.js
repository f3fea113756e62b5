// One page, one MQTT connection to the origin it came from. mqtt.js is the global `mqtt`.
"use strict";

const $ = (id) => document.getElementById(id);
const KEPT = 200;
let client = null;

function say(text, kind) {
  $("state").textContent = text;
  $("state").dataset.kind = kind;
}

function show(topic, payload) {
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = topic;
  line.append(name, " ", payload);
  $("messages").prepend(line);
  while ($("messages").children.length > KEPT) $("messages").lastChild.remove();
}

// MQTT 5 reason codes a person meets here; the rest is shown as a number.
const REASONS = { 0x86: "bad user name or password", 0x87: "not authorized", 0x8e: "session taken over" };

function reason(error) {
  const code = error.code ?? error.reasonCode;
  const text = REASONS[code] ?? error.message ?? "unknown";
  return code ? `${text} (0x${code.toString(16)})` : text;
}

function connect() {
  if (client) client.end(true);
  say("connecting", "");
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const username = $("username").value || undefined;
  const password = username ? $("password").value : undefined;
  client = mqtt.connect(`${scheme}://${location.host}/mqtt`, {
    protocolVersion: 5,
    username,
    password,
    reconnectPeriod: 2000,
  });
  client.on("connect", () => {
    say("connected", "good");
    subscribe();
  });
  client.on("message", (topic, payload) => show(topic, payload.toString()));
  client.on("disconnect", (packet) => say(`disconnected: ${reason(packet)}`, "bad"));
  client.on("offline", () => {
    if ($("state").dataset.kind === "good") say("not connected, trying again", "bad");
  });
  client.on("error", (error) => {
    say(`refused: ${reason(error)}`, "bad");
    client.end(true); // a wrong password does not get better by repeating it
  });
}

function subscribe() {
  if (!client) return;
  client.subscribe($("filter").value, { qos: 1 }, (error, granted) => {
    const code = granted?.[0]?.qos ?? 0;
    if (error) say(`subscription refused: ${reason(error)}`, "bad");
    else if (code >= 0x80) say(`subscription refused: ${reason({ code })}`, "bad");
  });
}

function on(form, action) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

on("connection", connect);
on("subscribe", subscribe);
on("publish", () => {
  if (!client) return;
  client.publish($("topic").value, $("payload").value, { qos: 1 }, (error) => {
    if (error) say(`publish refused: ${reason(error)}`, "bad");
  });
});

if (typeof mqtt !== "undefined") connect();
