// The example page in real Chromium: what a person would do and see.
// Arguments: chromium page(http://…) mode(open|denied)
// Prints one line per step; the test publishes and subscribes on the other side.
"use strict";

const { chromium } = require("playwright-core");

async function main() {
  const [executablePath, page_url, mode] = process.argv.slice(2);
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  try {
    const page = await browser.newPage();
    page.on("pageerror", (error) => console.log(`page error: ${error.message}`));
    await page.goto(page_url);
    const state = (text) =>
      page.waitForFunction((text) => document.getElementById("state").textContent.includes(text), text, { timeout: 15000 });
    if (mode === "denied") {
      await state("refused");
      await page.fill("#username", "ada");
      await page.fill("#password", "wrong");
      await page.click("#connect");
      await state("0x86");
      console.log(`state ${await page.textContent("#state")}`);
      await page.fill("#password", "right");
      await page.click("#connect");
    }
    await state("connected");
    console.log("connected");
    const line = page.locator("#messages li", { hasText: "browser/in" });
    await page.fill("#filter", "browser/in/#");
    await page.click("#subscribe button");
    await line.first().waitFor({ timeout: 15000 });
    console.log(`shown ${await line.first().textContent()}`);
    await page.fill("#topic", "browser/out");
    await page.fill("#payload", "hello from Chromium");
    await page.click("#publish button");
    // The other side says that it came by publishing once more.
    await page.locator("#messages li", { hasText: "seen" }).first().waitFor({ timeout: 15000 });
    console.log("done");
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.log(`failed: ${error.message}`);
  process.exitCode = 1;
});
