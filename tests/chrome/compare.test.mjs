/** The demo page's comparison: one stream by WebRTC, HTTP-FLV and HLS, with the delay and the lip-sync of each. */

import assert from 'node:assert/strict'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { readStamp } from '../../web-demo/parts/stamp.js'
import { pushClip } from '../tools/clip-push.mjs'
import { pushPhone } from '../tools/media-tools.mjs'
import { Browser, Server, until } from './harness.mjs'

/** @type {Server} */ let server
/** @type {Browser} */ let browser
const SHOTS = process.env.ROOMCAST_SHOTS ?? (await mkdtemp(join(tmpdir(), 'roomcast-shots-')))
const PROTOCOLS = ['webrtc', 'flv', 'hls']

before(async () => {
  server = await Server.start()
  browser = await Browser.start({ mayAutoplay: false, viewport: { width: 1280, height: 800 } })
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** A page that compares the streams of a member. @param {number} roomID @param {string} userID */
async function comparing(roomID, userID) {
  const page = await browser.page()
  await page.goto(`${server.origin}/?roomID=${roomID}`)
  await page.click('#join-viewer')
  const tile = page.locator(`[data-key="main/${userID}"]`)
  await tile.and(page.locator('[data-state="playing"]')).waitFor()
  await tile.locator('.compare').click()
  await tile.locator('.screen[data-by="hls"][data-playing]').waitFor()
  return { page, tile }
}

/** @param {string | null} text */
const number = (text) => Number.parseFloat((text ?? '').replace('−', '-'))

/** What stands beneath the three pictures; not a number where nothing stands yet. @param {import('playwright-core').Locator} tile */
async function readings(tile) {
  const of = async (/** @type {string} */ by) => ({
    delayS: number(await tile.locator(`[data-by="${by}"] .delay`).textContent()),
    lipsMs: number(await tile.locator(`[data-by="${by}"] .lips`).textContent()),
  })
  return Object.fromEntries(await Promise.all(PROTOCOLS.map(async (by) => [by, await of(by)])))
}

/** Waits until the three read-outs have settled to what is true, and tells them. @param {import('playwright-core').Locator} tile @param {(all: any) => boolean} isTrue @param {string} what */
async function settled(tile, isTrue, what) {
  let last = {}
  await until(async () => isTrue((last = await readings(tile))), 90_000, what).catch((error) => assert.fail(`${error.message}: ${JSON.stringify(last)}`))
  return last
}

test('the test stream plays by WebRTC, HTTP-FLV and HLS side by side, with delay and lip-sync of each', async (t) => {
  const { page, tile } = await comparing(1001, 'teststream')
  // How small the delays are is for the machine to say, and on a busy one even their order; HLS alone is always behind by its parts.
  // Browsers bring sound and picture of WebRTC together little by little.
  const isTrue = ({ webrtc, flv, hls }) => webrtc.delayS > 0 && flv.delayS > 0 && hls.delayS > 0.5 && Math.abs(webrtc.lipsMs) < 300 && Math.abs(flv.lipsMs) < 90 && Math.abs(hls.lipsMs) < 90
  const all = await settled(tile, isTrue, 'a delay of each, and sound with its picture')
  t.diagnostic(JSON.stringify(all))
  await page.screenshot({ path: join(SHOTS, 'compare.png') })
  await page.click('#panel-toggle')
  await page.setViewportSize({ width: 390, height: 844 })
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390)
  await page.screenshot({ path: join(SHOTS, 'phone-compare.png') })
  await tile.locator('.compare').click()
  assert.equal(await tile.locator('.screen').count(), 1, 'the others are gone')
  await page.close()
})

test('a pushed stream that is late and whose sound is late is told so by all three', async (t) => {
  const stop = await pushClip(server.pushUrl(await server.ticket('late', 41)), { lateMs: 1000, soundLateMs: 300 })
  t.after(stop)
  const { page, tile } = await comparing(41, 'late')
  const isTrue = ({ webrtc, flv, hls }) => webrtc.delayS > 1 && flv.delayS > 1 && hls.delayS > 1.5 && webrtc.lipsMs > 150 && webrtc.lipsMs < 450 && flv.lipsMs > 210 && flv.lipsMs < 390 && hls.lipsMs > 210 && hls.lipsMs < 390
  const all = await settled(tile, isTrue, '300 ms of late sound in a stream that is 1 s late')
  t.diagnostic(JSON.stringify(all))
  await page.close()
})

test('of a stream without stamps it is told how much later it comes than by WebRTC', async (t) => {
  const phone = pushPhone(server.pushUrl(await server.ticket('phone', 42)))
  t.after(() => phone.kill())
  const { page, tile } = await comparing(42, 'phone')
  const lag = tile.locator('[data-by="flv"] .delay', { hasText: /^\+\d\.\d\d s to WebRTC$/ })
  await lag.waitFor({ timeout: 30_000 })
  assert.equal(await tile.locator('[data-by="webrtc"] .delay').textContent(), '…')
  t.diagnostic((await lag.textContent()) ?? '')
  await page.close()
})

test('a stamp is read for what it is, and nothing else is taken for one', () => {
  const blocks = (/** @type {number} */ word) => Array.from({ length: 16 }, (_, n) => ((word >> (15 - n)) & 1 ? 228 : 22))
  const word = (/** @type {number} */ number) => 0x8000 + number * 32 + ((7 * number + 13) % 31)
  for (const number of [0, 1, 199, 399]) assert.equal(readStamp(blocks(word(number))), number * 40)
  assert.equal(readStamp(blocks(word(400))), null, 'there is no such picture')
  for (let bit = 0; bit < 16; bit++) assert.equal(readStamp(blocks(word(123) ^ (1 << bit))), null, `bit ${bit} is wrong`)
  assert.equal(readStamp(Array.from({ length: 16 }, () => 128)), null)
})

test('no page complained', () => {
  assert.deepEqual(browser.complaints.filter((text) => !/status of 40[0-9]/.test(text)), [])
})
