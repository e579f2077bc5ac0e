/** The page for everybody: axe finds nothing serious in any of its states, light and dark, wide and narrow. */

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { after, before, test } from 'node:test'

import { Browser, Server } from './harness.mjs'

/** @type {Server} */ let server
/** @type {Browser} */ let browser
const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

before(async () => {
  server = await Server.start()
  browser = await Browser.start({ viewport: { width: 1280, height: 800 } })
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** @param {import('playwright-core').Page} page @param {string} state */
async function findings(page, state) {
  const found = []
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(AXE)
    // Colours over moving pictures cannot be judged by it, and are judged by eye.
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
    for (const { id, impact, nodes } of violations)
      if (impact === 'serious' || impact === 'critical') found.push(`${state}, ${colorScheme}: ${id}: ${nodes.map(({ target, any }) => `${target} ${any[0]?.message ?? ''}`).slice(0, 3).join('; ')}`)
  }
  return found
}

test('axe has no serious finding on the page', async () => {
  const page = await browser.page()
  const found = []
  // As on a first visit, when nothing was allowed yet.
  await page.addInitScript(() => (navigator.permissions.query = async () => ({ state: 'prompt' })))
  await page.goto(`${server.origin}/?roomID=1001`)
  await page.click('#check-devices')
  await page.locator('#chosen').waitFor()
  found.push(...(await findings(page, 'lobby')))
  await page.click('#doctor-open')
  await page.waitForFunction(() => document.querySelector('#verdict').dataset.verdict === 'good', null, { polling: 50 })
  found.push(...(await findings(page, 'doctor')))
  await page.click('#doctor-close')
  await page.click('#join')
  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  for (const tab of ['people', 'chat', 'connect', 'numbers']) {
    await page.click(`#tab-${tab}`)
    found.push(...(await findings(page, tab)))
  }
  await page.locator('[data-key="main/teststream"] .compare').click()
  await page.locator('[data-by="hls"][data-playing]').waitFor()
  found.push(...(await findings(page, 'comparing')))
  await page.keyboard.press('d')
  found.push(...(await findings(page, 'devices')))
  await page.keyboard.press('Escape')
  await page.setViewportSize({ width: 390, height: 844 })
  found.push(...(await findings(page, 'phone')))
  await page.close()
  assert.deepEqual(found, [])
})
