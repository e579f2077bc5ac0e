/** The page's doctor: green where everything works; red, with advice, where UDP is shut, and media goes over TCP then. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { Browser, Server } from './harness.mjs'

/** @type {Server} */ let server
/** @type {Browser} */ let browser
const SHOTS = process.env.ROOMCAST_SHOTS ?? (await mkdtemp(join(tmpdir(), 'roomcast-shots-')))

before(async () => {
  server = await Server.start()
  browser = await Browser.start({ viewport: { width: 1280, height: 900 } })
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** What the doctor says of each thing. @param {import('playwright-core').Page} page */
async function diagnosis(page) {
  await page.waitForFunction(() => ['good', 'warn', 'bad'].includes(document.querySelector('#verdict').dataset.verdict), null, { polling: 50 })
  const rows = await page.locator('#checks li').evaluateAll((all) => all.map((row) => [row.dataset.check, row.dataset.verdict]))
  return Object.fromEntries(rows)
}

test('every check is green where everything works', async () => {
  const page = await browser.page()
  await page.goto(`${server.origin}/?roomID=1001#doctor`)
  assert.deepEqual(await diagnosis(page), { signal: 'good', udp: 'good', tcp: 'good', tls: 'good', address: 'good', clock: 'good', codecs: 'good', devices: 'good' })
  await page.screenshot({ path: join(SHOTS, 'doctor-good.png') })
  // Its own rooms are left again.
  await page.click('#doctor-close')
  await page.close()
})

const shutter = () => {
  if (!process.env.ROOMCAST_TEST_NAMESPACE) return 'this network is shared: nothing may be shut in it'
  try {
    execFileSync('nft', ['list', 'tables'])
    return false
  } catch {
    return 'there is no nft'
  }
}

test('with UDP shut the doctor is red about it and says what to do, and pictures come over TCP', { skip: shutter() }, async (t) => {
  execFileSync('nft', ['-f', '-'], { input: 'table inet shut { chain out { type filter hook output priority 0; meta l4proto udp drop; }; }' })
  t.after(() => execFileSync('nft', ['delete', 'table', 'inet', 'shut']))
  const page = await browser.page()
  await page.goto(`${server.origin}/?roomID=1001#doctor`)
  const found = await diagnosis(page)
  assert.equal(found.udp, 'bad')
  assert.equal(found.tcp, 'good')
  assert.equal(found.address, 'good')
  assert.equal(await page.locator('#verdict').getAttribute('data-verdict'), 'bad')
  assert.match((await page.locator('[data-check="udp"] small').textContent()) ?? '', /8000\/udp/)
  await page.screenshot({ path: join(SHOTS, 'doctor-bad.png') })
  await page.click('#doctor-close')

  await page.click('#join-viewer')
  await page.locator('[data-key="main/teststream"][data-state="playing"]').waitFor()
  await page.click('#tab-numbers')
  await page.locator('.path', { hasText: /tcp/ }).waitFor()
  await page.close()
})
