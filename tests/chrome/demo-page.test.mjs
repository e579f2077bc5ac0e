/** The page that the printed link opens, as a person meets it: nothing is clicked but what a person would click. */

import assert from 'node:assert/strict'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { pushPhone } from '../tools/media-tools.mjs'
import { Browser, Server, until } from './harness.mjs'

/** @type {Server} */ let server
/** @type {Browser} */ let browser
/** Where pictures of the page are left for whoever wants to look. */
const SHOTS = process.env.ROOMCAST_SHOTS ?? (await mkdtemp(join(tmpdir(), 'roomcast-shots-')))

before(async () => {
  server = await Server.start()
  browser = await Browser.start({ mayAutoplay: false, viewport: { width: 1280, height: 800 } })
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** The link as the start-up text prints it. */
const printedLink = () => server.output.match(/http:\/\/\S+\?roomID=\S+/)?.[0] ?? assert.fail(`no link in:\n${server.output}`)

/** How many pictures a video has shown; 0 while it has none. @param {import('playwright-core').Page} page @param {string} selector */
const shown = (page, selector) => page.locator(selector).evaluate((video) => video.getVideoPlaybackQuality().totalVideoFrames)

/** @param {import('playwright-core').Page} page @param {string} selector */
async function moves(page, selector, deadlineMs = 5000) {
  const start = await shown(page, selector)
  await until(async () => (await shown(page, selector)) >= start + 5, deadlineMs, `5 more pictures in ${selector}`)
}

const TEST_TILE = '[data-key="main/teststream"]'

test('the printed link shows moving pictures before anything is clicked, and within 2 s after Join', async (t) => {
  const page = await browser.page()
  const opened = Date.now()
  await page.goto(printedLink())
  await moves(page, '#preview')
  t.diagnostic(`the lobby's preview moves ${Date.now() - opened} ms after the link was opened`)
  await page.screenshot({ path: join(SHOTS, 'lobby.png') })

  const clicked = Date.now()
  await page.click('#join')
  await page.locator(`${TEST_TILE}[data-state="playing"]`).waitFor()
  await moves(page, `${TEST_TILE} video >> nth=0`)
  const waited = Date.now() - clicked
  t.diagnostic(`the room's pictures move ${waited} ms after Join`)
  assert.ok(waited < 2000, `moving pictures ${waited} ms after Join`)

  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  assert.equal(await page.locator(`${TEST_TILE} video >> nth=0`).evaluate((video) => video.muted || video.paused), false, 'the sound is on')
  assert.equal(await page.locator('#count').textContent(), '2')
  await page.locator(`${TEST_TILE} .figures`, { hasText: /H\.264 · 640×360 · \d\d fps · / }).waitFor()
  await page.screenshot({ path: join(SHOTS, 'room.png') })
  await page.close()
})

test('the same stream plays by HTTP-FLV beside WebRTC, and its lag is read off', async (t) => {
  const page = await browser.page()
  await page.goto(printedLink())
  await page.click('#join-viewer')
  await page.click(`${TEST_TILE} .compare`)
  await moves(page, `${TEST_TILE} .flv video`)
  await moves(page, `${TEST_TILE} video >> nth=0`)
  const lag = page.locator(`${TEST_TILE} .lag`, { hasText: /FLV \d\.\d\d s later/ })
  await lag.waitFor({ timeout: 15_000 })
  const text = (await lag.textContent()) ?? ''
  t.diagnostic(text)
  assert.ok(Number.parseFloat(text.slice(4)) < 3, text)
  await page.screenshot({ path: join(SHOTS, 'compare.png') })
  await page.close()
})

test('who joins without a camera watches, and is seen when the camera is turned on', async () => {
  const [viewer, other] = [await browser.page(), await browser.page()]
  for (const [page, name] of [[viewer, 'Vera'], [other, 'Otto']]) {
    await page.goto(printedLink())
    await page.fill('#name', name)
    await page.click('#join-viewer')
    await page.locator(`${TEST_TILE}[data-state="playing"]`).waitFor()
  }
  assert.equal(await viewer.locator('[data-key="own/main"]').count(), 0)
  await other.locator('.person', { hasText: 'Vera' }).waitFor()

  await viewer.click('#camera')
  const tile = other.locator('.tile', { has: other.locator('.name', { hasText: 'Vera' }) })
  await tile.and(other.locator('[data-state="playing"]')).waitFor()
  await viewer.click('#mic')
  await other.locator('.tile:not([data-muted]) .name', { hasText: 'Vera' }).waitFor()
  await viewer.keyboard.press('m')
  await other.locator('.tile[data-muted] .name', { hasText: 'Vera' }).waitFor()
  await viewer.click('#camera')
  await tile.and(other.locator('[data-state="audio-only"]')).waitFor()
  await viewer.click('#camera')
  await tile.and(other.locator('[data-state="playing"]')).waitFor()

  await viewer.click('#leave')
  await viewer.locator('#join').waitFor()
  await tile.waitFor({ state: 'detached' })
  for (const page of [viewer, other]) await page.close()
})

test('whoever says no to the camera watches, and is told what to do', async () => {
  const page = await browser.page()
  await page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('Permission denied', 'NotAllowedError'))
  })
  await page.goto(printedLink())
  await page.click('#join')
  await page.locator(`${TEST_TILE}[data-state="playing"]`).waitFor()
  await page.locator('.toast[data-code="NotAllowedError"]', { hasText: 'not allowed' }).waitFor()
  await page.screenshot({ path: join(SHOTS, 'refused-camera.png') })
  await page.close()
})

