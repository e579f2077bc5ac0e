/** Firefox, which has no H.264, publishes VP8 and watches; over UDP, and over TCP where UDP does not get through. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import puppeteer from 'puppeteer-core'

import { until } from '../chrome/harness.mjs'
import { inside, startServer, wrapped } from './namespaces.mjs'

/** @type {import('../chrome/harness.mjs').Server} */ let server
/** @type {import('puppeteer-core').Browser} */ let browser

before(async () => {
  server = await startServer()
  browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: wrapped('rc-firefox', '/usr/bin/firefox-esr'),
    headless: true,
    extraPrefsFirefox: {
      'media.navigator.streams.fake': true,
      'media.navigator.permission.disabled': true,
      'media.devices.insecure.enabled': true,
      'media.getusermedia.insecure.enabled': true,
      'media.autoplay.default': 0,
      'media.autoplay.blocking_policy': 0,
      'media.gmp-manager.updateEnabled': false,
      'app.update.disabledForTesting': true,
      'datareporting.policy.dataSubmissionEnabled': false,
    },
  })
})
after(async () => {
  await browser?.close()
  await server?.stop()
})

/** A member in a page of its own. @param {string} userID @param {number} room @param {boolean} publishes */
async function member(userID, room, publishes) {
  const page = await browser.newPage()
  await page.goto(`http://${server.http}/healthz`)
  await page.evaluate(
    async (ticket, publishes) => {
      const { Room } = await import('/sdk/roomcast.js')
      const room = (window.room = await Room.connect(`ws://${location.host}/signal`))
      window.trouble = []
      room.on('error', ({ error }) => window.trouble.push(String(error)))
      room.on('transport', (it) => window.trouble.push(JSON.stringify(it)))
      room.on('media', ({ mediaStream }) => {
        if (mediaStream.getVideoTracks().length === 0) return
        window.video ??= document.body.appendChild(Object.assign(document.createElement('video'), { autoplay: true, muted: true }))
        window.video.srcObject = mediaStream
      })
      await room.enter(ticket)
      if (publishes) await room.publish(await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } }))
    },
    await server.ticket(userID, room),
    publishes,
  )
  return page
}

/** What a member receives or sends. @param {import('puppeteer-core').Page} page @param {'up' | 'down'} direction */
const stats = (page, direction) =>
  page.evaluate(async (direction) => {
    const all = [...((await window.room.stats())[direction]?.values() ?? [])]
    const type = direction === 'up' ? 'outbound-rtp' : 'inbound-rtp'
    const of = (kind) => all.find((one) => one.type === type && one.kind === kind)
    const codec = all.find((one) => one.id === of('video')?.codecId)?.mimeType
    const pair = all.find((one) => one.type === 'candidate-pair' && one.nominated && one.state === 'succeeded')
    const local = all.find((one) => one.id === pair?.localCandidateId)
    return { frames: of('video')?.framesDecoded ?? of('video')?.framesEncoded ?? 0, packets: of('audio')?.packetsReceived ?? of('audio')?.packetsSent ?? 0, codec, protocol: local?.protocol, trouble: window.trouble }
  }, direction)

/** @param {number} room @param {string} transport */
async function meet(room, transport) {
  const publisher = await member('fox', room, true)
  const viewer = await member('vixen', room, false)
  let last
  const seen = await until(async () => (last = await stats(viewer, 'down')).frames > 30 && last.packets > 30 && last, 20_000, `pictures from Firefox over ${transport}`).catch(async (error) => {
    throw new Error(JSON.stringify([last, await stats(publisher, 'up')]), { cause: error })
  })
  const sent = await stats(publisher, 'up')
  console.log(`Firefox over ${transport}: publishes ${sent.codec} by ${sent.protocol}, ${seen.frames} frames decoded by ${seen.protocol}`)
  assert.equal(sent.codec, 'video/VP8')
  assert.equal(sent.protocol, transport)
  assert.equal(seen.protocol, transport)
  await publisher.close()
  await viewer.close()
}

test('Firefox publishes VP8 and watches', () => meet(201, 'udp'))

test('where UDP does not get through, Firefox does both over TCP', async (t) => {
  inside('rc-firefox', 'nft', 'add table ip stop; add chain ip stop out { type filter hook output priority 0; }; add rule ip stop out meta l4proto udp drop')
  t.after(() => inside('rc-firefox', 'nft', 'delete table ip stop'))
  await meet(202, 'tcp')
})
