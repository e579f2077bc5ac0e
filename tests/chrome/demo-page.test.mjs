/** The page that the printed link opens, as a person meets it: nothing is clicked but what a person would click. */

import assert from 'node:assert/strict'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { play, pushObs, pushPhone } from '../tools/media-tools.mjs'
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

test('the printed link shows moving pictures before anything is clicked, and the room after one click', async (t) => {
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
  // Told, not asserted: on two busy cores it is the browser's time more than ours.
  t.diagnostic(`the room's pictures move ${Date.now() - clicked} ms after Join`)

  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  assert.equal(await page.locator(`${TEST_TILE} video >> nth=0`).evaluate((video) => video.muted || video.paused), false, 'the sound is on')
  assert.equal(await page.locator('#count').textContent(), '2')
  await page.locator(`${TEST_TILE} .figures`, { hasText: /H\.264 · 640×360 · \d\d fps · / }).waitFor()
  await page.screenshot({ path: join(SHOTS, 'room.png') })
  await page.close()
})

test('the tile of who speaks is marked, whatever he came by', async () => {
  const page = await browser.page()
  await page.goto(printedLink())
  await page.click('#join-viewer')
  // The test clip came as AAC, which says nothing of its loudness: it is measured where it becomes Opus.
  await page.locator(`${TEST_TILE}[data-speaking]`).waitFor()
  // The fake microphone beeps. Who mutes himself is unmarked at once, whatever the server still thinks.
  await page.click('#mic')
  await page.locator('[data-key="own/main"][data-speaking]').waitFor()
  await page.click('#mic')
  assert.equal(await page.locator('[data-key="own/main"][data-speaking]').count(), 0)
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

test('what OBS pushes with the two lines for it appears, and plays from the copied addresses', async (t) => {
  const page = await browser.page()
  // Reading the clipboard wants a permission, and granting one takes back those of the fake devices.
  await page.addInitScript(() => (navigator.clipboard.writeText = async (text) => void (globalThis.clipboard = text)))
  await page.goto(printedLink())
  await page.click('#join-viewer')
  await page.click('#tab-connect')
  /** What the copy button of a line copies. @param {string} label @param {number} [nth] */
  const copied = async (label, nth = 0) => {
    const row = page.locator('.line', { has: page.locator('.line-label', { hasText: new RegExp(`^${label}$`) }) }).nth(nth)
    await page.evaluate(() => delete globalThis.clipboard)
    await row.locator('.copy').click()
    const text = await page.waitForFunction(() => globalThis.clipboard, null, { polling: 20 })
    return text.jsonValue()
  }
  const obs = pushObs(`${await copied('Server')}/${await copied('Stream key')}`, { width: 640, height: 360, bFrames: 0, toneHz: 800 })
  t.after(() => obs.kill())
  const tile = page.locator('.tile[data-key^="main/obs"]')
  await tile.and(page.locator('[data-state="playing"]')).waitFor()
  const userID = ((await tile.getAttribute('data-key')) ?? '').slice('main/'.length)
  const choice = page.locator('#connect select')
  await choice.selectOption(JSON.stringify([userID, 'main']))
  for (const label of ['RTMP', 'HTTP-FLV']) {
    const player = play(await copied(label))
    t.after(() => player.stop())
    await player.stamps(10, 10_000)
    await player.tone(800, 10_000)
    player.stop()
  }
  const playlist = await fetch(await copied('HLS'))
  assert.match(await playlist.text(), /^#EXTM3U/)
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

test('what the server refuses is said in Chinese to whoever reads Chinese', async () => {
  const { sdkAppID, roomID, userSig } = await server.ticket('anna')
  const page = await browser.page()
  await page.goto(`${server.origin}/?lang=zh#${new URLSearchParams({ sdkAppID, userID: 'not-anna', userSig, roomID })}`)
  await page.click('#join-viewer')
  const toast = page.locator('.toast[data-code="70003"]')
  await toast.waitFor()
  const text = (await toast.textContent()) ?? ''
  assert.match(text, /userSig 对该应用和用户无效/i)
  assert.match(text, /请核对 sdkAppID.*错误码 70003/)
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
  for (const layout of ['bigsmall', 'float', 'grid']) {
    await page.click(`[data-layout="${layout}"]`)
    assert.equal(await widest(), 390, layout)
    await page.screenshot({ path: join(SHOTS, `phone-${layout}.png`) })
  }
  await page.keyboard.press('p')
  await page.locator('#panel').waitFor()
  for (const tab of ['people', 'chat', 'connect', 'numbers']) {
    await page.click(`#tab-${tab}`)
    assert.equal(await widest(), 390, tab)
    await page.screenshot({ path: join(SHOTS, `phone-${tab}.png`) })
  }
  await page.close()
  t.diagnostic(`pictures of the page are in ${SHOTS}`)
})

test('the devices are tried before joining, and what was opened is what joins', async () => {
  const page = await browser.page()
  await page.addInitScript(() => {
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices)
    globalThis.asked = []
    navigator.mediaDevices.getUserMedia = (constraints) => {
      globalThis.asked.push(Object.keys(constraints).filter((kind) => constraints[kind]).join())
      return open(constraints)
    }
    // Whether a browser remembers its person's yes is not the matter here.
    navigator.permissions.query = async () => ({ state: 'prompt' })
  })
  await page.goto(printedLink())
  await page.click('#check-devices')
  await moves(page, '#mirror-video')
  assert.ok((await page.locator('#lobby-camera option').count()) >= 1)
  assert.ok((await page.locator('#lobby-microphone option').count()) >= 2)
  // The fake microphone beeps once a second.
  await page.waitForFunction(() => document.querySelector('#level').value > 0.1, null, { polling: 20 })
  await page.selectOption('#lobby-microphone', { index: 1 })
  await page.waitForFunction(() => document.querySelector('#level').value > 0.1, null, { polling: 20 })
  await page.screenshot({ path: join(SHOTS, 'lobby-devices.png') })
  await page.click('#join')
  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  assert.deepEqual(await page.evaluate(() => globalThis.asked), ['audio,video', 'audio'], 'joining opened nothing again')

  await page.keyboard.press('d')
  await page.locator('#device-dialog').waitFor()
  await page.screenshot({ path: join(SHOTS, 'devices.png') })
  await page.selectOption('#device-dialog select[data-device="audioinput"]', { index: 0 })
  await page.waitForFunction(() => globalThis.asked.length === 3, null, { polling: 20 })
  await page.close()
})

test('pictures are laid out as a grid, as one big with others small, and floating', async () => {
  const page = await browser.page()
  await page.goto(printedLink())
  await page.click('#join')
  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  await page.locator(`${TEST_TILE}[data-state="playing"]`).waitFor()
  const box = async (/** @type {string} */ key) => (await page.locator(`[data-key="${key}"]`).boundingBox()) ?? assert.fail(key)
  const areas = async () => {
    const [own, other] = [await box('own/main'), await box('main/teststream')]
    return { own: own.width * own.height, other: other.width * other.height, overlap: own.x >= other.x && own.y >= other.y && own.x + own.width <= other.x + other.width }
  }
  const grid = await areas()
  assert.ok(Math.abs(grid.own - grid.other) < 1000, JSON.stringify(grid))
  await page.click('[data-layout="bigsmall"]')
  const bigsmall = await areas()
  assert.ok(bigsmall.other > 5 * bigsmall.own && !bigsmall.overlap, JSON.stringify(bigsmall))
  await page.screenshot({ path: join(SHOTS, 'bigsmall.png') })
  await page.keyboard.press('ArrowRight')
  const floating = await areas()
  assert.ok(floating.other > 5 * floating.own && floating.overlap, JSON.stringify(floating))
  await page.screenshot({ path: join(SHOTS, 'float.png') })
  await page.dblclick('[data-key="own/main"]')
  const swapped = await areas()
  assert.ok(swapped.own > 5 * swapped.other, JSON.stringify(swapped))
  await page.close()
})

test('two members chat; the owner sends one away, silences him and locks the room', async () => {
  const [owner, guest] = [await browser.page(), await browser.page()]
  for (const [page, name] of [[owner, 'Olga'], [guest, 'Gustav']]) {
    await page.goto(`${server.origin}/?roomID=club`)
    await page.fill('#name', name)
    await page.click('#join')
    await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  }
  await guest.keyboard.press('c')
  await guest.keyboard.type('<b>Good evening</b>')
  await guest.keyboard.press('Enter')
  await owner.locator('#unread:not([hidden])').waitFor()
  await owner.click('#chat-toggle')
  await owner.locator('.said-text', { hasText: '<b>Good evening</b>' }).waitFor()
  assert.equal(await owner.locator('#unread').isVisible(), false)
  await owner.fill('#say-text', 'Welcome, Gustav.')
  await owner.keyboard.press('Enter')
  await guest.locator('.said-text', { hasText: 'Welcome, Gustav.' }).waitFor()
  await owner.screenshot({ path: join(SHOTS, 'chat.png') })

  await owner.click('#tab-people')
  await owner.locator('.person', { hasText: 'Gustav' }).locator('[data-action^="silence/"]').click()
  await owner.locator('.person[data-muted]', { hasText: 'Gustav' }).waitFor()
  await owner.screenshot({ path: join(SHOTS, 'people.png') })
  assert.equal(await guest.locator('[data-action]').count(), 0, 'a guest keeps no order')
  await owner.locator('.lock').click()
  await owner.locator('.lock[aria-pressed="true"]').waitFor()
  await owner.locator('[data-action^="kick/"]').click()
  await guest.locator('.toast[data-code="73011"]').waitFor()
  await guest.click('#join-viewer')
  await guest.locator('.toast[data-code="73016"]').waitFor()
  for (const page of [owner, guest]) await page.close()
})

test('figures are plotted, and every address has a code for a phone', async () => {
  const page = await browser.page()
  await page.goto(printedLink())
  await page.click('#join')
  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  await page.click('#tab-numbers')
  await page.locator('.plot-value', { hasText: /bit\/s/ }).first().waitFor()
  await page.locator('.tracks li', { hasText: /↓ teststream, picture.*H\.264 · 640×360/s }).waitFor()
  await page.locator('.path', { hasText: /udp/ }).waitFor()
  await page.screenshot({ path: join(SHOTS, 'numbers.png') })
  await page.click('#tab-connect')
  const codes = await page.locator('.qr').evaluateAll((all) => all.map(({ dataset }) => dataset.text))
  assert.equal(codes.filter((text) => text.startsWith('rtmp://')).length, 1)
  assert.ok(codes.includes(`${server.origin}/?roomID=1001`), codes.join())
  await page.close()
})

test('the page speaks Chinese as well, and stays in it', async () => {
  const page = await browser.page()
  await page.goto(printedLink())
  await page.click('#language')
  await page.locator('#lobby-title', { hasText: '加入房间 1001' }).waitFor()
  await page.reload()
  assert.equal(await page.locator('html').getAttribute('lang'), 'zh-CN')
  await page.screenshot({ path: join(SHOTS, 'lobby-zh.png') })
  await page.click('#join')
  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  await page.locator('#mic', { hasText: '静音' }).waitFor()
  await page.click('#tab-connect')
  await page.screenshot({ path: join(SHOTS, 'room-zh.png') })
  const left = await page.evaluate(() => [...document.querySelectorAll('[data-t]')].filter((element) => /^[a-z-]+$/.test(element.textContent ?? '') && element.dataset.t === element.textContent).map((element) => element.textContent))
  assert.deepEqual(left.filter((text) => text !== 'live-pusher'), [], 'a key without words')
  await page.click('#language')
  await page.locator('#mic', { hasText: 'Mute' }).waitFor()
  await page.close()
})

test('no page complained', () => {
  const serious = browser.complaints.filter((text) => !/status of 40[0-9]/.test(text))
  assert.deepEqual(serious, [])
})
