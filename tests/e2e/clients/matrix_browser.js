// mqtt.js in headless Chromium in the matrix.
// Arguments: chromium url(ws://… or wss://…) prefix cells(version:qos …)
"use strict";

const path = require("node:path");
const { chromium } = require("playwright-core");

const [executablePath, url, prefix, ...cells] = process.argv.slice(2);

// Runs in the page, where `mqtt` and the functions of matrix_cell.js are global.
async function run({ url, version, qos, topic }) {
  try {
    const inbox = makeInbox();
    const client = await mqtt.connectAsync(url, cellOptions(version, topic));
    client.on("message", inbox.take);
    const promised = {
      subscribe: (...words) => client.subscribeAsync(...words),
      publish: (...words) => client.publishAsync(...words),
    };
    await cell(promised, inbox, topic, qos);
    await client.endAsync();
    return "ok";
  } catch (error) {
    return String(error.message);
  }
}

async function main() {
  // The certificate is one of the test's own, which no browser knows.
  const args = ["--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"];
  const browser = await chromium.launch({ executablePath, args });
  try {
    const page = await browser.newPage();
    await page.addScriptTag({ path: path.join(path.dirname(require.resolve("mqtt/package.json")), "dist/mqtt.js") });
    await page.addScriptTag({ path: path.join(__dirname, "matrix_cell.js") });
    for (const [version, qos] of cells.map((cell) => cell.split(":").map(Number))) {
      const said = await page.evaluate(run, { url, version, qos, topic: `${prefix}/${version}/${qos}` });
      console.log(`cell ${version} ${qos} ${said.replaceAll("\n", " ")}`);
    }
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.log(`failed: ${error.message}`);
  process.exitCode = 1;
});