test('a screen is shared as a stream of its own', async () => {
  const [speaker, other] = [await browser.page(), await browser.page()]
  for (const page of [speaker, other]) {
    await page.goto(printedLink())
    await page.click('#join-viewer')
  }
  await speaker.click('#screen')
  const tile = other.locator('.tile[data-key^="aux/"][data-state="playing"]')
  await tile.waitFor()
  await speaker.click('#screen')
  await tile.waitFor({ state: 'detached' })
  for (const page of [speaker, other]) await page.close()
})

test('the push line of the panel works as it stands', async (t) => {
  const page = await browser.page()
  await page.goto(printedLink())
  await page.click('#join-viewer')
  await page.click('#tab-connect')
  const line = (await page.locator('.line code').first().textContent()) ?? ''
  const url = line.match(/"(rtmp:.*)"/)?.[1] ?? assert.fail(line)
  const phone = pushPhone(url)
  t.after(() => phone.kill())
  const tile = page.locator('.tile[data-key^="main/ffmpeg"]')
  await tile.and(page.locator('[data-state="playing"]')).waitFor()
  assert.equal(await tile.locator('.badge').textContent(), 'RTMP')
  await page.screenshot({ path: join(SHOTS, 'connect.png') })
  await phone.stop()
  await tile.waitFor({ state: 'detached' })
  await page.close()
})

test('a refused ticket in the address is shown with its code and advice', async () => {
  const { sdkAppID, roomID, userSig } = await server.ticket('anna')
  const page = await browser.page()
  await page.goto(`${server.origin}/#${new URLSearchParams({ sdkAppID, userID: 'not-anna', userSig, roomID })}`)
  await page.click('#join-viewer')
  const toast = page.locator('.toast[data-code="70003"]')
  await toast.waitFor()
  assert.match((await toast.textContent()) ?? '', /Code 70003/)
  assert.ok(await page.locator('#join-viewer').isEnabled(), 'the person can try again')
  await page.screenshot({ path: join(SHOTS, 'refused-ticket.png') })
  await page.close()
})

test('the page fits a phone, in the dark too', async (t) => {
  const page = await browser.page()
  await page.setViewportSize({ width: 390, height: 844 })
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.goto(printedLink())
  const widest = () => page.evaluate(() => document.documentElement.scrollWidth)
  assert.equal(await widest(), 390)
  await page.screenshot({ path: join(SHOTS, 'phone-lobby.png') })
  await page.locator('#name').press('Enter')
  await page.locator(`${TEST_TILE}[data-state="playing"]`).waitFor()
  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  assert.equal(await widest(), 390)
  await page.screenshot({ path: join(SHOTS, 'phone-room.png') })
  await page.keyboard.press('p')
  await page.locator('#panel').waitFor()
  await page.screenshot({ path: join(SHOTS, 'phone-panel.png') })
  await page.close()
  t.diagnostic(`pictures of the page are in ${SHOTS}`)
})

test('no page complained', () => {
  const serious = browser.complaints.filter((text) => !/status of 40[0-9]/.test(text))
  assert.deepEqual(serious, [])
})
