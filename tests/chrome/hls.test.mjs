/** HLS in a real browser, by hls.js: of a page's stream and of one that is pushed. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { pushPhone } from '../tools/media-tools.mjs'
import { Browser, Server, until } from './harness.mjs'

/** @type {Server} */ let server
/** @type {Browser} */ let browser

before(async () => {
  server = await Server.start()
  browser = await Browser.start()
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** @param {import('node:test').TestContext} t @param {any} ticket @param {string} userID @param {[number, number]} size */
async function plays(t, ticket, userID, size) {
  const player = await browser.player(server, 'hls', server.hlsUrl(ticket, userID))
  const view = await player.sees(60)
  await player.hears(1000)
  const now = await player.read()
  assert.deepEqual([view.width, view.height], size)
  assert.ok(view.spoilt <= 1 + view.good / 20, `${view.spoilt} spoilt of ${view.good} pictures`)
  assert.ok(!now.errors.some((/** @type {string} */ error) => error.startsWith('fatal')), now.errors.join('; '))
  // Behind by parts, not by segments: those are two seconds here, and old players stay three behind.
  assert.ok(now.latency < 4, `${now.latency} s behind`)
  t.diagnostic(`first picture after ${Math.round(view.firstMs)} ms, ${now.latency?.toFixed(2)} s behind the end, pictures ${now.medianAgeMs} ms old; ${now.errors.join('; ')}`)
  await player.page.close()
}

test('a phone that pushes RTMP plays as low-latency HLS, picture and tone', async (t) => {
  const ticket = await server.ticket('phone', 5001)
  const anna = await browser.peer(server, await server.ticket('anna', 5001))
  const phone = pushPhone(server.pushUrl(ticket))
  t.after(() => phone.kill())
  await anna.sees('phone')
  await plays(t, ticket, 'phone', [360, 640])
  await phone.stop()
  await anna.page.close()
})

test('a player who knows the playlist asks for updates, gets them, and plays on', async (t) => {
  const server = await Server.start({ 'hls.segment_seconds': '1', 'hls.window_segments': '8' })
  t.after(() => server.stop())
  const ticket = await server.ticket('phone', 5003)
  const anna = await browser.peer(server, await server.ticket('anna', 5003))
  const phone = pushPhone(server.pushUrl(ticket))
  t.after(() => phone.kill())
  await anna.sees('phone')
  const player = await browser.player(server, 'hls', server.hlsUrl(ticket, 'phone'))
  const asked = new Set()
  player.page.on('request', (/** @type {any} */ request) => {
    const query = new URL(request.url()).searchParams
    if (query.has('_HLS_skip')) asked.add(`${query.get('_HLS_skip')} of a player ${query.has('player') ? 'with' : 'without'} his word`)
  })
  const metrics = async () => (await fetch(`${server.origin}/metrics`)).text()
  const updates = async () => Number((await metrics()).match(/roomcast_hls_playlists_total\{kind="update"\} (\d+)/)?.[1])
  await player.sees(30)
  await until(async () => (await updates()) > 20, 30_000, 'twenty updates')
  // What comes after them is put in the right place: the picture goes on, and so does the tone.
  const before = await player.read()
  const view = await player.sees(before.changes + 60)
  await player.hears(1000)
  const now = await player.read()
  assert.deepEqual([...asked], ['YES of a player with his word'])
  assert.ok(view.spoilt <= 1 + view.good / 20, `${view.spoilt} spoilt of ${view.good} pictures`)
  assert.ok(!now.errors.some((/** @type {string} */ error) => error.startsWith('fatal')), now.errors.join('; '))
  assert.ok(now.position > 8, `${now.position} s played`)
  t.diagnostic(`${await updates()} updates, ${now.latency?.toFixed(2)} s behind the end; ${now.errors.join('; ')}`)
  await player.page.close()
  await phone.stop()
  await anna.page.close()
})

for (const [index, codec] of ['H264', 'AV1'].entries()) {
  test(`a page's stream in ${codec} plays as low-latency HLS, picture and tone`, async (t) => {
    const ticket = await server.ticket('anna', 5010 + index)
    const anna = await browser.peer(server, ticket, { codec, toneHz: 1000 })
    const bert = await browser.peer(server, await server.ticket('bert', 5010 + index))
    await bert.sees('anna')
    await plays(t, ticket, 'anna', [640, 480])
    for (const { page } of [anna, bert]) await page.close()
  })
}
