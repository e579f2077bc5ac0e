/** The port of HTTPS in a real browser: fetches go by HTTP/2, the room's WebSocket beside them by HTTP/1.1, and everything plays. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { pushPhone } from '../tools/media-tools.mjs'
import { Browser, Server } from './harness.mjs'

const ROOM = 5101
/** @type {Server} */ let server
/** @type {Browser} */ let browser
/** The server as whoever comes by TLS sees it. @type {any} */ let secure

before(async () => {
  server = await Server.start({ 'https.listen': '127.0.0.1:0' })
  browser = await Browser.start({ ignoreHTTPSErrors: true })
  secure = { origin: `https://${server.https.replace('127.0.0.1', 'localhost')}` }
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/**
 * What a page fetches from here on, by the kind of file, and by which protocol it came.
 * @param {import('playwright-core').Page} page @returns {Promise<Map<string, Set<string>>>}
 */
async function protocols(page) {
  const seen = new Map()
  const network = await page.context().newCDPSession(page)
  network.on('Network.responseReceived', ({ response }) => {
    const { pathname } = new URL(response.url)
    const kind = pathname.match(/\.(\w+)$/)?.[1] ?? pathname.split('/')[1]
    seen.set(kind, (seen.get(kind) ?? new Set()).add(response.protocol))
  })
  await network.send('Network.enable')
  return seen
}

test('pages, HLS, FLV and WHIP come by h2, and a room is entered by WebSocket on the same port', async (t) => {
  const ticket = await server.ticket('phone', ROOM)
  const anna = await browser.peer(secure, await server.ticket('anna', ROOM))
  assert.equal(await anna.page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol), 'h2')
  const phone = pushPhone(server.pushUrl(ticket))
  t.after(() => phone.kill())
  await anna.sees('phone')

  const name = `${secure.origin}/live/${ticket.sdkAppID}_${ROOM}_phone_main`
  for (const [kind, url, files] of /** @type {const} */ ([['hls', `${name}.m3u8`, ['m3u8', 'm4s', 'mp4']], ['mpegts', `${name}.flv`, ['flv']]])) {
    const page = await browser.page()
    const seen = await protocols(page)
    const player = await browser.player(secure, kind, url, page)
    // What is looked at is the way, not the time: a busy machine may take its own.
    const view = await player.sees(30, 60_000)
    await player.hears(1000, 60_000)
    assert.ok(view.spoilt <= 1 + view.good / 20, `${view.spoilt} spoilt of ${view.good} pictures`)
    for (const file of files) assert.deepEqual([...(seen.get(file) ?? [])], ['h2'], `${file} by ${kind}`)
    await page.close()
  }

  const seen = await protocols(anna.page)
  const bert = await server.ticket('bert', ROOM)
  const status = await anna.page.evaluate(async ({ sdkAppID, roomID, userID, userSig, privateMapKey }) => {
    const peer = new RTCPeerConnection()
    const sound = new AudioContext().createMediaStreamDestination()
    peer.addTransceiver(sound.stream.getTracks()[0], { direction: 'sendonly', streams: [sound.stream] })
    await peer.setLocalDescription()
    const query = new URLSearchParams({ sdkappid: sdkAppID, ...(privateMapKey && { privatemapkey: privateMapKey }) })
    const headers = { 'Authorization': `Bearer ${userSig}`, 'Content-Type': 'application/sdp' }
    const answer = await fetch(`/whip/${roomID}/${userID}?${query}`, { method: 'POST', headers, body: peer.localDescription?.sdp })
    if (answer.status !== 201) return `${answer.status} ${await answer.text()}`
    const connected = new Promise((resolve) => (peer.onconnectionstatechange = () => peer.connectionState === 'connected' && resolve('connected')))
    await peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() })
    return connected
  }, bert)
  assert.equal(status, 'connected')
  assert.deepEqual([...(seen.get('whip') ?? [])], ['h2'])
  assert.deepEqual(browser.complaints, [])
  await phone.stop()
  await anna.page.close()
})
