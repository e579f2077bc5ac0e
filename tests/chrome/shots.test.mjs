/**
 * A picture of every state of the demo page, the console and the docs, at the width of a desk and of a phone, in light and in dark, for
 * somebody to look at: in tests/chrome/shots, or in ROOMCAST_SHOTS. Nothing may be wider than the window.
 */

import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { Browser, Server } from './harness.mjs'

const SHOTS = process.env.ROOMCAST_SHOTS ?? fileURLToPath(new URL('shots', import.meta.url))
const VARIANTS = /** @type {const} */ ([
  { name: 'desktop-light', viewport: { width: 1280, height: 800 }, colorScheme: 'light' },
  { name: 'desktop-dark', viewport: { width: 1280, height: 800 }, colorScheme: 'dark' },
  { name: 'phone-light', viewport: { width: 390, height: 844 }, colorScheme: 'light' },
  { name: 'phone-dark', viewport: { width: 390, height: 844 }, colorScheme: 'dark' },
])

/** @typedef {import('playwright-core').Page} Page */
/** @type {Server} */ let server
/** @type {Browser} */ let browser

before(async () => {
  await mkdir(SHOTS, { recursive: true })
  server = await Server.start()
  browser = await Browser.start()
  // Somebody whose figures the console shows.
  await browser.peer(server, await server.ticket('mia', 42), { toneHz: 500 })
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

const testTile = '[data-key="main/teststream"]'
/** @param {Page} page @param {string} selector */
const there = (page, selector) => page.locator(selector).first().waitFor()

/** @param {Page} page */
async function join1001(page) {
  await page.goto(`${server.origin}/?roomID=1001`)
  await page.click('#join')
  await there(page, `${testTile}[data-state="playing"]`)
  await there(page, '[data-key="own/main"][data-state="playing"]')
  await there(page, `${testTile} video`)
}

/** @param {Page} page @param {boolean} isOpen */
async function panel(page, isOpen) {
  if ((await page.locator('#panel').isVisible()) !== isOpen) await page.keyboard.press('p')
  await page.locator('#panel').waitFor({ state: isOpen ? 'visible' : 'hidden' })
}

/** States of the demo page, each from the one before. @type {[string, (page: Page) => Promise<unknown>][]} */
const PAGE_STATES = [
  ['lobby', async (page) => {
    await page.goto(`${server.origin}/?roomID=1001`)
    await there(page, '.preview[data-playing]')
  }],
  ['lobby-devices', async (page) => {
    // Allowed already, it opens by itself.
    if (await page.locator('#check-devices').isVisible()) await page.click('#check-devices')
    await there(page, '#mirror-video')
    await page.waitForFunction(() => document.querySelector('#mirror-video').videoWidth > 0, null, { polling: 50 })
  }],
  ['lobby-chinese', async (page) => page.click('#language')],
  ['lobby-other-room', async (page) => {
    await page.click('#language')
    await page.goto(`${server.origin}/?roomID=club`)
    await there(page, '#join')
  }],
  ['room-empty', async (page) => {
    await page.click('#join-viewer')
    await there(page, '#empty')
  }],
  ['room-grid', async (page) => {
    await join1001(page)
    await panel(page, false)
  }],
  ['room-speaking', (page) => there(page, `${testTile}[data-speaking]`)],
  ['room-bigsmall', (page) => page.click('[data-layout="bigsmall"]')],
  ['room-float', (page) => page.click('[data-layout="float"]')],
  ['room-screen', async (page) => {
    await page.click('[data-layout="bigsmall"]')
    await page.click('#screen')
    await there(page, '[data-key="own/aux"][data-state="playing"]')
  }],
  ['room-muted', async (page) => {
    await page.click('#screen')
    await page.click('[data-layout="grid"]')
    await page.click('#mic')
    await page.click('#camera')
    await there(page, '[data-key="own/main"][data-state="audio-only"]')
  }],
  ['room-compare', async (page) => {
    await page.locator(`${testTile} .compare`).click()
    await page.locator(`${testTile} [data-by="hls"] .lips`, { hasText: /ms/ }).waitFor({ timeout: 60_000 })
  }],
  ['panel-people', async (page) => {
    await page.locator(`${testTile} .compare`).click()
    await panel(page, true)
    await page.click('#tab-people')
  }],
  ['panel-chat-empty', (page) => page.click('#tab-chat')],
  ['panel-chat', async (page) => {
    await page.fill('#say-text', 'Good evening, everybody.')
    await page.keyboard.press('Enter')
    await there(page, '.said-text')
  }],
  ['panel-connect', (page) => page.click('#tab-connect')],
  ['panel-connect-play', (page) => page.locator('.line').last().scrollIntoViewIfNeeded()],
  ['panel-numbers', async (page) => {
    await page.click('#tab-numbers')
    await page.locator('.plot-value', { hasText: /bit/ }).first().waitFor()
  }],
  ['room-chinese', async (page) => {
    await panel(page, false)
    await page.evaluate(() => document.querySelector('#language').click())
  }],
  ['dialog-devices', async (page) => {
    await page.evaluate(() => document.querySelector('#language').click())
    await page.keyboard.press('d')
    await there(page, '#device-dialog')
  }],
  ['toast', async (page) => {
    await page.keyboard.press('Escape')
    await page.click('#leave')
    await there(page, '#join')
    const { sdkAppID, roomID, userSig } = await server.ticket('anna')
    await page.goto('about:blank')
    await page.goto(`${server.origin}/#${new URLSearchParams({ sdkAppID, userID: 'not-anna', userSig, roomID })}`)
    await page.click('#join-viewer')
    await there(page, '.toast')
  }],
  ['doctor', async (page) => {
    await page.goto('about:blank')
    await page.goto(`${server.origin}/?roomID=1001#doctor`)
    await page.waitForFunction(() => document.querySelector('#verdict')?.dataset.verdict === 'good', null, { polling: 50 })
  }],
  ['docs', (page) => page.goto(`${server.origin}/docs/`)],
  ['docs-page', (page) => page.goto(`${server.origin}/docs/tickets`)],
]

/** States of the console. @type {[string, (page: Page) => Promise<unknown>][]} */
const CONSOLE_STATES = [
  ['console-login', (page) => page.goto(`${server.origin}/console/`)],
  ['console-overview', async (page) => {
    await page.fill('#password', server.output.match(/Console .* password (\w+)/)?.[1] ?? '')
    await page.keyboard.press('Enter')
    await page.locator('[data-fact="streams"] b', { hasText: /[1-9]/ }).waitFor()
    await page.locator('.plot', { hasText: 'Received' }).locator('.plot-value', { hasText: /[1-9]/ }).waitFor()
  }],
  ['console-rooms', async (page) => {
    await page.click('.side a[href="#rooms"]')
    await page.locator('[data-room="1001"]').getByText('Members').click()
    await there(page, '[data-member="teststream"]')
  }],
  ['console-streams', async (page) => {
    await page.click('.side a[href="#streams"]')
    await there(page, '[data-stream]')
  }],
  ['console-watch', async (page) => {
    await page.locator('[data-stream="1400000001_1001_teststream_main"]').getByText('Watch').click()
    await page.waitForFunction(() => document.querySelector('#watch-video').getVideoPlaybackQuality().totalVideoFrames > 5, null, { polling: 50 })
    await page.locator('#watch-plots .plot-value', { hasText: /[1-9]\d* kbit/ }).waitFor()
  }],
  ['console-tickets', async (page) => {
    await page.click('#watch-close')
    await page.click('.side a[href="#tickets"]')
    await page.getByLabel('User').fill('zoe')
    await page.getByLabel(/^Room/).fill('77')
    await page.getByRole('button', { name: 'Issue' }).click()
    await there(page, '[data-line="userSig"]')
  }],
  ['console-log', async (page) => {
    await page.click('.side a[href="#log"]')
    await there(page, '.lines')
  }],
  ['console-config', async (page) => {
    await page.click('.side a[href="#config"]')
    await there(page, '[data-setting]')
  }],
]

for (const { name, viewport, colorScheme } of VARIANTS)
  test(`every state is drawn and fits: ${name}`, async (t) => {
    const tooWide = []
    for (const states of [PAGE_STATES, CONSOLE_STATES]) {
      const page = await browser.page()
      await page.setViewportSize(viewport)
      // What moves would be another picture each time.
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      await page.addInitScript(() => sessionStorage.getItem('fresh') ?? (sessionStorage.setItem('fresh', '1'), localStorage.clear()))
      for (const [state, reach] of states) {
        await reach(page).catch((error) => assert.fail(`${state}: ${error.message}`))
        await page.mouse.move(0, 0)
        await page.screenshot({ path: join(SHOTS, `${name}-${state}.png`) })
        if ((await page.evaluate(() => document.documentElement.scrollWidth)) > viewport.width) tooWide.push(state)
      }
      await page.close()
    }
    t.diagnostic(`the pictures are in ${SHOTS}`)
    assert.deepEqual(tooWide, [])
  })
